/**
 * Loads chunks from the nearest tier that has them: one search for all who wait for a chunk, a limited number of
 * requests to the origin at a time, and an end to every wait.
 *
 * Invariant: a search that nobody waits for any longer is aborted and its place given to the next, whether or not the
 * tiers heed the abort. So a tier that stalls blocks nobody beyond their own deadline, nor those who come after it.
 */

import {
  LatencyHistogram,
  silentLog,
  systemClock,
  systemTimers,
  toHex,
  type Clock,
  type LatencySnapshot,
  type Log,
  type Priority,
  type Timers,
} from '../../base/index.ts';
import { openChunk, type OpenPool } from '../../chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../../store/index.ts';
import type { CacheTier } from '../cache-tier.ts';
import {
  chunkIdentity,
  type ChunkLoader,
  type ChunkRef,
  type FoundChunk,
  type LoadOptions,
  type LoadedChunk,
  type Tier,
} from './chunk-loader.ts';
import { ChunkSearch, type ChunkSource, type SearchTools } from './chunk-search.ts';
import { ChunkDeadlineError } from '../errors.ts';
import { giveBack } from '../give-back.ts';
import { HedgeBudget } from './hedge-budget.ts';
import { PriorityGate, type Ticket } from '../priority-gate.ts';
import { TierTally, type TierReadStatus } from './tier-tally.ts';

/** A tier between the worker's memory and the origin. */
export interface LoaderTier {
  readonly tier: Exclude<Tier, 'l1' | 'origin'>;
  /** Stays the caller's. */
  readonly cache: CacheTier;
}

export interface TieredLoaderOptions {
  /** Nearest first. Default: none, every chunk comes from the origin. */
  readonly tiers?: readonly LoaderTier[];
  /** The origin. */
  readonly store: Pick<ObjectStore, 'get'>;
  /** Opens what was fetched; stays the caller's. Default: this thread does. */
  readonly opener?: Pick<OpenPool, 'open'>;
  /** Requests to the origin at a time; half of them at most for prefetch. Default 16. */
  readonly originConcurrency?: number;
  /** A tier that has not answered after so long, or after a quarter of the reader's deadline, is passed over. Default 1,000. */
  readonly tierPatienceMs?: number;
  /** Default: the system's. */
  readonly time?: Clock & Timers;
  /** Told of corrupt copies and of tiers that break their contract. Default: nobody is. */
  readonly log?: Log;
}

/** Since the loader was made, but `searches` and what is said of the origin's places: now. */
export interface LoaderStatus {
  /** Calls of `load`. */
  readonly loads: Readonly<Record<Priority, number>>;
  /** Of those, such as found a search for their chunk under way. */
  readonly joined: number;
  /** Loads that ended because their time was up. */
  readonly deadlines: number;
  readonly searches: number;
  /**
   * A tier was slow and the next one was asked too (`started`), and was first with the chunk (`won`); or it was not asked,
   * since too many reads had done so (`refused`).
   */
  readonly hedges: { readonly started: number; readonly won: number; readonly refused: number };
  /** Verifying and decrypting, from the arrival of the bytes. */
  readonly open: LatencySnapshot;
  readonly originPlaces: {
    readonly total: number;
    readonly taken: number;
    readonly waiting: number;
  };
  /** Nearest first, the origin last. */
  readonly tiers: readonly TierReadStatus[];
}

export interface TieredLoader extends ChunkLoader {
  status(): LoaderStatus;
  /** For searches from now on. Counters of a tier that stays, or comes back, go on. */
  setTiers(tiers: readonly LoaderTier[]): void;
}

const originConcurrencyDefault = 16;
const tierPatienceDefaultMs = 1000;

/** A search under way, how many wait for it, and how many of these are not done with what it found. */
interface Flight {
  readonly search: ChunkSearch;
  waiters: number;
  holders: number;
}

/** The origin as the last of the tiers. */
class OriginTier implements CacheTier {
  readonly #store: Pick<ObjectStore, 'get'>;
  readonly #gate: PriorityGate;

  constructor(store: Pick<ObjectStore, 'get'>, gate: PriorityGate) {
    this.#store = store;
    this.#gate = gate;
  }

  async get(
    { rootId, ciphertextDigest }: Parameters<CacheTier['get']>[0],
    request: Ticket,
  ): Promise<Uint8Array | undefined> {
    const name = chunkObjectName(rootId, toHex(ciphertextDigest));
    const { signal } = request;
    return this.#gate.run(request, () => this.#store.get(name, { signal }));
  }

  /** It has all that it is ever to have: publishing puts it there. */
  offer(): void {}

  /**
   * Its copy stays, corrupt as it is: the caches are free to lose chunks, but the origin is the truth, a worker need not
   * have the right to delete there, and the next read of a copy that was spoilt on its way may be right.
   */
  async forget(): Promise<void> {}

  hedgeAfterMs(): number {
    return Infinity;
  }

  review(): void {
    this.#gate.review();
  }
}

class SearchingLoader implements TieredLoader {
  readonly #time: Clock & Timers;
  readonly #gate: PriorityGate;
  readonly #origin: OriginTier;
  readonly #originConcurrency: number;
  readonly #patienceMs: number;
  readonly #tools: SearchTools;
  readonly #opening = new LatencyHistogram();
  readonly #tallies = new Map<Tier, TierTally>();
  readonly #flights = new Map<string, Flight>();
  readonly #loads = { foreground: 0, prefetch: 0 };
  #tiers: readonly LoaderTier[] = [];
  #joined = 0;
  #deadlines = 0;

  constructor(options: TieredLoaderOptions) {
    this.#time = options.time ?? { ...systemClock, ...systemTimers };
    const places = options.originConcurrency ?? originConcurrencyDefault;
    this.#originConcurrency = places;
    this.#gate = new PriorityGate({ places, prefetchPlaces: Math.ceil(places / 2) });
    this.#origin = new OriginTier(options.store, this.#gate);
    this.#patienceMs = options.tierPatienceMs ?? tierPatienceDefaultMs;
    const { opener } = options;
    this.#tools = {
      open: async (chunk, bytes) => (opener ? opener.open(chunk, bytes) : openChunk(chunk, bytes)),
      time: this.#time,
      hedges: new HedgeBudget(),
      hedgeCounters: { started: 0, won: 0, refused: 0 },
      recordOpen: (durationMs) => this.#opening.record(durationMs),
      log: options.log ?? silentLog,
    };
    this.setTiers(options.tiers ?? []);
  }

  setTiers(tiers: readonly LoaderTier[]): void {
    this.#tiers = tiers;
  }

  status(): LoaderStatus {
    return {
      loads: { ...this.#loads },
      joined: this.#joined,
      deadlines: this.#deadlines,
      searches: this.#flights.size,
      hedges: { ...this.#tools.hedgeCounters },
      open: this.#opening.snapshot(),
      originPlaces: {
        total: this.#originConcurrency,
        taken: this.#gate.insideCount,
        waiting: this.#gate.waitingCount,
      },
      tiers: [...this.#tiers.map(({ tier }) => tier), 'origin' as const].map((tier) =>
        this.#tally(tier).status(),
      ),
    };
  }

  async load(chunk: ChunkRef, options: LoadOptions): Promise<LoadedChunk> {
    const { deadlineMs, priority = 'foreground' } = options;
    this.#loads[priority] += 1;
    const identity = chunkIdentity(chunk);
    const flight = this.#join(identity, priority) ?? this.#takeOff(identity, chunk, options);
    flight.waiters += 1;
    flight.holders += 1;
    const outcome = Promise.withResolvers<FoundChunk>();
    flight.search.found.then(outcome.resolve, outcome.reject);
    const cancel = this.#time.after(deadlineMs, () => {
      this.#deadlines += 1;
      const digestHex = toHex(chunk.ciphertextDigest);
      outcome.reject(new ChunkDeadlineError(chunk.rootId, digestHex, deadlineMs));
    });
    try {
      const found = await outcome.promise;
      return { ...found, done: once(() => this.#leave(flight, found)) };
    } catch (thrown) {
      flight.holders -= 1;
      throw thrown;
    } finally {
      cancel();
      flight.waiters -= 1;
      if (flight.waiters === 0) {
        this.#land(identity, flight);
        flight.search.abort();
      }
    }
  }

  /** One who waited is done with what was found. Nobody joins a search that is over. */
  #leave(flight: Flight, { plaintext }: FoundChunk): void {
    flight.holders -= 1;
    if (flight.holders === 0) giveBack(plaintext);
  }

  #join(identity: string, priority: Priority): Flight | undefined {
    const flight = this.#flights.get(identity);
    if (flight === undefined) return undefined;
    this.#joined += 1;
    if (priority === 'foreground' && flight.search.priority === 'prefetch') flight.search.raise();
    return flight;
  }

  #takeOff(identity: string, chunk: ChunkRef, options: LoadOptions): Flight {
    const { deadlineMs, priority = 'foreground' } = options;
    const search = new ChunkSearch(this.#tools, this.#sources(deadlineMs), chunk, priority);
    const flight: Flight = { search, waiters: 0, holders: 0 };
    this.#flights.set(identity, flight);
    const land = (): void => this.#land(identity, flight);
    search.found.then(land, land);
    search.start();
    return flight;
  }

  #land(identity: string, flight: Flight): void {
    if (this.#flights.get(identity) === flight) this.#flights.delete(identity);
  }

  #sources(deadlineMs: number): readonly ChunkSource[] {
    const patienceMs = Math.min(this.#patienceMs, deadlineMs / 4);
    return [
      ...this.#tiers.map(({ tier, cache }) => {
        return { tier, cache, patienceMs, tally: this.#tally(tier) };
      }),
      {
        tier: 'origin',
        cache: this.#origin,
        patienceMs: Infinity,
        tally: this.#tally('origin'),
      },
    ];
  }

  #tally(tier: Tier): TierTally {
    const known = this.#tallies.get(tier);
    if (known !== undefined) return known;
    const tally = new TierTally(tier);
    this.#tallies.set(tier, tally);
    return tally;
  }
}

function once(run: () => void): () => void {
  let hasRun = false;
  return () => {
    if (hasRun) return;
    hasRun = true;
    run();
  };
}

/** The way of chunks into a worker, see `ChunkLoader`. */
export function createTieredLoader(options: TieredLoaderOptions): TieredLoader {
  return new SearchingLoader(options);
}
