/**
 * Whether the worker is reading just now. What nobody waits for, such as writing to the tiers what they lack, takes as much processor time
 * as reading does: it is done in the pauses between bursts of reads, such as a start's.
 *
 * Invariant: nothing is to wait for longer than `waitMaxMs`, so that a worker that always reads fills its tiers, too, and those of others.
 */

import type { Clock } from '../base/index.ts';

/** Without a read or an arrival: the reads of a start come closer together. */
const pauseMs = 250;
/** Longer than most starts take. */
const waitMaxMs = 2000;
/** Of a queue's bytes; when more waits than that, it does not wait for a pause. */
const patientShare = 0.75;

/** What waits for pauses, all of it. */
export interface PatientQueue {
  readonly bytes: number;
  readonly bytesMax: number;
  /** Somebody waits for what is in it. */
  readonly isHurried: boolean;
}

/** Of one worker; its tiers share it. */
export class WorkerReads {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #lastMs = -Infinity;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** To be told of every chunk that is asked for, and of every one that arrives. */
  note(): void {
    this.#lastMs = this.#clock.monotonicMs();
  }

  /**
   * In how many milliseconds to look again whether there is a pause, for what has waited for one since then; 0: there is, or it has waited
   * for long enough.
   */
  pauseInMs(sinceMs: number): number {
    const untilMs = Math.min(this.#lastMs + pauseMs, sinceMs + waitMaxMs);
    return Math.max(0, untilMs - this.#clock.monotonicMs());
  }

  /** The same of what waits in such a queue: 0 also if much waits there, or somebody for it. */
  pauseOfQueueInMs(sinceMs: number, { bytes, bytesMax, isHurried }: PatientQueue): number {
    const isPatient = !isHurried && bytes <= bytesMax * patientShare;
    return isPatient ? this.pauseInMs(sinceMs) : 0;
  }
}
