/**
 * Whether a server is asked, or only probed until it answers.
 *
 * One failure is enough: a probe costs a few bytes and is there a moment later, while a request to a server that is gone costs its
 * whole deadline. What only looks alive, answering probes and no requests, is asked less and less often: the pause
 * grows with each failure until a request is answered.
 */

import type { Timers } from '../../base/index.ts';
import type { ZoneServerState } from '../zone/zone-server.ts';

export interface HealthOptions {
  readonly timers: Timers;
  /** 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  /** Resolves if the server answers, rejects if it does not; in bounded time. */
  readonly probe: () => Promise<void>;
}

/** Pauses before a probe are at least the first and at most the second, half of it random. */
const pauseMinMs = 100;
const pauseMaxMs = 5_000;

export class MemcachedHealth {
  readonly #options: HealthOptions;
  #state: ZoneServerState = 'up';
  /** Without an answered request in between. */
  #failures = 0;
  #cancelProbe: (() => void) | undefined;
  #isClosed = false;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  get state(): ZoneServerState {
    return this.#state;
  }

  /** The server answered a request. */
  answered(): void {
    this.#failures = 0;
  }

  /** A connection to it was refused or broke. */
  failed(): void {
    if (this.#state === 'down' || this.#isClosed) return;
    this.#state = 'down';
    this.#pause();
  }

  /** Probes no more. */
  close(): void {
    this.#isClosed = true;
    this.#cancelProbe?.();
  }

  #pause(): void {
    const boundMs = Math.min(pauseMaxMs, 2 * pauseMinMs * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    const delayMs = (boundMs / 2) * (1 + this.#options.random());
    this.#cancelProbe = this.#options.timers.after(delayMs, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    try {
      await this.#options.probe();
      this.#state = 'up';
    } catch {
      // Still down; why shows in the counters, and to those who ask meanwhile.
      if (!this.#isClosed) this.#pause();
    }
  }
}
