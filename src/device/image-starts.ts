/**
 * The cold starts of the images that are open here: each is prefetched along the image's profile and recorded, until it has ended or
 * `startMaxMs` are over.
 *
 * Invariants: of an image at most one start is recorded at a time; starts that begin meanwhile belong to it. A start that is not over when its
 * image is closed has failed, or its agent was killed: nothing is learned from it.
 */

import { systemTimers, type Timers } from '../base/index.ts';
import type { StartEnd } from './block-images.ts';
import type { Prefetcher, PrefetchRun } from './prefetcher.ts';
import type { ServedImage } from './served-image.ts';
import type { StartProfile } from './start-profile.ts';
import type { StartProfiles } from './start-profiles.ts';

export interface ImageStartsOptions {
  readonly prefetcher: Pick<Prefetcher, 'start' | 'stop'>;
  readonly profiles: Pick<StartProfiles, 'learn'>;
  /** Default: the system's. */
  readonly timers?: Timers;
}

interface Start {
  run: PrefetchRun | undefined;
  cancelTimer: () => void;
}

/** Who tells of no end is not recorded for ever: what comes later is the function's work, not its start. */
export const startMaxMs = 15_000;

const nothing: StartEnd = { chunks: 0, saved: false };

export class ImageStarts {
  readonly #options: ImageStartsOptions;
  readonly #starts = new Map<ServedImage, Start>();

  constructor(options: ImageStartsOptions) {
    this.#options = options;
  }

  /** `profile` may come late, or never: nobody waits for it. The manifest of `served` is open. */
  async begin(served: ServedImage, profile: Promise<StartProfile | undefined>): Promise<void> {
    if (this.#starts.has(served)) return;
    const { timers = systemTimers, prefetcher } = this.#options;
    const cancelTimer = timers.after(startMaxMs, () => void this.end(served));
    const start: Start = { run: undefined, cancelTimer };
    this.#starts.set(served, start);
    const open = await served.open();
    open.firstReads.restart();
    const known = await profile;
    if (known === undefined || this.#starts.get(served) !== start) return;
    start.run = prefetcher.start(
      open,
      known.chunks.map(({ index }) => index),
    );
    served.prefetched = start.run.chunks;
  }

  /** Learns from it. */
  async end(served: ServedImage): Promise<StartEnd> {
    if (!this.abandon(served)) return nothing;
    const reads = (await served.open()).firstReads.list();
    if (reads.length === 0) return nothing; // all of it was in page caches
    return { chunks: reads.length, saved: await this.#options.profiles.learn(served.image, reads) };
  }

  /** Ends it without learning from it; false if none is under way. */
  abandon(served: ServedImage): boolean {
    const start = this.#starts.get(served);
    if (start === undefined) return false;
    this.#starts.delete(served);
    start.cancelTimer();
    if (start.run !== undefined) this.#options.prefetcher.stop(start.run);
    return true;
  }
}
