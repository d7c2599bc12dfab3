/** Bytes that can be read at any offset: a file, or memory in tests. */

import { open, type FileHandle } from 'node:fs/promises';

import { ThawError } from './errors.ts';

/** Fixed bytes, read at will; concurrent reads are fine. */
export interface RandomAccess {
  readonly sizeBytes: number;
  /**
   * Fills the whole of `target` with the bytes from `offset` on. `target` stays the caller's.
   * Throws `ERR_READ_PAST_END` when they end before it is full.
   */
  read(offset: number, target: Uint8Array): Promise<void>;
}

export class ReadPastEndError extends ThawError {
  constructor(what: string, wantedEnd: number, sizeBytes: number) {
    super({
      code: 'ERR_READ_PAST_END',
      fault: 'data',
      message: `Cannot read "${what}" up to byte ${wantedEnd}: it ends at ${sizeBytes}, so it is truncated`,
    });
  }
}

/** An open file as `RandomAccess`. Close it when done. */
export class RandomAccessFile implements RandomAccess, AsyncDisposable {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #handle: FileHandle;

  private constructor(path: string, sizeBytes: number, handle: FileHandle) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#handle = handle;
  }

  static async open(path: string): Promise<RandomAccessFile> {
    const handle = await open(path, 'r');
    return new RandomAccessFile(path, (await handle.stat()).size, handle);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    let done = 0;
    while (done < target.byteLength) {
      const { bytesRead } = await this.#handle.read(
        target,
        done,
        target.byteLength - done,
        offset + done,
      );
      if (bytesRead === 0) {
        throw new ReadPastEndError(this.path, offset + target.byteLength, this.sizeBytes);
      }
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Bytes in memory as `RandomAccess`; the array is not copied and must not change meanwhile. */
export function randomAccessOf(bytes: Uint8Array, what = 'bytes in memory'): RandomAccess {
  return {
    sizeBytes: bytes.byteLength,
    read: async (offset, target) => {
      const end = offset + target.byteLength;
      if (end > bytes.byteLength) throw new ReadPastEndError(what, end, bytes.byteLength);
      target.set(bytes.subarray(offset, end));
    },
  };
}
