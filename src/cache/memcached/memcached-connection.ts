/**
 * One connection to a memcached server: requests go out at once, one after another, and the answers come in the same order.
 *
 * Memcached cannot cancel a request. One that its caller gives up stays in the queue, and its answer is passed over when it comes.
 *
 * Invariant: every request settles. Its answer comes, its caller gives it up, or the connection ends, which it does when it does not get
 * ready, when nothing comes that should, or when an answer that nobody wants holds up the others for too long.
 */

import type { Socket } from 'node:net';

import { release, type Clock, type Timers } from '../../base/index.ts';
import { ServerUnavailableError } from '../errors.ts';
import type { MemcachedAddress } from './memcached-address.ts';
import { authCommand, challengeCommand, type Command, type Reply } from './memcached-protocol.ts';
import { ReplyReader } from './memcached-reply-reader.ts';
import { openSocket } from './memcached-socket.ts';

/** What all connections of a server count together. */
export interface ConnectionTally {
  bytesReceived: number;
  bytesSent: number;
  abandoned: number;
  errors: number;
}

/** When to give a connection up. In milliseconds. */
export interface ConnectionPatience {
  /** For TCP, TLS and authentication together. */
  readonly connectTimeoutMs: number;
  /** Of the oldest answer that nobody wants any longer, since it was asked for. */
  readonly abandonedAgeMaxMs: number;
  /** Without a byte although an answer is due. */
  readonly silenceMaxMs: number;
}

export interface ConnectionOptions extends ConnectionPatience {
  readonly address: MemcachedAddress;
  /** For messages. */
  readonly serverId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly valueMaxBytes: number;
  readonly tally: ConnectionTally;
  /** Called once. */
  readonly onEnd: (end: ConnectionEnd) => void;
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** For messages: "it closed the connection". */
  readonly reason: string;
  /**
   * `closed`: by us. `idle`: by the server, and no request suffered. `unreachable`: it never was ready. `broken`: while it was in use.
   */
  readonly kind: 'closed' | 'idle' | 'unreachable' | 'broken';
}

/** Who is told how a request ended, by one of these, once. */
export interface Asker<Result> {
  answered(result: Result): void;
  /** With an `ERR_CACHE_SERVER_UNAVAILABLE`. */
  failed(cause: unknown): void;
  /** The command's parts are sent or never will be: their memory is free. Before or after its end. */
  sent?(): void;
}

/** A request on its way. */
interface Exchange {
  readonly command: Command<unknown>;
  readonly asker: Asker<unknown>;
  /** Undefined: it waits until the connection is ready. */
  sentMs: number | undefined;
  /** Its asker has been told the end. */
  isOver: boolean;
  /** Its asker wants to be told nothing any more. */
  isAbandoned: boolean;
}

/** How often is looked whether something is overdue, which is as much later as it may be noticed. */
const watchMs = 250;
/** Of each connection. Values go to their own place, so more gains nothing (4 to 256 KiB: bench/zone-client.bench.ts). */
const scanBytes = 16 * 1024;

export class MemcachedConnection {
  readonly #options: ConnectionOptions;
  readonly #reader: ReplyReader;
  readonly #socket: Socket;
  readonly #closed = Promise.withResolvers<void>();
  readonly #openedMs: number;
  /** In the order in which the answers come. */
  readonly #queue: Exchange[] = [];
  #state: 'connecting' | 'authenticating' | 'ready' | 'ended' = 'connecting';
  #heardMs: number;
  #unwatch: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#openedMs = options.clock.monotonicMs();
    this.#heardMs = this.#openedMs;
    const { valueMaxBytes } = options;
    this.#reader = new ReplyReader({
      valueMaxBytes,
      scanBytes,
      sink: {
        wantsValue: () => this.#wantsValue(),
        reply: (reply) => this.#answer(reply),
        fault: (reason) => this.#fail(reason),
      },
    });
    this.#socket = openSocket(options.address, {
      target: () => this.#reader.target(),
      received: (countBytes) => this.#received(countBytes),
      ready: () => this.#connected(),
      lost: (reason, cause) => this.#end(this.#lossOf(reason), cause),
      closed: () => {
        this.#end(this.#lossOf('it closed the connection'));
        this.#closed.resolve();
      },
    });
    this.#watch();
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  /** Requests without an answer, those abandoned included; what gets the connection ready is none. */
  get outstanding(): number {
    return this.#queue.length - (this.#state === 'authenticating' ? 1 : 0);
  }

  /**
   * The command's result. Throws `ERR_CACHE_SERVER_UNAVAILABLE` when the server refuses it or the connection ends, and the signal's
   * reason as soon as it is aborted; but whatever the outcome, not before the command's parts are sent or the connection has ended.
   */
  async request<Result>(command: Command<Result>, signal: AbortSignal): Promise<Result> {
    signal.throwIfAborted();
    const answer = Promise.withResolvers<Result>();
    const sent = Promise.withResolvers<void>();
    const abandon = this.ask(command, {
      answered: answer.resolve,
      failed: answer.reject,
      sent: sent.resolve,
    });
    const abort = (): void => {
      answer.reject(signal.reason);
      abandon();
    };
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await answer.promise;
    } finally {
      signal.removeEventListener('abort', abort);
      // The caller may reuse the memory afterwards.
      if (command.parts.length > 0) await sent.promise;
    }
  }

  /** As `request`, without promises; the asker is told nothing before this returns, nor after what it returns was called: abandoned. */
  ask<Result>(command: Command<Result>, asker: Asker<Result>): () => void {
    const exchange: Exchange = {
      command,
      asker,
      sentMs: undefined,
      isOver: false,
      isAbandoned: false,
    };
    this.#queue.push(exchange);
    if (this.#state === 'ready') this.#send(exchange);
    else if (this.#state === 'ended') {
      queueMicrotask(() => this.#failAll('the connection was closed'));
    }
    this.#watch();
    return () => this.#abandon(exchange);
  }

  /** Rejects what is outstanding. Resolves when the socket is gone. */
  async close(): Promise<void> {
    this.#end({ kind: 'closed', reason: 'the connection was closed' });
    await this.#closed.promise;
  }

  #connected(): void {
    const { auth } = this.#options.address;
    if (auth === undefined) {
      this.#becomeReady();
      return;
    }
    this.#state = 'authenticating';
    // A server that asks for no password is never told one: it would keep it where every client can read it.
    this.#sendFirst(challengeCommand, (answer) => {
      if (answer === 'asks') this.#authenticate(auth);
      else this.#fail('it asks for no password, but one is configured; start it with -Y');
    });
  }

  #authenticate({ user, password }: NonNullable<MemcachedAddress['auth']>): void {
    this.#sendFirst(authCommand(user, password), (answer) => {
      if (answer === 'accepted') this.#becomeReady();
      else this.#fail('it refused the user or the password');
    });
  }

  /** Before all that waits until the connection is ready. */
  #sendFirst<Result>(command: Command<Result>, then: (result: Result) => void): void {
    const exchange: Exchange = {
      command,
      asker: {
        answered: (result) => then(result as Result), // what this very command's `read` made
        failed: () => {}, // the connection ends
      },
      sentMs: undefined,
      isOver: false,
      isAbandoned: false,
    };
    this.#queue.unshift(exchange);
    this.#send(exchange);
  }

  #becomeReady(): void {
    this.#state = 'ready';
    for (const exchange of this.#queue) this.#send(exchange);
  }

  #send(exchange: Exchange): void {
    const { command, asker } = exchange;
    const { line, parts } = command;
    exchange.sentMs = this.#options.clock.monotonicMs();
    const { tally } = this.#options;
    tally.bytesSent += line.length;
    if (parts.length === 0) {
      this.#socket.write(line, 'latin1');
      return;
    }
    this.#socket.cork();
    this.#socket.write(line, 'latin1');
    for (const [index, part] of parts.entries()) {
      tally.bytesSent += part.byteLength;
      const isLast = index === parts.length - 1;
      this.#socket.write(part, isLast ? () => asker.sent?.() : undefined);
    }
    this.#socket.uncork();
  }

  #abandon(exchange: Exchange): void {
    if (exchange.isOver || exchange.isAbandoned) return;
    this.#options.tally.abandoned += 1;
    exchange.isAbandoned = true;
    if (exchange.sentMs !== undefined) return;
    this.#queue.splice(this.#queue.indexOf(exchange), 1);
    exchange.asker.sent?.();
  }

  #received(countBytes: number): void {
    this.#options.tally.bytesReceived += countBytes;
    this.#heardMs = this.#options.clock.monotonicMs();
    this.#reader.received(countBytes);
  }

  #wantsValue(): boolean {
    const [first] = this.#queue;
    return first !== undefined && first.command.hasValue && !first.isAbandoned;
  }

  #answer(reply: Reply): void {
    const exchange = this.#queue[0]?.sentMs === undefined ? undefined : this.#queue.shift();
    if (exchange === undefined) {
      this.#fail('it answered what nobody asked');
      return;
    }
    if (reply.kind === 'line' && reply.line.startsWith('SERVER_ERROR')) {
      this.#options.tally.errors += 1;
      failOne(exchange, this.#unavailable(serverErrorReason(reply.line)));
      return;
    }
    if (exchange.isAbandoned && exchange.command.hasValue && reply.kind !== 'line') {
      // It began to arrive before it was given up.
      if (reply.kind === 'value') release(reply.value);
      return;
    }
    const answer = exchange.command.read(reply);
    if (answer === undefined) {
      const reason = 'it gave an answer that the request does not have';
      failOne(exchange, this.#unavailable(reason));
      this.#fail(reason);
    } else {
      exchange.isOver = true;
      if (!exchange.isAbandoned) exchange.asker.answered(answer.result);
    }
  }

  /** A breach of the protocol: nothing that follows can be believed. */
  #fail(reason: string): void {
    if (this.#state === 'ready') this.#options.tally.errors += 1;
    this.#end(this.#lossOf(reason, 'broken'));
  }

  #lossOf(reason: string, kindInUse: 'idle' | 'broken' = 'idle'): ConnectionEnd {
    if (this.#state !== 'ready') return { kind: 'unreachable', reason };
    return { kind: this.#queue.length > 0 ? 'broken' : kindInUse, reason };
  }

  #end(end: ConnectionEnd, cause?: unknown): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#reader.stop();
    this.#unwatch?.();
    this.#socket.destroy();
    this.#options.onEnd(end); // so that who is told of it next sees what the server is now
    this.#failAll(end.reason, cause);
  }

  #failAll(reason: string, cause?: unknown): void {
    if (this.#queue.length === 0) return;
    const error = this.#unavailable(reason, cause);
    for (const exchange of this.#queue.splice(0)) {
      failOne(exchange, error);
      if (exchange.sentMs === undefined) exchange.asker.sent?.();
    }
  }

  #unavailable(reason: string, cause?: unknown): ServerUnavailableError {
    return new ServerUnavailableError(this.#options.serverId, reason, cause);
  }

  /** Keeps an eye on the clock for as long as something is due. */
  #watch(): void {
    if (this.#unwatch !== undefined || this.#state === 'ended') return;
    this.#unwatch = this.#options.timers.after(watchMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    // Where this process itself was held up, the answer may lie ready.
    if (this.#overdue() !== undefined) await this.#options.timers.afterInput();
    this.#unwatch = undefined;
    const reason = this.#overdue();
    if (reason !== undefined) this.#end(this.#lossOf(reason, 'broken'));
    else if (this.#queue.length > 0 || this.#state !== 'ready') this.#watch();
  }

  #overdue(): string | undefined {
    const { connectTimeoutMs, abandonedAgeMaxMs, silenceMaxMs, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#state !== 'ready') {
      const isLate = nowMs - this.#openedMs >= connectTimeoutMs;
      return isLate ? `it was not ready within ${connectTimeoutMs} ms` : undefined;
    }
    const [first] = this.#queue;
    if (first === undefined) return undefined;
    const abandoned = this.#queue.find(({ isAbandoned }) => isAbandoned);
    if (nowMs - (abandoned?.sentMs ?? nowMs) >= abandonedAgeMaxMs) {
      return `it did not answer for ${abandonedAgeMaxMs} ms`;
    }
    const waitingSinceMs = Math.max(first.sentMs ?? nowMs, this.#heardMs);
    return nowMs - waitingSinceMs >= silenceMaxMs
      ? `it was silent for ${silenceMaxMs} ms`
      : undefined;
  }
}

function failOne(exchange: Exchange, cause: unknown): void {
  exchange.isOver = true;
  if (!exchange.isAbandoned) exchange.asker.failed(cause);
}

/** In our words: what a server says is not for our logs. */
function serverErrorReason(line: string): string {
  if (line.includes('out of memory')) return 'it is out of memory';
  if (line.includes('too large')) return 'the value is too large for it';
  return 'it answered SERVER_ERROR';
}
