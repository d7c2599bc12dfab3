/**
 * The servers of the zone at this moment, each with its lane and its counters, and where chunks lie among them.
 *
 * Invariants: there is one connection to a server, whatever happens to the others; a server that was removed is closed only when
 * nothing asked of it is under way any longer.
 */

import { LatencyHistogram, type Clock, type Timers } from '../../base/index.ts';
import { FillLane } from './zone-lane.ts';
import { ZonePlacement, type PlacedServer } from './zone-placement.ts';
import type { ZoneServer } from './zone-server.ts';

/** One server as configured. */
export interface ZoneMember extends PlacedServer {
  /** How fast its stripes are written. `fillBytesPerSecondOf` says what memcached takes without losing any. */
  readonly fillBytesPerSecond: number;
}

/**
 * How fast a memcached with extstore and so much memory may be written: 25 MB/s for each 64 MB. Faster, values leave its memory before
 * they are on its flash, and are lost without an error. Measured with 64 MB: none lost at 26 MB/s, up to 10 % at 210 MB/s.
 */
export function fillBytesPerSecondOf(memoryBytes: number): number {
  return (memoryBytes / 64) * 25;
}

/** What reads and repairs saw of one server, since it was added. */
export interface NodeCounters {
  /** Its stripe was among the first four of a hit. */
  used: number;
  /** A hit did not wait for it. */
  lost: number;
  /** It said that it has none. */
  missing: number;
  /** What it gave was not the stripe that its name says. */
  corrupt: number;
  /** What it gave was a whole stripe, but none of the chunk: somebody writes to it what no worker wrote. */
  forged: number;
  /** It was down, refused, or its connection broke. */
  unavailable: number;
  /** It had not answered by a read's deadline. */
  late: number;
  /** Stripes that were written to it anew. */
  repaired: number;
}

/** One may be an accident of a worker's memory; so many in so long are the server. */
const forgeriesMax = 3;
const distrustMs = 600_000;

export class ZoneNode {
  readonly server: ZoneServer;
  readonly lane: FillLane;
  readonly counters: NodeCounters = {
    used: 0,
    lost: 0,
    missing: 0,
    corrupt: 0,
    forged: 0,
    unavailable: 0,
    late: 0,
    repaired: 0,
  };
  /** Of answers that reads waited for or listened to, from when they asked. */
  readonly latency = new LatencyHistogram({ figures: 2 });
  readonly #clock: Clock;
  /** When, of the last `forgeriesMax`. */
  readonly #forgeries: number[] = [];
  #uses = 0;
  #whenUnused: (() => void) | undefined;

  constructor(server: ZoneServer, lane: FillLane, clock: Clock) {
    this.server = server;
    this.lane = lane;
    this.#clock = clock;
  }

  /** False for a while after it forged again and again: it is not read from then, as if it were down. */
  get isTrusted(): boolean {
    const [firstMs] = this.#forgeries;
    if (firstMs === undefined || this.#forgeries.length < forgeriesMax) return true;
    return firstMs <= this.#clock.monotonicMs() - distrustMs;
  }

  /** A stripe of it was found forged. */
  forged(): void {
    this.counters.forged += 1;
    if (!this.isTrusted) return;
    this.#forgeries.push(this.#clock.monotonicMs());
    if (this.#forgeries.length > forgeriesMax) this.#forgeries.shift();
  }

  /** Keeps the server from being closed until the returned function is called, once. */
  hold(): () => void {
    this.#uses += 1;
    return () => {
      this.#uses -= 1;
      if (this.#uses === 0) this.#whenUnused?.();
    };
  }

  /** Closes the server when nobody uses it. */
  async retire(): Promise<void> {
    await this.lane.close();
    if (this.#uses > 0) await new Promise<void>((resolve) => (this.#whenUnused = resolve));
    await this.server.close();
  }
}

export interface ZoneMembersOptions {
  readonly connect: (member: ZoneMember) => ZoneServer;
  readonly laneQueueMaxBytes: number;
  readonly writeDeadlineMs: number;
  /** As the lanes'. */
  readonly pauseInMs: (sinceMs: number) => number;
  readonly time: Clock & Timers;
}

export class ZoneMembers {
  readonly #options: ZoneMembersOptions;
  readonly #retiring = new Set<Promise<void>>();
  #nodes = new Map<string, ZoneNode>();
  #placement = new ZonePlacement([]);

  constructor(options: ZoneMembersOptions) {
    this.#options = options;
  }

  get nodes(): Iterable<ZoneNode> {
    return this.#nodes.values();
  }

  /** A chunk's servers: five, or all if there are fewer. Stripe 0 is to lie on the first, and so on. */
  nodesOf(ciphertextDigest: Uint8Array): readonly ZoneNode[] {
    return this.#placement
      .serversOf(ciphertextDigest)
      .map(({ id }) => this.#nodes.get(id))
      .filter((node) => node !== undefined);
  }

  /**
   * From now on these. Servers that stay keep their connections and counters. Takes about 0.6 ms for each server. True if there are
   * others than before.
   */
  set(members: readonly ZoneMember[]): boolean {
    const placement = new ZonePlacement(members);
    const nodes = new Map(members.map((member) => [member.id, this.#nodeOf(member)]));
    const removed = [...this.#nodes].filter(([id]) => !nodes.has(id));
    const isChanged = removed.length > 0 || nodes.size > this.#nodes.size;
    this.#nodes = nodes;
    this.#placement = placement;
    for (const [, node] of removed) {
      // A connection that cannot be closed is a connection that is gone.
      const retiring = node.retire().catch(() => {});
      this.#retiring.add(retiring);
      void retiring.then(() => this.#retiring.delete(retiring));
    }
    return isChanged;
  }

  /** Removes all servers and resolves when they are closed. */
  async close(): Promise<void> {
    this.set([]);
    await Promise.all(this.#retiring);
  }

  #nodeOf(member: ZoneMember): ZoneNode {
    const known = this.#nodes.get(member.id);
    known?.lane.setRate(member.fillBytesPerSecond);
    if (known !== undefined) return known;
    const { connect, laneQueueMaxBytes, writeDeadlineMs, pauseInMs, time } = this.#options;
    const server = connect(member);
    const lane = new FillLane({
      server,
      bytesPerSecond: member.fillBytesPerSecond,
      queueMaxBytes: laneQueueMaxBytes,
      writeDeadlineMs,
      pauseInMs,
      clock: time,
      timers: time,
    });
    return new ZoneNode(server, lane, time);
  }
}
