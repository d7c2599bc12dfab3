/**
 * L2, the zone's cache: every chunk as five stripes on five servers, any four of which give it back, so that a server that is slow,
 * gone or empty costs nothing (the paper, section 4.1).
 *
 * Invariants: a read asks all five and waits for four; it ends by its deadline, whatever the servers do. Only stripes of
 * one chunk, by name, length and checksum, are joined; whether they are the right bytes is for the reader to verify. What is written
 * goes after what is read, at a pace that servers bear, from a queue that is bounded.
 */

import {
  Semaphore,
  SingleFlight,
  assert,
  defined,
  present,
  release,
  systemClock,
  systemTimers,
  untilAborted,
  type Clock,
  type Timers,
} from '../../base/index.ts';
import {
  dataStripeCount,
  encodeStripes,
  rebuildChunk,
  parityStripeIndex,
  stripeCount,
  type Stripes,
} from '../../erasure/index.ts';
import type { CacheTier, ChunkName, TierRequest } from '../cache-tier.ts';
import { TierUnavailableError } from '../errors.ts';
import { encodeStripe, stripeHeaderRecord, stripeKey } from './stripe.ts';
import {
  WaitingChunks,
  waitingDefaultMaxBytes,
  type WaitingChunk,
} from '../waiting/waiting-chunks.ts';
import type { WorkerReads } from '../worker-reads.ts';
import { ZoneFill, type ChunkToWrite } from './zone-fill.ts';
import { findForger } from './zone-forgery.ts';
import { ZoneMembers, type ZoneMember, type ZoneNode } from './zone-members.ts';
import type { RaceOutcome, StripeAnswer } from './zone-race.ts';
import { ZoneReader, type Place, type ZoneRead } from './zone-reader.ts';
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
  /** A read that has not found four stripes so long after it asked is over, and so is one that waited so long for its turn. Default 250. */
  readonly readDeadlineMs?: number;
  /**
   * Chunks that wait to be written, in bytes; their parity is made, a quarter more, when the first of their stripes is sent. Beyond it they
   * are dropped, and from three quarters of it on written at once. Default 96 MiB, which holds what the start of a Node function reads.
   */
  readonly fillQueueMaxBytes?: number;
  /** Where what is offered waits. Default: as large as the queue, and of this cache alone. */
  readonly waiting?: WaitingChunks;
  /** Noted here, and what is offered written in the pauses between. Left out: what is offered is written at once. */
  readonly reads?: WorkerReads;
  /** Default: the system's. */
  readonly time?: Clock & Timers;
}

const readDeadlineDefaultMs = 250;

/**
 * Of the queue, what may wait for one server: a stripe keeps its whole chunk in memory, so that a server that stalls with that much
 * holds four fifths of the queue at most, and the others go on. Less would not hold its stripes of as many chunks as may wait for a pause.
 */
const laneShare = 1 / 5;

/** What the background may wait for one answer; longer than any reader does. */
const writeDeadlineMs = 1000;

/** A server that loses a stripe again within so long has a reason that writing it once more does not cure. */
const repairRestMs = 60_000;
/** Chunks that wait to know which stripe spoils them; three searches that find one server are enough to do without it. */
const forgerySearchesMax = 8;
/** About 1 MiB of names. */
const repairEntriesMax = 4096;

interface Repair extends Pick<Place, 'chunk' | 'key'>, Pick<RaceOutcome, 'stripes'> {
  readonly node: ZoneNode;
}

/** A worker's side of the zone: all it takes to use the servers, which know nothing of each other. `close` it at the end. */
export class ZoneCache implements CacheTier {
  readonly #time: Clock & Timers;
  readonly #readDeadlineMs: number;
  readonly #reader: ZoneReader;
  readonly #members: ZoneMembers;
  readonly #fill: ZoneFill;
  readonly #workerReads: WorkerReads | undefined;
  readonly #waiting: WaitingChunks;
  readonly #repairs: RepairMemory;
  readonly #reads = { hits: 0, misses: 0, unavailable: 0, timeouts: 0 };
  readonly #stripes = { corrupt: 0, raced: 0, rebuilt: 0, repaired: 0 };
  readonly #forgetting = new SingleFlight<string, void>();
  /** One at a time: each asks for five stripes and hashes the chunk as often. */
  readonly #searches = new Semaphore(1);

  constructor(options: ZoneCacheOptions) {
    this.#time = options.time ?? { ...systemClock, ...systemTimers };
    this.#readDeadlineMs = options.readDeadlineMs ?? readDeadlineDefaultMs;
    const queueMaxBytes = options.fillQueueMaxBytes ?? waitingDefaultMaxBytes;
    this.#workerReads = options.reads;
    this.#waiting = options.waiting ?? new WaitingChunks({ bytesMax: queueMaxBytes });
    this.#fill = new ZoneFill({ queueMaxBytes, ...defined({ reads: options.reads }) });
    this.#members = new ZoneMembers({
      connect: options.connect,
      laneQueueMaxBytes: queueMaxBytes * laneShare,
      writeDeadlineMs,
      pauseInMs: (sinceMs) => this.#fill.pauseInMs(sinceMs),
      time: this.#time,
    });
    this.#members.set(options.servers);
    this.#reader = new ZoneReader({
      serverCount: options.servers.length,
      deadlineMs: this.#readDeadlineMs,
      onLate: (place, position, answer, stripes) => this.#mend(place, position, answer, stripes),
      time: this.#time,
    });
    this.#repairs = new RepairMemory({
      restMs: repairRestMs,
      entriesMax: repairEntriesMax,
      clock: this.#time,
    });
  }

  /**
   * As `CacheTier` says; within twice the read's deadline. Undefined if so few servers have a stripe that it is no chunk, and
   * `ERR_CACHE_TIER_UNAVAILABLE` if so few can say, or by the deadline nothing was certain.
   */
  async get(chunk: ChunkName, request: TierRequest): Promise<Uint8Array | undefined> {
    request.signal.throwIfAborted();
    this.#workerReads?.note();
    const { place, outcome } = await this.#reader.read(() => this.#placeOf(chunk), request);
    const { verdict, answers, stripes, isHeard, ciphertext } = outcome;
    this.#tally(place, outcome);
    for (const [position, answer] of answers.entries()) {
      this.#mend(place, position, answer, verdict === 'hit' ? stripes : undefined);
    }
    if (verdict !== 'hit') return this.#miss({ place, outcome });
    this.#reads.hits += 1;
    if (stripes[parityStripeIndex] !== undefined) this.#stripes.rebuilt += 1;
    // Left to the garbage collector they cost a third of the processor time of a read.
    if (!isHeard) for (const stripe of stripes) if (stripe !== undefined) release(stripe);
    return ciphertext;
  }

  /** As `CacheTier` says. */
  offer(chunk: ChunkName, ciphertext: Uint8Array): void {
    this.#workerReads?.note();
    assert(
      ciphertext.byteLength === chunk.storedLengthBytes,
      'A chunk of another length was offered',
    );
    let kept: WaitingChunk | undefined;
    const bytes = (): Uint8Array => present(kept, 'a chunk that is queued').bytes;
    const toWrite = this.#toWrite(this.#placeOf(chunk), bytes);
    this.#fill.offer({
      ...toWrite,
      keep: () => (kept = this.#waiting.keep(chunk, ciphertext)) !== undefined,
      ended: () => {
        toWrite.ended();
        kept?.done();
      },
    });
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
    assert(
      ciphertext.byteLength === chunk.storedLengthBytes,
      'A chunk of another length was primed',
    );
    const toWrite = this.#toWrite(this.#placeOf(chunk), () => ciphertext);
    return this.#fill.prime(toWrite, signal);
  }

  /**
   * As `CacheTier` says: gives up what is queued of it, and deletes the stripe that spoils it, or all if that cannot be told. Takes
   * a few seconds at most.
   */
  async forget(chunk: ChunkName): Promise<void> {
    const place = this.#placeOf(chunk);
    await this.#forgetting.run(place.key, () => this.#forget(place));
  }

  async #forget(place: Place): Promise<void> {
    const { key, nodes } = place;
    this.#fill.cancel(key);
    const forger = await this.#forgerOf(place);
    if (this.#fill.has(key)) return; // all of it is being written anew
    await Promise.all((forger ? [forger] : nodes).map((node) => this.#delete(node, key)));
  }

  /** The p99 of the last half minute or so, within 5 and 100 ms; 20 ms as long as there were fewer than 100 reads. */
  hedgeAfterMs(): number {
    return this.#reader.hedgeAfterMs();
  }

  review(): void {
    this.#reader.review();
  }

  /**
   * From now on these servers, as `ZoneCacheOptions.servers`. Reads under way end where they began; a server that is gone from the
   * list is closed after them, and one that stays does not notice.
   */
  setServers(servers: readonly ZoneMember[]): void {
    if (this.#members.set(servers)) this.#reader.serversChanged(servers.length);
  }

  /** Resolves when all that was offered is written or given up, which waits for no pause. */
  idle(): Promise<void> {
    return this.#fill.idle();
  }

  status(): ZoneStatus {
    const { latency, ...reads } = this.#reader.status;
    return {
      reads: { ...reads, ...this.#reads },
      stripes: { ...this.#stripes },
      fill: this.#fill.status,
      hedgeAfterMs: this.hedgeAfterMs(),
      latency,
      servers: Array.from(this.#members.nodes, ({ server, lane, counters, latency: answers }) => ({
        ...server.status(),
        ...counters,
        fillQueueBytes: lane.queueBytes,
        latency: answers.snapshot(),
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

  /** Undefined, or why the zone cannot say thrown. */
  #miss({ place, outcome: { verdict, answers } }: ZoneRead): undefined {
    if (verdict === 'miss') {
      this.#reads.misses += 1;
      return;
    }
    const causes = answers.filter((answer) => answer.kind === 'unavailable');
    const cause = causes[0]?.cause;
    if (verdict === 'late') {
      this.#reads.timeouts += 1;
      const reason = `its servers did not answer within ${this.#readDeadlineMs} ms`;
      throw new TierUnavailableError('zone', reason, cause);
    }
    this.#reads.unavailable += 1;
    const count = place.nodes.length;
    if (count < dataStripeCount) throw new TierUnavailableError('zone', tooFewServers(count));
    const reason = `${causes.length} of its ${count} servers for it are unavailable`;
    throw new TierUnavailableError('zone', reason, cause);
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
    if (server.state === 'down' || !node.isTrusted || this.#repairs.isResting(key, server.id))
      return false;
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

  /** Undefined if it cannot be told, or if too many chunks have such a search ahead of theirs. */
  async #forgerOf(place: Place): Promise<ZoneNode | undefined> {
    if (this.#forgetting.size > forgerySearchesMax) return undefined;
    return this.#searches.run(() => this.#findForger(place));
  }

  async #findForger({ chunk, key, nodes }: Place): Promise<ZoneNode | undefined> {
    const releases = nodes.map((node) => node.hold());
    try {
      const position = await findForger({
        servers: nodes.map(({ server }) => server),
        key,
        chunk,
        deadlineMs: this.#readDeadlineMs,
        timers: this.#time,
      });
      const forger = position === undefined ? undefined : nodes[position];
      forger?.forged();
      return forger;
    } finally {
      for (const release of releases) release();
    }
  }

  /** Stripe i for the i-th server; four servers get no parity, fewer nothing. */
  #toWrite(
    { chunk, key, nodes }: Place,
    ciphertext: () => Uint8Array,
  ): ChunkToWrite & { ended(): void } {
    const lengthBytes = chunk.storedLengthBytes;
    // Made when the first of them is sent: reads that are waited for go first.
    let stripes: Stripes | undefined;
    const payloadLengthBytes = lengthBytes / dataStripeCount;
    return {
      key,
      heldBytes: lengthBytes,
      stripes: nodes.map(({ lane }, index) => ({
        lane,
        sizeBytes: stripeHeaderRecord.sizeBytes + payloadLengthBytes,
        parts: () =>
          encodeStripe(chunk, index, payloadOf((stripes ??= encodeStripes(ciphertext())), index)),
      })),
      ended: () => {
        if (stripes !== undefined) release(stripes.parity);
      },
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
