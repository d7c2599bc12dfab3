/** Images as tests compare them: everything that a source says, and every byte of every layer. */

import { createHash } from 'node:crypto';

import { openImage, type LayerTar, type OciImage, type OpenImageOptions } from '../index.ts';

/** The whole of a tar, which must be small. */
export async function readAll(tar: LayerTar): Promise<Buffer> {
  const bytes = Buffer.alloc(tar.sizeBytes);
  await tar.read(0, bytes);
  return bytes;
}

export interface ImageContents {
  readonly imageDigest: string;
  readonly config: OciImage['config'];
  readonly diffIds: readonly string[];
  /** Each checked against its diff id here once more. */
  readonly tars: readonly Buffer[];
}

/** Opens an image and reads all of it. */
export async function readImage(
  reference: string,
  options: OpenImageOptions = {},
): Promise<ImageContents> {
  await using image = await openImage(reference, options);
  const tars: Buffer[] = [];
  for (const layer of image.layers) {
    await using tar = await image.openLayer(layer);
    const bytes = await readAll(tar);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    if (digest !== layer.diffId || tar.diffId !== layer.diffId) {
      throw new Error(`A layer with the contents ${digest} was given out as ${layer.diffId}`);
    }
    tars.push(bytes);
  }
  return {
    imageDigest: image.imageDigest,
    config: image.config,
    diffIds: image.layers.map(({ diffId }) => diffId),
    tars,
  };
}
