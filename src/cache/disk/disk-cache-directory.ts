/**
 * The files of a disk cache. `lock` is locked by who uses the directory, `history` is of disk-history.ts, `tmp` has files on their way, and
 * `chunks` a file a chunk, with its ciphertext and nothing else (docs/formats/disk-cache.md).
 *
 * Invariant: a file below `chunks` was written to its end before it got its name, so that killing this process at any moment leaves whole
 * files and leftovers in `tmp`, which the next one to open the directory removes. Nothing is synced: a power failure may leave
 * files that are not what their names say, which whoever reads them finds out.
 */

import { close, constants, open as openFile, readv } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { errorCode } from '../../base/index.ts';
import {
  diskChunkDirectories,
  diskChunkKeyOfFile,
  diskChunkLengthBytes,
  diskChunkPath,
  type DiskChunkKey,
} from './disk-chunk-name.ts';
import { DiskCacheInUseError } from '../errors.ts';

const openDescriptor = promisify(openFile);
const closeDescriptor = promisify(close);
const readDescriptor = promisify(readv);

const ownEntries: readonly string[] = ['lock', 'history', 'tmp', 'chunks'];

/** A file on its way: process and number. All else below `tmp` is somebody else's, as where the directory was an ill choice. */
const temporaryName = /^\d+-\d+$/;

/** True if the error says that there is no such file, whichever part of its path is missing. */
export function isNoFile(thrown: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(errorCode(thrown) ?? '');
}

export interface ScannedDirectory {
  readonly keys: readonly DiskChunkKey[];
  /** Names of entries that are no chunk's. */
  readonly foreign: readonly string[];
}

/** Locks an open file unless another process has it locked; until it is closed, at the latest by the kernel: flock(2), which Node has not. */
export type TryLock = (fd: number) => boolean;

/** An open directory, locked. Methods throw system errors. */
export class DiskCacheDirectory implements AsyncDisposable {
  readonly #path: string;
  readonly #lock: FileHandle;
  #written = 0;

  private constructor(path: string, lock: FileHandle) {
    this.#path = path;
    this.#lock = lock;
  }

  /** Makes what is missing, and removes leftovers. Throws `ERR_CACHE_DISK_IN_USE`, and system errors. */
  static async open(path: string, tryLock: TryLock): Promise<DiskCacheDirectory> {
    const temporary = join(path, 'tmp');
    for (const made of [temporary, join(path, 'chunks')]) {
      await mkdir(made, { recursive: true, mode: 0o700 });
    }
    // Not for writing, which would keep the file system from being remounted read-only.
    const lock = await open(join(path, 'lock'), constants.O_RDONLY | constants.O_CREAT, 0o600);
    try {
      if (!tryLock(lock.fd)) throw new DiskCacheInUseError(path);
      const leftovers = (await readdir(temporary)).filter((name) => temporaryName.test(name));
      for (const leftover of leftovers) await unlink(join(temporary, leftover));
      return new DiskCacheDirectory(path, lock);
    } catch (thrown) {
      await lock.close();
      throw thrown;
    }
  }

  /** True if this directory was removed, whether or not there is another one in its place. */
  async isGone(): Promise<boolean> {
    return (await this.#lock.stat()).nlink === 0;
  }

  /** A chunk's file in a fresh array; undefined if there is none. */
  async read(key: DiskChunkKey): Promise<Uint8Array | 'wrong length' | undefined> {
    const bytes = Buffer.allocUnsafeSlow(diskChunkLengthBytes(key)); // all of it is read, or it is dropped
    let fd;
    try {
      fd = await openDescriptor(this.#file(key), 'r');
    } catch (thrown) {
      if (isNoFile(thrown)) return undefined;
      throw thrown;
    }
    try {
      // One call, also for seeing whether the file ends where it should.
      const { bytesRead } = await readDescriptor(fd, [bytes, Buffer.alloc(1)], 0);
      return bytesRead === bytes.byteLength ? bytes : 'wrong length';
    } finally {
      await closeDescriptor(fd);
    }
  }

  /** Whatever comes of it, when it settles nothing reads `ciphertext` any longer. Throws `ENOENT` if the directory is gone. */
  async write(key: DiskChunkKey, ciphertext: Uint8Array): Promise<void> {
    await this.#replace(this.#file(key), [ciphertext]);
  }

  /** Resolves also if there is none. */
  async remove(key: DiskChunkKey): Promise<void> {
    await this.#unlink(this.#file(key));
  }

  /** All chunks, a directory of them after another. */
  async *scan(): AsyncIterable<ScannedDirectory> {
    const entries = await readdir(this.#path);
    yield { keys: [], foreign: entries.filter((name) => !ownEntries.includes(name)) };
    for (const directory of diskChunkDirectories) yield await this.#scanOne(directory);
  }

  async readHistory(): Promise<Buffer | undefined> {
    return await readFile(join(this.#path, 'history')).catch((thrown: unknown) => {
      if (isNoFile(thrown)) return undefined;
      throw thrown;
    });
  }

  async writeHistory(parts: readonly Uint8Array[]): Promise<void> {
    await this.#replace(join(this.#path, 'history'), parts);
  }

  async removeHistory(): Promise<void> {
    await this.#unlink(join(this.#path, 'history'));
  }

  /** Gives the lock back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock.close();
  }

  #file(key: DiskChunkKey): string {
    return join(this.#path, 'chunks', diskChunkPath(key));
  }

  async #scanOne(directory: string): Promise<ScannedDirectory> {
    const path = join(this.#path, 'chunks', directory);
    const entries = await readdir(path, { withFileTypes: true }).catch((thrown: unknown) => {
      if (isNoFile(thrown)) return [];
      throw thrown;
    });
    const keys: DiskChunkKey[] = [];
    const foreign: string[] = [];
    for (const entry of entries) {
      const key = entry.isFile() ? diskChunkKeyOfFile(directory, entry.name) : undefined;
      if (key === undefined) foreign.push(join('chunks', directory, entry.name));
      else keys.push(key);
    }
    return { keys, foreign };
  }

  async #unlink(path: string): Promise<void> {
    await unlink(path).catch((thrown: unknown) => {
      if (!isNoFile(thrown)) throw thrown;
    });
  }

  async #replace(path: string, parts: readonly Uint8Array[]): Promise<void> {
    this.#written += 1;
    const temporary = join(this.#path, 'tmp', `${process.pid}-${this.#written}`);
    const handle = await open(temporary, 'wx', 0o600);
    try {
      try {
        for (const part of parts) await handle.writeFile(part);
      } finally {
        await handle.close();
      }
      await rename(temporary, path).catch(async (thrown: unknown) => {
        if (!isNoFile(thrown)) throw thrown;
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await rename(temporary, path);
      });
    } catch (thrown) {
      await unlink(temporary).catch(() => {}); // the next to open the directory does
      throw thrown;
    }
  }
}
