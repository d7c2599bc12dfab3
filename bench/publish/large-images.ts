/**
 * Images of real package files of any size: the corpus's base, Node and npm dependencies, then as many copies of them as it takes,
 * each in a directory and a layer of its own and with a few bytes changed in every block, so that nothing in it is the same.
 * Layers are gzip as registries have them. Kept beside the corpus; delete them there to have them made anew.
 */

import { access, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { byteStringToBytes, RandomAccessFile, type ByteString } from '../../src/base/index.ts';
import { scanTar, type TarEntry } from '../../src/oci/index.ts';
import { OciLayoutWriter } from '../../test/support/oci-layout.ts';
import { buildTar, tarEntry } from '../../test/support/tar-builder.ts';
import { corpusLayer } from '../corpus/index.ts';

const blockBytes = 4096;
const megabyte = 1_000_000;

/** In MB. What the image has is within a layer of it. */
const contentSizes = { '250MB': 250, '600MB': 600, '2GB': 2000, '10GB': 10_000 } as const;
/** Of an image of nothing but small files, which are generated. */
const manyFiles = { '1Mfiles': 1_000_000 } as const;

export const imageSizes = { ...contentSizes, ...manyFiles } as const;

/** What can be asked for. */
export type ImageSize = keyof typeof imageSizes;

export interface LargeImage {
  readonly layoutDir: string;
  /** Tags of images that differ in nothing but their last layer, a few KB of application. */
  readonly tags: readonly string[];
}

const tagCount = 8;

/** The image's layout. Not to be changed. */
export async function largeImage(size: ImageSize): Promise<LargeImage> {
  const directory = join(tmpdir(), 'thaw-bench-publish');
  const layoutDir = join(directory, size);
  const tags = Array.from({ length: tagCount }, (_, index) => `app-${index}`);
  if (await isThere(layoutDir)) return { layoutDir, tags };
  process.stderr.write(`Making an image of ${size}, once\n`);
  const making = join(directory, `.making-${size}-${process.pid}`);
  await mkdir(making, { recursive: true });
  try {
    const layers =
      size === '1Mfiles' ? [await writeManyFiles(making)] : await lowerLayers(size, making);
    await writeImages(join(making, 'layout'), layers, tags);
    await rename(join(making, 'layout'), layoutDir);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return { layoutDir, tags };
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Tar files, the lowest first. */
async function lowerLayers(
  size: keyof typeof contentSizes,
  work: string,
): Promise<readonly string[]> {
  const wantedBytes = contentSizes[size] * megabyte;
  const kinds =
    size === '250MB'
      ? (['base', 'apt-node'] as const)
      : (['base', 'node', 'dependencies'] as const);
  const originals: string[] = [];
  for (const kind of kinds) originals.push(await corpusLayer(kind));
  const layers = [...originals];
  let bytes = 0;
  for (const tar of originals) bytes += (await stat(tar)).size;
  for (let copy = 1; bytes < 0.95 * wantedBytes; copy += 1) {
    const original = originals[copy % originals.length] ?? '';
    const path = join(work, `copy-${copy}.tar`);
    await writeCopy(original, path, copy);
    layers.push(path);
    bytes += (await stat(path)).size;
  }
  return layers;
}

/** A layer of a million files of up to 3 KB, fifty in a directory, with paths as npm packages have them. */
async function writeManyFiles(work: string): Promise<string> {
  const path = join(work, 'files.tar');
  await using file = await open(path, 'w');
  for (let directory = 0; directory < manyFiles['1Mfiles'] / 50; directory += 1) {
    const entries = Array.from({ length: 50 }, (_, index) => ({
      path: `srv/node_modules/package-${directory}/lib/module-${index}.js`,
      content: `export const value = ${directory * 50 + index};\n`.repeat(
        ((directory * 31 + index * 17) % 80) + 1,
      ),
    }));
    await file.writeFile(buildTar(entries, { end: false }));
  }
  await file.writeFile(buildTar([]));
  return path;
}

/** The same tree under a directory of its own, with other bytes. */
async function writeCopy(original: string, path: string, copy: number): Promise<void> {
  await using tar = await RandomAccessFile.open(original);
  await using file = await open(path, 'w');
  for await (const entry of scanTar(tar)) {
    const content = Buffer.alloc(entry.sizeBytes);
    for (const { fileOffset, tarOffset, lengthBytes } of entry.segments) {
      await tar.read(tarOffset, content.subarray(fileOffset, fileOffset + lengthBytes));
    }
    for (let at = 0; at + 4 <= content.byteLength; at += blockBytes) {
      content.writeUInt32LE((content.readUInt32LE(at) ^ Math.imul(copy, 0x9e3779b1)) >>> 0, at);
    }
    await file.writeFile(tarEntry({ ...entry, ...placesOf(entry, copy), content, xattrs: {} }));
  }
  await file.writeFile(buildTar([]));
}

function placesOf(entry: TarEntry, copy: number): { path: Uint8Array; linkTarget: Uint8Array } {
  const inside = (path: string): Uint8Array =>
    byteStringToBytes(`copy-${copy}/${path.replace(/^(\.?\/)+/, '')}` as ByteString);
  const { linkTarget, type } = entry;
  return {
    path: inside(entry.path),
    linkTarget: type === 'hardlink' ? inside(linkTarget) : byteStringToBytes(linkTarget),
  };
}

async function writeImages(
  layoutDir: string,
  tars: readonly string[],
  tags: readonly string[],
): Promise<void> {
  await mkdir(layoutDir);
  const writer = await OciLayoutWriter.open(layoutDir);
  const written = [];
  for (const tar of tars) {
    // Copies are quickly made rather than well: what matters is that both ways read the same.
    const gzipLevel = tar.startsWith(dirname(layoutDir)) ? 1 : 6;
    written.push(await writer.addLayer({ tar, gzipLevel }));
  }
  for (const tag of tags) {
    const app = { tar: buildTar([{ path: 'app/main.js', content: `// ${tag}\n`.repeat(500) }]) };
    const { descriptor } = await writer.addImage({ layers: [...written, app] });
    await writer.tag(descriptor, tag);
  }
}
