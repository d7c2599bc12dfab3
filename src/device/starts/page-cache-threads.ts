/**
 * Threads for what is done to the page cache of starts: each call of it may wait for the disk, and there are thousands in a start. They begin with the first
 * job, are shared by all starts of the process, and keep no process alive.
 */

import { Worker } from 'node:worker_threads';

import { InternalError, neighbourModule } from '../../base/index.ts';
import type { CachedWindow } from './file-windows.ts';
import type { PageCacheAnswer, PageCacheJob } from './page-cache-thread.ts';

/** A start more than these waits for one before it: its processes do then read for themselves. */
const threadsMax = 4;

interface Job {
  readonly job: PageCacheJob;
  readonly resolve: (windows: readonly CachedWindow[]) => void;
  readonly reject: (reason: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  current: Job | undefined;
}

export class PageCacheThreads {
  /** `threadId` of all that have done a job. */
  readonly threadIds = new Set<number>();
  readonly #threads = new Set<Thread>();
  readonly #waiting: Job[] = [];

  /**
   * Resolves when it is done, with what it found; with nothing once `signal` is aborted, if it has not begun by then. Rejects if the thread
   * ended, or something was wrong with the descriptors.
   */
  async run(job: PageCacheJob, signal?: AbortSignal): Promise<readonly CachedWindow[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly CachedWindow[]>();
    const waiting: Job = { job, resolve, reject };
    const withdraw = (): void => this.#withdraw(waiting);
    this.#waiting.push(waiting);
    signal?.addEventListener('abort', withdraw);
    this.#dispatch();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', withdraw);
    }
  }

  #withdraw(job: Job): void {
    const at = this.#waiting.indexOf(job);
    if (at < 0) return; // it has begun
    this.#waiting.splice(at, 1);
    job.resolve([]);
  }

  #dispatch(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    const thread = [...this.#threads].find(({ current }) => current === undefined) ?? this.#start();
    if (thread === undefined) return;
    this.#waiting.shift();
    thread.current = next;
    thread.worker.ref();
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    thread.worker.postMessage(next.job);
  }

  /** Undefined if there are enough. */
  #start(): Thread | undefined {
    if (this.#threads.size >= threadsMax) return undefined;
    const worker = new Worker(neighbourModule(import.meta.url, 'page-cache-thread'), {
      name: 'thaw-page-cache',
      trackUnmanagedFds: false, // files are opened past Node
    });
    const thread: Thread = { worker, current: undefined };
    this.#threads.add(thread);
    worker.on('message', (answer: PageCacheAnswer) => {
      const { current } = thread;
      thread.current = undefined;
      worker.unref();
      this.threadIds.add(answer.threadId);
      if (answer.error === undefined) current?.resolve(answer.windows);
      else current?.reject(new InternalError(answer.error));
      this.#dispatch();
    });
    worker.on('error', (thrown) => this.#lose(thread, thrown));
    worker.on('exit', () =>
      this.#lose(thread, new InternalError('A thread for page caches ended')),
    );
    return thread;
  }

  #lose(thread: Thread, reason: unknown): void {
    this.#threads.delete(thread);
    const { current } = thread;
    thread.current = undefined;
    current?.reject(reason instanceof Error ? reason : new InternalError(String(reason)));
    this.#dispatch();
  }
}
