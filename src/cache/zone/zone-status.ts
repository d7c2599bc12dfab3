/** What the zone cache tells of itself. As JSON, from one process to another. */

import type { LatencySnapshot } from '../../base/index.ts';
import type { FillStatus } from './zone-fill.ts';
import type { NodeCounters } from './zone-members.ts';
import type { ZoneServerStatus } from './zone-server.ts';

/** One server: what its connections did, and what reads and repairs saw of it, since it was added. */
export interface ZoneNodeStatus extends ZoneServerStatus, Readonly<NodeCounters> {
  /** Stripes that wait to be written to it, now. */
  readonly fillQueueBytes: number;
  /** Of its answers, be they a stripe or none, from when a read asked; not of those that came when nobody listened any longer. */
  readonly latency: LatencySnapshot;
}

/** Since the zone cache was made; but `inFlight`, `waiting`, `fill.queueBytes`, `hedgeAfterMs` and the list of servers: now. */
export interface ZoneStatus {
  readonly reads: {
    readonly inFlight: number;
    /** For their turn to ask. */
    readonly waiting: number;
    readonly hits: number;
    /** Too few servers had a stripe. */
    readonly misses: number;
    /** Too few servers could say. */
    readonly unavailable: number;
    /** Nothing was certain by the deadline. */
    readonly timeouts: number;
    /** Given up by who asked. */
    readonly abandoned: number;
  };
  readonly stripes: {
    /** Not what their name says: checksum, name, length or form. */
    readonly corrupt: number;
    /** Fifth stripes that a hit did not wait for. */
    readonly raced: number;
    /** Hits that lacked a quarter and made it from the parity. */
    readonly rebuilt: number;
    /** Found missing, and written anew. */
    readonly repaired: number;
  };
  readonly fill: FillStatus;
  readonly hedgeAfterMs: number;
  /** Of hits. */
  readonly latency: LatencySnapshot;
  /** In the order in which they were given. */
  readonly servers: readonly ZoneNodeStatus[];
}
