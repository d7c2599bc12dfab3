/**
 * Copy-on-write on a block image: blocks that were written lie, encrypted, in a sparse file of the image's size, and a
 * bitmap says which. The image itself is never changed.
 *
 * Invariants: a block's bit is set only after its data is written, so an agent killed in between leaves the old block, and
 * the write, which was not answered, is repeated to the next agent. What is on the disk is ciphertext (AES-256-XTS,
 * IEEE 1619, data unit = block, tweak = its number) under a key that only the run directory holds: worker storage
 * holds no plaintext of a tenant.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';

import { Semaphore, assert, viewOf } from '../../base/index.ts';
import type { ReadRequest } from '../fuse/fuse-channel.ts';

export const overlayBlockSizeBytes = 4096;
const cipher = 'aes-256-xts';

/** Two AES-256 keys, as XTS takes them. */
export function newOverlayKey(): Uint8Array {
  return randomBytes(64);
}

/** A range of whole blocks that all lie in the overlay, or none of them. */
export interface OverlayRun extends ReadRequest {
  readonly isWritten: boolean;
}

/** Gives what a block holds now; for writes that cover only a part of it. */
export type ReadBlock = (range: ReadRequest) => Promise<Uint8Array>;

function tweak(block: number): Buffer {
  const iv = Buffer.alloc(16);
  iv.writeBigUInt64LE(BigInt(block));
  return iv;
}

export class Overlay {
  readonly #path: string;
  readonly #key: Uint8Array;
  readonly #data: FileHandle;
  readonly #bits: FileHandle;
  readonly #bitmap: Uint8Array;
  /** Writes are done one at a time: two may share a block, and always may share a byte of the bitmap. */
  readonly #turns = new Semaphore(1);

  private constructor(
    path: string,
    key: Uint8Array,
    data: FileHandle,
    bits: FileHandle,
    bitmap: Uint8Array,
  ) {
    this.#path = path;
    this.#key = key;
    this.#data = data;
    this.#bits = bits;
    this.#bitmap = bitmap;
  }

  /** Opens the overlay at `path` (and `path`.bits), or makes an empty one. `key`: 64 bytes. */
  static async open(path: string, key: Uint8Array, diskSizeBytes: number): Promise<Overlay> {
    const mode = 'a+'; // made if it is missing, never truncated
    await (await open(path, mode, 0o600)).close();
    await (await open(bitsPath(path), mode, 0o600)).close();
    const data = await open(path, 'r+');
    const bits = await open(bitsPath(path), 'r+');
    const bitmap = new Uint8Array(Math.ceil(diskSizeBytes / overlayBlockSizeBytes / 8));
    await bits.read(bitmap, 0, bitmap.byteLength, 0); // a shorter file: the rest was never written
    return new Overlay(path, key, data, bits, bitmap);
  }

  /** The runs of `range` in order, cut at its ends. */
  *runs({ offset, size }: ReadRequest): Iterable<OverlayRun> {
    const end = offset + size;
    for (let at = offset; at < end;) {
      const isWritten = this.#has(Math.floor(at / overlayBlockSizeBytes));
      let block = Math.floor(at / overlayBlockSizeBytes) + 1;
      while (block * overlayBlockSizeBytes < end && this.#has(block) === isWritten) block += 1;
      const runEnd = Math.min(end, block * overlayBlockSizeBytes);
      yield { isWritten, offset: at, size: runEnd - at };
      at = runEnd;
    }
  }

  /** The bytes of a range whose blocks are all in the overlay; a fresh array. */
  async read({ offset, size }: ReadRequest): Promise<Uint8Array> {
    const first = Math.floor(offset / overlayBlockSizeBytes);
    const count = Math.ceil((offset + size) / overlayBlockSizeBytes) - first;
    const blocks = Buffer.alloc(count * overlayBlockSizeBytes);
    await this.#data.read(blocks, 0, blocks.byteLength, first * overlayBlockSizeBytes);
    for (let index = 0; index < count; index += 1) {
      const block = blockOf(blocks, index);
      const decipher = createDecipheriv(cipher, this.#key, tweak(first + index));
      block.set(decipher.update(block));
    }
    const skip = offset - first * overlayBlockSizeBytes;
    return blocks.subarray(skip, skip + size);
  }

  /** Keeps `bytes` from `offset` on. `readBlock` is asked for blocks of which they cover only a part. */
  async write(offset: number, bytes: Uint8Array, readBlock: ReadBlock): Promise<void> {
    await this.#turns.run(async () => {
      const first = Math.floor(offset / overlayBlockSizeBytes);
      const end = offset + bytes.byteLength;
      const count = Math.ceil(end / overlayBlockSizeBytes) - first;
      const blocks = Buffer.alloc(count * overlayBlockSizeBytes);
      const start = first * overlayBlockSizeBytes;
      for (const block of new Set([first, first + count - 1])) {
        const at = block * overlayBlockSizeBytes;
        if (at >= offset && at + overlayBlockSizeBytes <= end) continue;
        blocks.set(await readBlock({ offset: at, size: overlayBlockSizeBytes }), at - start);
      }
      blocks.set(bytes, offset - start);
      for (let index = 0; index < count; index += 1) {
        const block = blockOf(blocks, index);
        block.set(createCipheriv(cipher, this.#key, tweak(first + index)).update(block));
      }
      await writeAll(this.#data, blocks, start);
      await this.#mark(first, count);
    });
  }

  /** When it resolves, what was written before survives a power failure. */
  async sync(): Promise<void> {
    await this.#data.datasync();
    await this.#bits.datasync();
  }

  async close(): Promise<void> {
    await this.#data.close();
    await this.#bits.close();
  }

  /** Closes it and forgets what was written. */
  async remove(): Promise<void> {
    await this.#turns.run(async () => this.close());
    await rm(this.#path, { force: true });
    await rm(bitsPath(this.#path), { force: true });
  }

  #has(block: number): boolean {
    return (((this.#bitmap[block >> 3] ?? 0) >> (block & 7)) & 1) === 1;
  }

  async #mark(first: number, count: number): Promise<void> {
    const firstByte = first >> 3;
    const lastByte = (first + count - 1) >> 3;
    assert(lastByte < this.#bitmap.byteLength, 'A write ends past the end of the disk');
    const changed = this.#bitmap.slice(firstByte, lastByte + 1);
    for (let block = first; block < first + count; block += 1) {
      const at = (block >> 3) - firstByte;
      changed[at] = (changed[at] ?? 0) | (1 << (block & 7));
    }
    await writeAll(this.#bits, changed, firstByte);
    this.#bitmap.set(changed, firstByte);
  }
}

function bitsPath(path: string): string {
  return `${path}.bits`;
}

function blockOf(blocks: Uint8Array, index: number): Buffer {
  const start = index * overlayBlockSizeBytes;
  return viewOf(blocks.subarray(start, start + overlayBlockSizeBytes));
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, done, undefined, position + done);
    done += bytesWritten;
  }
}
