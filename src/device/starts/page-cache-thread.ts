/**
 * A thread that does for `PageCacheThreads` what blocks: reads pages of mounted images ahead, and looks at what of them is in the page
 * cache. One job at a time, each by system calls that wait as long as they take.
 */

import { closeSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

import { errorMessage, present } from '../../base/index.ts';
import { readAhead, threadId as ownThreadId } from '../system-calls.ts';
import {
  cachedDiskWindows,
  cachedWindows,
  diskInode,
  openFileByInode,
  pageSizeBytes,
  type CachedWindow,
  type OpenFile,
} from './file-windows.ts';
import { profiledWindowsMax } from './start-profile.ts';
import type { PageRun } from './start-plan.ts';

/** A mounted image. Its descriptors are the caller's, and open until the job is done. */
export interface MountedImage {
  /** Of a directory in it. */
  readonly mountFd: number;
  /** The block device. */
  readonly disk: OpenFile;
}

export type PageCacheJob = MountedImage &
  (
    | {
        readonly kind: 'read-ahead';
        readonly runs: readonly PageRun[];
        /** In shared memory: once it is not 0, no more is read. */
        readonly stop: Int32Array;
      }
    | { readonly kind: 'look'; readonly inodes: readonly number[] }
  );

export interface PageCacheAnswer {
  /** `threadId` of who did the job. */
  readonly threadId: number;
  /** What was found in the page cache, where that was asked for. */
  readonly windows: readonly CachedWindow[];
  /** Why it could not be done. */
  readonly error?: string;
}

/** So much is under way at a time: of more, what the start's processes ask for themselves would have to wait. */
const pieceMaxBytes = 1024 * 1024;

/** Reads ahead, and waits whenever `pieceMaxBytes` have been asked for. */
class Ahead {
  readonly #stop: Int32Array;
  #askedBytes = 0;

  constructor(stop: Int32Array) {
    this.#stop = stop;
  }

  get isStopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  /** Of bytes past the file's end there is nothing to read. */
  read({ fd, sizeBytes }: OpenFile, { page, pageCount }: PageRun): void {
    const end = Math.min((page + pageCount) * pageSizeBytes, sizeBytes);
    for (let at = page * pageSizeBytes; at < end && !this.isStopped;) {
      const pieceBytes = Math.min(end - at, pieceMaxBytes - this.#askedBytes);
      readAhead(fd, at, pieceBytes);
      at += pieceBytes;
      this.#askedBytes += pieceBytes;
      if (this.#askedBytes === pieceMaxBytes) this.#waitFor(fd, at - 1);
    }
  }

  #waitFor(fd: number, offset: number): void {
    this.#askedBytes = 0;
    try {
      readSync(fd, Buffer.alloc(1), 0, 1, offset);
    } catch {
      // Whoever needs it gets the error.
    }
  }
}

function readRunsAhead(
  { mountFd, disk }: MountedImage,
  runs: readonly PageRun[],
  stop: Int32Array,
): void {
  const ahead = new Ahead(stop);
  let opened: { readonly inode: number; readonly file: OpenFile | undefined } | undefined;
  const close = (): void => {
    if (opened?.file !== undefined && opened.file !== disk) closeSync(opened.file.fd);
    opened = undefined;
  };
  try {
    for (const run of runs) {
      const { inode } = run;
      if (ahead.isStopped) return;
      if (opened?.inode !== inode) {
        close();
        opened = { inode, file: inode === diskInode ? disk : openFileByInode(mountFd, inode) };
      }
      if (opened.file !== undefined) ahead.read(opened.file, run);
    }
  } finally {
    close();
  }
}

function look({ mountFd, disk }: MountedImage, inodes: readonly number[]): readonly CachedWindow[] {
  const windows = [...cachedDiskWindows(disk)];
  for (const inode of inodes) {
    if (windows.length >= profiledWindowsMax) break;
    windows.push(...cachedWindows(mountFd, inode));
  }
  return windows.slice(0, profiledWindowsMax);
}

function answerTo(job: PageCacheJob): PageCacheAnswer {
  const threadId = ownThreadId();
  try {
    if (job.kind === 'look') return { threadId, windows: look(job, job.inodes) };
    readRunsAhead(job, job.runs, job.stop);
    return { threadId, windows: [] };
  } catch (thrown) {
    return { threadId, windows: [], error: errorMessage(thrown) };
  }
}

const port = present(parentPort, "the thread's port");
port.on('message', (job: PageCacheJob) => {
  port.postMessage(answerTo(job));
});
