/**
 * GETs whole objects over a pool of kept connections, each into one array of its size: no stream, and no copy but the kernel's. A
 * quarter of the SDK's processor time (npm run bench -- s3-get).
 */

import type { Answer } from './http-answer.ts';
import { HttpConnection, StaleConnectionError, type ConnectionOptions } from './http-connection.ts';

export type { Answer } from './http-answer.ts';

export interface ReaderOptions extends ConnectionOptions {
  readonly connectionsMax: number;
}

export interface ReadRequest {
  /** Percent-encoded. */
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal | undefined;
}

interface Waiter {
  readonly resolve: (connection: HttpConnection) => void;
  readonly reject: (reason: Error) => void;
}

export class ObjectReader {
  readonly #options: ReaderOptions;
  readonly #host: string;
  readonly #open = new Set<HttpConnection>();
  /** Of these, such as have nothing to do; the one used last at the end. */
  readonly #free = new Set<HttpConnection>();
  /** In order of arrival. */
  readonly #waiting = new Set<Waiter>();
  #closedReason: Error | undefined;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#host = new URL(options.origin).host;
  }

  /**
   * The answer, in arrays that are the caller's. Rejects with the signal's reason, the system's errors, and with an error of no code for an
   * answer that is cut short or no answer to this.
   */
  async get({ path, headers, signal }: ReadRequest): Promise<Answer> {
    const text = requestText(path, { host: this.#host, ...headers });
    for (;;) {
      const connection = await this.#connection(signal);
      try {
        return await connection.ask(text, signal);
      } catch (thrown) {
        // The server had closed it before it saw the request. At some time it is a new one, which is never stale.
        if (!(thrown instanceof StaleConnectionError) || this.#closedReason !== undefined)
          throw thrown;
      }
    }
  }

  /** Cuts what is under way. */
  async close(): Promise<void> {
    this.#closedReason = new Error('the store is closed');
    for (const { reject } of this.#waiting) reject(this.#closedReason);
    this.#waiting.clear();
    for (const connection of this.#open) connection.destroy(this.#closedReason);
  }

  /** One that has nothing to do, as soon as there is one. */
  async #connection(signal: AbortSignal | undefined): Promise<HttpConnection> {
    signal?.throwIfAborted();
    if (this.#closedReason !== undefined) throw this.#closedReason;
    const last = [...this.#free].at(-1);
    if (last !== undefined) {
      this.#free.delete(last);
      return last;
    }
    if (this.#open.size < this.#options.connectionsMax) return this.#connect();
    const { promise, resolve, reject } = Promise.withResolvers<HttpConnection>();
    const waiter = { resolve, reject };
    const abort = (): void => {
      if (this.#waiting.delete(waiter)) reject(signal?.reason);
    };
    this.#waiting.add(waiter);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  #connect(): HttpConnection {
    const connection = new HttpConnection(this.#options, {
      free: () => this.#handOn(connection),
      lost: () => {
        this.#open.delete(connection);
        this.#free.delete(connection);
        if (this.#closedReason === undefined && this.#waiting.size > 0)
          this.#handOn(this.#connect());
      },
    });
    this.#open.add(connection);
    return connection;
  }

  /** To whoever has waited for longest. */
  #handOn(connection: HttpConnection): void {
    const [waiter] = this.#waiting;
    if (waiter === undefined) {
      this.#free.add(connection);
      return;
    }
    this.#waiting.delete(waiter);
    waiter.resolve(connection);
  }
}

/** Throws if it would not be this request alone; never says a header's value. */
function requestText(path: string, headers: Readonly<Record<string, string>>): string {
  const bad = Object.entries(headers).find(([, value]) => /[^\t\x20-\x7e\x80-\xff]/.test(value));
  if (bad !== undefined) throw new Error(`the header "${bad[0]}" has characters that HTTP has not`);
  if (/[^\x21-\x7e]/.test(path)) throw new Error('the path is not percent-encoded');
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
