/**
 * A store whose retryable failures are tried again, within bounds: each request has an attempt
 * limit and waits longer each time, by a random share so that many clients do not return at once;
 * and all requests share a budget that failures use up and successes refill, so that a store in
 * trouble is not given several times its load.
 */

import { setTimeout as sleepMs } from 'node:timers/promises';

import { compareStrings } from '../base/index.ts';
import type { ObjectInfo, ObjectStore, RequestOptions } from './object-store.ts';

export interface RetryOptions {
  /** Attempts of one request, the first included. Default 4. */
  readonly attemptsMax?: number;
  /** Bound of the wait before the second attempt; doubles with each further one. Default 50. */
  readonly delayFirstMs?: number;
  /** Default 2,000. */
  readonly delayMaxMs?: number;
  /** Retries that may be spent at once by all requests together. Default 100. */
  readonly budgetMax?: number;
  /** Retries that a request which succeeds at once gives back. Default 0.1. */
  readonly refill?: number;
  /** At least 0, less than 1. */
  readonly random: () => number;
  /**
   * Resolves after so long, rejects with the signal's reason when that is aborted. Default: the
   * system's timer.
   */
  readonly sleep?: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;
}

async function systemSleep(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  await sleepMs(delayMs, undefined, signal === undefined ? {} : { signal }).catch(() => {
    signal?.throwIfAborted();
  });
}

function isRetryable(thrown: unknown): boolean {
  return thrown instanceof Error && 'retryable' in thrown && thrown.retryable === true;
}

class RetryingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #options: Required<RetryOptions>;
  #budget: number;

  constructor(inner: ObjectStore, options: Required<RetryOptions>) {
    this.#inner = inner;
    this.#options = options;
    this.#budget = options.budgetMax;
  }

  get capabilities(): ObjectStore['capabilities'] {
    return this.#inner.capabilities;
  }

  get(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['get']> {
    return this.#retry(options, () => this.#inner.get(name, options));
  }

  head(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['head']> {
    return this.#retry(options, () => this.#inner.head(name, options));
  }

  putIfAbsent(
    name: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): ReturnType<ObjectStore['putIfAbsent']> {
    return this.#retry(options, () => this.#inner.putIfAbsent(name, bytes, options));
  }

  delete(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['delete']> {
    return this.#retry(options, () => this.#inner.delete(name, options));
  }

  /** A listing that failed half-way starts again and leaves out what it has told. */
  async *list(prefix: string, options: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    let last: string | undefined;
    for (let attempt = 1; ; attempt += 1) {
      try {
        for await (const info of this.#inner.list(prefix, options)) {
          if (last !== undefined && compareStrings(info.name, last) <= 0) continue;
          last = info.name;
          attempt = 1; // it gets on
          yield info;
        }
        return;
      } catch (thrown) {
        await this.#waitOrThrow(thrown, attempt, options);
      }
    }
  }

  async #retry<T>(options: RequestOptions, request: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const result = await request();
        if (attempt === 1) this.#refill();
        return result;
      } catch (thrown) {
        await this.#waitOrThrow(thrown, attempt, options);
      }
    }
  }

  #refill(): void {
    this.#budget = Math.min(this.#budget + this.#options.refill, this.#options.budgetMax);
  }

  async #waitOrThrow(thrown: unknown, attempt: number, { signal }: RequestOptions): Promise<void> {
    const { attemptsMax, delayFirstMs, delayMaxMs, random, sleep } = this.#options;
    if (!isRetryable(thrown) || attempt >= attemptsMax || this.#budget < 1) throw thrown;
    this.#budget -= 1;
    await sleep(random() * Math.min(delayMaxMs, delayFirstMs * 2 ** (attempt - 1)), signal);
  }
}

/**
 * `store` with its retryable failures tried again; the last one is thrown. A put whose first
 * attempt stored the object but could not say so ends in `existed`, such a delete in false.
 */
export function withRetry(store: ObjectStore, options: RetryOptions): ObjectStore {
  return new RetryingStore(store, {
    attemptsMax: 4,
    delayFirstMs: 50,
    delayMaxMs: 2000,
    budgetMax: 100,
    refill: 0.1,
    sleep: systemSleep,
    ...options,
  });
}
