/**
 * Loads what a start is going to read before it does: along the image's profile, many chunks at a time, ahead of the reader.
 *
 * Invariants: nobody waits for a prefetch but who reads that very chunk, whose load is then his (`ChunkLoader.load`). At most `atATime` chunks
 * are under way, of all images together, and prefetched chunks that were not read yet take at most `slabShare` of the slab; the
 * images that are being started take turns. What goes wrong is counted, and never stops a start.
 */

import { errorMessage, systemClock, type Clock, type Log } from '../../base/index.ts';
import type { ChunkLoader, ChunkRef, ChunkSlab, SlabTable, Tier } from '../../cache/index.ts';
import type { FirstReads } from './first-reads.ts';
import { InFlightLimit } from './in-flight-limit.ts';

export interface PrefetcherOptions {
  readonly loader: ChunkLoader;
  readonly slab: ChunkSlab;
  /** For one chunk. */
  readonly deadlineMs: number;
  /** At most; how many are worth it is found out. Default 16. */
  readonly atATime?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: Log;
}

/** An image whose manifest is open. */
export interface PrefetchTarget {
  readonly table: SlabTable;
  readonly firstReads: Pick<FirstReads, 'has'>;
  /** Undefined if the chunk is all zeros, or not of this disk. */
  chunk(index: number): { readonly chunk: ChunkRef; readonly identity: string } | undefined;
}

/** What came in before it was asked for. */
export interface PrefetchedChunk {
  /** Where it was found: `l1`, in this worker's memory already. */
  readonly tier: Tier;
  readonly storedLengthBytes: number;
}

export interface ArrivedChunk {
  /** `chunkIdentity`. */
  readonly identity: string;
  readonly chunk: PrefetchedChunk;
  /** Since. */
  readonly isRead: boolean;
}

const atATimeDefault = 16;
const slabShare = 0.5;
/** How often the readers' progress is looked at while the slab's share is full: threads that hit the slab tell nobody. */
const windowPollMs = 5;
/** An origin that is down is not asked for the whole list. */
const failuresMax = 4;

/** One image's prefetch. */
export class PrefetchRun {
  readonly #chunks = new Map<number, PrefetchedChunk>();
  readonly open: PrefetchTarget;
  readonly #indexes: Iterator<number>;
  /** Came in and may not have been read yet. */
  #unread: number[] = [];
  failures = 0;
  isStopped = false;

  constructor(open: PrefetchTarget, indexes: Iterable<number>) {
    this.open = open;
    this.#indexes = indexes[Symbol.iterator]();
  }

  /** The next chunk of the list that the disk has and nobody has read. */
  next(): number | undefined {
    for (;;) {
      const { done, value: index } = this.#indexes.next();
      if (done === true || this.isStopped) return undefined;
      if (this.open.chunk(index) !== undefined && !this.open.firstReads.has(index)) return index;
    }
  }

  add(index: number, chunk: PrefetchedChunk): void {
    this.#chunks.set(index, chunk);
    this.#unread.push(index);
  }

  /** What has come in. */
  *arrived(): Generator<ArrivedChunk> {
    for (const [index, chunk] of this.#chunks) {
      const identity = this.open.chunk(index)?.identity ?? '';
      yield { identity, chunk, isRead: this.open.firstReads.has(index) };
    }
  }

  /** Chunks in the slab that nobody has read so far. */
  unreadCount(): number {
    this.#unread = this.#unread.filter((index) => !this.open.firstReads.has(index));
    return this.#unread.length;
  }
}

export class Prefetcher {
  readonly #options: PrefetcherOptions;
  readonly #clock: Clock;
  readonly #limit: InFlightLimit;
  readonly #unreadMax: number;
  /** That may have more to load, the one whose turn is next first. */
  #runs: PrefetchRun[] = [];
  /** Of all who were started and not stopped. */
  readonly #live = new Set<PrefetchRun>();
  #underWay = 0;
  #isPolling = false;

  constructor(options: PrefetcherOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#limit = new InFlightLimit(options.atATime ?? atATimeDefault);
    this.#unreadMax = Math.max(1, Math.floor(options.slab.memory.slotCount * slabShare));
  }

  /** Begins at once. `indexes` in the order of need; such as the disk does not have are passed over. */
  start(open: PrefetchTarget, indexes: Iterable<number>): PrefetchRun {
    const run = new PrefetchRun(open, indexes);
    this.#runs.push(run);
    this.#live.add(run);
    this.#fill();
    return run;
  }

  /** Nothing more is begun; what is under way is not kept. */
  stop(run: PrefetchRun): void {
    run.isStopped = true;
    this.#live.delete(run);
    this.#runs = this.#runs.filter((other) => other !== run);
    this.#fill();
  }

  #fill(): void {
    while (this.#underWay < this.#limit.count) {
      const [run] = this.#runs;
      if (run === undefined) return;
      if (!this.#hasRoom()) {
        this.#fillLater();
        return;
      }
      this.#runs.shift();
      const index = run.next();
      if (index === undefined) continue;
      this.#runs.push(run);
      void this.#load(run, index);
    }
  }

  /** Ends with the runs: each is stopped when its start is over. */
  #fillLater(): void {
    if (this.#isPolling) return;
    this.#isPolling = true;
    setTimeout(() => {
      this.#isPolling = false;
      this.#fill();
    }, windowPollMs);
  }

  #hasRoom(): boolean {
    let unread = this.#underWay;
    for (const run of this.#live) unread += run.unreadCount();
    return unread < this.#unreadMax;
  }

  /** Never throws. */
  async #load(run: PrefetchRun, index: number): Promise<void> {
    const { loader, slab, deadlineMs, log } = this.#options;
    const { open } = run;
    const listed = open.chunk(index);
    if (listed === undefined) return;
    const { chunk, identity } = listed;
    const { storedLengthBytes } = chunk;
    if (slab.publish(open.table, index, identity)) {
      run.add(index, { tier: 'l1', storedLengthBytes });
      return;
    }
    this.#underWay += 1;
    const startedMs = this.#clock.monotonicMs();
    try {
      const loaded = await loader.load(chunk, { deadlineMs, priority: 'prefetch' });
      const { plaintext, tier } = loaded;
      this.#limit.record(tier, this.#clock.monotonicMs() - startedMs);
      const isKept = !run.isStopped && slab.insert(identity, plaintext);
      loaded.done();
      if (!isKept) return;
      slab.publish(open.table, index, identity);
      run.add(index, { tier, storedLengthBytes });
      run.failures = 0;
    } catch (thrown) {
      run.failures += 1;
      if (run.failures === failuresMax) {
        log.warn('a prefetch was given up', { reason: errorMessage(thrown) });
        this.stop(run);
      }
    } finally {
      this.#underWay -= 1;
      this.#fill();
    }
  }
}
