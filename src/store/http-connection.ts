/**
 * One connection to an HTTP/1.1 server, for one request after the other. What is read goes straight into the answer's memory: less than half
 * the processor time of a parser that is given buffers (npm run bench -- s3-get).
 *
 * Invariant: a request ends, in an answer or an error, whatever the server does; after an error the connection is closed.
 */

import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

import { AnswerReader, BadAnswerError, type Answer } from './http-answer.ts';

export interface ConnectionOptions {
  /** `http://HOST[:PORT]` or `https://…` */
  readonly origin: string;
  /** PEM, in place of the system's authorities. */
  readonly ca?: string | undefined;
  readonly connectTimeoutMs: number;
  /** Until the answer begins, and then between two pieces of it; see also `rateMinBytesPerSecond`. */
  readonly idleTimeoutMs: number;
  /** A longer answer is refused unread. */
  readonly bodyMaxBytes: number;
}

export interface ConnectionEvents {
  /** It may take the next request. */
  readonly free: () => void;
  /** It takes no more requests. */
  readonly lost: () => void;
}

/** An answer that takes longer than the idle timeout and this rate allow is given up: a byte now and then is no answer. */
const rateMinBytesPerSecond = 8 * 1024;
/** How long a connection waits for its next request: less than servers do. */
const keepAliveMs = 15_000;
/** For heads, which are shorter; what follows goes into the answer. */
const headBytes = 4096;

/** The server closed a connection that was kept, as servers do, before it said a word to this request: it may be sent over another one. */
export class StaleConnectionError extends Error {}

interface Exchange {
  readonly reader: AnswerReader;
  hasBegun: boolean;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
  readonly stopListening: () => void;
}

export class HttpConnection {
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #socket: Socket;
  readonly #scratch = Buffer.alloc(headBytes);
  /** Where the socket puts the next bytes. */
  #target: Uint8Array = this.#scratch;
  #exchange: Exchange | undefined;
  #hasAnswered = false;
  #silenceTimer: NodeJS.Timeout | undefined;
  #wholeTimer: NodeJS.Timeout | undefined;
  #isLost = false;

  /** Starts connecting. */
  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options;
    this.#events = events;
    this.#socket = openSocket(options, {
      buffer: () => this.#target,
      callback: (countBytes) => {
        this.#received(countBytes);
        return true;
      },
    });
    const { connectTimeoutMs } = options;
    const connecting = setTimeout(() => {
      this.destroy(new Error(`no connection within ${connectTimeoutMs} ms`));
    }, connectTimeoutMs);
    const isSecure = options.origin.startsWith('https:');
    this.#socket.once(isSecure ? 'secureConnect' : 'connect', () => clearTimeout(connecting));
    this.#socket.on('error', (error) => this.#lose(error));
    this.#socket.once('end', () => this.#ended());
    this.#socket.once('close', () => {
      clearTimeout(connecting);
      this.#lose(new BadAnswerError('the server closed the connection'));
    });
  }

  /**
   * Sends a request, when no other is under way. Rejects with the signal's reason, the system's errors, `BadAnswerError` or
   * `StaleConnectionError`.
   */
  async ask(request: string, signal: AbortSignal | undefined): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (this.#isLost) throw new StaleConnectionError('the connection was lost');
    clearTimeout(this.#silenceTimer);
    this.#socket.ref();
    const abort = (): void => this.destroy(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const stopListening = (): void => signal?.removeEventListener('abort', abort);
    const reader = new AnswerReader(this.#options.bodyMaxBytes);
    this.#exchange = { reader, hasBegun: false, resolve, reject, stopListening };
    const { idleTimeoutMs } = this.#options;
    const silent = (): void => this.destroy(new Error(`no answer within ${idleTimeoutMs} ms`));
    this.#silenceTimer = setTimeout(silent, idleTimeoutMs);
    if (signal?.aborted === true) abort();
    else this.#socket.write(request, 'latin1');
    return promise;
  }

  /** Cuts it; the request under way fails for this reason. */
  destroy(reason: unknown): void {
    if (this.#isLost) return;
    this.#isLost = true;
    const exchange = this.#stop();
    this.#socket.destroy();
    this.#events.lost();
    exchange?.reject(reason);
  }

  /** By the server, or on the way. */
  #lose(reason: Error): void {
    const isStale = this.#hasAnswered && this.#exchange?.hasBegun === false;
    this.destroy(isStale ? new StaleConnectionError(reason.message, { cause: reason }) : reason);
  }

  #received(countBytes: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      this.destroy(new BadAnswerError('the server said something that it was not asked for'));
      return;
    }
    const { reader } = exchange;
    exchange.hasBegun = true;
    this.#silenceTimer?.refresh();
    try {
      const isWhole =
        this.#target === this.#scratch
          ? reader.take(this.#scratch.subarray(0, countBytes))
          : reader.filled(countBytes);
      this.#target = (isWhole ? undefined : reader.room()) ?? this.#scratch;
      if (isWhole) this.#settle(exchange);
      else if (reader.expectedBytes !== undefined) this.#limitTime(reader.expectedBytes);
    } catch (thrown) {
      this.#target = this.#scratch;
      this.destroy(thrown);
    }
  }

  #ended(): void {
    const exchange = this.#exchange;
    if (exchange?.reader.ended() === true) this.#settle(exchange);
    else this.#lose(new BadAnswerError('the server closed the connection'));
  }

  #settle({ reader, resolve }: Exchange): void {
    this.#stop();
    this.#hasAnswered = true;
    resolve(reader.answer());
    if (!reader.isKept) {
      this.destroy(new BadAnswerError('the server closed the connection'));
      return;
    }
    this.#socket.unref();
    const unused = (): void => this.destroy(new Error('it was not used'));
    this.#silenceTimer = setTimeout(unused, keepAliveMs).unref();
    this.#events.free();
  }

  /** Of the whole answer, from the end of its head. */
  #limitTime(sizeBytes: number): void {
    if (this.#wholeTimer !== undefined) return;
    const limitMs = this.#options.idleTimeoutMs + (sizeBytes / rateMinBytesPerSecond) * 1000;
    this.#wholeTimer = setTimeout(() => {
      this.destroy(new BadAnswerError(`the answer was not there after ${Math.ceil(limitMs)} ms`));
    }, limitMs);
  }

  #stop(): Exchange | undefined {
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#wholeTimer);
    this.#wholeTimer = undefined;
    const exchange = this.#exchange;
    exchange?.stopListening();
    this.#exchange = undefined;
    return exchange;
  }
}

function openSocket({ origin, ca }: ConnectionOptions, onread: OnReadOpts): Socket {
  const url = new URL(origin);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const isSecure = url.protocol === 'https:';
  const port = url.port === '' ? (isSecure ? 443 : 80) : Number(url.port);
  const options = { host, port, noDelay: true, onread };
  if (!isSecure) return connect(options);
  return connectTls({
    ...options,
    ALPNProtocols: ['http/1.1'],
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca !== undefined && { ca }),
  });
}
