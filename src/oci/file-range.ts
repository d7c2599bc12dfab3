/**
 * A run of bytes in an open file: a whole file, a member of an archive read in place, or an unlinked temporary
 * file. Ranges of one file share its descriptor, which is closed with the last of them; so a layer stays
 * readable after the image it came from has been disposed of, whatever happens to the file's name.
 */

import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, stat, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { ReadPastEndError, assert, type RandomAccess } from '../base/index.ts';

/** Sequential reads ask for this much at a time. */
const streamStepBytes = 256 * 1024;

interface SharedHandle {
  readonly handle: FileHandle;
  /** Named in errors. */
  readonly path: string;
  users: number;
}

export class FileRange implements RandomAccess, AsyncDisposable {
  readonly sizeBytes: number;
  readonly #shared: SharedHandle;
  readonly #startOffset: number;
  #isOpen = true;

  private constructor(shared: SharedHandle, startOffset: number, sizeBytes: number) {
    this.#shared = shared;
    this.#startOffset = startOffset;
    this.sizeBytes = sizeBytes;
    shared.users += 1;
  }

  /** The whole of a regular file; undefined for anything else, so that a FIFO cannot block us. */
  static async openFile(path: string): Promise<FileRange | undefined> {
    if (!(await stat(path)).isFile()) return undefined;
    const handle = await open(path, constants.O_RDONLY);
    const { size } = await handle.stat();
    return new FileRange({ handle, path, users: 0 }, 0, size);
  }

  get path(): string {
    return this.#shared.path;
  }

  /** A part of this range, which lives on its own. */
  slice(offset: number, sizeBytes: number): FileRange {
    assert(this.#isOpen && offset >= 0 && sizeBytes >= 0, 'slices come from open ranges');
    if (offset + sizeBytes > this.sizeBytes) {
      throw new ReadPastEndError(this.path, offset + sizeBytes, this.sizeBytes);
    }
    return new FileRange(this.#shared, this.#startOffset + offset, sizeBytes);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const end = offset + target.byteLength;
    if (end > this.sizeBytes) throw new ReadPastEndError(this.path, end, this.sizeBytes);
    let done = 0;
    while (done < target.byteLength) {
      const { bytesRead } = await this.#shared.handle.read(
        target,
        done,
        target.byteLength - done,
        this.#startOffset + offset + done,
      );
      if (bytesRead === 0) throw new ReadPastEndError(this.path, end, offset + done);
      done += bytesRead;
    }
  }

  /** All bytes in order; each chunk is the receiver's to keep. */
  async *stream(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < this.sizeBytes; offset += streamStepBytes) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(streamStepBytes, this.sizeBytes - offset));
      await this.read(offset, chunk);
      yield chunk;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#shared.users -= 1;
    if (this.#shared.users === 0) await this.#shared.handle.close();
  }

  /** Used by `SpoolFile`: the bytes written so far, taking over its descriptor. */
  static ofHandle(handle: FileHandle, path: string, sizeBytes: number): FileRange {
    return new FileRange({ handle, path, users: 0 }, 0, sizeBytes);
  }
}

/** A temporary file that has no name any more: written once, from start to end, then read as a range. */
export class SpoolFile implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly #path: string;
  #sizeBytes = 0;
  #isOwned = true;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  static async create(directory: string): Promise<SpoolFile> {
    const path = join(directory, `thaw-layer-${randomUUID()}`);
    const handle = await open(path, 'wx+', 0o600);
    await unlink(path);
    return new SpoolFile(handle, path);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async append(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.byteLength) {
      const { bytesWritten } = await this.#handle.write(
        bytes,
        done,
        bytes.byteLength - done,
        this.#sizeBytes,
      );
      done += bytesWritten;
      this.#sizeBytes += bytesWritten;
    }
  }

  /** Ends the writing; from here on the file lives as long as the range. */
  finish(): FileRange {
    assert(this.#isOwned, 'a spool file is finished once');
    this.#isOwned = false;
    return FileRange.ofHandle(this.#handle, this.#path, this.#sizeBytes);
  }

  /** Drops the file unless `finish` handed it on. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOwned) return;
    this.#isOwned = false;
    await this.#handle.close();
  }
}
