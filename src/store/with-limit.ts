/**
 * A store that has at most so many requests under way at a time; the others wait in order of
 * arrival.
 */

import { Semaphore, untilAborted } from '../base/index.ts';
import type { ObjectInfo, ObjectStore, RequestOptions } from './object-store.ts';

class LimitedStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #permits: Semaphore;

  constructor(inner: ObjectStore, permits: Semaphore) {
    this.#inner = inner;
    this.#permits = permits;
  }

  get capabilities(): ObjectStore['capabilities'] {
    return this.#inner.capabilities;
  }

  get(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['get']> {
    return this.#run(options, () => this.#inner.get(name, options));
  }

  head(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['head']> {
    return this.#run(options, () => this.#inner.head(name, options));
  }

  putIfAbsent(
    name: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): ReturnType<ObjectStore['putIfAbsent']> {
    return this.#run(options, () => this.#inner.putIfAbsent(name, bytes, options));
  }

  delete(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['delete']> {
    return this.#run(options, () => this.#inner.delete(name, options));
  }

  /** Holds a permit while it waits for the store, not while its reader thinks. */
  async *list(prefix: string, options: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    const listing = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await this.#run(options, () => listing.next());
        if (step.done === true) return;
        yield step.value;
      }
    } finally {
      await listing.return?.();
    }
  }

  #run<T>({ signal }: RequestOptions, request: () => Promise<T>): Promise<T> {
    const permitted = this.#permits.run(async () => {
      signal?.throwIfAborted(); // who gave up waiting must not start
      return request();
    });
    return untilAborted(permitted, signal);
  }
}

/** `store` with at most `requestsMax` (>= 1) of its requests under way at once. */
export function withLimit(store: ObjectStore, requestsMax: number): ObjectStore {
  return new LimitedStore(store, new Semaphore(requestsMax));
}
