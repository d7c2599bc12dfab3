/** An origin in virtual time: as slow as S3, and in trouble when it is told. What it has it never loses. */

import { untilAborted, type Timers } from '../../../base/index.ts';
import { StoreUnavailableError, type ObjectStore } from '../../../store/index.ts';
import { damaged, logNormal, type Random } from './randomness.ts';

/** Shares of requests, 0..1, each drawn by itself. */
export interface OriginFaults {
  readonly fails: number;
  /** Never answers. */
  readonly hangs: number;
  /** Answers with a bit flipped, or cut short. */
  readonly damages: number;
  /** Longer than usual by this factor. */
  readonly slowness: number;
}

export const healthyOrigin: OriginFaults = { fails: 0, hangs: 0, damages: 0, slowness: 1 };

/** Of a fetch from S3, as a worker of the paper sees it (section 4): median 36 ms, p99.9 175 ms. */
const medianMs = 36;
const sigma = Math.log(175 / medianMs) / 3.09;

export class SimulatedOrigin {
  faults: OriginFaults = healthyOrigin;
  requests = 0;
  readonly #objects: ReadonlyMap<string, Uint8Array>;
  readonly #timers: Timers;
  readonly #random: Random;

  constructor(objects: ReadonlyMap<string, Uint8Array>, timers: Timers, random: Random) {
    this.#objects = objects;
    this.#timers = timers;
    this.#random = random;
  }

  /** One worker's way to it, which knows how many requests that worker has under way. */
  client(): OriginClient {
    return new OriginClient(async (name) => this.#answer(name));
  }

  async #answer(name: string): Promise<Uint8Array | undefined> {
    this.requests += 1;
    const { fails, hangs, damages, slowness } = this.faults;
    if (this.#random() < hangs) await new Promise(() => {});
    const delayMs = slowness * logNormal(this.#random, medianMs, sigma);
    await new Promise<void>((resolve) => this.#timers.after(delayMs, resolve));
    if (this.#random() < fails) throw new StoreUnavailableError('read a chunk', 'simulated');
    const object = this.#objects.get(name);
    if (object === undefined) return undefined;
    return this.#random() < damages ? damaged(this.#random, object) : new Uint8Array(object);
  }
}

export class OriginClient implements Pick<ObjectStore, 'get'> {
  inFlight = 0;
  inFlightPeak = 0;
  readonly #answer: (name: string) => Promise<Uint8Array | undefined>;

  constructor(answer: (name: string) => Promise<Uint8Array | undefined>) {
    this.#answer = answer;
  }

  async get(
    name: string,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<Uint8Array | undefined> {
    this.inFlight += 1;
    this.inFlightPeak = Math.max(this.inFlightPeak, this.inFlight);
    try {
      return await untilAborted(this.#answer(name), signal);
    } finally {
      this.inFlight -= 1;
    }
  }
}
