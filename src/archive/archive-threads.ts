/**
 * Threads that check, seal and unpack archives, so that the one that answers requests stays free. They start with the first
 * job and stay; they keep a process running only while they work.
 *
 * Invariants: a thread has one job at a time; a job settles exactly once; a thread that ends takes its own job with it and no
 * other. What nobody waits for goes after everything else.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { errorFromJson, neighbourModule, type Priority } from '../base/index.ts';
import type {
  ArchiveJobName,
  ArchiveJobRequest,
  ArchiveJobResponse,
  ArchiveJobs,
} from './archive-worker.ts';
import { ArchiveThreadLostError } from './errors.ts';

/** More write no faster to one file system. */
const threadsDefaultMax = 4;

interface Job {
  readonly request: ArchiveJobRequest;
  readonly resolve: (value: unknown) => void;
  readonly reject: (thrown: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  job: Job | undefined;
}

export class ArchiveThreads implements AsyncDisposable {
  readonly #threadsMax: number;
  readonly #entry: URL;
  readonly #threads = new Set<Thread>();
  readonly #waiting: Record<Priority, Job[]> = { foreground: [], prefetch: [] };

  /** `threads`: default one for each core, up to 4. `entry`: their code; tests give another. */
  constructor(options: { readonly threads?: number; readonly entry?: URL } = {}) {
    this.#threadsMax = options.threads ?? Math.min(availableParallelism(), threadsDefaultMax);
    this.#entry = options.entry ?? neighbourModule(import.meta.url, 'archive-worker');
  }

  /** Throws what the job throws, and `ERR_ARCHIVE_THREAD_LOST`. */
  async run<Name extends ArchiveJobName>(
    name: Name,
    of: Parameters<ArchiveJobs[Name]>[0],
    priority: Priority = 'foreground',
  ): Promise<Awaited<ReturnType<ArchiveJobs[Name]>>> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting[priority].push({ request: { name, of }, resolve, reject });
    this.#next();
    return (await promise) as Awaited<ReturnType<ArchiveJobs[Name]>>;
  }

  /** Brings all threads up while there is something else to wait for. */
  warmUp(): void {
    while (this.#threads.size < this.#threadsMax) this.#start();
  }

  /** Jobs that are under way or wait are lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#threads].map(({ worker }) => worker.terminate()));
    for (const job of [...this.#waiting.foreground, ...this.#waiting.prefetch]) {
      job.reject(new ArchiveThreadLostError('was stopped'));
    }
  }

  #next(): void {
    while (this.#waiting.foreground.length + this.#waiting.prefetch.length > 0) {
      const thread = this.#idleThread();
      if (thread === undefined) return;
      const job = this.#waiting.foreground.shift() ?? this.#waiting.prefetch.shift();
      if (job === undefined) return;
      thread.job = job;
      thread.worker.ref();
      thread.worker.postMessage(job.request, []); // what is large in it is shared, not copied
    }
  }

  #idleThread(): Thread | undefined {
    for (const thread of this.#threads) if (thread.job === undefined) return thread;
    return this.#threads.size < this.#threadsMax ? this.#start() : undefined;
  }

  #start(): Thread {
    const thread: Thread = { worker: new Worker(this.#entry), job: undefined };
    this.#threads.add(thread);
    thread.worker.on('message', ({ value, error }: ArchiveJobResponse) => {
      const { job } = thread;
      thread.job = undefined;
      thread.worker.unref();
      if (error === undefined) job?.resolve(value);
      else job?.reject(errorFromJson(error));
      this.#next();
    });
    thread.worker.on('error', (thrown) => this.#lose(thread, 'failed', thrown));
    thread.worker.on('exit', (status) => this.#lose(thread, `ended with status ${status}`));
    thread.worker.unref(); // after the listeners, each of which would take it back
    return thread;
  }

  #lose(thread: Thread, how: string, cause?: unknown): void {
    if (!this.#threads.delete(thread)) return;
    thread.job?.reject(new ArchiveThreadLostError(how, cause));
    thread.job = undefined;
    this.#next();
  }
}
