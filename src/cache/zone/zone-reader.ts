/**
 * The zone's readers: who of them asks the servers at one time, what that has taken lately, and how it ended.
 *
 * Invariants: a read that somebody waits for waits for its turn no longer than its deadline, and asks no longer than that again. Not more of them ask at one time than healthy servers let
 * in, or a burst of reads would be refused by servers that have everything; the foreground goes first.
 */

import { LatencyHistogram, RecentLatency, type Clock, type Timers } from '../../base/index.ts';
import { dataStripeCount } from '../../erasure/index.ts';
import type { ChunkName, TierRequest } from '../cache-tier.ts';
import { ServerUnavailableError } from '../errors.ts';
import { PriorityGate, type GatePlaces } from '../priority-gate.ts';
import type { ZoneNode } from './zone-members.ts';
import { failSoon } from './zone-server.ts';
import { raceStripes, type RaceOutcome, type RaceServer, type StripeAnswer } from './zone-race.ts';

/** A chunk, and the servers where its stripes lie. */
export interface Place {
  readonly chunk: ChunkName;
  readonly key: string;
  readonly nodes: readonly ZoneNode[];
}

/** What a server that a hit had not waited for said after all. */
export type OnLate = (
  place: Place,
  position: number,
  answer: StripeAnswer,
  stripes: RaceOutcome['stripes'],
) => void;

export interface ZoneReaderOptions {
  readonly serverCount: number;
  readonly deadlineMs: number;
  readonly onLate: OnLate;
  readonly time: Clock & Timers;
}

/** How a read ended, and where it had asked. */
export interface ZoneRead {
  readonly place: Place;
  readonly outcome: RaceOutcome;
}

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

/**
 * Reads at a time, of which each server gets its share: with five servers all. `MemcachedServer` takes 16; the other half is for fifth
 * answers that nobody waits for any longer but that are still to come. 8 chunks in 4 ms are 1 GB/s.
 */
const readsMin = 8;
/** With many servers 8 each on average. */
const readsPerServer = 8 / 5;

/** Of the hits, every so manieth hears also the fifth server, to find what is missing there. */
const auditInterval = 16;
/**
 * After a change of the servers all hits of the workers that were told do, for so long: a server that comes back to a chunk may have kept a stripe that another has
 * got meanwhile, and until one of the two gets the missing one no other may be lost.
 */
const auditAllMs = 600_000;

const unasked = { answers: [], stripes: [], isHeard: false } as const;

export class ZoneReader {
  readonly #options: ZoneReaderOptions;
  readonly #latency = new LatencyHistogram();
  readonly #recent: RecentLatency;
  readonly #gate: PriorityGate;
  /** Of those that pause because a server refused them: each looks whether it still has to. */
  readonly #pauses = new Set<() => void>();
  #inFlight = 0;
  #abandoned = 0;
  /** 1: the next. */
  #readsToAudit = auditInterval;
  #auditAllUntilMs = 0;

  constructor(options: ZoneReaderOptions) {
    this.#options = options;
    this.#recent = new RecentLatency(recentWindowMs, () => options.time.monotonicMs());
    this.#gate = new PriorityGate(placesFor(options.serverCount));
  }

  /** To be called when there are other servers than before. */
  serversChanged(count: number): void {
    this.#auditAllUntilMs = this.#options.time.monotonicMs() + auditAllMs;
    this.#gate.resize(placesFor(count));
  }

  /** To be called when the priority of a read has risen: its turn may have come, and servers that refused it may take it. */
  review(): void {
    this.#gate.review();
    for (const look of this.#pauses) look();
  }

  /** Reads that ask now; those that wait for their turn; those given up by who wanted them; and how long hits took. */
  get status() {
    return {
      inFlight: this.#inFlight,
      waiting: this.#gate.waitingCount,
      abandoned: this.#abandoned,
      latency: this.#latency.snapshot(),
    };
  }

  /** The p99 of the last half minute or so, within its bounds. */
  hedgeAfterMs(): number {
    const recentMs = this.#recent.quantileMs(0.99, recentCountMin) ?? hedgeDefaultMs;
    return Math.min(hedgeMaxMs, Math.max(hedgeMinMs, recentMs));
  }

  /** `locate` is called when the read's turn has come. Rejects with the signal's reason, and for no other. */
  async read(locate: () => Place, request: TierRequest): Promise<ZoneRead> {
    const { time } = this.#options;
    const startedMs = time.monotonicMs();
    try {
      const read = await this.#takeTurn(locate, request);
      const tookMs = time.monotonicMs() - startedMs;
      if (request.priority === 'foreground') this.#recent.record(tookMs);
      if (read.outcome.verdict === 'hit') this.#latency.record(tookMs);
      return read;
    } catch (thrown) {
      this.#abandoned += 1;
      // Readers who hedge give up just those reads that take long: without them the p99 would fall and fall.
      const tookMs = time.monotonicMs() - startedMs;
      if (tookMs >= this.hedgeAfterMs()) this.#recent.record(tookMs);
      throw thrown;
    }
  }

  async #takeTurn(locate: () => Place, request: TierRequest): Promise<ZoneRead> {
    const isIn = this.#gate.tryEnter(request) || (await this.#wait(request));
    if (!isIn) return { place: locate(), outcome: { verdict: 'late', ...unasked } };
    try {
      return await this.#race(locate(), request);
    } finally {
      this.#gate.leave(request);
    }
  }

  /** For its turn: false if it takes too long. */
  #wait(request: TierRequest): Promise<boolean> {
    const { signal } = request;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        leaveQueue();
        cancelTimer();
        signal.removeEventListener('abort', giveUp);
      };
      const giveUp = (): void => {
        end();
        reject(signal.reason as Error);
      };
      const leaveQueue = this.#gate.queue(request, () => {
        end();
        resolve(true);
      });
      const cancelTimer = this.#limitWait(request, () => {
        end();
        resolve(false);
      });
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** What nobody waits for may wait as long as it likes: it would only burden the origin instead. */
  #limitWait(request: TierRequest, giveUp: () => void): () => void {
    const { deadlineMs, time } = this.#options;
    let cancelTimer: (() => void) | undefined;
    const arm = (): void => {
      cancelTimer = time.after(deadlineMs, () => {
        if (request.priority === 'prefetch') arm();
        else giveUp();
      });
    };
    arm();
    return () => cancelTimer?.();
  }

  async #race(place: Place, request: TierRequest): Promise<ZoneRead> {
    const { chunk, key, nodes } = place;
    if (nodes.length < dataStripeCount) {
      return { place, outcome: { verdict: 'unavailable', ...unasked } };
    }
    const releases = nodes.map((node) => node.hold());
    this.#inFlight += 1;
    const race = {
      servers: nodes.map((node) => (node.isTrusted ? node.server : distrusted(node.server.id))),
      key,
      chunk,
      deadlineMs: this.#options.deadlineMs,
      time: this.#options.time,
      pauses: this.#pauses,
      onAnswer: (position: number, tookMs: number) => nodes[position]?.latency.record(tookMs),
      // From then on the store is asked as well.
      refusalPatienceMs: () => this.hedgeAfterMs(),
      onOver: () => releases.forEach((release) => release()),
    };
    const onLate = (...said: Late): void => this.#options.onLate(place, ...said);
    try {
      const outcome = await raceStripes(this.#isAudited() ? { ...race, onLate } : race, request);
      return { place, outcome };
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** Whether this read hears also those whom it does not wait for. */
  #isAudited(): boolean {
    this.#readsToAudit -= 1;
    const isAll = this.#options.time.monotonicMs() < this.#auditAllUntilMs;
    if (this.#readsToAudit > 0 && !isAll) return false;
    this.#readsToAudit = auditInterval;
    return true;
  }
}

type Late = [position: number, answer: StripeAnswer, stripes: RaceOutcome['stripes']];

/** In the place of a server that forges. */
function distrusted(serverId: string): RaceServer {
  const reason = 'it gave stripes that no worker wrote, and is not asked for ten minutes';
  return {
    state: 'down',
    ask: (_, reader) => failSoon(reader, new ServerUnavailableError(serverId, reason)),
  };
}

function placesFor(serverCount: number): GatePlaces {
  const places = Math.max(readsMin, Math.floor(readsPerServer * serverCount));
  return { places, prefetchPlaces: Math.ceil(places / 2) };
}
