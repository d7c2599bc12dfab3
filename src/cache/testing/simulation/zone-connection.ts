/** One worker's connection to a server that all workers share: closing it leaves the server alone. */

import { untilAborted } from '../../../base/index.ts';
import { ServerUnavailableError } from '../../errors.ts';
import type { ZoneServer, ZoneServerState, ZoneServerStatus } from '../../zone/zone-server.ts';
import { askBy } from '../asking.ts';
import type { SimulatedZoneServer } from '../simulated-zone-server.ts';

/** More requests of one worker are refused, as the real client does. */
const outstandingMax = 16;

export class ZoneConnection implements ZoneServer {
  readonly #server: SimulatedZoneServer;
  #outstanding = 0;
  readonly #closing = new AbortController();

  constructor(server: SimulatedZoneServer) {
    this.#server = server;
  }

  get id(): string {
    return this.#server.id;
  }

  get state(): ZoneServerState {
    return this.#server.state;
  }

  get: ZoneServer['get'] = (key, request) => this.#ask(() => this.#server.get(key, request));

  ask: ZoneServer['ask'] = askBy(this.get);

  put: ZoneServer['put'] = (key, parts, request) =>
    this.#ask(() => this.#server.put(key, parts, request));

  delete: ZoneServer['delete'] = (key, request) =>
    this.#ask(() => this.#server.delete(key, request));

  flush: ZoneServer['flush'] = (request) => this.#ask(() => this.#server.flush(request));

  status(): ZoneServerStatus {
    return { ...this.#server.status(), outstanding: this.#outstanding };
  }

  async close(): Promise<void> {
    this.#closing.abort(new ServerUnavailableError(this.id, 'it is closed'));
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    this.#closing.signal.throwIfAborted();
    if (this.#outstanding >= outstandingMax) {
      throw new ServerUnavailableError(this.id, 'too many requests are outstanding');
    }
    this.#outstanding += 1;
    try {
      return await untilAborted(call(), this.#closing.signal);
    } finally {
      this.#outstanding -= 1;
    }
  }
}
