/**
 * Opens compressed chunks on other threads, so that the one that answers reads stays free: unpacking takes a chunk
 * longer than all else that happens to it (bench/open-ways.bench.ts).
 *
 * Chunks that are not compressed are opened on the caller's thread, as a thread would have to be woken up twice for
 * them; and so are those that come before the first thread is up, or the first start of all would wait for it.
 *
 * Invariants: a job settles exactly once; a thread that ends takes its own jobs with it and no other, and another is started
 * for the next. There is no queue: who calls bounds how many chunks are under way.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { errorFromJson, neighbourModule } from '../base/index.ts';
import { openChunk, type SealedChunkRef } from './codec.ts';
import { ChunkWorkerLostError } from './errors.ts';
import type { OpenRequest, OpenResponse } from './open-worker.ts';
import { transferable } from './transferable.ts';

/** More would be memory for nothing: two keep up with a link of 10 Gbit/s. */
const threadsDefaultMax = 4;

export interface OpenPoolOptions {
  /** Default: one for each core, up to 4. */
  readonly threads?: number;
  /** The code of the threads. Default: this room's own; tests give another. */
  readonly entry?: URL;
}

/** Opens chunks. Its threads keep a process running only while they do. */
export interface OpenPool extends AsyncDisposable {
  /**
   * As `openChunk`, but may take `ciphertext` over: an array that spans its whole buffer may be empty afterwards. Throws as
   * `openChunk` does, and `ERR_CHUNK_WORKER_LOST` (retryable, but with a new copy of the bytes) when the thread ended.
   */
  open(ref: SealedChunkRef, ciphertext: Uint8Array): Promise<Uint8Array>;
}

interface Job {
  readonly resolve: (plaintext: Uint8Array) => void;
  readonly reject: (thrown: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
  isReady: boolean;
}

class ThreadedOpenPool implements OpenPool {
  readonly #threadsMax: number;
  readonly #entry: URL;
  readonly #threads = new Set<Thread>();
  #jobsStarted = 0;

  constructor(options: OpenPoolOptions) {
    this.#threadsMax = options.threads ?? Math.min(availableParallelism(), threadsDefaultMax);
    this.#entry = options.entry ?? neighbourModule(import.meta.url, 'open-worker');
  }

  async open(ref: SealedChunkRef, ciphertext: Uint8Array): Promise<Uint8Array> {
    if (ref.codec === 'none') return openChunk(ref, ciphertext);
    const thread = this.#leastBusyThread();
    if (thread?.jobs.size !== 0) this.#startOne();
    if (thread === undefined) return openChunk(ref, ciphertext);
    return await this.#openOn(thread, ref, ciphertext);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ends = [...this.#threads].map(async ({ worker }) => {
      worker.removeAllListeners('message'); // a late one would let the process end before the thread has
      await worker.terminate();
    });
    await Promise.all(ends);
  }

  #openOn(thread: Thread, ref: SealedChunkRef, ciphertext: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#jobsStarted += 1;
      const bytes = transferable(ciphertext);
      const request: OpenRequest = {
        job: this.#jobsStarted,
        ref: {
          // Posting a view would copy all of the memory behind it.
          key: new Uint8Array(ref.key),
          ciphertextDigest: new Uint8Array(ref.ciphertextDigest),
          codec: ref.codec,
          storedLengthBytes: ref.storedLengthBytes,
          lengthMaxBytes: ref.lengthMaxBytes,
        },
        ciphertext: bytes,
      };
      thread.jobs.set(request.job, { resolve, reject });
      thread.worker.ref();
      thread.worker.postMessage(request, [bytes.buffer]);
    });
  }

  #leastBusyThread(): Thread | undefined {
    let least: Thread | undefined;
    for (const thread of this.#threads) {
      if (thread.isReady && thread.jobs.size < (least?.jobs.size ?? Infinity)) least = thread;
    }
    return least;
  }

  /** Starts a thread unless there are enough, or one is about to come up. */
  #startOne(): void {
    const isOneComing = [...this.#threads].some(({ isReady }) => !isReady);
    if (isOneComing || this.#threads.size >= this.#threadsMax) return;
    const thread: Thread = { worker: new Worker(this.#entry), jobs: new Map(), isReady: false };
    this.#threads.add(thread);
    thread.worker.on('message', ({ job: number, plaintext, error }: OpenResponse) => {
      thread.isReady = true;
      const job = thread.jobs.get(number);
      thread.jobs.delete(number);
      if (thread.jobs.size === 0) thread.worker.unref();
      if (plaintext !== undefined) job?.resolve(plaintext);
      else if (error !== undefined) job?.reject(errorFromJson(error));
    });
    thread.worker.on('error', (thrown) => this.#lose(thread, 'failed', thrown));
    thread.worker.on('exit', (status) => this.#lose(thread, `ended with status ${status}`));
    thread.worker.unref(); // after the listeners, each of which would take it back
  }

  #lose(thread: Thread, how: string, cause?: unknown): void {
    this.#threads.delete(thread);
    const lost = [...thread.jobs.values()];
    thread.jobs.clear();
    for (const job of lost) job.reject(new ChunkWorkerLostError(how, cause));
  }
}

/** A pool without threads yet: they start with the first compressed chunk. */
export function createOpenPool(options: OpenPoolOptions = {}): OpenPool {
  return new ThreadedOpenPool(options);
}
