/** umoci, an unpacker of images that shares nothing with ours, as an oracle. Debian package `umoci`. */

import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { writeOciLayout } from './oci-layout.ts';

/** Unpacks the layers (uncompressed tars, the lowest first) to `work/rootfs`, and gives that path. */
export async function unpackWithUmoci(
  layers: readonly Uint8Array[],
  work: string,
): Promise<string> {
  const layout = join(work, 'layout');
  const rootfs = join(work, 'rootfs');
  const inputs = layers.map((tar) => ({ tar, compression: 'none' as const }));
  await writeOciLayout(layout, { layers: inputs, tag: 'image' });
  await runCommand('umoci', ['raw', 'unpack', '--image', `${layout}:image`, rootfs]);
  return rootfs;
}
