/**
 * Run by tests as a program of its own, under whatever Node and settings they choose: prints the digest of each golden
 * disk as JSON, and of one whose layers are read from tars. Keeps to what the oldest of those Nodes understands.
 */

import { randomAccessOf } from '../../src/base/index.ts';
import { planDisk } from '../../src/ext4/index.ts';
import { goldenDigests } from '../../src/ext4/testing/golden-corpus.ts';
import { diskDigest } from '../../src/ext4/testing/images.ts';
import { scanTar } from '../../src/oci/tar-scanner.ts';
import { applyLayers } from '../../src/rootfs/index.ts';
import { buildTar, type TarBuilderEntry } from './tar-builder.ts';

/** Names that locales sort and fold in their own ways, times that time zones might touch. */
const names = [
  'I',
  'i',
  'ı',
  'İ',
  'ä',
  'Ä',
  'z',
  'ß',
  'ss',
  '\u00e9',
  'e\u0301',
  '10',
  '9',
  'a-b',
  'a_b',
];
const layers: readonly (readonly TarBuilderEntry[])[] = [
  names.flatMap((name, index) => [
    { path: `${name}/`, modified: { seconds: 1_000_000_000 + index, nanoseconds: index } },
    { path: `${name}/file`, content: name.repeat(index * 100), xattrs: { 'user.x': name } },
  ]),
  names.map((name) => ({ path: `i/${name}`, type: 'hardlink', linkTarget: 'z/file' })),
  [{ path: '.wh.z' }, { path: 'ä/.wh..wh..opq' }],
];

async function tarDigest(): Promise<string> {
  const tars = layers.map((entries) => randomAccessOf(buildTar(entries)));
  const tree = await applyLayers(
    tars.map((tar, index) => ({ diffId: `sha256:${index}`, entries: scanTar(tar) })),
  );
  return await diskDigest(planDisk(tree), {
    read: async (layer, tarOffset, target) => tars[layer]?.read(tarOffset, target),
  });
}

process.stdout.write(JSON.stringify({ ...(await goldenDigests()), tar: await tarDigest() }));
