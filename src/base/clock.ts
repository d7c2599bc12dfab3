/** Time as an argument, so that tests and simulations can own it. */

export interface Clock {
  /** Milliseconds since 1970, for records that people read. */
  nowMs(): number;
  /** Milliseconds since some fixed moment, never going back, with fractions: for durations. */
  monotonicMs(): number;
}

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
