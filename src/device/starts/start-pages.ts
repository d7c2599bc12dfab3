/**
 * The page cache of one start: read ahead of the start's processes along the image's profile, and looked at when it has ended, for
 * the profile.
 *
 * A process that maps a program reads it by page faults, 128 KiB and one round trip through the kernel and the agent at a time. What is read ahead of it comes in large pieces,
 * several at a time, beside it. Only what the agent has in memory is read ahead, so that nothing in front of it in any queue has to wait.
 *
 * Invariants: nothing here makes a start fail or wait. The mount is held until `end` or `close` resolves, and for `startMaxMs` at most.
 */

import { closeSync, constants, openSync, read } from 'node:fs';
import { promisify } from 'node:util';

import {
  cachedWindows,
  openFileByInode,
  windowSizeBytes,
  type CachedWindow,
  type FileWindow,
  type OpenFile,
} from './file-windows.ts';
import { startMaxMs } from './image-starts.ts';
import { OpenedFiles } from './opened-files.ts';
import { profiledWindowsMax } from './start-profile.ts';
import { readAhead } from '../system-calls.ts';

/** Windows of one file that lie side by side. */
interface Piece {
  readonly inode: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** One is on its way while the next is asked for; of more, what the process itself asks for would have to wait. */
const piecesAtATime = 2;
const pieceMaxBytes = 1024 * 1024;
const filesMax = 16;

const readBytes = promisify(read);

/** Neighbours in the list that are neighbours in a file become one. */
function* piecesOf(windows: Iterable<FileWindow>): Generator<Piece> {
  let piece: Piece | undefined;
  for (const { inode, window } of windows) {
    const offset = window * windowSizeBytes;
    const isNext = piece?.inode === inode && piece.offset + piece.sizeBytes === offset;
    if (piece !== undefined && isNext && piece.sizeBytes < pieceMaxBytes) {
      piece = { ...piece, sizeBytes: piece.sizeBytes + windowSizeBytes };
      continue;
    }
    if (piece !== undefined) yield piece;
    piece = { inode, offset, sizeBytes: windowSizeBytes };
  }
  if (piece !== undefined) yield piece;
}

/** The files that were opened last, until it is disposed of. */
class FilesByInode implements Disposable {
  readonly #mountFd: number;
  readonly #files = new Map<number, OpenFile>();

  constructor(mountFd: number) {
    this.#mountFd = mountFd;
  }

  async open(inode: number): Promise<OpenFile | undefined> {
    const known = this.#files.get(inode);
    if (known !== undefined) return known;
    const [oldest] = this.#files;
    if (oldest !== undefined && this.#files.size >= filesMax) {
      this.#files.delete(oldest[0]);
      oldest[1][Symbol.dispose]();
    }
    const file = await openFileByInode(this.#mountFd, inode);
    if (file !== undefined) this.#files.set(inode, file);
    return file;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file[Symbol.dispose]();
    this.#files.clear();
  }
}

/** Gives the windows to read ahead in their order, as they can be; ends early when `signal` is aborted. */
export type WarmWindows = (signal: AbortSignal) => AsyncIterable<readonly FileWindow[]>;

export class StartPages {
  readonly #mountFd: number;
  readonly #opened: OpenedFiles | undefined;
  readonly #stop = new AbortController();
  readonly #reading: Promise<unknown>;
  readonly #holdTimer: NodeJS.Timeout;
  #ending: Promise<readonly CachedWindow[] | undefined> | undefined;
  #isClosed = false;

  private constructor(mountPoint: string, windows: WarmWindows) {
    this.#mountFd = openSync(mountPoint, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#opened = OpenedFiles.watch(mountPoint);
    const pieces = this.#pieces(windows);
    const lanes = Array.from({ length: piecesAtATime }, async () => this.#readAhead(pieces));
    this.#reading = Promise.allSettled(lanes);
    this.#holdTimer = setTimeout(() => void this.close(), startMaxMs).unref();
  }

  /** Of the filesystem that has just been mounted at `mountPoint`; undefined if that cannot be had. */
  static begin(mountPoint: string, windows: WarmWindows): StartPages | undefined {
    try {
      return new StartPages(mountPoint, windows);
    } catch {
      return undefined;
    }
  }

  /**
   * Reads nothing more ahead, lets go of the mount, and says what is in the page cache of the files that the start has opened: what it has read, and what was read ahead of it.
   * Undefined if that cannot be told.
   */
  async end(): Promise<readonly CachedWindow[] | undefined> {
    this.#ending ??= this.#cached().catch(() => undefined);
    const windows = await this.#ending;
    await this.close();
    return windows;
  }

  async #cached(): Promise<readonly CachedWindow[] | undefined> {
    await this.#stopReading();
    if (this.#isClosed || this.#opened === undefined) return undefined;
    const windows: CachedWindow[] = [];
    for (const inode of this.#opened.inodes()) {
      if (windows.length >= profiledWindowsMax) break;
      windows.push(...(await cachedWindows(this.#mountFd, inode)));
    }
    return windows.slice(0, profiledWindowsMax);
  }

  /** Lets go of the mount, when `end` has what it wants. */
  async close(): Promise<void> {
    await this.#stopReading();
    await this.#ending;
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#holdTimer);
    closeSync(this.#mountFd);
    this.#opened?.close();
  }

  async #stopReading(): Promise<void> {
    this.#stop.abort();
    await this.#reading;
  }

  async *#pieces(windows: WarmWindows): AsyncGenerator<Piece> {
    const { signal } = this.#stop;
    for await (const some of windows(signal)) {
      for (const piece of piecesOf(some)) {
        if (signal.aborted) return;
        yield piece;
      }
    }
  }

  async #readAhead(pieces: AsyncIterable<Piece>): Promise<void> {
    using files = new FilesByInode(this.#mountFd);
    for await (const { inode, offset, sizeBytes } of pieces) {
      const file = await files.open(inode);
      if (file === undefined || offset >= file.sizeBytes) continue;
      await readAhead(file.fd, offset, sizeBytes);
      const last = Math.min(offset + sizeBytes, file.sizeBytes) - 1;
      // Waits for it; whoever needs it gets the error, if there is one.
      await readBytes(file.fd, Buffer.alloc(1), 0, 1, last).catch(() => {});
    }
  }
}
