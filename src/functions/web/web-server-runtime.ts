/**
 * An ordinary web server as a function's runtime: ready once it answers, then given one request at a time over plain HTTP/1.1.
 * It takes the Runtime API's place for an instance whose function has `webServer`. What the server is sent besides the request
 * itself is what AWS's Lambda Web Adapter sends: the headers `x-amzn-request-context` and `x-amzn-lambda-context`.
 */

import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

import { errorCode, errorMessage, untilAborted, type Clock } from '../../base/index.ts';
import type { FunctionRecord, WebServerSettings } from '../../catalog/index.ts';
import type { Invocation, InvocationOutcome, RuntimeApi, Sandbox } from '../../sandbox/index.ts';
import { FunctionWebError } from '../errors.ts';
import type { WebRequest, WebResponse } from '../function-runs.ts';
import { urlRequestContext } from './url-event.ts';
import { webEventOf, webResultOf } from './web-event.ts';

/** Of what Invoke returns: 6 MiB and a little, as in Lambda. */
const payloadSizeMaxBytes = 6 * 1024 * 1024 + 100;
/** A connection is used again within this time only: servers close idle ones, and more so after having been frozen. */
const keepAliveMs = 1000;
/** Between two looks whether the server is ready: a twentieth of the time that has passed, so that looking adds 5 %. */
const readyPollShare = 1 / 20;
const [readyPollMinMs, readyPollMaxMs] = [1, 20] as const;

export interface WebServerRuntimeOptions {
  readonly sandbox: Pick<Sandbox, 'connect' | 'exited'>;
  readonly record: FunctionRecord;
  readonly settings: WebServerSettings;
  readonly logStream: string;
  readonly clock: Clock;
}

/** What is sent to the server. A body of unknown length begins with its first part. */
interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string | string[]>;
  readonly body: Readable;
}

export class WebServerRuntime implements RuntimeApi {
  readonly ready: RuntimeApi['ready'];
  readonly #options: WebServerRuntimeOptions;
  readonly #agent: Agent;
  #hasEnded = false;
  /** Until the body of the last answer has ended. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: WebServerRuntimeOptions) {
    this.#options = options;
    this.#agent = new SandboxAgent(options.sandbox, options.settings.port);
    void this.#stopAtEnd();
    this.ready = this.#untilReady().then(() => ({}));
  }

  async fetch(
    request: WebRequest,
    invocation: Invocation,
    signal: AbortSignal,
  ): Promise<WebResponse> {
    const { method, headers, body } = request;
    const context = urlRequestContext({
      method,
      headers,
      path: request.path.split('?', 1)[0] ?? '/',
      requestId: invocation.requestId,
      accountId: accountOf(invocation),
      sourceIp: [headers['x-forwarded-for'] ?? ''].flat().at(-1)?.split(/,\s*/).at(-1) ?? '',
      timeMs: this.#options.clock.nowMs(),
    });
    const sent = { method, path: request.path, headers: endToEnd(headers), body };
    return await this.#send(sent, JSON.stringify(context), invocation, signal);
  }

  async invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome> {
    try {
      const event = webEventOf(invocation.payload); // throws for what is nested too deeply
      const { method, path, body } = event;
      const headers = { ...endToEnd(event.headers), 'content-length': String(body.byteLength) };
      const sent = { method, path, headers, body: Readable.from([body], { objectMode: false }) };
      const response = await this.#send(sent, event.requestContext, invocation, signal);
      const bytes = await collect(response.body);
      if (bytes === undefined) return failure('Function.ResponseSizeTooLarge', tooLargeWords);
      return { kind: 'response', payload: webResultOf(event, { ...response, body: bytes }) };
    } catch (thrown) {
      signal.throwIfAborted();
      return failure('Runtime.WebServerError', errorMessage(thrown));
    }
  }

  async settled(signal?: AbortSignal): Promise<void> {
    await untilAborted(this.#busy, signal);
  }

  async #stopAtEnd(): Promise<void> {
    await this.#options.sandbox.exited;
    this.#hasEnded = true;
    this.#agent.destroy();
  }

  async #untilReady(): Promise<void> {
    const { clock, settings } = this.#options;
    const startedAtMs = clock.monotonicMs();
    while (!this.#hasEnded) {
      const status = await this.#statusOf(settings.readyPath).catch(() => undefined);
      if (status !== undefined && status < 500) return;
      const passedMs = clock.monotonicMs() - startedAtMs;
      const waitMs = Math.max(readyPollMinMs, passedMs * readyPollShare);
      await delay(Math.min(waitMs, readyPollMaxMs));
    }
    await new Promise(() => {}); // whoever waits knows that the sandbox has ended
  }

  async #statusOf(path: string): Promise<number | undefined> {
    const headers = { host: 'localhost' };
    const response = await this.#exchange({ method: 'GET', path, headers, body: nothing() });
    response.resume();
    await once(response, 'close');
    return response.statusCode;
  }

  async #send(
    sent: Sent,
    requestContext: string,
    invocation: Invocation,
    signal: AbortSignal,
  ): Promise<WebResponse> {
    const headers = {
      host: 'localhost',
      ...sent.headers,
      'x-amzn-request-context': latin1(requestContext),
      'x-amzn-lambda-context': latin1(JSON.stringify(this.#lambdaContext(invocation))),
    };
    try {
      const response = await this.#exchange({ ...sent, headers }, signal);
      this.#busy = new Promise((resolve) => response.once('close', resolve));
      const status = response.statusCode ?? 502;
      return { status, headers: endToEnd(response.headersDistinct), body: response };
    } catch (thrown) {
      signal.throwIfAborted();
      throw new FunctionWebError(this.#options.record.name, errorMessage(thrown), thrown);
    }
  }

  /** Tries again where an idle connection turns out to have been closed, and nothing of a body has been used up. */
  async #exchange(sent: Sent, signal?: AbortSignal): Promise<IncomingMessage> {
    try {
      return await this.#exchangeOnce(sent, signal);
    } catch (thrown) {
      const wasStale = thrown instanceof StaleConnectionError && !sent.body.readableDidRead;
      if (!wasStale || signal?.aborted === true) throw thrown;
      return await this.#exchangeOnce(sent, signal);
    }
  }

  async #exchangeOnce(sent: Sent, signal?: AbortSignal): Promise<IncomingMessage> {
    const hasLength = 'content-length' in sent.headers;
    const first = hasLength ? undefined : await untilAborted(firstPart(sent.body), signal);
    signal?.throwIfAborted();
    const framing = hasLength ? {} : framingOf(sent.method, first);
    const answered = Promise.withResolvers<IncomingMessage>();
    const { method, path } = sent;
    const headers = { ...sent.headers, ...framing };
    const outgoing = httpRequest({ agent: this.#agent, method, path, headers, setHost: false });
    const abort = (): void => {
      answered.reject(signal?.reason);
      outgoing.destroy();
    };
    signal?.addEventListener('abort', abort, { once: true });
    outgoing.once('close', () => {
      signal?.removeEventListener('abort', abort);
      answered.reject(new Error('it closed the connection without an answer'));
    });
    outgoing.on('error', (error) => {
      const isStale = outgoing.reusedSocket && errorCode(error) === 'ECONNRESET';
      answered.reject(isStale ? new StaleConnectionError(error) : error);
    });
    outgoing.once('response', (response) => {
      response.on('error', () => {}); // whoever reads it is told
      signal?.addEventListener('abort', () => response.destroy(asError(signal.reason)), {
        once: true,
      });
      answered.resolve(response);
    });
    if (first !== undefined) outgoing.write(first);
    if (hasLength || first !== undefined) sendBody(sent.body, outgoing);
    else outgoing.end();
    return await answered.promise;
  }

  /** As Rust's runtime for Lambda writes its context, which is what the adapter sends. */
  #lambdaContext(invocation: Invocation): object {
    const { record, logStream } = this.#options;
    return {
      request_id: invocation.requestId,
      deadline: Math.floor(invocation.deadlineMs),
      invoked_function_arn: invocation.functionArn,
      xray_trace_id: invocation.traceId ?? null,
      client_context: null,
      identity: null,
      env_config: {
        function_name: record.name,
        memory: record.memoryMb,
        version: record.version,
        log_stream: logStream,
        log_group: `/aws/lambda/${record.name}`,
      },
    };
  }
}

/** Keeps one connection to a port inside a sandbox. */
class SandboxAgent extends Agent {
  readonly #sandbox: Pick<Sandbox, 'connect'>;
  readonly #port: number;

  constructor(sandbox: Pick<Sandbox, 'connect'>, port: number) {
    super({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1, timeout: keepAliveMs });
    this.#sandbox = sandbox;
    this.#port = port;
  }

  override createConnection(
    _options: unknown,
    done?: (error: Error | null, socket: Socket) => void,
  ): undefined {
    void this.#connect(done);
    return undefined;
  }

  async #connect(done?: (error: Error | null, socket: Socket) => void): Promise<void> {
    const [opened] = await Promise.allSettled([this.#sandbox.connect(this.#port)]);
    if (opened.status === 'fulfilled') done?.(null, opened.value.setNoDelay(true));
    else done?.(asError(opened.reason), undefined as never);
  }
}

/** The server had closed the connection that was kept. */
class StaleConnectionError extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

/** Headers that belong to a connection, not to what is said over it. Source: RFC 9110, 7.6.1. */
const hopByHop: ReadonlySet<string> = new Set(
  'connection expect keep-alive proxy-connection te trailer transfer-encoding upgrade'.split(' '),
);

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

function endToEnd(headers: Headers): Record<string, string | string[]> {
  const kept = Object.entries(headers).flatMap(([name, value]) => {
    if (value === undefined || hopByHop.has(name.toLowerCase())) return [];
    const values = [value].flat();
    return [[name.toLowerCase(), values.length === 1 ? (values[0] ?? '') : values] as const];
  });
  return Object.fromEntries(kept);
}

function accountOf({ functionArn }: Invocation): string {
  return functionArn.split(':')[4] ?? '';
}

/** UTF-8 as the one byte a character that headers are written with. */
function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function nothing(): Readable {
  return Readable.from([], { objectMode: false });
}

/** Waits until the body begins; undefined where it ends without having begun. */
async function firstPart(body: Readable): Promise<Buffer | undefined> {
  while (!body.readableEnded && !body.destroyed) {
    const part = body.read() as Buffer | null;
    if (part !== null) return part;
    await Promise.race([once(body, 'readable'), once(body, 'end'), once(body, 'close')]);
  }
  return undefined;
}

function framingOf(method: string, first: Buffer | undefined): Record<string, string> {
  if (first !== undefined) return { 'transfer-encoding': 'chunked' };
  return ['POST', 'PUT', 'PATCH'].includes(method) ? { 'content-length': '0' } : {};
}

/** A body that breaks off breaks the request off. */
function sendBody(body: Readable, outgoing: ReturnType<typeof httpRequest>): void {
  body.once('error', (error) => outgoing.destroy(error));
  body.once('close', () => {
    if (!body.readableEnded) outgoing.destroy();
  });
  body.pipe(outgoing);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

const tooLargeWords = `Response payload size exceeded maximum allowed payload size (${payloadSizeMaxBytes} bytes).`;

/** Undefined, and no more is read, where it is too large. */
async function collect(body: Readable): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    sizeBytes += part.byteLength;
    if (sizeBytes > payloadSizeMaxBytes) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function failure(errorType: string, errorMessage: string): InvocationOutcome {
  const payload = Buffer.from(JSON.stringify({ errorType, errorMessage }));
  return { kind: 'error', payload, errorType };
}
