/** Limits on concurrency: at most N at a time, and at most one for a key. */

import { InternalError } from './errors.ts';

/** Lets at most `permits` holders in at a time; the others wait in order of arrival. */
export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(permits: number) {
    if (!Number.isInteger(permits) || permits < 1) {
      throw new InternalError(`A semaphore needs at least one permit: got ${permits}`);
    }
    this.#free = permits;
  }

  /** Runs `work` as soon as a permit is free, and gives the permit back whatever becomes of it. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#acquire();
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  async #acquire(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

/** Joins concurrent calls for one key into one run of the work; all callers share its outcome. */
export class SingleFlight<Key, Value> {
  readonly #inFlight = new Map<Key, Promise<Value>>();

  /** Starts `work`, or joins the run under way. The key is free again once the run has settled. */
  run(key: Key, work: () => Promise<Value>): Promise<Value> {
    const joined = this.#inFlight.get(key);
    if (joined !== undefined) return joined;
    const started = (async () => {
      try {
        return await work();
      } finally {
        this.#inFlight.delete(key);
      }
    })();
    this.#inFlight.set(key, started);
    return started;
  }

  get size(): number {
    return this.#inFlight.size;
  }
}

/**
 * Runs `work` over `items` with at most `limit` at a time, starting in order. The first failure stops
 * further starts, waits for what is under way, and is thrown.
 */
export async function forEachLimited<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  limit: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { readonly thrown: unknown } | undefined;
  for await (const item of items) {
    if (failure !== undefined) break;
    const task: Promise<void> = work(item)
      .catch((thrown: unknown) => {
        failure ??= { thrown };
      })
      .finally(() => running.delete(task));
    running.add(task);
    if (running.size >= limit) await Promise.race(running);
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.thrown;
}
