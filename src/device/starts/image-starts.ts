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
import type { OpenImage, ServedImage } from '../images/served-image.ts';
import { pageSizeBytes, unknownUs, type CachedWindow } from './file-windows.ts';
import { OpenPack } from './open-pack.ts';
import { writeStartPack, type PackSource } from './pack-writer.ts';
import type { PrefetchRun, PrefetchTarget, Prefetcher } from './prefetcher.ts';
import { planStart, type PageRun, type PlannedChunk } from './start-plan.ts';
import type { StartProfile } from './start-profile.ts';
import type { PackMaker, StartProfiles } from './start-profiles.ts';

export interface ImageStartsOptions {
  readonly prefetcher: Pick<Prefetcher, 'start' | 'stop'>;
  readonly slab: ChunkSlab;
  readonly profiles: Pick<StartProfiles, 'learn' | 'isSettled'>;
  /** From now on reads of the image are answered from its start pack, too; or no longer, if it is undefined. */
  readonly sharePack: (served: ServedImage, pack: OpenPack | undefined) => void;
  /** What packs of the image are made of. */
  readonly packSource: (served: ServedImage) => Promise<Omit<PackSource, 'keep'>>;
  /** Default: the system's. */
  readonly timers?: Timers;
}

/** What a start is made along. */
interface StartPlan {
  /** In the order of need. */
  readonly chunks: readonly PlannedChunk[];
  readonly pack: OpenPack | undefined;
  /** Whether what it reads is known well enough. */
  readonly isSettled: boolean;
}

interface Start {
  /** Undefined if nothing is known. */
  readonly planning: Promise<StartPlan | undefined>;
  /** Once it is known. */
  plan: StartPlan | undefined;
  runs: readonly PrefetchRun[];
  cancelTimer: () => void;
  /** Of which pages were read ahead into the page cache, by whoever was told to. */
  readonly readAhead: Set<PlannedChunk>;
  hasLostPack: boolean;
}

/** How whoever mounts an image for a start is to treat the page cache. */
export interface StartMode {
  /** `end` wants to know what is in it. */
  readonly isLookedAt: boolean;
  /** What the start reads is in a start pack: to read what lies around it would load chunks of the disk. */
  readonly isPacked: boolean;
}

/** Who tells of no end is not recorded for ever: what comes later is the function's work, not its start. */
export const startMaxMs = 15_000;

/** How often it is looked whether more chunks have come in. */
const readyPollMs = 20;
/** 2 MiB of page cache: to tell of each chunk as it comes in costs more than it gains. */
const pagesAtATime = 512;
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
    const { timers = systemTimers } = this.#options;
    const start: Start = {
      planning: this.#plan(served, profile),
      plan: undefined,
      runs: [],
      cancelTimer: timers.after(startMaxMs, () => void this.end(served)),
      readAhead: new Set(),
      hasLostPack: false,
    };
    this.#starts.set(served, start);
    const plan = await start.planning;
    if (plan === undefined || this.#starts.get(served) !== start) return;
    start.plan = plan;
    const open = await served.open();
    this.#usePack(served, open, plan.pack);
    const indexes = (isPacked: boolean): number[] =>
      plan.chunks.filter((chunk) => chunk.isPacked === isPacked).map(({ index }) => index);
    if (plan.pack !== undefined) this.#prefetch(served, start, plan.pack, indexes(true));
    this.#prefetch(served, start, open, indexes(false));
  }

  /** How to treat the page cache of the start under way, once that is known. */
  async mode(served: ServedImage): Promise<StartMode> {
    const start = this.#starts.get(served);
    const plan = await start?.planning;
    return {
      isLookedAt: start !== undefined && plan?.isSettled !== true,
      isPacked: plan?.pack !== undefined,
    };
  }

  /**
   * What to read ahead into the page cache: the pages of the profile, each when its chunk is in memory. Ends with
   * the start or `signal`, at the latest.
   */
  async *pages(served: ServedImage, signal: AbortSignal): AsyncGenerator<readonly PageRun[]> {
    const start = this.#starts.get(served);
    const plan = await start?.planning;
    if (start === undefined || plan === undefined) return;
    const open = await served.open();
    const { timers = systemTimers } = this.#options;
    let missing = plan.chunks.filter(({ runs }) => runs.length > 0);
    let looks = 0;
    while (missing.length > 0 && this.#starts.get(served) === start && !signal.aborted) {
      const ready = missing.filter((chunk) => this.#isHere(open, chunk));
      looks += 1;
      const isEnough = pageCountOf(ready) >= pagesAtATime || ready.length === missing.length;
      if (isEnough || (looks >= looksMax && ready.length > 0)) {
        looks = 0;
        for (const chunk of ready) start.readAhead.add(chunk);
        missing = missing.filter((chunk) => !start.readAhead.has(chunk));
        yield ready.flatMap(({ runs }) => runs);
      } else await new Promise<void>((resolve) => timers.after(readyPollMs, resolve));
    }
  }

  /** Learns from it. `cached`: what of the files that it opened is in the page cache; undefined if that is not known. */
  async end(served: ServedImage, cached?: readonly CachedWindow[]): Promise<StartEnd> {
    const start = this.#starts.get(served);
    if (start === undefined || !this.abandon(served)) return nothing;
    const open = await served.open();
    if (cached !== undefined) forgetUnused(start, open, cached, served.shape.chunkSizeBytes);
    const chunks = open.firstReads.list();
    if (chunks.length === 0) return nothing; // all of it was in page caches
    const { hasLostPack } = start;
    const unpackedChunks = start.plan?.pack && !hasLostPack ? open.unpackedReads.size : undefined;
    const windows = cached?.map((window) => ({ ...window, atUs: firstReadUs(open, window) }));
    const reads = { chunks, windows, unpackedChunks, hasLostPack };
    const saved = await this.#options.profiles.learn(served.image, reads, this.#packMaker(served));
    return { chunks: chunks.length, saved };
  }

  /** Ends it without learning from it; false if none is under way. */
  abandon(served: ServedImage): boolean {
    const start = this.#starts.get(served);
    if (start === undefined) return false;
    this.#starts.delete(served);
    start.cancelTimer();
    this.#stopPrefetches(start);
    return true;
  }

  async #plan(
    served: ServedImage,
    profile: Promise<StartProfile | undefined>,
  ): Promise<StartPlan | undefined> {
    const open = await served.open();
    open.firstReads.restart();
    open.pack?.firstReads.restart();
    open.unpackedReads.clear();
    const known = await profile;
    if (known === undefined) return undefined;
    const { slab, profiles } = this.#options;
    const { rootId } = served.image;
    // Of an image that is open still, the pack may be as well.
    const isOpen = known.pack !== undefined && open.pack?.content === known.pack;
    const pack = isOpen ? open.pack : known.pack && new OpenPack(known.pack, rootId, slab);
    return {
      chunks: planStart(known, served.shape.chunkSizeBytes),
      pack,
      isSettled: profiles.isSettled(served.image, known),
    };
  }

  #usePack(served: ServedImage, open: OpenImage, pack: OpenPack | undefined): void {
    if (open.pack === pack) return;
    if (open.pack !== undefined) this.#options.slab.dropTable(open.pack.table);
    open.pack = pack;
    this.#options.sharePack(served, pack);
    if (pack === undefined) return;
    open.onPackLost = () => this.#losePack(served, open, pack);
  }

  /** The start under way goes on with the disk's own chunks. */
  #losePack(served: ServedImage, open: OpenImage, pack: OpenPack): void {
    this.#options.sharePack(served, undefined);
    this.#options.slab.dropTable(pack.table);
    const start = this.#starts.get(served);
    if (start?.plan === undefined) return;
    start.hasLostPack = true;
    this.#stopPrefetches(start);
    this.#prefetch(served, start, open, new Set(start.plan.chunks.flatMap(diskChunksOf)));
  }

  #prefetch(
    served: ServedImage,
    start: Start,
    target: PrefetchTarget,
    indexes: Iterable<number>,
  ): void {
    start.runs = [...start.runs, this.#options.prefetcher.start(target, indexes)];
    served.prefetches = start.runs;
  }

  #stopPrefetches({ runs }: Start): void {
    for (const run of runs) this.#options.prefetcher.stop(run);
  }

  #isHere(open: OpenImage, chunk: PlannedChunk): boolean {
    const { slab } = this.#options;
    const { pack, table } = open;
    if (chunk.isPacked && pack !== undefined) return slab.has(pack.table, chunk.index);
    return diskChunksOf(chunk).every((index) => slab.has(table, index));
  }

  #packMaker(served: ServedImage): PackMaker {
    return async ({ windows, pack }, keep) => {
      const source = await this.#options.packSource(served);
      return writeStartPack(windows, pack, { ...source, keep });
    };
  }
}

function pageCountOf(chunks: readonly PlannedChunk[]): number {
  const runs = chunks.flatMap((chunk) => chunk.runs);
  return runs.reduce((sum, { pageCount }) => sum + pageCount, 0);
}

function diskChunksOf({ diskChunks }: PlannedChunk): number[] {
  return [...diskChunks];
}

/** What was read ahead for files that this start did not open it has not read. */
function forgetUnused(
  { readAhead, plan }: Start,
  { firstReads }: OpenImage,
  cached: readonly CachedWindow[],
  chunkSizeBytes: number,
): void {
  const used = new Set(cached.flatMap((window) => chunksOf(window, chunkSizeBytes)));
  for (const { isPacked, index, diskChunks } of readAhead) {
    const unused = [...diskChunks].filter((chunk) => !used.has(chunk));
    for (const chunk of unused) firstReads.forget(chunk);
    if (isPacked && unused.length === diskChunks.size) plan?.pack?.firstReads.forget(index);
  }
}

/** When the first of a window's pages was read. */
function firstReadUs({ firstReads }: OpenImage, { diskBlock, pages }: CachedWindow): number {
  const first = 31 - Math.clz32(pages & -pages);
  const last = 31 - Math.clz32(pages);
  const from = (diskBlock + first) * pageSizeBytes;
  const to = (diskBlock + last + 1) * pageSizeBytes;
  return Math.min(unknownUs, firstReads.atUs(from, to) ?? unknownUs);
}

/** The disk's chunks that a window's pages lie in. */
function chunksOf({ diskBlock, pages }: CachedWindow, chunkSizeBytes: number): readonly number[] {
  const chunkAt = (page: number): number =>
    Math.floor(((diskBlock + page) * pageSizeBytes) / chunkSizeBytes);
  const first = 31 - Math.clz32(pages & -pages);
  const last = 31 - Math.clz32(pages);
  return [chunkAt(first), chunkAt(last)];
}
