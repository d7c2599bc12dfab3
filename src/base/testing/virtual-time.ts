/** Time that passes only when a test says so. */

import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Clock } from '../clock.ts';
import type { Timers } from '../timers.ts';

interface Waiting {
  readonly atMs: number;
  readonly run: () => void;
}

/** Lets everything run that waits neither for a timer nor for a file. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await nextTurn();
}

export class VirtualTime implements Clock, Timers {
  readonly #startMs = Date.UTC(2026, 10, 23);
  readonly #waiting = new Set<Waiting>();
  #passedMs = 0;

  nowMs(): number {
    return this.#startMs + this.#passedMs;
  }

  monotonicMs(): number {
    return this.#passedMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const waiting = { atMs: this.#passedMs + delayMs, run };
    this.#waiting.add(waiting);
    return () => void this.#waiting.delete(waiting);
  }

  async afterInput(): Promise<void> {}

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Timers that are set. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Lets time pass, and everything happen at its moment. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#passedMs + ms;
    while (await this.#runNext(endMs)) {
      // as long as there is something to run
    }
    this.#passedMs = endMs;
  }

  /** Lets time pass until `work` is done, and not longer; what it does with files takes no time. */
  async until<T>(work: Promise<T>): Promise<T> {
    const state = { isDone: false };
    const done = work.finally(() => {
      state.isDone = true;
    });
    done.catch(() => {}); // thrown below
    do await settle();
    while (!state.isDone && (await this.#runNext(Infinity)));
    return await done;
  }

  /** False if there is no timer up to that moment. */
  async #runNext(endMs: number): Promise<boolean> {
    await settle();
    const next = this.#earliest();
    if (next === undefined || next.atMs > endMs) return false;
    this.#waiting.delete(next);
    this.#passedMs = next.atMs;
    next.run();
    return true;
  }

  /** Of those due at one moment, the one that was set first. */
  #earliest(): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const waiting of this.#waiting) {
      if (earliest === undefined || waiting.atMs < earliest.atMs) earliest = waiting;
    }
    return earliest;
  }
}
