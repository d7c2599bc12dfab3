/**
 * How fast a sandbox's output is taken: reading it costs the worker's thread 5 ms a megabyte, which a function that does nothing
 * but print would take from all others. Pure.
 */

const windowMs = 100;
/** 10 MiB a second: as much as a log keeps at all. */
export const windowSizeBytes = 1024 * 1024;

export class OutputMeter {
  #windowEndsAtMs = -Infinity;
  #takenBytes = 0;

  /** How long nothing more is to be taken, in milliseconds of the clock that `nowMs` is of; 0: go on. */
  take(sizeBytes: number, nowMs: number): number {
    if (nowMs >= this.#windowEndsAtMs) {
      this.#windowEndsAtMs = nowMs + windowMs;
      this.#takenBytes = 0;
    }
    this.#takenBytes += sizeBytes;
    return this.#takenBytes < windowSizeBytes ? 0 : this.#windowEndsAtMs - nowMs;
  }
}
