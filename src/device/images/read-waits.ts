/**
 * How reads of an image waited for chunks that were not in memory. A stall is a stretch of time in which at least one waits: reads that wait side by
 * side, or for one chunk, stall once. So the number of stalls is how many round trips a start has waited for in a row.
 */

export interface WaitCounters {
  /** Reads that had to wait, and how long in all. */
  readonly reads: number;
  readonly totalMs: number;
  readonly stalls: number;
  readonly stalledMs: number;
}

export class ReadWaits {
  #waiting = 0;
  #stalledSinceMs = 0;
  #counters = { reads: 0, totalMs: 0, stalls: 0, stalledMs: 0 };

  get counters(): WaitCounters {
    return { ...this.#counters };
  }

  /** A read that begins to wait; what it gives is to be called when the read is over. */
  begin(nowMs: number): (nowMs: number) => void {
    this.#counters.reads += 1;
    this.#waiting += 1;
    if (this.#waiting === 1) {
      this.#counters.stalls += 1;
      this.#stalledSinceMs = nowMs;
    }
    return (endMs) => {
      this.#counters.totalMs += endMs - nowMs;
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#counters.stalledMs += endMs - this.#stalledSinceMs;
    };
  }
}
