/**
 * L2, the zone's cache: every chunk as five stripes on five servers, any four of which give it back, so that a server that is slow,
 * gone or empty costs nothing (the paper, section 4.1).
 *
 * Invariants: a read asks all five and waits for four; it ends by its deadline, whatever the servers do. Only stripes of
 * one chunk, by name, length and checksum, are joined; whether they are the right bytes is for the reader to verify. What is written
 * goes after what is read, at a pace that servers bear, from a queue that is bounded.
 */

import {
  LatencyHistogram,
  RecentLatency,
  assert,
  systemClock,
  systemTimers,
  untilAborted,
  type Clock,
  type Timers,
} from '../base/index.ts';
import {
  dataStripeCount,
  encodeStripes,
  rebuildChunk,
  parityStripeIndex,
  stripeCount,
  type Stripes,
} from '../erasure/index.ts';
import type { CacheTier, ChunkName, TierRequest } from './cache-tier.ts';
import { TierUnavailableError } from './errors.ts';
import { encodeStripe, stripeHeaderRecord, stripeKey } from './stripe.ts';
import { ZoneFill, type ChunkToWrite } from './zone-fill.ts';
import { ZoneMembers, type ZoneMember, type ZoneNode } from './zone-members.ts';
import { raceStripes, type RaceOptions, type RaceOutcome, type StripeAnswer } from './zone-race.ts';
import { RepairMemory } from './zone-repair-memory.ts';
import type { ZoneServer } from './zone-server.ts';
import type { ZoneStatus } from './zone-status.ts';

export interface ZoneCacheOptions {
  /**
   * Ids MUST differ, weights be above 0. With four there is no parity and any loss is a miss; with fewer the zone is unavailable: it is
   * for the configuration to ask for five at least.
   */
  readonly servers: readonly ZoneMember[];
  /** The client of a server; called once when the server is added. The zone cache closes it. */
  readonly connect: (member: ZoneMember) => ZoneServer;
  /** A read that has not found four stripes by then is over. Default 250. */
  readonly readDeadlineMs?: number;
  /** Memory for chunks that wait to be written. Default 64 MiB. */
  readonly fillQueueMaxBytes?: number;
  /** Default: the system's. */
  readonly time?: Clock & Timers;
}

const readDeadlineDefaultMs = 250;
const fillQueueMaxDefaultBytes = 64 * 1024 * 1024;

/**
 * Of the queue, what may wait for one server: a stripe keeps its whole chunk in memory, so that a server that stalls with that much
 * holds five eighths of the queue at most, and the others go on.
 */
const laneShare = 1 / 8;

/** What the background may wait for one answer; longer than any reader does. */
const writeDeadlineMs = 1000;

/** A server that loses a stripe again within so long has a reason that writing it once more does not cure. */
const repairRestMs = 60_000;
/** About 1 MiB of names. */
const repairEntriesMax = 4096;

/** What counts as recent for hedging. */
const recentWindowMs = 30_000;
/** Fewer reads than that have no p99. */
const recentCountMin = 100;
/** Before there is a p99: above the p99.9 of the paper's zone, 4 ms, and below the median of its origin, 36 ms (section 4). */
const hedgeDefaultMs = 20;
/** A pause of our own, to collect garbage for instance, is no reason to ask the origin, which cannot answer sooner. */
const hedgeMinMs = 5;
/** The origin's p99 or so: whoever has waited for that long would have had the chunk from there. */
const hedgeMaxMs = 100;

/** Of the hits, every so manieth hears also the fifth server, to find what is missing there. */
const auditInterval = 16;
/**
 * After a change of the servers all hits do, for so long: a server that comes back to a chunk may have kept a stripe that another has
 * got meanwhile, and until one of the two gets the missing one no other may be lost.
 */
const auditAllMs = 600_000;

/** A chunk, and where it lies. */
interface Place {
  readonly chunk: ChunkName;
  readonly key: string;
  readonly nodes: readonly ZoneNode[];
}

/** See the head of this file. */
interface Repair extends Pick<Place, 'chunk' | 'key'>, Pick<RaceOutcome, 'stripes'> {
  readonly node: ZoneNode;
}

export class ZoneCache implements CacheTier {
  readonly #time: Clock & Timers;
  readonly #readDeadlineMs: number;
  readonly #members: ZoneMembers;
  readonly #fill: ZoneFill;
  readonly #repairs: RepairMemory;
  readonly #latency = new LatencyHistogram();
  readonly #recent: RecentLatency;
  readonly #reads = { inFlight: 0, hits: 0, misses: 0, unavailable: 0, timeouts: 0, abandoned: 0 };
  readonly #stripes = { corrupt: 0, raced: 0, rebuilt: 0, repaired: 0 };

  /** 1: the next. */
  #readsToAudit = auditInterval;
  #auditAllUntilMs: number;

  constructor(options: ZoneCacheOptions) {
    this.#time = options.time ?? { ...systemClock, ...systemTimers };
    this.#readDeadlineMs = options.readDeadlineMs ?? readDeadlineDefaultMs;
    const queueMaxBytes = options.fillQueueMaxBytes ?? fillQueueMaxDefaultBytes;
    this.#fill = new ZoneFill(queueMaxBytes);
    this.#members = new ZoneMembers({
      connect: options.connect,
      laneQueueMaxBytes: queueMaxBytes * laneShare,
      writeDeadlineMs,
      time: this.#time,
    });
    this.#members.set(options.servers);
    // Who starts does not know when the servers changed.
    this.#auditAllUntilMs = this.#time.monotonicMs() + auditAllMs;
    this.#repairs = new RepairMemory({
      restMs: repairRestMs,
      entriesMax: repairEntriesMax,
      clock: this.#time,
    });
    this.#recent = new RecentLatency(recentWindowMs, () => this.#time.monotonicMs());
  }

  /**
   * As `CacheTier` says; within the read's deadline. Undefined if so few servers have a stripe that it is no chunk, and
   * `ERR_CACHE_TIER_UNAVAILABLE` if so few can say, or by the deadline nothing was certain.
   */
  async get(chunk: ChunkName, request: TierRequest): Promise<Uint8Array | undefined> {
    request.signal.throwIfAborted();
    const place = this.#placeOf(chunk);
    if (place.nodes.length < dataStripeCount) {
      this.#reads.unavailable += 1;
      throw new TierUnavailableError('zone', tooFewServers(place.nodes.length));
    }
    const startedMs = this.#time.monotonicMs();
    const outcome = await this.#race(place, request);
    const tookMs = this.#time.monotonicMs() - startedMs;
    if (request.priority === 'foreground') this.#recent.record(tookMs);
    this.#tally(place, outcome);
    const found = outcome.verdict === 'hit' ? this.#join(outcome, tookMs) : undefined;
    const stripes = outcome.verdict === 'hit' ? outcome.stripes : undefined;
    for (const [position, answer] of outcome.answers.entries()) {
      this.#mend(place, position, answer, stripes);
    }
    if (found === undefined) this.#throwUnlessMiss(outcome);
    return found;
  }

  /** As `CacheTier` says. */
  offer(chunk: ChunkName, ciphertext: Uint8Array): void {
    this.#fill.offer(this.#toWrite(this.#placeOf(chunk), ciphertext));
  }

  /**
   * Writes a chunk as `offer` does, but waits for room instead of dropping it, and until it is written. False if too few servers
   * took their stripe for it to be read. `ciphertext` MUST NOT change until then. Rejects with the signal's reason, and no other.
   */
  async prime(
    chunk: ChunkName,
    ciphertext: Uint8Array,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<boolean> {
    return this.#fill.prime(this.#toWrite(this.#placeOf(chunk), ciphertext), signal);
  }

  /** As `CacheTier` says: gives up what is queued of it, and deletes all its stripes. Takes a second at most. */
  async forget(chunk: ChunkName): Promise<void> {
    const { key, nodes } = this.#placeOf(chunk);
    this.#fill.cancel(key);
    await Promise.all(nodes.map((node) => this.#delete(node, key)));
  }

  /** The p99 of the last half minute or so, within 5 and 100 ms; 20 ms as long as there were fewer than 100 reads. */
  hedgeAfterMs(): number {
    const recentMs = this.#recent.quantileMs(0.99, recentCountMin) ?? hedgeDefaultMs;
    return Math.min(hedgeMaxMs, Math.max(hedgeMinMs, recentMs));
  }

  /**
   * From now on these servers, as `ZoneCacheOptions.servers`. Reads under way end where they began; a server that is gone from the
   * list is closed after them, and one that stays does not notice.
   */
  setServers(servers: readonly ZoneMember[]): void {
    this.#members.set(servers);
    this.#auditAllUntilMs = this.#time.monotonicMs() + auditAllMs;
  }

  /** Resolves when all that was offered is written or given up. */
  idle(): Promise<void> {
    return this.#fill.idle();
  }

  status(): ZoneStatus {
    return {
      reads: { ...this.#reads },
      stripes: { ...this.#stripes },
      fill: this.#fill.status,
      hedgeAfterMs: this.hedgeAfterMs(),
      latency: this.#latency.snapshot(),
      servers: Array.from(this.#members.nodes, ({ server, lane, counters }) => ({
        ...server.status(),
        ...counters,
        fillQueueBytes: lane.queueBytes,
      })),
    };
  }

  /** Gives up what is queued, and closes all servers when the reads under way have ended. Later reads are unavailable. */
  async close(): Promise<void> {
    this.#fill.cancelAll();
    await this.#members.close();
  }

  #placeOf(chunk: ChunkName): Place {
    const nodes = this.#members.nodesOf(chunk.ciphertextDigest);
    return { chunk, key: keyOf(chunk), nodes };
  }

  async #race(place: Place, request: TierRequest): Promise<RaceOutcome> {
    const { chunk, key, nodes } = place;
    const releases = nodes.map((node) => node.hold());
    const startedMs = this.#time.monotonicMs();
    this.#reads.inFlight += 1;
    try {
      const servers = nodes.map(({ server }) => server);
      const onOver = (): void => releases.forEach((release) => release());
      const [deadlineMs, timers] = [this.#readDeadlineMs, this.#time];
      const race = { servers, key, chunk, deadlineMs, timers, onOver };
      const onLate: RaceOptions['onLate'] = (position, answer, stripes) =>
        this.#mend(place, position, answer, stripes);
      return await raceStripes(this.#isAudited() ? { ...race, onLate } : race, request);
    } catch (thrown) {
      this.#reads.abandoned += 1;
      // Readers who hedge give up just those reads that take long: without them the p99 would fall and fall.
      const tookMs = this.#time.monotonicMs() - startedMs;
      if (tookMs >= this.hedgeAfterMs()) this.#recent.record(tookMs);
      throw thrown;
    } finally {
      this.#reads.inFlight -= 1;
    }
  }

  /** Whether this read hears also those whom it does not wait for. */
  #isAudited(): boolean {
    this.#readsToAudit -= 1;
    if (this.#readsToAudit > 0 && this.#time.monotonicMs() >= this.#auditAllUntilMs) return false;
    this.#readsToAudit = auditInterval;
    return true;
  }

  #tally({ nodes }: Place, { verdict, answers, stripes }: RaceOutcome): void {
    for (const [position, { counters }] of nodes.entries()) {
      const answer = answers[position];
      if (answer?.kind === 'pending') {
        if (verdict === 'late') counters.late += 1;
        if (verdict === 'hit') {
          counters.lost += 1;
          this.#stripes.raced += 1;
        }
      } else if (verdict === 'hit' && answer !== undefined && isUsed(answer, stripes)) {
        counters.used += 1;
      }
    }
  }

  #join({ stripes }: RaceOutcome, tookMs: number): Uint8Array {
    this.#reads.hits += 1;
    this.#latency.record(tookMs);
    if (stripes[parityStripeIndex] !== undefined) this.#stripes.rebuilt += 1;
    return rebuildChunk(stripes);
  }

  #throwUnlessMiss({ verdict, answers }: RaceOutcome): void {
    if (verdict === 'miss') {
      this.#reads.misses += 1;
      return;
    }
    const causes = answers.filter((answer) => answer.kind === 'unavailable');
    if (verdict === 'late') {
      this.#reads.timeouts += 1;
      const reason = `its servers did not answer within ${this.#readDeadlineMs} ms`;
      throw new TierUnavailableError('zone', reason, causes[0]?.cause);
    }
    this.#reads.unavailable += 1;
    const reason = `${causes.length} of its ${answers.length} servers for it are unavailable`;
    throw new TierUnavailableError('zone', reason, causes[0]?.cause);
  }

  /**
   * Takes note of what a server said besides a stripe that was used. `stripes`: of a hit, whose missing one is then written where there
   * is none; left out where there was none. What is no stripe and not overwritten so is deleted.
   */
  #mend(
    { chunk, key, nodes }: Place,
    position: number,
    answer: StripeAnswer,
    stripes?: RaceOutcome['stripes'],
  ): void {
    const node = nodes[position];
    if (node === undefined || answer.kind === 'pending') return;
    if (answer.kind === 'unavailable') {
      node.counters.unavailable += 1;
      return;
    }
    if (answer.kind === 'none') node.counters.missing += 1;
    if (answer.kind === 'corrupt') {
      node.counters.corrupt += 1;
      this.#stripes.corrupt += 1;
    }
    const isLacking =
      stripes !== undefined && !isUsed(answer, stripes) && !completes(answer, stripes);
    if (isLacking && this.#repair({ chunk, key, node, stripes })) return;
    if (answer.kind === 'corrupt') void this.#delete(node, key);
  }

  /** False if the stripe is not written, because there is a reason not to. */
  #repair({ chunk, key, node, stripes }: Repair): boolean {
    const { server, lane, counters } = node;
    if (server.state === 'down' || this.#repairs.isResting(key, server.id)) return false;
    this.#repairs.remember(key, server.id);
    const index = missingIndex(stripes);
    const payload = payloadOf(encodeStripes(rebuildChunk(stripes)), index);
    const sizeBytes = stripeHeaderRecord.sizeBytes + payload.byteLength;
    const parts = (): readonly Uint8Array[] => encodeStripe(chunk, index, payload);
    // A quarter is a view of the whole chunk.
    const heldBytes = chunk.storedLengthBytes;
    const write = { key, heldBytes, stripes: [{ lane, sizeBytes, parts }] };
    return this.#fill.repair(write, () => {
      counters.repaired += 1;
      this.#stripes.repaired += 1;
    });
  }

  /** Stripe i for the i-th server; four servers get no parity, fewer nothing. */
  #toWrite({ chunk, key, nodes }: Place, ciphertext: Uint8Array): ChunkToWrite {
    const lengthBytes = ciphertext.byteLength;
    assert(lengthBytes === chunk.storedLengthBytes, 'A chunk is as long as its name says');
    // Made when the first of them is sent: reads that are waited for go first.
    let stripes: Stripes | undefined;
    const payloadLengthBytes = lengthBytes / dataStripeCount;
    return {
      key,
      heldBytes: lengthBytes + payloadLengthBytes,
      stripes: nodes.map(({ lane }, index) => ({
        lane,
        sizeBytes: stripeHeaderRecord.sizeBytes + payloadLengthBytes,
        parts: () =>
          encodeStripe(chunk, index, payloadOf((stripes ??= encodeStripes(ciphertext)), index)),
      })),
    };
  }

  async #delete(node: ZoneNode, key: string): Promise<void> {
    const abort = new AbortController();
    const cancelTimer = this.#time.after(writeDeadlineMs, () => abort.abort());
    const release = node.hold();
    const request = { signal: abort.signal, priority: 'foreground' } as const;
    try {
      await untilAborted(node.server.delete(key, request), abort.signal);
    } catch {
      // Best effort: the server counts it, and whoever reads the copy again deletes it again.
    } finally {
      release();
      cancelTimer();
    }
  }
}

/**
 * A chunk of one root is none of another root's. The length is part of the key, although the digest says all, so that a manifest that
 * lists another's chunk with a wrong length finds nothing, rather than stripes that it would have deleted as corrupt.
 */
function keyOf(chunk: ChunkName): string {
  return stripeKey(chunk, `${chunk.rootId}/${chunk.storedLengthBytes}/`);
}

function tooFewServers(count: number): string {
  return `it has ${count} servers, and a chunk lies on ${stripeCount}; add some`;
}

/** Whether the chunk was made with it: not of two stripes with one index the second. */
function isUsed(answer: StripeAnswer, stripes: RaceOutcome['stripes']): boolean {
  return answer.kind === 'stripe' && stripes[answer.index] === answer.payload;
}

/** Whether it is the stripe that the four of a hit lack. */
function completes(answer: StripeAnswer, stripes: RaceOutcome['stripes']): boolean {
  return answer.kind === 'stripe' && stripes[answer.index] === undefined;
}

function missingIndex(stripes: RaceOutcome['stripes']): number {
  return Array.from({ length: stripeCount }, (_, index) => stripes[index]).indexOf(undefined);
}

function payloadOf({ data, parity }: Stripes, index: number): Uint8Array {
  return data[index] ?? parity;
}
