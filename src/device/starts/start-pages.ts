/**
 * The page cache of one start: read ahead of the start's processes along the image's profile, and looked at when it has ended, for
 * the profile.
 *
 * A process that maps a program reads it by page faults, one after the other, each a round trip through the kernel and the agent. What is read ahead of it comes in large pieces,
 * several at a time, beside it. Only what the agent has in memory is read ahead, so that nothing in front of it in any queue has to wait.
 *
 * Around each page that a process touches the kernel reads some more (the device's read-ahead). Not during a start: while it is
 * recorded, what is read around would be loaded by every start after it; and where there is a start pack, it has what is needed.
 *
 * Invariants: nothing here makes a start fail or wait. The mount is held until `end` or `close` resolves, and for `startMaxMs` at most.
 */

import { closeSync, constants, openSync } from 'node:fs';

import { usualReadAheadBytes } from '../mounts/loop-device.ts';
import { setReadAhead } from '../system-calls.ts';
import type { CachedWindow } from './file-windows.ts';
import { startMaxMs, type StartMode } from './image-starts.ts';
import { OpenedFiles } from './opened-files.ts';
import type { MountedImage } from './page-cache-thread.ts';
import { PageCacheThreads } from './page-cache-threads.ts';
import type { PageRun } from './start-plan.ts';

/** Tells how to treat the page cache, and then the pages to read ahead in their order, as they can be; ends early when `signal` is aborted. */
export type StartGuide = (signal: AbortSignal) => AsyncIterable<StartMode | readonly PageRun[]>;

/** A filesystem that has just been mounted. */
export interface StartMount {
  readonly mountPoint: string;
  /** The block device that it is on, and the size of that. */
  readonly device: string;
  readonly diskSizeBytes: number;
}

/** The page itself. With the usual read-ahead a first start takes 6 % less, and each one after it a third more: docs/benchmarks.md, "Start packs". */
const startReadAheadBytes = 4096;

/** Of all starts of this process. */
const threads = new PageCacheThreads();

function openMount({ mountPoint, device, diskSizeBytes }: StartMount): MountedImage {
  const mountFd = openSync(mountPoint, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = openSync(device, constants.O_RDONLY);
    return { mountFd, disk: { fd, sizeBytes: diskSizeBytes } };
  } catch (thrown) {
    closeSync(mountFd);
    throw thrown;
  }
}

export class StartPages {
  readonly #image: MountedImage;
  readonly #stop = new AbortController();
  /** `PageCacheJob.stop` */
  readonly #stopFlag = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #reading: Promise<unknown>;
  readonly #holdTimer: NodeJS.Timeout;
  #opened: OpenedFiles | undefined;
  #ending: Promise<readonly CachedWindow[] | undefined> | undefined;
  #isClosed = false;

  private constructor(mount: StartMount, guide: StartGuide) {
    this.#image = openMount(mount);
    setReadAhead(this.#image.disk.fd, startReadAheadBytes);
    this.#opened = OpenedFiles.watch(mount.mountPoint);
    this.#reading = this.#follow(guide).catch(() => {});
    this.#holdTimer = setTimeout(() => void this.close(), startMaxMs).unref();
  }

  /** Undefined if the mount cannot be had. */
  static begin(mount: StartMount, guide: StartGuide): StartPages | undefined {
    try {
      return new StartPages(mount, guide);
    } catch {
      return undefined;
    }
  }

  /**
   * Reads nothing more ahead, lets go of the mount, and says what is in the page cache of the disk and of the files that the start has opened: what it has read, and what was read ahead of it.
   * Undefined if that cannot be told, or is not wanted.
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
    return threads.run({
      kind: 'look',
      ...this.#image,
      inodes: this.#opened.inodes(threads.threadIds),
    });
  }

  /** Lets go of the mount, when `end` has what it wants. */
  async close(): Promise<void> {
    await this.#stopReading();
    await this.#ending;
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#holdTimer);
    const { mountFd, disk } = this.#image;
    setReadAhead(disk.fd, usualReadAheadBytes);
    closeSync(mountFd);
    closeSync(disk.fd);
    this.#opened?.close();
  }

  async #stopReading(): Promise<void> {
    this.#stop.abort();
    Atomics.store(this.#stopFlag, 0, 1);
    await this.#reading;
  }

  async #follow(guide: StartGuide): Promise<void> {
    const { signal } = this.#stop;
    for await (const word of guide(signal)) {
      if (signal.aborted) return;
      if ('isPacked' in word) this.#obey(word);
      else {
        const stop = this.#stopFlag;
        await threads.run({ kind: 'read-ahead', ...this.#image, runs: word, stop }, signal);
      }
    }
  }

  #obey({ isLookedAt, isPacked }: StartMode): void {
    const { fd } = this.#image.disk;
    if (isLookedAt) return;
    if (!isPacked) setReadAhead(fd, usualReadAheadBytes);
    this.#opened?.close();
    this.#opened = undefined;
  }
}
