/**
 * A function's log: a file, and the one before it. Whatever a function writes, its log takes no
 * more room on disk than twice `fileSizeMaxBytes`, no more memory than the backlog, and no time of
 * the one who writes: what a slow or full disk cannot take is dropped, and the log says how much.
 */

import { appendFile, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { errorCode, errorMessage, type Log } from '../../base/index.ts';

const backlogMaxBytes = 1024 * 1024;

export interface FunctionLogOptions {
  readonly path: string;
  readonly fileSizeMaxBytes: number;
  /** Told when the file cannot be written. */
  readonly log: Log;
}

export class FunctionLog {
  readonly #path: string;
  readonly #olderPath: string;
  readonly #fileSizeMaxBytes: number;
  readonly #log: Log;
  #backlog: Uint8Array[] = [];
  #backlogBytes = 0;
  #droppedBytes = 0;
  #writing: Promise<void> | undefined;
  /** Of the file; undefined until its first use. */
  #sizeBytes: number | undefined;
  #isFailing = false;
  #isRemoved = false;

  constructor(options: FunctionLogOptions) {
    this.#path = options.path;
    this.#olderPath = `${options.path}.1`;
    this.#fileSizeMaxBytes = options.fileSizeMaxBytes;
    this.#log = options.log;
  }

  /**
   * Takes `lines`, which are the log's from then on, and returns at once. Never throws. `always`: a
   * few lines that must not be dropped for want of room in the backlog.
   */
  append(lines: Uint8Array, always = false): void {
    if (this.#isRemoved) return;
    if (!always && this.#backlogBytes + lines.byteLength > backlogMaxBytes) {
      this.#droppedBytes += lines.byteLength;
      return;
    }
    this.#backlog.push(lines);
    this.#backlogBytes += lines.byteLength;
    this.#writing ??= this.#writeBacklog();
  }

  /** The last bytes, at most `maxBytes`, with all that was appended before the call. */
  async read(maxBytes: number): Promise<Uint8Array> {
    await this.flush();
    const newer = await readTail(this.#path, maxBytes);
    const older = await readTail(this.#olderPath, maxBytes - newer.byteLength);
    return Buffer.concat([older, newer]);
  }

  /** Resolves when all that was appended before is written or dropped. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  /** Deletes the files; whatever is appended later is gone too. */
  async remove(): Promise<void> {
    this.#isRemoved = true;
    await this.flush();
    await rm(this.#path, { force: true });
    await rm(this.#olderPath, { force: true });
  }

  async #writeBacklog(): Promise<void> {
    while (this.#backlog.length > 0 || this.#droppedBytes > 0) {
      const lines = this.#backlog;
      if (this.#droppedBytes > 0) {
        lines.push(Buffer.from(`[${this.#droppedBytes} bytes of output dropped]\n`));
      }
      this.#backlog = [];
      this.#backlogBytes = 0;
      this.#droppedBytes = 0;
      try {
        await this.#write(Buffer.concat(lines));
        this.#isFailing = false;
      } catch (thrown) {
        this.#reportFailure(thrown);
      }
    }
    this.#writing = undefined;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#sizeBytes ??= await fileSizeBytes(this.#path);
    for (let at = 0; at < bytes.byteLength;) {
      const rest = bytes.byteLength - at;
      if (this.#sizeBytes > 0 && this.#sizeBytes + rest > this.#fileSizeMaxBytes) {
        await rename(this.#path, this.#olderPath);
        this.#sizeBytes = 0;
      }
      const length = Math.min(rest, this.#fileSizeMaxBytes);
      await this.#append(bytes.subarray(at, at + length));
      this.#sizeBytes += length;
      at += length;
    }
  }

  /** The directory is made when it turns out to be missing: every invoke writes. */
  async #append(bytes: Uint8Array): Promise<void> {
    try {
      await appendFile(this.#path, bytes, { mode: 0o600 });
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
      await appendFile(this.#path, bytes, { mode: 0o600 });
    }
  }

  #reportFailure(thrown: unknown): void {
    this.#sizeBytes = undefined;
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#log.warn('Cannot write the log of a function; its output is lost', {
      path: this.#path,
      error: errorMessage(thrown),
    });
  }
}

async function fileSizeBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return 0;
    throw thrown;
  }
}

async function readTail(path: string, maxBytes: number): Promise<Uint8Array> {
  const sizeBytes = await fileSizeBytes(path);
  const length = Math.min(sizeBytes, Math.max(0, maxBytes));
  if (length === 0) return new Uint8Array();
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(length),
      position: sizeBytes - length,
    });
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
