/**
 * GETs whole objects over a pool of kept connections, each into one array of its size: no stream, no copy but the one
 * out of the socket's buffer. Less than half the SDK's processor time (npm run bench -- s3-get).
 */

import { Pool, type Dispatcher } from 'undici';

import { release } from '../base/index.ts';

export interface ReaderOptions {
  /** `http://HOST[:PORT]` or `https://…` */
  readonly origin: string;
  /** PEM, in place of the system's authorities. */
  readonly ca?: string | undefined;
  readonly connectionsMax: number;
  readonly connectTimeoutMs: number;
  /** Until the answer begins, and then between two pieces of it; see also `rateMinBytesPerSecond`. */
  readonly idleTimeoutMs: number;
  /** A longer answer is refused unread. */
  readonly bodyMaxBytes: number;
}

/** The server's answer, whatever its status. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** All of it with a status of 2xx, else the first 64 KiB. */
  readonly body: Uint8Array;
}

export interface ReadRequest {
  /** Percent-encoded. */
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal | undefined;
}

/** Errors describe themselves in less. */
const errorBodyMaxBytes = 64 * 1024;
/** An answer that takes longer than the idle timeout and this rate allow is given up: a byte now and then is no answer. */
const rateMinBytesPerSecond = 8 * 1024;
/** How long a connection waits for its next request: less than servers do. */
const keepAliveTimeoutMs = 15_000;

/** An answer that is not what HTTP or S3 promises: nobody can tell what it means, so the request may be made again. */
class BadAnswerError extends Error {}

/** Collects one answer. */
class Collector implements Dispatcher.DispatchHandler {
  readonly #bodyMaxBytes: number;
  readonly #idleTimeoutMs: number;
  readonly #settle: (answer: Answer | Error) => void;
  #slowTimer: NodeJS.Timeout | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #stopReason: Error | undefined;
  #status = 0;
  #headers: Answer['headers'] = {};
  #body = Buffer.alloc(0);
  #receivedBytes = 0;

  constructor(
    { bodyMaxBytes, idleTimeoutMs }: Pick<ReaderOptions, 'bodyMaxBytes' | 'idleTimeoutMs'>,
    settle: (answer: Answer | Error) => void,
  ) {
    this.#bodyMaxBytes = bodyMaxBytes;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#settle = settle;
  }

  /** Ends the request: its connection is cut if it has one, and it gets none if it still waits. */
  stop(reason: Error): void {
    this.#stopReason = reason;
    this.#controller?.abort(reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stopReason !== undefined) controller.abort(this.#stopReason);
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Answer['headers'],
  ): void {
    this.#status = status;
    this.#headers = headers;
    this.#receivedBytes = 0;
    if (status < 200) return; // the final answer follows
    if (status >= 300) {
      this.#body = Buffer.allocUnsafeSlow(errorBodyMaxBytes); // only what was received is handed out
      this.#limitTime(controller, 0);
      return;
    }
    const sizeBytes = Number(headers['content-length'] ?? NaN);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes > this.#bodyMaxBytes) {
      const said = `the answer's length is ${String(headers['content-length'])}`;
      controller.abort(new BadAnswerError(`${said}, expected up to ${this.#bodyMaxBytes} bytes`));
      return;
    }
    this.#body = Buffer.allocUnsafeSlow(sizeBytes); // handed out only when it is full
    this.#limitTime(controller, sizeBytes);
  }

  #limitTime(controller: Dispatcher.DispatchController, sizeBytes: number): void {
    const limitMs = this.#idleTimeoutMs + (sizeBytes / rateMinBytesPerSecond) * 1000;
    this.#slowTimer = setTimeout(() => {
      controller.abort(
        new BadAnswerError(`the answer was not there after ${Math.ceil(limitMs)} ms`),
      );
    }, limitMs);
  }

  onResponseData(_controller: Dispatcher.DispatchController, piece: Buffer): void {
    this.#receivedBytes += piece.copy(this.#body, this.#receivedBytes);
    // What the socket gave ends with this piece, and is nobody's any longer once undici has returned from parsing it. Left to the garbage
    // collector, these pieces call it up for every few objects.
    const isLast = piece.byteOffset + piece.byteLength === piece.buffer.byteLength;
    if (isLast) queueMicrotask(() => release(piece));
  }

  onResponseEnd(): void {
    clearTimeout(this.#slowTimer);
    const body = this.#body.subarray(0, this.#receivedBytes);
    // undici holds the length, too; but this memory was never cleared, and must not get out unfilled.
    const isWhole = this.#status >= 300 || body.byteLength === this.#body.byteLength;
    if (isWhole) this.#settle({ status: this.#status, headers: this.#headers, body });
    else {
      const said = `the answer has ${body.byteLength} of ${this.#body.byteLength} bytes`;
      this.#settle(new BadAnswerError(said));
    }
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    clearTimeout(this.#slowTimer);
    this.#settle(error);
  }
}

export class ObjectReader {
  readonly #pool: Pool;
  readonly #limits: Pick<ReaderOptions, 'bodyMaxBytes' | 'idleTimeoutMs'>;

  constructor(options: ReaderOptions) {
    const { connectTimeoutMs: timeout, ca } = options;
    this.#limits = options;
    this.#pool = new Pool(options.origin, {
      connections: options.connectionsMax,
      connect: ca === undefined ? { timeout } : { timeout, ca },
      headersTimeout: options.idleTimeoutMs,
      bodyTimeout: options.idleTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      allowH2: false, // its streams share a connection, and an abandoned one would be cut for all
    });
  }

  /**
   * The answer, in arrays that are the caller's. Rejects with the signal's reason, undici's or the system's errors, and
   * with an error of no code for an answer that is cut short or no answer to this.
   */
  async get({ path, headers, signal }: ReadRequest): Promise<Answer> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const collector = new Collector(this.#limits, (settled) => {
      if (settled instanceof Error) reject(settled);
      else resolve(settled);
    });
    const abort = (): void => {
      reject(signal?.reason);
      collector.stop(new Error('nobody waits for the answer'));
    };
    signal?.addEventListener('abort', abort, { once: true });
    try {
      this.#pool.dispatch({ method: 'GET', path, headers }, collector);
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Cuts what is under way. */
  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}
