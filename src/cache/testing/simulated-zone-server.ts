/**
 * A cache server in virtual time that misbehaves by a seed, as servers and networks do: it is slow, hangs, fails, forgets, and
 * answers with other, damaged or shortened values. What it is given it keeps as it was given.
 */

import { untilAborted, type Clock, type Timers } from '../../base/index.ts';
import { ServerUnavailableError } from '../errors.ts';
import { askBy } from './asking.ts';
import type {
  ZoneServer,
  ZoneServerRequest,
  ZoneServerState,
  ZoneServerStatus,
} from '../zone/zone-server.ts';

/** Shares of requests, 0..1, each drawn by itself; 0 by default. */
export interface ServerFaults {
  /** Never answers. */
  readonly hangs?: number;
  /** Fails after its delay, a put having stored its value or not. */
  readonly fails?: number;
  /** A get finds nothing and the value is gone, as after an eviction. */
  readonly forgets?: number;
  /** A get answers with a value of another key. */
  readonly swaps?: number;
  readonly flipsBit?: number;
  readonly truncates?: number;
  /** Of a get: does as if nothing had been aborted, and settles late or never. */
  readonly ignoresAbort?: number;
}

export interface SimulatedServerOptions {
  readonly id: string;
  readonly time: Clock & Timers;
  readonly random: () => number;
  readonly faults?: ServerFaults;
  /** Of every answer; 1 ms by default. That there is no value is said in half the time, being short. */
  readonly delayMs?: () => number;
  /** More requests at a time are refused; Infinity by default. */
  readonly outstandingMax?: number;
}

/** A put, as the server saw it. */
export interface SeenPut {
  readonly atMs: number;
  readonly key: string;
  readonly sizeBytes: number;
  readonly priority: ZoneServerRequest['priority'];
}

interface Manner {
  /** Takes half the time. */
  readonly isShort: boolean;
  /** When aborted, as long as the memory of what it sends is in use. */
  readonly settlesLate: boolean;
}

export class SimulatedZoneServer implements ZoneServer {
  readonly id: string;
  readonly values = new Map<string, Uint8Array>();
  readonly puts: SeenPut[] = [];
  faults: ServerFaults;
  delayMs: () => number;
  state: ZoneServerState = 'up';
  /** As with SIGSTOP: answers come when it is false again. */
  #stopped: PromiseWithResolvers<void> | undefined;
  readonly #options: SimulatedServerOptions;
  outstanding = 0;
  outstandingPeak = 0;
  gets = { hits: 0, misses: 0 };
  deletes = 0;
  isClosed = false;
  /** Requests that were still wanted when it was closed. */
  cutOff = 0;
  readonly #wanted = new Set<{ readonly signal: AbortSignal }>();
  readonly #closing = new AbortController();

  constructor(options: SimulatedServerOptions) {
    this.id = options.id;
    this.#options = options;
    this.faults = options.faults ?? {};
    this.delayMs = options.delayMs ?? (() => 1);
  }

  get(key: string, request: ZoneServerRequest): Promise<Uint8Array | undefined> {
    const isShort = !this.values.has(key);
    return this.#serve(request, { isShort, settlesLate: false }, () => {
      if (this.#draw('forgets')) this.values.delete(key);
      const value = this.#draw('swaps') ? this.#anyValue() : this.values.get(key);
      this.gets[value === undefined ? 'misses' : 'hits'] += 1;
      return value && this.#damaged(Uint8Array.from(value));
    });
  }

  readonly ask = askBy((key, request) => this.get(key, request));

  put(key: string, parts: readonly Uint8Array[], request: ZoneServerRequest): Promise<void> {
    const { priority } = request;
    const sizeBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    this.puts.push({ atMs: this.#options.time.monotonicMs(), key, sizeBytes, priority });
    let isSettled = false;
    // The memory is read until it has settled: who changes it before stores what nobody meant.
    const store = (): void => {
      if (!isSettled) this.values.set(key, Buffer.concat(parts));
    };
    const put = this.#serve(request, { isShort: false, settlesLate: true }, store);
    return put.finally(() => (isSettled = true));
  }

  delete(key: string, request: ZoneServerRequest): Promise<void> {
    this.deletes += 1;
    const manner = { isShort: false, settlesLate: false };
    return this.#serve(request, manner, () => void this.values.delete(key));
  }

  flush(request: ZoneServerRequest): Promise<void> {
    const manner = { isShort: false, settlesLate: false };
    return this.#serve(request, manner, () => this.values.clear());
  }

  /** Requests hang from now on, those under way included. */
  stop(): void {
    this.#stopped ??= Promise.withResolvers();
  }

  resume(): void {
    this.#stopped?.resolve();
    this.#stopped = undefined;
  }

  status(): ZoneServerStatus {
    const { id, state, outstanding, gets } = this;
    const none = { abandoned: 0, refused: 0, resets: 0, probes: 0, errors: 0 };
    const bytes = { bytesReceived: 0, bytesSent: 0 };
    const puts = this.puts.length;
    return { id, state, connections: 1, outstanding, gets, puts, ...bytes, ...none };
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.cutOff = [...this.#wanted].filter(({ signal }) => !signal.aborted).length;
    this.#closing.abort(new ServerUnavailableError(this.id, 'it is closed'));
  }

  async #serve<T>(
    { signal }: ZoneServerRequest,
    { isShort, settlesLate }: Manner,
    answer: () => T,
  ): Promise<T> {
    signal.throwIfAborted();
    if (this.state === 'down') throw new ServerUnavailableError(this.id, 'it is down');
    if (this.isClosed) throw new ServerUnavailableError(this.id, 'it is closed');
    if (this.outstanding >= (this.#options.outstandingMax ?? Infinity)) {
      throw new ServerUnavailableError(this.id, 'too many requests are outstanding');
    }
    this.outstanding += 1;
    this.outstandingPeak = Math.max(this.outstandingPeak, this.outstanding);
    const wanted = { signal };
    this.#wanted.add(wanted);
    const answered = this.#answer(isShort, answer).finally(() => (this.outstanding -= 1));
    const open = untilAborted(answered, this.#closing.signal);
    try {
      if (settlesLate) return await this.#untilSent(open, signal);
      return await (this.#draw('ignoresAbort') ? open : untilAborted(open, signal));
    } finally {
      this.#wanted.delete(wanted);
    }
  }

  /** What was aborted is sent to its end, or its connection is given up after a second. */
  async #untilSent<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await untilAborted(work, signal);
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
      const givenUp = new Promise<void>((resolve) => this.#options.time.after(1000, resolve));
      await Promise.race([work.catch(() => {}), givenUp]);
      throw signal.reason;
    }
  }

  async #answer<T>(isShort: boolean, answer: () => T): Promise<T> {
    if (this.#draw('hangs')) await new Promise(() => {});
    const delayMs = isShort ? this.delayMs() / 2 : this.delayMs();
    await new Promise<void>((resolve) => this.#options.time.after(delayMs, resolve));
    await this.#stopped?.promise;
    const isFailing = this.#draw('fails');
    if (isFailing && this.#options.random() < 0.5) throw this.#failure();
    const answered = answer();
    if (isFailing) throw this.#failure();
    return answered;
  }

  #anyValue(): Uint8Array | undefined {
    const values = [...this.values.values()];
    return values[Math.floor(this.#options.random() * values.length)];
  }

  #damaged(value: Uint8Array): Uint8Array {
    const at = Math.floor(this.#options.random() * value.byteLength);
    if (this.#draw('flipsBit')) value[at] = (value[at] ?? 0) ^ (1 << (at % 8));
    return this.#draw('truncates') ? value.slice(0, at) : value;
  }

  #failure(): ServerUnavailableError {
    return new ServerUnavailableError(this.id, 'the connection broke');
  }

  #draw(fault: keyof ServerFaults): boolean {
    const rate = this.faults[fault] ?? 0;
    return rate > 0 && this.#options.random() < rate;
  }
}
