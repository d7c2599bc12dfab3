/**
 * A store that fails as stores do, by a seed: it is slow, it answers with an error before or after
 * the deed, and what it reads is another object, damaged or cut short. What is stored is never
 * damaged: a later read may be right. Every reader must survive all of it with right bytes or an
 * error.
 */

import { StoreUnavailableError } from '../errors.ts';
import type { ObjectInfo, ObjectStore, RequestOptions } from '../object-store.ts';

export interface FaultRates {
  /** Fails having done nothing. */
  readonly errorBefore?: number;
  /** Does what is asked, then fails. */
  readonly errorAfter?: number;
  /** `get` answers with an object that was put under another name, if there is one. */
  readonly misdirect?: number;
  /** `get` answers with one bit changed. */
  readonly bitFlip?: number;
  /** `get` answers with bytes missing at the end. */
  readonly truncation?: number;
}

export type Fault = keyof FaultRates;

export interface FaultOptions {
  /** Share of requests, 0..1, each drawn by itself. */
  readonly rates: FaultRates;
  /** At least 0, less than 1. See `seededRandom`. */
  readonly random: () => number;
  /** Every request takes up to so long. Default 0. */
  readonly latencyMaxMs?: number;
  /** Needed with a latency. */
  readonly sleep?: (delayMs: number, signal: AbortSignal | undefined) => Promise<void>;
  /** Told of every fault. */
  readonly onFault?: (fault: Fault, name: string) => void;
}

/** Objects that a request of a listing brings. */
const pageSize = 16;

class FaultyStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #options: FaultOptions;
  /** Names put through here, to misdirect reads to. */
  readonly #names = new Set<string>();

  constructor(inner: ObjectStore, options: FaultOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  get capabilities(): ObjectStore['capabilities'] {
    return this.#inner.capabilities;
  }

  async get(name: string, options: RequestOptions = {}): Promise<Uint8Array | undefined> {
    const bytes = await this.#request(name, options, async () => {
      const others = [...this.#names].filter((other) => other !== name);
      const other = others[Math.floor(this.#options.random() * others.length)];
      const isMisdirected = other !== undefined && this.#draw('misdirect', name);
      return this.#inner.get(isMisdirected ? other : name, options);
    });
    return bytes === undefined ? undefined : this.#damage(name, bytes);
  }

  head(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['head']> {
    return this.#request(name, options, () => this.#inner.head(name, options));
  }

  putIfAbsent(
    name: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): ReturnType<ObjectStore['putIfAbsent']> {
    return this.#request(name, options, async () => {
      const outcome = await this.#inner.putIfAbsent(name, bytes, options);
      this.#names.add(name);
      return outcome;
    });
  }

  delete(name: string, options: RequestOptions = {}): ReturnType<ObjectStore['delete']> {
    return this.#request(name, options, () => this.#inner.delete(name, options));
  }

  async *list(prefix: string, options: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    let listed = 0;
    for await (const info of this.#inner.list(prefix, options)) {
      if (listed % pageSize === 0) await this.#request(prefix, options, async () => {});
      listed += 1;
      yield info;
    }
  }

  async #request<T>(name: string, { signal }: RequestOptions, work: () => Promise<T>): Promise<T> {
    const { latencyMaxMs = 0, random, sleep } = this.#options;
    if (latencyMaxMs > 0) await sleep?.(random() * latencyMaxMs, signal);
    if (this.#draw('errorBefore', name)) throw this.#error(name);
    const result = await work();
    if (this.#draw('errorAfter', name)) throw this.#error(name);
    return result;
  }

  #damage(name: string, bytes: Uint8Array): Uint8Array {
    const { random } = this.#options;
    if (bytes.byteLength === 0) return bytes;
    if (this.#draw('truncation', name)) {
      return bytes.slice(0, Math.floor(random() * bytes.byteLength));
    }
    if (this.#draw('bitFlip', name)) {
      const at = Math.floor(random() * bytes.byteLength);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    }
    return bytes;
  }

  #draw(fault: Fault, name: string): boolean {
    const isDrawn = this.#options.random() < (this.#options.rates[fault] ?? 0);
    if (isDrawn) this.#options.onFault?.(fault, name);
    return isDrawn;
  }

  #error(name: string): StoreUnavailableError {
    return new StoreUnavailableError(`use object "${name}"`, new Error('an injected fault'));
  }
}

export function withFaults(store: ObjectStore, options: FaultOptions): ObjectStore {
  return new FaultyStore(store, options);
}
