/**
 * The Lambda Runtime API, as one sandbox sees it: HTTP on its loopback. Source: AWS Lambda
 * developer guide, "Using the Lambda runtime API for custom runtimes"; where that is silent, what
 * AWS's published emulator answers.
 *
 * The other side is hostile. It can reach no state but its own invocation's; headers, bodies,
 * connections and the time to send a request are bounded; at most one body is held in memory at a
 * time, since only the one POST that the state allows is read, and everything else is refused
 * before its body is.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

import { assert } from '../base/index.ts';
import { SandboxClosedError } from './errors.ts';
import type { Invocation, InvocationOutcome, RuntimeApi } from './sandbox.ts';

/** 6 MiB and a little, as in Lambda. */
export const payloadSizeMaxBytes = 6 * 1024 * 1024 + 100;
const headersSizeMaxBytes = 64 * 1024;
const connectionsMax = 128;
const requestTimeoutMs = 60_000;
/** An error type is copied into answers and logs, so it must be short and plain. */
const errorTypeForm = /^[\w.:$-]{1,256}$/;
const apiPath = '/2018-06-01/runtime';

type InitResult = Awaited<RuntimeApi['ready']>;

interface Running {
  readonly invocation: Invocation;
  readonly settle: (outcome: InvocationOutcome) => void;
  readonly fail: (reason: unknown) => void;
  /**
   * `waiting` for the runtime to ask, `running` once given to it, `answering` while its answer
   * arrives.
   */
  state: 'waiting' | 'running' | 'answering';
}

/** What is refused, with Lambda's status and words. */
class Refusal {
  readonly status: number;
  readonly errorType: string;
  readonly errorMessage: string;

  constructor(status: number, errorType: string, errorMessage: string) {
    this.status = status;
    this.errorType = errorType;
    this.errorMessage = errorMessage;
  }
}

const invalidRequestId = new Refusal(400, 'InvalidRequestID', 'Invalid request ID');
const truncated = new Refusal(400, 'TruncatedHTTPRequest', 'HTTP request detected as truncated');
const invalidResponseMode = new Refusal(
  400,
  'InvalidFunctionResponseMode',
  'Invalid function response mode',
);
const noSuchPage = new Refusal(404, 'NotFound', '404 page not found');
const noSuchMethod = new Refusal(405, 'MethodNotAllowed', 'Method not allowed');
const tooLarge = new Refusal(
  413,
  'RequestEntityTooLarge',
  `Exceeded maximum allowed payload size (${payloadSizeMaxBytes} bytes).`,
);

function invalidTransition(from: string, to: string): Refusal {
  return new Refusal(
    403,
    'InvalidStateTransition',
    `Transition from ${from} to ${to} failed for runtime. Error: State transition is not allowed`,
  );
}

/** One sandbox's Runtime API: a server towards the sandbox, a `RuntimeApi` towards Thaw. */
export class RuntimeApiServer implements RuntimeApi, AsyncDisposable {
  readonly ready: Promise<InitResult>;
  readonly #id: string;
  readonly #server: Server;
  readonly #initialised: (result: InitResult) => void;
  #state: 'starting' | 'failing' | 'failed' | 'started' = 'starting';
  #running: Running | undefined;
  /** The long poll that waits for an invocation. */
  #poll: ServerResponse | undefined;
  #closed = false;

  constructor(id: string) {
    const ready = Promise.withResolvers<InitResult>();
    this.ready = ready.promise;
    this.#initialised = ready.resolve;
    this.#id = id;
    this.#server = createServer(
      {
        maxHeaderSize: headersSizeMaxBytes,
        requestTimeout: requestTimeoutMs,
        headersTimeout: requestTimeoutMs,
        keepAliveTimeout: 0, // a frozen or idle runtime keeps its connection
        noDelay: true,
      },
      (request, response) => {
        response.on('error', () => {}); // the sandbox may close at any moment
        request.on('error', () => {});
        void this.#answer(request, response);
      },
    );
    this.#server.maxConnections = connectionsMax;
  }

  /**
   * Starts to serve on a listening socket, which is the server's from now on, or on a loopback port
   * of the host's.
   */
  async listen(where: { readonly fd: number } | { readonly port: number }): Promise<number> {
    const listening = Promise.withResolvers<void>();
    this.#server.once('error', listening.reject);
    const ready = (): void => listening.resolve();
    if ('fd' in where) this.#server.listen({ fd: where.fd }, ready);
    else this.#server.listen(where.port, '127.0.0.1', ready);
    await listening.promise;
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome> {
    assert(this.#running === undefined, `Sandbox "${this.#id}" already has an invocation`);
    if (this.#closed) return Promise.reject(new SandboxClosedError(this.#id));
    if (signal.aborted) return Promise.reject(signal.reason);
    const answered = Promise.withResolvers<InvocationOutcome>();
    const running: Running = {
      invocation,
      settle: answered.resolve,
      fail: answered.reject,
      state: 'waiting',
    };
    this.#running = running;
    const abort = (): void => answered.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    const poll = this.#poll;
    if (poll !== undefined) this.#deliver(running, poll);
    return answered.promise.finally(() => {
      signal.removeEventListener('abort', abort);
      if (this.#running === running) this.#running = undefined;
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#running?.fail(new SandboxClosedError(this.#id));
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refusal = await this.#route(request, response).catch(() => truncated);
    if (refusal !== undefined) refuse(request, response, refusal);
  }

  /** Answers, or returns why it does not. */
  async #route(request: IncomingMessage, response: ServerResponse): Promise<Refusal | undefined> {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    if (path === `${apiPath}/invocation/next`) {
      return request.method === 'GET' ? this.#next(response) : noSuchMethod;
    }
    if (path === `${apiPath}/init/error`) {
      return request.method === 'POST' ? this.#initError(request, response) : noSuchMethod;
    }
    const [, requestId, verb] =
      /^\/2018-06-01\/runtime\/invocation\/([^/]+)\/(response|error)$/.exec(path) ?? [];
    if (requestId === undefined) return noSuchPage;
    if (request.method !== 'POST') return noSuchMethod;
    return this.#outcome(request, response, requestId, verb === 'error' ? 'error' : 'response');
  }

  #next(response: ServerResponse): Refusal | undefined {
    if (this.#state === 'failing' || this.#state === 'failed') {
      return invalidTransition('RuntimeInitError', 'Ready');
    }
    if (this.#poll !== undefined) return invalidTransition('Ready', 'Ready');
    this.#state = 'started';
    this.#initialised({});
    if (this.#running?.state === 'answering') return invalidTransition('Running', 'Ready');
    // An invocation that was given out and not answered is given again: the first answer may have been lost.
    if (this.#running !== undefined) {
      this.#deliver(this.#running, response);
      return undefined;
    }
    this.#poll = response;
    response.once('close', () => {
      if (this.#poll === response) this.#poll = undefined;
    });
    return undefined;
  }

  #deliver(running: Running, response: ServerResponse): void {
    this.#poll = undefined;
    running.state = 'running';
    const { invocation } = running;
    const headers: Record<string, string | number> = {
      'Content-Type': 'application/json',
      'Content-Length': invocation.payload.byteLength,
      'Lambda-Runtime-Aws-Request-Id': headerValue(invocation.requestId),
      'Lambda-Runtime-Deadline-Ms': String(Math.floor(invocation.deadlineMs)),
      'Lambda-Runtime-Invoked-Function-Arn': headerValue(invocation.functionArn),
    };
    const optional = {
      'Lambda-Runtime-Trace-Id': invocation.traceId,
      'Lambda-Runtime-Client-Context': invocation.clientContext,
      'Lambda-Runtime-Cognito-Identity': invocation.cognitoIdentity,
    };
    for (const [name, value] of Object.entries(optional)) {
      if (value !== undefined) headers[name] = headerValue(value);
    }
    response.writeHead(200, headers);
    response.end(invocation.payload);
  }

  async #outcome(
    request: IncomingMessage,
    response: ServerResponse,
    requestId: string,
    kind: InvocationOutcome['kind'],
  ): Promise<Refusal | undefined> {
    const running = this.#running;
    if (running === undefined || running.state === 'waiting') {
      return this.#state === 'started'
        ? invalidRequestId
        : invalidTransition('RuntimeStarted', 'InvocationResponse');
    }
    if (running.state === 'answering') {
      return invalidTransition('InvocationResponse', 'InvocationResponse');
    }
    if (requestId !== running.invocation.requestId) return invalidRequestId;
    const mode = request.headers['lambda-runtime-function-response-mode'];
    if (mode !== undefined && mode !== 'streaming' && kind === 'response') {
      running.settle(errorOutcome('Runtime.InvalidResponseModeHeader', ''));
      return invalidResponseMode;
    }
    running.state = 'answering';
    const body = await readBody(request).catch(() => undefined);
    if (body === undefined) {
      running.settle(errorOutcome('Runtime.TruncatedResponse', 'The response was cut short'));
      return truncated;
    }
    if (body === 'too large') {
      running.settle(responseTooLarge(request));
      return tooLarge;
    }
    running.settle(kind === 'error' ? errorFrom(request, body) : responseFrom(request, body));
    accept(response);
    return undefined;
  }

  async #initError(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Refusal | undefined> {
    if (this.#state !== 'starting') return invalidTransition('RuntimeReady', 'RuntimeInitError');
    this.#state = 'failing';
    const body = await readBody(request).catch(() => undefined);
    this.#state = 'failed';
    const usable = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
    this.#initialised({ initError: errorFrom(request, usable) });
    if (body === undefined) return truncated;
    if (body === 'too large') return tooLarge;
    accept(response);
    return undefined;
  }
}

/** Reads a body up to the limit. Rejects when the connection ends before it does. */
async function readBody(request: IncomingMessage): Promise<Buffer | 'too large'> {
  if (Number(request.headers['content-length'] ?? 0) > payloadSizeMaxBytes) return 'too large';
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  const end = Promise.withResolvers<'whole' | 'too large'>();
  request.on('data', (part: Buffer) => {
    sizeBytes += part.byteLength;
    if (sizeBytes <= payloadSizeMaxBytes) parts.push(part);
    else end.resolve('too large');
  });
  request.once('end', () => end.resolve('whole'));
  request.once('close', () => end.reject(truncated));
  return (await end.promise) === 'whole' ? Buffer.concat(parts) : 'too large';
}

function accept(response: ServerResponse): void {
  send(response, 202, { status: 'OK' });
}

/** Refuses; where part of a body is still to come, the connection ends with the answer. */
function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  if (!request.complete) response.setHeader('Connection', 'close');
  const { status, errorType, errorMessage } = refusal;
  send(response, status, { errorMessage, errorType });
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** UTF-8 in a header, line ends and other control characters as blanks. */
function headerValue(value: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  return Buffer.from(value.replaceAll(/[\u0000-\u001f\u007f]/g, ' '), 'utf8').toString('latin1');
}

function errorOutcome(errorType: string, errorMessage: string): InvocationOutcome {
  const payload = Buffer.from(JSON.stringify({ errorType, errorMessage }));
  return { kind: 'error', payload, errorType };
}

function responseTooLarge(request: IncomingMessage): InvocationOutcome {
  const declared = request.headers['content-length'];
  const size = declared === undefined ? '' : ` (${declared} bytes)`;
  return errorOutcome(
    'Function.ResponseSizeTooLarge',
    `Response payload size${size} exceeded maximum allowed payload size (${payloadSizeMaxBytes} bytes).`,
  );
}

/** A streamed response may end in an error told in its trailers, as Lambda's runtimes do. */
function responseFrom(request: IncomingMessage, body: Buffer): InvocationOutcome {
  const errorType = request.trailers['lambda-runtime-function-error-type'];
  if (errorType === undefined) return { kind: 'response', payload: body };
  const told = request.trailers['lambda-runtime-function-error-body'] ?? '';
  return errorFromBody(errorType, Buffer.from(told, 'base64'));
}

function errorFrom(request: IncomingMessage, body: Buffer): InvocationOutcome {
  const header = request.headers['lambda-runtime-function-error-type'];
  return errorFromBody(typeof header === 'string' ? header : undefined, body);
}

/** The body as the runtime sent it where it is a JSON object, else one made from what is known. */
function errorFromBody(header: string | undefined, body: Buffer): InvocationOutcome {
  const told = parseObject(body);
  const inBody = told?.['errorType'];
  const claims = [header, inBody].filter((claim) => typeof claim === 'string');
  const errorType = claims.find((claim) => errorTypeForm.test(claim)) ?? 'Runtime.Unknown';
  if (told !== undefined) return { kind: 'error', payload: body, errorType };
  return errorOutcome(errorType, 'Unknown application error occurred');
}

function parseObject(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return value as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
