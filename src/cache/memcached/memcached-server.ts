/**
 * A cache server of the zone that is a memcached: its connections, and whether it is asked at all.
 *
 * Reads and writes have connections of their own, so that a value on its way in never delays one on its way out. A server that is slow is
 * not down: its readers race it against others, and all it can pile up is `outstandingMax` answers a connection. It goes down
 * when it breaks a connection, or owes an answer that nobody wants any longer for `abandonedAgeMaxMs`.
 */

import {
  assert,
  systemClock,
  systemTimers,
  type Clock,
  type Priority,
  type Timers,
} from '../../base/index.ts';
import { ServerUnavailableError } from '../errors.ts';
import { memcachedServerId, type MemcachedAddress } from './memcached-address.ts';
import { MemcachedConnection, type ConnectionEnd } from './memcached-connection.ts';
import { MemcachedHealth } from './memcached-health.ts';
import { MemcachedLane } from './memcached-lane.ts';
import {
  deleteCommand,
  flushCommand,
  getCommand,
  probeCommand,
  setCommand,
  type Command,
} from './memcached-protocol.ts';
import {
  failSoon,
  getByAsking,
  type ValueReader,
  type ZoneServer,
  type ZoneServerRequest,
  type ZoneServerState,
  type ZoneServerStatus,
} from '../zone/zone-server.ts';

export interface MemcachedServerOptions {
  readonly address: MemcachedAddress;
  /** Default: the address's `host:port`. Of a server that moves, the name that stays. */
  readonly id?: string;
  /** For reads; one more is for writes. Default 2. */
  readonly connections?: number;
  /** Reads on one connection without an answer, those abandoned included; prefetch gets half of them. Default 8. */
  readonly outstandingMax?: number;
  /** The same of writes. Default 4. */
  readonly writesOutstandingMax?: number;
  /** A longer value breaks the connection: bounds what a hostile server can make us allocate. Default 1 MiB. */
  readonly valueMaxBytes?: number;
  /** For TCP, TLS and authentication together, and for a probe besides. Default 1,000. */
  readonly connectTimeoutMs?: number;
  /** Since it was asked for. Default 1,000. */
  readonly abandonedAgeMaxMs?: number;
  /** Without a byte although an answer is due. Default 5,000. */
  readonly silenceMaxMs?: number;
  /** Called each time it goes down, with the reason: "it closed the connection". Has no secret in it. */
  readonly onDown?: (reason: string) => void;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** For the jitter of probes: 0 (inclusive) to 1 (exclusive). Default `Math.random`. */
  readonly random?: () => number;
}

/** Connects when first asked, and from then on keeps itself connected. */
export class MemcachedServer implements ZoneServer {
  readonly id: string;
  readonly #options: MemcachedServerOptions;
  readonly #timers: Timers;
  readonly #health: MemcachedHealth;
  readonly #reads: MemcachedLane;
  readonly #writes: MemcachedLane;
  /** Those of the lanes, and one that is probing. */
  readonly #connections = new Set<MemcachedConnection>();
  readonly #closing = new Set<Promise<void>>();
  readonly #tally = {
    hits: 0,
    misses: 0,
    puts: 0,
    bytesReceived: 0,
    bytesSent: 0,
    abandoned: 0,
    refused: 0,
    resets: 0,
    probes: 0,
    errors: 0,
  };
  #isClosed = false;
  #downReason = '';

  constructor(options: MemcachedServerOptions) {
    this.id = options.id ?? memcachedServerId(options.address);
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    const open = (): MemcachedConnection => this.#open();
    const { connections = 2, outstandingMax = 8, writesOutstandingMax = 4 } = options;
    assert(
      connections >= 1 && outstandingMax >= 1 && writesOutstandingMax >= 1,
      'Limits are positive',
    );
    this.#reads = new MemcachedLane({ connectionsMax: connections, outstandingMax, open });
    this.#writes = new MemcachedLane({
      connectionsMax: 1,
      outstandingMax: writesOutstandingMax,
      open,
    });
    this.#health = new MemcachedHealth({
      timers: this.#timers,
      random: options.random ?? Math.random,
      probe: () => this.#probe(),
    });
  }

  get state(): ZoneServerState {
    return this.#health.state;
  }

  get(key: string, request: ZoneServerRequest): Promise<Uint8Array | undefined> {
    return getByAsking(this, key, request);
  }

  ask(key: string, reader: ValueReader): () => void {
    const command = getCommand(key);
    const connection = this.#connectionFor(this.#reads, reader.priority);
    if (connection instanceof ServerUnavailableError) return failSoon(reader, connection);
    return connection.ask(command, {
      answered: (value) => {
        this.#health.answered();
        if (value === undefined) this.#tally.misses += 1;
        else this.#tally.hits += 1;
        reader.found(value);
      },
      failed: (cause) => reader.failed(cause),
    });
  }

  async put(key: string, parts: readonly Uint8Array[], request: ZoneServerRequest): Promise<void> {
    await this.#request(this.#writes, setCommand(key, parts), request);
    this.#tally.puts += 1;
  }

  async delete(key: string, request: ZoneServerRequest): Promise<void> {
    await this.#request(this.#writes, deleteCommand(key), request);
  }

  async flush(request: ZoneServerRequest): Promise<void> {
    await this.#request(this.#writes, flushCommand, request);
  }

  status(): ZoneServerStatus {
    const { hits, misses, ...counts } = this.#tally;
    const connections = [...this.#connections];
    return {
      id: this.id,
      state: this.state,
      connections: connections.filter(({ isReady }) => isReady).length,
      outstanding: connections.reduce((sum, { outstanding }) => sum + outstanding, 0),
      gets: { hits, misses },
      ...counts,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#health.close();
    for (const connection of this.#connections) this.#retire(connection);
    await Promise.all(this.#closing);
  }

  async #request<Result>(
    lane: MemcachedLane,
    command: Command<Result>,
    { signal, priority }: ZoneServerRequest,
  ): Promise<Result> {
    signal.throwIfAborted();
    const connection = this.#connectionFor(lane, priority);
    if (connection instanceof ServerUnavailableError) throw connection;
    const result = await connection.request(command, signal);
    this.#health.answered();
    return result;
  }

  /** Or why there is none. */
  #connectionFor(
    lane: MemcachedLane,
    priority: Priority,
  ): MemcachedConnection | ServerUnavailableError {
    if (this.#isClosed) return this.#unavailable('it was closed');
    if (this.state === 'down') return this.#unavailable(`it is down: ${this.#downReason}`);
    const connection = lane.pick(priority);
    if (connection !== undefined) return connection;
    this.#tally.refused += 1;
    return this.#unavailable('too many requests to it have no answer yet');
  }

  #unavailable(reason: string): ServerUnavailableError {
    return new ServerUnavailableError(this.id, reason);
  }

  #open(): MemcachedConnection {
    const { address, valueMaxBytes, clock } = this.#options;
    const connection = new MemcachedConnection({
      address,
      serverId: this.id,
      clock: clock ?? systemClock,
      timers: this.#timers,
      valueMaxBytes: valueMaxBytes ?? 1024 * 1024,
      connectTimeoutMs: this.#options.connectTimeoutMs ?? 1_000,
      abandonedAgeMaxMs: this.#options.abandonedAgeMaxMs ?? 1_000,
      silenceMaxMs: this.#options.silenceMaxMs ?? 5_000,
      tally: this.#tally,
      onEnd: (end) => this.#ended(connection, end),
    });
    this.#connections.add(connection);
    return connection;
  }

  #ended(connection: MemcachedConnection, { kind, reason }: ConnectionEnd): void {
    this.#reads.remove(connection);
    this.#writes.remove(connection);
    this.#connections.delete(connection);
    this.#retire(connection);
    if (kind === 'broken') this.#tally.resets += 1;
    if (kind === 'unreachable') this.#tally.errors += 1;
    if (kind === 'broken' || kind === 'unreachable') {
      this.#downReason = reason;
      if (this.state === 'up' && !this.#isClosed) this.#options.onDown?.(reason);
      this.#health.failed();
    }
  }

  /** Closes it; `close` waits for that. */
  #retire(connection: MemcachedConnection): void {
    const closed = connection.close();
    this.#closing.add(closed);
    void closed.then(() => this.#closing.delete(closed));
  }

  /** Over a fresh connection: others may be stuck. */
  async #probe(): Promise<void> {
    this.#tally.probes += 1;
    const connection = this.#open();
    const abort = new AbortController();
    const timeoutMs = this.#options.connectTimeoutMs ?? 1_000;
    const cancel = this.#timers.after(timeoutMs, () => abort.abort());
    try {
      await connection.request(probeCommand, abort.signal);
    } catch (thrown) {
      this.#retire(connection);
      throw thrown;
    } finally {
      cancel();
    }
    if (this.#isClosed || !this.#reads.adopt(connection)) this.#retire(connection);
  }
}
