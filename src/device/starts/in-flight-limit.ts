/**
 * How many loads at a time are worth it: more as long as each takes hardly longer than one alone, fewer when they wait for one another, be
 * it for the link, a server or this machine's processors. So an origin that is far away gets many, and a busy machine is not given work
 * that only makes everything later, reads that somebody waits for first.
 *
 * Additive increase and decrease by latency, as in TCP Vegas (L. Brakmo, L. Peterson, IEEE JSAC 13(8), 1995).
 */

import type { Tier } from '../../cache/index.ts';

const startCount = 8;
const countMin = 4;
/** A load that takes longer than so many times the fastest has waited for others. */
const slowdownMax = 3;
/** By which the fastest one is forgotten with each load: networks change. */
const forgetting = 1.0005;

export class InFlightLimit {
  readonly #countMax: number;
  readonly #fastestMs = new Map<Tier, number>();
  #count: number;

  constructor(countMax: number) {
    this.#countMax = Math.max(1, countMax);
    this.#count = Math.min(startCount, this.#countMax);
  }

  /** Loads that may be under way; at least 1. */
  get count(): number {
    return Math.floor(this.#count);
  }

  /** To be told how long each load took. */
  record(tier: Tier, tookMs: number): void {
    const fastestMs = Math.min(tookMs, (this.#fastestMs.get(tier) ?? Infinity) * forgetting);
    this.#fastestMs.set(tier, fastestMs);
    const change = tookMs <= slowdownMax * fastestMs ? 1 / this.#count : -0.5;
    const least = Math.min(countMin, this.#countMax);
    this.#count = Math.min(this.#countMax, Math.max(least, this.#count + change));
  }
}
