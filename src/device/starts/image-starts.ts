/**
 * The cold starts of the images that are open here: each is prefetched along the image's profile and recorded, until it has ended or
 * `startMaxMs` are over. Who mounts the image is told, as chunks come in, what to read ahead into the page cache.
 *
 * Invariants: of an image at most one start is recorded at a time; starts that begin meanwhile belong to it. A start that is not over when its
 * image is closed has failed, or its agent was killed: nothing is learned from it.
 */

import { systemTimers, type Timers } from '../../base/index.ts';
import type { ChunkSlab } from '../../cache/index.ts';
import type { StartEnd } from '../images/block-images.ts';
import type { Prefetcher, PrefetchRun } from './prefetcher.ts';
import type { ServedImage } from '../images/served-image.ts';
import type { CachedWindow } from './file-windows.ts';
import type { ProfiledWindow, StartProfile, StartWindow } from './start-profile.ts';
import type { StartProfiles } from './start-profiles.ts';

export interface ImageStartsOptions {
  readonly prefetcher: Pick<Prefetcher, 'start' | 'stop'>;
  readonly slab: Pick<ChunkSlab, 'has'>;
  readonly profiles: Pick<StartProfiles, 'learn'>;
  /** Default: the system's. */
  readonly timers?: Timers;
}

interface Start {
  readonly known: Promise<StartProfile | undefined>;
  run: PrefetchRun | undefined;
  cancelTimer: () => void;
  /** Chunks that were read ahead into the page cache, by whoever was told to. */
  readonly readAhead: Set<number>;
}

/** Who tells of no end is not recorded for ever: what comes later is the function's work, not its start. */
export const startMaxMs = 15_000;

/** How often it is looked whether more chunks have come in. */
const readyPollMs = 20;
/** 2 MiB of page cache: to tell of each chunk as it comes in costs more than it gains. */
const windowsAtATime = 32;
/** After so many looks fewer will do: some chunk may never come. */
const looksMax = 5;

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
    const start: Start = { known: profile, run: undefined, cancelTimer, readAhead: new Set() };
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

  /**
   * What to read ahead into the page cache: the windows of the profile in the order of their chunks, each when all of it is in memory. Ends with
   * the start or `signal`, at the latest.
   */
  async *windows(
    served: ServedImage,
    signal: AbortSignal,
  ): AsyncGenerator<readonly ProfiledWindow[]> {
    const start = this.#starts.get(served);
    const profile = await start?.known;
    if (start === undefined || profile === undefined) return;
    const { table } = await served.open();
    const { timers = systemTimers, slab } = this.#options;
    let missing = inOrderOfChunks(profile);
    let looks = 0;
    while (missing.length > 0 && this.#starts.get(served) === start && !signal.aborted) {
      const isHere = ({ chunk, lastChunk }: ProfiledWindow): boolean =>
        slab.has(table, chunk) && slab.has(table, lastChunk);
      const ready = missing.filter(isHere);
      looks += 1;
      const isEnough = ready.length >= windowsAtATime || ready.length === missing.length;
      if (isEnough || (looks >= looksMax && ready.length > 0)) {
        looks = 0;
        const told = new Set(ready);
        missing = missing.filter((window) => !told.has(window));
        for (const chunk of ready.flatMap(chunksOf)) start.readAhead.add(chunk);
        yield ready;
      } else await new Promise<void>((resolve) => timers.after(readyPollMs, resolve));
    }
  }

  /** Learns from it. `cached`: what of the files that it opened is in the page cache; undefined if that is not known. */
  async end(served: ServedImage, cached?: readonly CachedWindow[]): Promise<StartEnd> {
    const start = this.#starts.get(served);
    if (start === undefined || !this.abandon(served)) return nothing;
    const { firstReads } = await served.open();
    const windows = cached?.map((window) => placed(window, served.shape.chunkSizeBytes));
    if (windows !== undefined) {
      // Read ahead for files that this start did not open: it has not read them.
      const used = new Set(windows.flatMap(chunksOf));
      for (const chunk of start.readAhead) if (!used.has(chunk)) firstReads.forget(chunk);
    }
    const chunks = firstReads.list();
    if (chunks.length === 0) return nothing; // all of it was in page caches
    const saved = await this.#options.profiles.learn(served.image, { chunks, windows });
    return { chunks: chunks.length, saved };
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

function placed(
  { inode, window, diskOffset, lastDiskOffset }: CachedWindow,
  chunkSizeBytes: number,
): StartWindow {
  const chunk = Math.floor(diskOffset / chunkSizeBytes);
  return { inode, window, chunk, lastChunk: Math.floor(lastDiskOffset / chunkSizeBytes) };
}

/** A window lies in two at most, but for files in many pieces. */
function chunksOf({ chunk, lastChunk }: StartWindow): readonly number[] {
  return [chunk, lastChunk];
}

function inOrderOfChunks({ chunks, windows }: StartProfile): readonly ProfiledWindow[] {
  const places = new Map(chunks.map(({ index }, place) => [index, place]));
  const placeOf = ({ chunk }: ProfiledWindow): number => places.get(chunk) ?? chunks.length;
  return windows.toSorted((a, b) => placeOf(a) - placeOf(b)); // windows of one chunk stay in order
}
