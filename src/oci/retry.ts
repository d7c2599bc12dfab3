/** When a request to a registry is tried again, and how long to wait before. */

import { setTimeout as sleepFor } from 'node:timers/promises';

import { ThawError, systemClock, type Clock } from '../base/index.ts';
import { OciRateLimitedError, OciRegistryError } from './errors.ts';

export interface RetrySettings {
  /** Tries of one request in a row without getting any further, the first one included. Default 5. */
  readonly attemptsMax: number;
  /** Retries of all requests for one image together. Default 60. */
  readonly retriesMax: number;
  /** The longest wait before the first retry; it doubles with each one. Default 250. */
  readonly delayFirstMs: number;
  /** Default 10,000. */
  readonly delayMaxMs: number;
  /** A registry that asks to wait longer than this is not waited for. Default 60,000. */
  readonly retryAfterMaxMs: number;
  /** A connection that brings next to nothing for this long is given up. Default 30,000. */
  readonly stallTimeoutMs: number;
}

export const defaultRetrySettings: RetrySettings = {
  attemptsMax: 5,
  retriesMax: 60,
  delayFirstMs: 250,
  delayMaxMs: 10_000,
  retryAfterMaxMs: 60_000,
  stallTimeoutMs: 30_000,
};

/** Time and chance as arguments, so that tests own them. */
export interface Timing {
  readonly clock: Clock;
  /** 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  /** Rejects with the signal's reason when it is aborted. */
  readonly sleep: (delayMs: number, signal: AbortSignal) => Promise<void>;
}

export const systemTiming: Timing = {
  clock: systemClock,
  random: () => Math.random(),
  sleep: async (delayMs, signal) => {
    await sleepFor(delayMs, undefined, { signal }).catch((thrown: unknown) => {
      signal.throwIfAborted();
      throw thrown;
    });
  },
};

/** How many retries an image has left, over all its requests. */
export class RetryBudget {
  #left: number;

  constructor(retries: number) {
    this.#left = retries;
  }

  /** False once nothing is left. */
  take(): boolean {
    this.#left -= 1;
    return this.#left >= 0;
  }
}

export interface RetryContext {
  readonly settings: RetrySettings;
  readonly timing: Timing;
  readonly budget: RetryBudget;
  readonly signal: AbortSignal;
}

function retryAfterOf(failure: unknown): number | undefined {
  return failure instanceof OciRateLimitedError || failure instanceof OciRegistryError
    ? failure.retryAfterMs
    : undefined;
}

/** The retries of one request, or of one download that is resumed. */
export class Retries {
  readonly #context: RetryContext;
  #failuresInRow = 0;

  constructor(context: RetryContext) {
    this.#context = context;
  }

  /** The download has got further: what failed before does not count any more. */
  progressed(): void {
    this.#failuresInRow = 0;
  }

  /** Returns when it is time to try again; throws `failure` if that is not worth while. */
  async pause(failure: unknown): Promise<void> {
    const { settings, timing, budget, signal } = this.#context;
    signal.throwIfAborted();
    this.#failuresInRow += 1;
    if (!(failure instanceof ThawError && failure.retryable)) throw failure;
    const retryAfterMs = retryAfterOf(failure) ?? 0;
    if (retryAfterMs > settings.retryAfterMaxMs) throw failure;
    if (this.#failuresInRow >= settings.attemptsMax || !budget.take()) throw failure;
    const ceilingMs = Math.min(
      settings.delayMaxMs,
      settings.delayFirstMs * 2 ** (this.#failuresInRow - 1),
    );
    const jitteredMs = (ceilingMs * (1 + timing.random())) / 2;
    await timing.sleep(Math.max(retryAfterMs, jitteredMs), signal);
  }
}

/** Runs one request until it succeeds or is not worth another try. */
export async function withRetries<T>(context: RetryContext, work: () => Promise<T>): Promise<T> {
  const retries = new Retries(context);
  for (;;) {
    try {
      return await work();
    } catch (thrown) {
      await retries.pause(thrown);
    }
  }
}
