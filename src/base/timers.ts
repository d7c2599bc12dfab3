/** Waiting, as an argument: tests turn the hands themselves. */

import { setImmediate as nextTurn } from 'node:timers/promises';

export interface Timers {
  /** Calls `run` once, `delayMs` from now, unless the returned function is called before. */
  after(delayMs: number, run: () => void): () => void;
  /** Resolves when input that lies ready now, in pipes and sockets, has been read. */
  afterInput(): Promise<void>;
}

/** The event loop's own timers. */
export const systemTimers: Timers = {
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  afterInput: async () => {
    // The first turn ends the round of reading that is under way, the second a whole one.
    await nextTurn();
    await nextTurn();
  },
};
