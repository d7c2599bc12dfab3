/**
 * A few connections to one server that share its requests of one kind, each with a few outstanding: what more than that is asked for is
 * refused at once, so that a slow server's backlog stays small.
 */

import type { Priority } from '../../base/index.ts';
import type { MemcachedConnection } from './memcached-connection.ts';

export interface LaneOptions {
  readonly connectionsMax: number;
  /** A connection's requests without an answer, those abandoned included. */
  readonly outstandingMax: number;
  readonly open: () => MemcachedConnection;
}

export class MemcachedLane {
  readonly #options: LaneOptions;
  readonly #connections = new Set<MemcachedConnection>();

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /**
   * The connection that should take one more request, opened if need be; undefined if none may. What nobody waits for gets no more than
   * half of a connection, so that it always has room for what somebody waits for.
   */
  pick(priority: Priority): MemcachedConnection | undefined {
    const { connectionsMax, outstandingMax, open } = this.#options;
    while (this.#connections.size < connectionsMax) this.#connections.add(open());
    const limit = priority === 'prefetch' ? Math.ceil(outstandingMax / 2) : outstandingMax;
    let best: MemcachedConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.outstanding >= limit) continue;
      if (best === undefined || isBetter(connection, best)) best = connection;
    }
    return best;
  }

  /** Takes over a connection that works; false if there are enough. */
  adopt(connection: MemcachedConnection): boolean {
    if (this.#connections.size >= this.#options.connectionsMax) return false;
    this.#connections.add(connection);
    return true;
  }

  remove(connection: MemcachedConnection): void {
    this.#connections.delete(connection);
  }
}

function isBetter(one: MemcachedConnection, other: MemcachedConnection): boolean {
  if (one.isReady !== other.isReady) return one.isReady;
  return one.outstanding < other.outstanding;
}
