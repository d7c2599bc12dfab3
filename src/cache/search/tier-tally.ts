/** What came of asking one tier: counters, and how long it took. */

import { LatencyHistogram, type LatencySnapshot } from '../../base/index.ts';
import type { Tier } from './chunk-loader.ts';

/**
 * How asking a tier for a chunk can end. `hit`: it gave the chunk, verified. `miss`: it has none. `unavailable`: it could
 * not say. `corrupt`: what it gave is not what the name says. `timeout`: it said nothing for too long and was given up.
 * `failed`: it, or this machine, broke its contract. `abandoned`: another tier was faster, or nobody waits any longer.
 */
export const readOutcomes = [
  'hit',
  'miss',
  'unavailable',
  'corrupt',
  'timeout',
  'failed',
  'abandoned',
] as const;
export type ReadOutcome = (typeof readOutcomes)[number];

/** Since the loader was made; `inFlight`: now. */
export interface TierReadStatus {
  readonly tier: Tier;
  readonly outcomes: Readonly<Record<ReadOutcome, number>>;
  /** Ciphertext of the hits. */
  readonly bytes: number;
  readonly inFlight: number;
  /** From asking to the answer, the waiting for a place at the origin included; of the outcomes that there were. */
  readonly latency: Readonly<Partial<Record<ReadOutcome, LatencySnapshot>>>;
}

/** A failure every second is enough in a log. */
const logIntervalMs = 1000;

export class TierTally {
  readonly #tier: Tier;
  /** A histogram is some hundred KiB, and most outcomes never happen. */
  readonly #latency = new Map<ReadOutcome, LatencyHistogram>();
  #bytes = 0;
  #inFlight = 0;
  #loggedAtMs = -Infinity;

  constructor(tier: Tier) {
    this.#tier = tier;
  }

  begin(): void {
    this.#inFlight += 1;
  }

  /** `bytes`: of a hit. */
  end(outcome: ReadOutcome, durationMs: number, bytes: number): void {
    this.#inFlight -= 1;
    this.#bytes += bytes;
    let histogram = this.#latency.get(outcome);
    if (histogram === undefined) {
      histogram = new LatencyHistogram();
      this.#latency.set(outcome, histogram);
    }
    histogram.record(durationMs);
  }

  /** True if what happens now should be logged. */
  mayLog(nowMs: number): boolean {
    if (nowMs - this.#loggedAtMs < logIntervalMs) return false;
    this.#loggedAtMs = nowMs;
    return true;
  }

  status(): TierReadStatus {
    const count = (outcome: ReadOutcome): number => this.#latency.get(outcome)?.count ?? 0;
    return {
      tier: this.#tier,
      outcomes: Object.fromEntries(
        readOutcomes.map((outcome) => [outcome, count(outcome)]),
      ) as Record<ReadOutcome, number>,
      bytes: this.#bytes,
      inFlight: this.#inFlight,
      latency: Object.fromEntries(
        [...this.#latency].map(([outcome, histogram]) => [outcome, histogram.snapshot()]),
      ),
    };
  }
}
