/**
 * How long things took, kept so that quantiles and Prometheus histograms can be told of it at any time. Memory is fixed
 * and recording takes well under a microsecond.
 */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Upper bounds of the counted buckets, in milliseconds: 1, 2, 5 a decade from 50 us to 10 s. */
export const latencyBoundsMs = [
  0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000,
] as const;

/** As JSON, from one process to another. */
export interface LatencySnapshot {
  readonly count: number;
  readonly sumMs: number;
  /** The largest recorded; 0 if nothing was. */
  readonly maxMs: number;
  /** Zeros if nothing was recorded. At most 0.1 % off; of a histogram of two figures, 1 %. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** How many took at most `latencyBoundsMs[i]`, those of lower bounds included, as Prometheus counts. */
  readonly cumulative: readonly number[];
}

const nanosecondsPerMs = 1e6;
/** Longer durations are told as that: 100 s. */
const nanosecondsMax = 1e11;

/** All that was recorded since it was made. */
export class LatencyHistogram {
  readonly #histogram: RecordableHistogram;
  readonly #counts = new Float64Array(latencyBoundsMs.length + 1);
  #sumMs = 0;

  /** `figures`: of quantiles, so many are right. Three take some 230 KiB of addresses, two take 31 KiB: for where there are many. */
  constructor({ figures = 3 }: { readonly figures?: 2 | 3 } = {}) {
    this.#histogram = createHistogram({ lowest: 1, highest: nanosecondsMax, figures });
  }

  /** Negative durations count as 0. */
  record(durationMs: number): void {
    const nanoseconds = Math.round(durationMs * nanosecondsPerMs);
    this.#histogram.record(Math.min(nanosecondsMax, Math.max(1, nanoseconds)));
    const bucket = latencyBoundsMs.findIndex((boundMs) => durationMs <= boundMs);
    const index = bucket === -1 ? latencyBoundsMs.length : bucket;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sumMs += Math.max(0, durationMs);
  }

  get count(): number {
    return this.#histogram.count;
  }

  /** The duration that a share `quantile` (0..1) of all recorded ones did not exceed; 0 if there are none. */
  quantileMs(quantile: number): number {
    if (this.#histogram.count === 0) return 0;
    return this.#histogram.percentile(Math.max(quantile * 100, 1e-9)) / nanosecondsPerMs;
  }

  snapshot(): LatencySnapshot {
    let counted = 0;
    const cumulative = latencyBoundsMs.map((_, index) => (counted += this.#counts[index] ?? 0));
    return {
      count: this.count,
      sumMs: this.#sumMs,
      maxMs: this.count === 0 ? 0 : this.#histogram.max / nanosecondsPerMs,
      p50Ms: this.quantileMs(0.5),
      p99Ms: this.quantileMs(0.99),
      p999Ms: this.quantileMs(0.999),
      cumulative,
    };
  }
}

/** Quantiles of about the last `windowMs` to twice that: what was recorded before is forgotten. */
export class RecentLatency {
  readonly #windowMs: number;
  readonly #monotonicMs: () => number;
  /** Of this window; and of the one before, too, so that nothing is made or added up for a quantile. */
  #current = createHistogram();
  #recent = createHistogram();
  #startedMs: number;

  constructor(windowMs: number, monotonicMs: () => number) {
    this.#windowMs = windowMs;
    this.#monotonicMs = monotonicMs;
    this.#startedMs = monotonicMs();
  }

  record(durationMs: number): void {
    this.#turn();
    const nanoseconds = Math.max(1, Math.round(durationMs * nanosecondsPerMs));
    this.#current.record(nanoseconds);
    this.#recent.record(nanoseconds);
  }

  /** Undefined if fewer than `countMin` were recorded lately. For every read: takes some microseconds. */
  quantileMs(quantile: number, countMin: number): number | undefined {
    this.#turn();
    if (this.#recent.count < countMin) return undefined;
    return this.#recent.percentile(quantile * 100) / nanosecondsPerMs;
  }

  #turn(): void {
    const windows = Math.floor((this.#monotonicMs() - this.#startedMs) / this.#windowMs);
    if (windows < 1) return;
    this.#recent = windows === 1 ? this.#current : createHistogram();
    this.#current = createHistogram();
    this.#startedMs += windows * this.#windowMs;
  }
}
