/**
 * One search for one chunk: tier after tier until one gives bytes that are what the name says. The origin is the last.
 *
 * Invariants: nothing is answered or offered that was not verified. Each tier is asked at most once. The search ends as
 * soon as there is an answer, or when all tiers have been asked and have said what they can; whatever is still
 * under way then is aborted. What a tier throws is counted, and either expected or logged.
 */

import { hash } from 'node:crypto';

import {
  errorCode,
  errorMessage,
  toHex,
  untilAborted,
  viewOf,
  type Clock,
  type Log,
  type Priority,
  type Timers,
} from '../../base/index.ts';
import { isCiphertextOf, openVerified } from '../../chunk/index.ts';
import type { CacheTier, ChunkName, TierRequest } from '../cache-tier.ts';
import type { ChunkRef, FoundChunk, Tier } from './chunk-loader.ts';
import { giveBack } from '../give-back.ts';
import { ChunkCorruptError, ChunkMissingError, ChunkUnreadableError } from '../errors.ts';
import type { HedgeBudget } from './hedge-budget.ts';
import type { ReadOutcome, TierTally } from './tier-tally.ts';

/** A tier as a search asks it. */
export interface ChunkSource {
  readonly tier: Tier;
  readonly cache: CacheTier;
  readonly tally: TierTally;
  /** After so long without an answer it is given up. Infinity: only the reader's deadline ends it. */
  readonly patienceMs: number;
}

/** What all searches of a loader share. */
export interface SearchTools {
  /** As `OpenPool.open`. */
  readonly open: (chunk: ChunkRef, ciphertext: Uint8Array) => Promise<Uint8Array>;
  readonly time: Clock & Timers;
  readonly hedges: HedgeBudget;
  readonly hedgeCounters: { started: number; won: number; refused: number };
  readonly recordOpen: (durationMs: number) => void;
  readonly log: Log;
}

/** What a tier said, of a chunk that it did not give. */
interface Refusal {
  readonly outcome: ReadOutcome;
  readonly thrown?: unknown;
  /** No tier can do better. */
  readonly isFinal?: boolean;
}

interface Verified {
  readonly plaintext: Uint8Array;
  readonly ciphertext: Uint8Array;
  /** Those that lack the chunk and are to get the ciphertext. */
  readonly lacking: readonly CacheTier[];
}

/** One tier being asked. */
class Asking implements TierRequest {
  readonly source: ChunkSource;
  readonly isHedge: boolean;
  readonly startedMs: number;
  readonly abort = new AbortController();
  readonly isRight?: TierRequest['isRight'];
  /** What the tier has had verified. */
  verified: Uint8Array | undefined;
  readonly #search: { readonly priority: Priority; readonly chunk: ChunkRef };
  outcome: ReadOutcome | undefined;
  stopTimers = (): void => {};

  constructor(
    search: { readonly priority: Priority; readonly chunk: ChunkRef },
    source: ChunkSource,
    how: { readonly isHedge: boolean; readonly startedMs: number },
  ) {
    this.#search = search;
    // Of compressed chunks the hash is for the threads that open them.
    if (search.chunk.codec === 'none') this.isRight = (bytes) => this.#isRight(bytes);
    this.source = source;
    this.isHedge = how.isHedge;
    this.startedMs = how.startedMs;
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  get priority(): Priority {
    return this.#search.priority;
  }

  #isRight(ciphertext: Uint8Array): boolean {
    const isRight = isCiphertextOf(this.#search.chunk, ciphertext);
    if (isRight) this.verified = ciphertext;
    return isRight;
  }

  end(outcome: ReadOutcome, atMs: number, bytes = 0): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.stopTimers();
    this.source.tally.end(outcome, atMs - this.startedMs, bytes);
  }
}

/** A tier that says so is in trouble, not broken. */
const foreseenCodes: ReadonlySet<string> = new Set([
  'ERR_CACHE_TIER_UNAVAILABLE',
  'ERR_STORE_UNAVAILABLE',
]);
const lacksChunk: ReadonlySet<ReadOutcome> = new Set(['miss', 'corrupt', 'unavailable']);

/** Of an `Asking` whose tier was given up, so that it is told from one that nobody needs. */
const outOfPatience = new DOMException('The tier took too long', 'TimeoutError');
const noLongerNeeded = new DOMException('The answer is no longer needed', 'AbortError');

export class ChunkSearch {
  readonly found: Promise<FoundChunk>;
  readonly #found = Promise.withResolvers<FoundChunk>();
  readonly #tools: SearchTools;
  readonly #sources: readonly ChunkSource[];
  readonly chunk: ChunkRef;
  readonly #name: ChunkName;
  readonly #askings: Asking[] = [];
  #priority: Priority;
  #isOver = false;
  #originRefusal: Refusal | undefined;
  /** The tier that had said nothing when it was time to ask the next one too, but nobody was waiting. */
  #hedgeDue: Asking | undefined;

  /** `sources`: nearest first, the origin last. */
  constructor(
    tools: SearchTools,
    sources: readonly ChunkSource[],
    chunk: ChunkRef,
    priority: Priority,
  ) {
    this.#tools = tools;
    this.#sources = sources;
    this.chunk = chunk;
    const { rootId, ciphertextDigest, storedLengthBytes } = chunk;
    this.#name = { rootId, ciphertextDigest, storedLengthBytes };
    this.#priority = priority;
    this.found = this.#found.promise;
  }

  get priority(): Priority {
    return this.#priority;
  }

  /** Asks the first tier. To be called once. */
  start(): void {
    this.#tools.hedges.earn();
    this.#askNext(false);
  }

  /** Somebody waits now: so also for whom the tiers have queued this search. */
  raise(): void {
    this.#priority = 'foreground';
    for (const { outcome, source } of this.#askings) {
      if (outcome === undefined) source.cache.review?.();
    }
    if (this.#hedgeDue !== undefined) this.#hedge(this.#hedgeDue);
  }

  /** Ends the search; `found` never settles then, unless it has. */
  abort(): void {
    this.#isOver = true;
    const nowMs = this.#tools.time.monotonicMs();
    for (const asking of this.#askings) {
      if (asking.outcome !== undefined) continue;
      asking.end('abandoned', nowMs);
      asking.abort.abort(noLongerNeeded);
    }
  }

  #askNext(isHedge: boolean): void {
    const source = this.#sources[this.#askings.length];
    if (source === undefined) return;
    const startedMs = this.#tools.time.monotonicMs();
    const asking = new Asking(this, source, { isHedge, startedMs });
    this.#askings.push(asking);
    source.tally.begin();
    this.#setTimers(asking);
    void this.#ask(asking);
  }

  #setTimers(asking: Asking): void {
    const { time } = this.#tools;
    const { cache, patienceMs } = asking.source;
    const delays: [number, () => void][] = [
      [cache.hedgeAfterMs(), () => this.#hedge(asking)],
      [patienceMs, () => this.#giveUp(asking)],
    ];
    const stops = delays
      .filter(([delayMs]) => delayMs !== Infinity)
      .map(([delayMs, run]) => time.after(delayMs, run));
    asking.stopTimers = () => stops.forEach((stop) => stop());
  }

  #giveUp(asking: Asking): void {
    asking.end('timeout', this.#tools.time.monotonicMs());
    asking.abort.abort(outOfPatience);
  }

  #hedge(asking: Asking): void {
    const isLast = this.#askings.at(-1) === asking;
    this.#hedgeDue = undefined;
    if (this.#isOver || asking.outcome !== undefined || !isLast) return;
    if (this.#priority === 'prefetch') {
      this.#hedgeDue = asking;
      return;
    }
    const { hedges, hedgeCounters } = this.#tools;
    if (hedges.take()) {
      hedgeCounters.started += 1;
      this.#askNext(true);
    } else {
      hedgeCounters.refused += 1;
    }
  }

  async #ask(asking: Asking): Promise<void> {
    const answer = await this.#answerOf(asking);
    if (this.#isOver) return;
    if ('plaintext' in answer) this.#succeed(asking, answer);
    else this.#fallThrough(asking, answer);
  }

  /** What the tier says, verified and counted. Never throws. */
  async #answerOf(asking: Asking): Promise<Verified | Refusal> {
    const { time } = this.#tools;
    const { cache } = asking.source;
    try {
      const ciphertext = await untilAborted(cache.get(this.#name, asking), asking.signal);
      asking.stopTimers(); // what is left to do is ours
      const atMs = time.monotonicMs();
      if (ciphertext !== undefined) return await this.#verify(asking, ciphertext, atMs);
      asking.end('miss', atMs);
      return { outcome: 'miss' };
    } catch (thrown) {
      if (asking.outcome !== undefined) return { outcome: asking.outcome, thrown };
      const isForeseen = foreseenCodes.has(errorCode(thrown) ?? '');
      const outcome = isForeseen ? 'unavailable' : 'failed';
      asking.end(outcome, time.monotonicMs());
      if (!isForeseen) this.#warn(asking, 'a tier failed', thrown);
      return { outcome, thrown };
    }
  }

  /** `atMs`: when the bytes were there. */
  async #verify(asking: Asking, ciphertext: Uint8Array, atMs: number): Promise<Verified | Refusal> {
    const { codec, storedLengthBytes } = this.chunk;
    const { byteLength } = ciphertext;
    const lacking = this.#lacking();
    // Opening may use the bytes up where they are compressed.
    const kept = lacking.length > 0 && codec !== 'none' ? new Uint8Array(ciphertext) : ciphertext;
    try {
      const plaintext =
        asking.verified === ciphertext
          ? openVerified(this.chunk, ciphertext)
          : await this.#tools.open(this.chunk, ciphertext);
      this.#tools.recordOpen(this.#tools.time.monotonicMs() - atMs);
      asking.end('hit', atMs, storedLengthBytes);
      return { plaintext, ciphertext: kept, lacking };
    } catch (thrown) {
      const code = errorCode(thrown);
      // The bytes are those of the name, so every tier has the same: it is the manifest that lists them wrongly.
      const isUnreadable =
        code === 'ERR_CHUNK_UNREADABLE' ||
        (byteLength !== storedLengthBytes && this.#isNamedSo(ciphertext));
      if (!isUnreadable && code !== 'ERR_CHUNK_CORRUPT') throw thrown;
      asking.end('corrupt', atMs);
      this.#warn(asking, 'a chunk is corrupt', thrown);
      if (!isUnreadable) this.#forget(asking);
      return { outcome: 'corrupt', thrown, isFinal: isUnreadable };
    }
  }

  #isNamedSo(bytes: Uint8Array): boolean {
    return viewOf(this.chunk.ciphertextDigest).equals(hash('sha256', bytes, 'buffer'));
  }

  /** Not those that are just slow: they may well have it. */
  #lacking(): readonly CacheTier[] {
    return this.#askings
      .filter(({ outcome }) => outcome !== undefined && lacksChunk.has(outcome))
      .map(({ source }) => source.cache);
  }

  /** Not waited for: the reader has waited long enough. */
  #forget(asking: Asking): void {
    asking.source.cache.forget(this.#name).catch((thrown: unknown) => {
      this.#warn(asking, 'a tier cannot forget a corrupt chunk', thrown);
    });
  }

  #succeed(asking: Asking, { plaintext, ciphertext, lacking }: Verified): void {
    if (asking.isHedge) this.#tools.hedgeCounters.won += 1;
    this.abort();
    this.#found.resolve({ plaintext, tier: asking.source.tier });
    for (const cache of lacking) cache.offer(this.#name, ciphertext);
    // Left to the garbage collector it costs a tenth of all that a chunk from the zone costs the processors (bench/tiers.bench.ts).
    giveBack(ciphertext);
  }

  #fallThrough(asking: Asking, refusal: Refusal): void {
    if (asking.source === this.#sources.at(-1)) this.#originRefusal = refusal;
    if (refusal.isFinal === true) {
      this.#fail(refusal);
      return;
    }
    if (this.#askings.at(-1) === asking) this.#askNext(false);
    const isWaiting = this.#askings.some(({ outcome }) => outcome === undefined);
    // The origin's word counts: it is the only tier that must have the chunk.
    if (!isWaiting && this.#originRefusal !== undefined) this.#fail(this.#originRefusal);
  }

  #fail({ outcome, thrown, isFinal }: Refusal): void {
    const { rootId, ciphertextDigest } = this.chunk;
    const digestHex = toHex(ciphertextDigest);
    this.abort();
    if (isFinal === true) {
      this.#found.reject(new ChunkUnreadableError(rootId, digestHex, thrown));
    } else if (outcome === 'miss') {
      this.#found.reject(new ChunkMissingError(rootId, digestHex));
    } else if (outcome === 'corrupt') {
      this.#found.reject(new ChunkCorruptError(rootId, digestHex, thrown));
    } else {
      this.#found.reject(thrown);
    }
  }

  #warn({ source }: Asking, message: string, thrown: unknown): void {
    if (!source.tally.mayLog(this.#tools.time.monotonicMs())) return;
    const { tier } = source;
    const { rootId, ciphertextDigest } = this.chunk;
    const chunk = `${rootId}/${toHex(ciphertextDigest)}`;
    this.#tools.log.warn(message, { tier, chunk, reason: errorMessage(thrown) });
  }
}
