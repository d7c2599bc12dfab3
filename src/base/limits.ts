/** Limits on concurrency: at most N at a time, and at most one for a key. */

import { InternalError, assert } from './errors.ts';

/**
 * `foreground`: somebody waits for it. `prefetch`: nobody does yet, so it never goes before what somebody waits for.
 */
export type Priority = 'foreground' | 'prefetch';

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
    // `finally` runs after this turn, thus after set(), even when `work` throws at once.
    const started = (async () => work())().finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, started);
    return started;
  }

  get size(): number {
    return this.#inFlight.size;
  }
}

/**
 * Runs `work` over `items` with at most `limit` at a time, starting in order. The first failure, of `work` or of
 * `items` itself, stops further starts, waits for what is under way, and is thrown.
 */
export async function forEachLimited<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  limit: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  assert(limit >= 1, `The limit must be at least 1: got ${limit}`);
  const running = new Set<Promise<void>>();
  let failure: { readonly thrown: unknown } | undefined;
  const start = async (item: Item): Promise<void> => {
    try {
      await work(item);
    } catch (thrown) {
      failure ??= { thrown };
    }
  };
  try {
    for await (const item of items) {
      if (failure !== undefined) break;
      const task: Promise<void> = start(item).finally(() => running.delete(task));
      running.add(task);
      if (running.size >= limit) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } catch (thrown) {
    failure ??= { thrown };
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.thrown;
}
