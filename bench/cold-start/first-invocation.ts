/**
 * The Lambda Runtime API for a program that something else starts: on a port of this machine, with one event for whoever asks first, and
 * the times when it was asked and answered. What containers of other systems are measured with.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { errorMessage } from '../../src/base/index.ts';

/** Of `performance.now()`. */
export interface InvocationTimes {
  /** The program is ready: it asked for an event. */
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
  readonly response: string;
}

const path = '/2018-06-01/runtime/invocation';
const answerMaxMs = 300_000;

export class FirstInvocation implements AsyncDisposable {
  readonly times: Promise<InvocationTimes>;
  readonly #server: Server;
  readonly #answered: (times: InvocationTimes) => void;
  readonly #requestId = randomUUID();
  #askedAtMs: number | undefined;

  private constructor() {
    const times = Promise.withResolvers<InvocationTimes>();
    this.times = times.promise;
    this.#answered = times.resolve;
    this.#server = createServer({ keepAliveTimeout: 0, noDelay: true }, (request, response) => {
      void this.#answer(request, response);
    });
    const timer = setTimeout(() => {
      times.reject(new Error(`No answer of the function within ${answerMaxMs} ms`));
    }, answerMaxMs);
    this.times.catch(() => {}).finally(() => clearTimeout(timer));
    this.#server.once('close', () => clearTimeout(timer));
  }

  static async open(): Promise<FirstInvocation> {
    const opened = new FirstInvocation();
    opened.#server.listen(0, '127.0.0.1');
    await once(opened.#server, 'listening');
    return opened;
  }

  /** `HOST:PORT`, for `AWS_LAMBDA_RUNTIME_API`. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (request.url === `${path}/next`) this.#next(response);
      else if (request.url === `${path}/${this.#requestId}/response`) {
        await this.#respond(request, response);
      } else response.writeHead(404).end(`${request.method} ${request.url}`);
    } catch (thrown) {
      response.destroy(new Error(errorMessage(thrown)));
    }
  }

  #next(response: ServerResponse): void {
    if (this.#askedAtMs !== undefined) return; // there is no second event
    this.#askedAtMs = performance.now();
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Lambda-Runtime-Aws-Request-Id': this.#requestId,
      'Lambda-Runtime-Deadline-Ms': String(Date.now() + answerMaxMs),
      'Lambda-Runtime-Invoked-Function-Arn': 'arn:aws:lambda:us-east-1:000000000000:function:bench',
      'Content-Length': 2,
    });
    response.end('{}');
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const answeredAtMs = performance.now();
    response.writeHead(202, { 'Content-Length': 0 }).end();
    this.#answered({
      askedAtMs: this.#askedAtMs ?? answeredAtMs,
      answeredAtMs,
      response: Buffer.concat(parts).toString('utf8'),
    });
  }
}
