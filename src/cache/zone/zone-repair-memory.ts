/** Which stripes were written anew lately, so that a server that keeps losing one does not get it with every read. */

import type { Clock } from '../../base/index.ts';

export interface RepairMemoryOptions {
  /** A stripe is written anew at most once in so long. */
  readonly restMs: number;
  /** How many are remembered; beyond, the oldest are forgotten before their time. */
  readonly entriesMax: number;
  readonly clock: Clock;
}

export class RepairMemory {
  readonly #options: RepairMemoryOptions;
  /** When a stripe may be written again; oldest first, as all rest equally long. */
  readonly #until = new Map<string, number>();

  constructor(options: RepairMemoryOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#until.size;
  }

  isResting(key: string, serverId: string): boolean {
    const untilMs = this.#until.get(`${serverId} ${key}`) ?? -Infinity;
    return this.#options.clock.monotonicMs() < untilMs;
  }

  remember(key: string, serverId: string): void {
    const { clock, restMs, entriesMax } = this.#options;
    const nowMs = clock.monotonicMs();
    const entry = `${serverId} ${key}`;
    this.#until.delete(entry);
    this.#until.set(entry, nowMs + restMs);
    for (const [oldest, untilMs] of this.#until) {
      if (untilMs > nowMs && this.#until.size <= entriesMax) break;
      this.#until.delete(oldest);
    }
  }
}
