/**
 * `sealChunk` on all cores: the same results, from threads, with bytes transferred both ways. On
 * two cores that others use too, two threads seal 1.3 to 1.9 times what this thread alone would
 * (bench/seal-ways.bench.ts), and this one stays free. WebCrypto, which has threads of its own, came between:
 * it copies the bytes in and out of every step.
 *
 * Invariants: a job is with one thread or in the queue, and settles exactly once; a thread that
 * ends takes its own jobs with it and no other, and another is started for the next.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { errorFromJson, neighbourModule } from '../base/index.ts';
import type { SealedChunk } from './codec.ts';
import { ChunkPoolClosedError, ChunkWorkerLostError } from './errors.ts';
import type { ChunkCodec } from './manifest.ts';
import type { SealRequest, SealResponse } from './seal-worker.ts';
import { transferable } from './transferable.ts';

/**
 * One that a thread works on and one that it finds waiting when it is done, so that it need not
 * wait for us.
 */
const jobsPerThread = 2;

/** A thread's own objects are few and small; what it could have by default is 16 MB that it would grow into. */
const threadLimits = { maxYoungGenerationSizeMb: 2 };

export interface SealPoolOptions {
  /** Default: one for each core. */
  readonly threads?: number;
  /** The code of the threads. Default: this room's own; tests give another. */
  readonly entry?: URL;
}

interface Job {
  readonly request: SealRequest;
  readonly resolve: (sealed: SealedChunk | undefined) => void;
  readonly reject: (thrown: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
}

/** Seals chunks on other threads. Dispose of it: they keep the process running. */
export interface SealPool extends AsyncDisposable {
  /**
   * As `sealChunk`, but takes `plaintext` over: an array that spans its whole buffer is empty
   * afterwards. Any number of calls may be under way; each holds its chunk in memory. Throws as
   * `sealChunk` does, `ERR_CHUNK_WORKER_LOST` (retryable, but with a new copy of the bytes) when
   * the thread ended, `ERR_CHUNK_POOL_CLOSED`.
   */
  seal(
    plaintext: Uint8Array,
    salt: Uint8Array,
    codec?: ChunkCodec,
  ): Promise<SealedChunk | undefined>;
  /** Ends the threads. Jobs not done are rejected with `ERR_CHUNK_POOL_CLOSED`. */
  close(): Promise<void>;
}

class ThreadedSealPool implements SealPool {
  readonly #threadsMax: number;
  readonly #entry: URL;
  readonly #threads = new Set<Thread>();
  readonly #queue: Job[] = [];
  #jobsStarted = 0;
  #closed = false;

  constructor(options: SealPoolOptions) {
    this.#threadsMax = options.threads ?? availableParallelism();
    this.#entry = options.entry ?? neighbourModule(import.meta.url, 'seal-worker');
  }

  seal(
    plaintext: Uint8Array,
    salt: Uint8Array,
    codec: ChunkCodec = 'none',
  ): Promise<SealedChunk | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new ChunkPoolClosedError();
      this.#jobsStarted += 1;
      const request = {
        job: this.#jobsStarted,
        plaintext: transferable(plaintext),
        salt: new Uint8Array(salt),
        codec,
      };
      this.#queue.push({ request, resolve, reject });
      this.#dispatch();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const threads = [...this.#threads];
    const unfinished = [...threads.flatMap(({ jobs }) => [...jobs.values()]), ...this.#queue];
    this.#queue.length = 0;
    for (const { jobs } of threads) jobs.clear();
    for (const job of unfinished) job.reject(new ChunkPoolClosedError());
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Hands queued jobs to threads until none takes more. */
  #dispatch(): void {
    while (this.#queue.length > 0) {
      const thread = this.#leastBusyThread();
      if (thread === undefined) return;
      const job = this.#queue.shift();
      if (job === undefined) return;
      thread.jobs.set(job.request.job, job);
      thread.worker.postMessage(job.request, [job.request.plaintext.buffer as ArrayBuffer]);
    }
  }

  #leastBusyThread(): Thread | undefined {
    let least: Thread | undefined;
    for (const thread of this.#threads) {
      if (thread.jobs.size < (least?.jobs.size ?? jobsPerThread)) least = thread;
    }
    const isAnyIdle = least?.jobs.size === 0;
    if (isAnyIdle || this.#threads.size >= this.#threadsMax) return least;
    return this.#start();
  }

  #start(): Thread {
    const worker = new Worker(this.#entry, { resourceLimits: threadLimits });
    const thread: Thread = { worker, jobs: new Map() };
    this.#threads.add(thread);
    thread.worker.on('message', (response: SealResponse) => {
      const job = thread.jobs.get(response.job);
      thread.jobs.delete(response.job);
      if (response.error === undefined) job?.resolve(response.sealed);
      else job?.reject(errorFromJson(response.error));
      this.#dispatch();
    });
    thread.worker.on('error', (thrown) => this.#lose(thread, 'failed', thrown));
    thread.worker.on('exit', (status) => this.#lose(thread, `ended with status ${status}`));
    return thread;
  }

  #lose(thread: Thread, how: string, cause?: unknown): void {
    this.#threads.delete(thread);
    const lost = [...thread.jobs.values()];
    thread.jobs.clear();
    for (const job of lost) job.reject(new ChunkWorkerLostError(how, cause));
    this.#dispatch();
  }
}

/** A pool without threads yet: they start when they are first needed. */
export function createSealPool(options: SealPoolOptions = {}): SealPool {
  return new ThreadedSealPool(options);
}
