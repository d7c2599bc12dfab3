/**
 * An image as large as images get in every respect: a million files, 300,000 of them in one directory, and 10 GiB of content, half of
 * it in one file. What each file is follows from its number alone, so that a disk can be held against
 * this without another unpacker in between. No two blocks of it are equal.
 */

import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { OciLayoutWriter, type WrittenLayer } from '../../test/support/oci-layout.ts';
import { paxBlock, tarHeader } from '../../test/support/tar-builder.ts';

export interface HugeFile {
  /** Without a leading slash. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly modified: { readonly seconds: number; readonly nanoseconds: number };
  /** Its bytes follow from this. */
  readonly seed: number;
}

export type HugeImage = readonly (readonly HugeFile[])[];

const mebibyte = 2 ** 20;
const fileCount = 1_000_000;
const crowdCount = 300_000;
const contentBytes = 10 * 2 ** 30;
const longFileBytes = 5 * 2 ** 30;
const largeCount = 60;
const filesPerDirectory = 50;

/** The files of each layer, the lowest first, at most 10 GiB in all, as Thaw wants; `share` of all, 0 to 1, for a try. */
export function hugeImage(share: number): HugeImage {
  let seed = 0;
  let bytesLeft = Math.round(contentBytes * share);
  const file = (path: string, sizeBytes: number): HugeFile => {
    seed += 1;
    bytesLeft -= sizeBytes;
    return {
      path,
      sizeBytes,
      mode: 0o400 + (seed % 0o377),
      uid: seed % 5,
      // Whole seconds need no header of their own in a tar.
      modified: { seconds: 1_500_000_000 + seed * 60, nanoseconds: seed % 10 === 0 ? seed : 0 },
      seed,
    };
  };
  const crowd = files(Math.round(crowdCount * share), (index) =>
    file(`srv/crowd/entry-number-${index}`, (index * 31) % 300),
  );
  const small = files(Math.round(fileCount * share) - crowd.length - largeCount - 1, (index) => {
    const directory = Math.floor(index / filesPerDirectory);
    return file(`srv/packages/${directory}/lib/module-${index}.js`, (index * 7919) % 3000);
  });
  const long = file('srv/long', Math.round(longFileBytes * share));
  const largeFileBytes = Math.floor(bytesLeft / largeCount);
  const large = files(largeCount, (index) => file(`srv/large/${index}`, largeFileBytes));
  return [small, crowd, large, [long]];
}

function files(count: number, make: (index: number) => HugeFile): HugeFile[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

const blockBytes = 4096;

/** Without a zero in it, and longer than any block. */
const pattern = Buffer.from(
  Array.from({ length: mebibyte }, (_, index) => (Math.imul(index + 1, 0x9e3779b1) >>> 24) | 1),
);

/** Fills `target` with the file's bytes from `offset` on, a multiple of 4,096. */
export function fillContent({ seed }: HugeFile, offset: number, target: Buffer): void {
  for (let at = 0; at < target.byteLength; at += blockBytes) {
    const block = (offset + at) / blockBytes;
    const part = target.subarray(at, at + blockBytes);
    pattern.copy(part, 0, (seed * 131 + block * 17) % (mebibyte - blockBytes));
    if (part.byteLength < 8) continue;
    part.writeUInt32LE(seed, 0);
    part.writeUInt32LE(block, 4);
  }
}

/** Writes the image as a layout, its layers not compressed, and tags it. */
export async function writeHugeImage(
  image: HugeImage,
  layoutDir: string,
  tag: string,
): Promise<void> {
  const writer = await OciLayoutWriter.open(layoutDir);
  const layers: WrittenLayer[] = [];
  for (const files of image) {
    const tar = join(layoutDir, 'layer.tar');
    await writeTar(files, tar);
    layers.push(await writer.addLayer({ tar, compression: 'none' }));
    await rm(tar);
  }
  const { descriptor } = await writer.addImage({ layers });
  await writer.tag(descriptor, tag);
}

/** Bytes on their way to a file, in large pieces: a million small writes would take minutes. */
class BufferedWriter {
  readonly #file: FileHandle;
  readonly #buffer = Buffer.alloc(4 * mebibyte);
  #filled = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#filled + bytes.byteLength > this.#buffer.byteLength) await this.flush();
    if (bytes.byteLength > this.#buffer.byteLength) await this.#file.writeFile(bytes);
    else {
      this.#buffer.set(bytes, this.#filled);
      this.#filled += bytes.byteLength;
    }
  }

  async flush(): Promise<void> {
    await this.#file.writeFile(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }
}

async function writeTar(files: readonly HugeFile[], path: string): Promise<void> {
  await using file = await open(path, 'w');
  const out = new BufferedWriter(file);
  const piece = Buffer.alloc(mebibyte);
  for (const entry of files) {
    const { seconds, nanoseconds } = entry.modified;
    if (nanoseconds > 0) {
      await out.write(paxBlock({ mtime: `${seconds}.${`${nanoseconds}`.padStart(9, '0')}` }));
    }
    const { path: name, mode, uid, sizeBytes: size } = entry;
    await out.write(tarHeader({ name, mode, uid, size, mtime: seconds, typeflag: '0' }));
    for (let offset = 0; offset < size; offset += piece.byteLength) {
      const part = piece.subarray(0, Math.min(piece.byteLength, size - offset));
      fillContent(entry, offset, part);
      await out.write(part);
    }
    await out.write(new Uint8Array((512 - (size % 512)) % 512));
  }
  await out.write(new Uint8Array(1024));
  await out.flush();
}
