/**
 * The Lambda Runtime API, as one sandbox sees it: HTTP on its loopback. Source: AWS Lambda
 * developer guide, "Using the Lambda runtime API for custom runtimes"; where that is silent, what
 * AWS's published emulator answers.
 *
 * The other side is hostile. It can reach no state but its own invocation's; headers, bodies,
 * connections and the time to send a request are bounded; at most one large body is held in memory
 * at a time, since only the one POST that the state allows is read, and everything else is refused
 * before its body is.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

import { assert, untilAborted } from '../../base/index.ts';
import { InvocationBrokenError, SandboxClosedError } from '../errors.ts';
import { ExtensionRegistry, type FunctionInfo } from './extension-registry.ts';
import type {
  Invocation,
  InvocationError,
  InvocationOutcome,
  RuntimeApi,
} from './runtime-api-contract.ts';
import {
  accept,
  headerOf,
  headerValue,
  noSuchMethod,
  noSuchPage,
  payloadSizeMaxBytes,
  readBody,
  Refusal,
  refuse,
  sendJson,
  tooLarge,
  truncated,
} from './runtime-api-http.ts';
import {
  contentTypeOf,
  errorFrom,
  errorOutcome,
  readOutcome,
  StreamedResponse,
} from './runtime-api-response.ts';

const headersSizeMaxBytes = 64 * 1024;
const connectionsMax = 128;
const headersTimeoutMs = 60_000;
const apiPath = '/2018-06-01/runtime';
const extensionsPath = '/2020-01-01/extension';

type Ready = Awaited<RuntimeApi['ready']>;

interface Running {
  readonly invocation: Invocation;
  readonly settle: (outcome: InvocationOutcome) => void;
  /** Gives it up, body and all. */
  readonly fail: (reason: unknown) => void;
  /**
   * `waiting` for the runtime to ask, `running` once given to it, `answering` while its answer
   * arrives.
   */
  state: 'waiting' | 'running' | 'answering';
  /** The response, while it is handed on as it comes. */
  stream: Readable | undefined;
}

const invalidRequestId = new Refusal(400, 'InvalidRequestID', 'Invalid request ID');
const invalidResponseMode = new Refusal(
  400,
  'InvalidFunctionResponseMode',
  'Invalid function response mode',
);

function invalidTransition(from: string, to: string): Refusal {
  return new Refusal(
    403,
    'InvalidStateTransition',
    `State transition from ${from} to ${to} failed for runtime. Error: State transition is not allowed`,
  );
}

export interface RuntimeApiServerOptions {
  /** What extensions are told of the function. */
  readonly info?: FunctionInfo;
  /** Names of the external extensions. */
  readonly extensions?: readonly string[];
}

const unknownFunction: FunctionInfo = { functionName: '', functionVersion: '', handler: '' };

/** One sandbox's Runtime API: a server towards the sandbox, a `RuntimeApi` towards Thaw. */
export class RuntimeApiServer implements RuntimeApi, AsyncDisposable {
  readonly ready: Promise<Ready>;
  readonly extensions: ExtensionRegistry;
  readonly #id: string;
  readonly #server: Server;
  readonly #initialised: (result: Ready) => void;
  #state: 'starting' | 'failing' | 'failed' | 'started' = 'starting';
  #running: Running | undefined;
  /** The long poll that waits for an invocation. */
  #poll: ServerResponse | undefined;
  #isReady = false;
  /** Why there will be no further outcome: an extension has failed. */
  #fatal: InvocationError | undefined;
  /** Those who wait for a change. */
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(id: string, options: RuntimeApiServerOptions = {}) {
    const ready = Promise.withResolvers<Ready>();
    this.ready = ready.promise;
    this.#initialised = ready.resolve;
    this.#id = id;
    this.extensions = new ExtensionRegistry({
      info: options.info ?? unknownFunction,
      external: options.extensions ?? [],
      onProgress: () => this.#progress(),
      onFailure: (failure) => void this.fail(failure),
    });
    this.#server = createServer(
      {
        maxHeaderSize: headersSizeMaxBytes,
        requestTimeout: 0, // a response may be written for as long as the invocation may take
        headersTimeout: headersTimeoutMs,
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

  async invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome> {
    assert(this.#running === undefined, `Sandbox "${this.#id}" already has an invocation`);
    if (this.#closed) throw new SandboxClosedError(this.#id);
    if (this.#fatal !== undefined) return this.#fatal;
    signal.throwIfAborted();
    const answered = Promise.withResolvers<InvocationOutcome>();
    const abort = (): void => running.fail(signal.reason);
    const end = (): void => {
      signal.removeEventListener('abort', abort);
      if (this.#running === running) this.#running = undefined;
    };
    const running: Running = {
      invocation,
      settle: (outcome) => {
        if (outcome.kind !== 'stream') end();
        else running.stream = outcome.body.once('close', end);
        answered.resolve(outcome);
      },
      fail: (reason) => {
        end();
        answered.reject(reason);
        running.stream?.destroy(reason instanceof Error ? reason : new Error(String(reason)));
      },
      state: 'waiting',
      stream: undefined,
    };
    this.#running = running;
    signal.addEventListener('abort', abort, { once: true });
    this.extensions.announce(invocation);
    const poll = this.#poll;
    if (poll !== undefined) this.#deliver(running, poll);
    return await answered.promise;
  }

  async settled(signal?: AbortSignal): Promise<void> {
    await this.#until(() => this.#isSettled, signal);
  }

  /** Resolves when all external extensions have registered, or something has failed. */
  async externalRegistered(): Promise<void> {
    await this.#until(() => this.extensions.externalRegistered || this.#fatal !== undefined);
  }

  get hasFailed(): boolean {
    return this.#fatal !== undefined;
  }

  /**
   * Ends the initialisation or the invocation, and every later one, in the failure of an extension. False where there is
   * nobody to be told.
   */
  fail(failure: InvocationError): boolean {
    const isAwaited = this.#running !== undefined || !this.#isReady;
    this.#fatal ??= { ...failure, fatal: true };
    const { payload, errorType } = this.#fatal;
    this.#initialised({ initError: this.#fatal });
    const running = this.#running;
    if (running?.stream === undefined) running?.settle(this.#fatal);
    else running.fail(new InvocationBrokenError({ kind: 'error', payload, errorType }));
    this.#progress();
    return isAwaited;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#running?.fail(new SandboxClosedError(this.#id));
    this.#progress();
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #isSettled(): boolean {
    const allWait = this.#poll !== undefined && this.extensions.allWait;
    return (allWait && this.#running === undefined) || this.#fatal !== undefined;
  }

  async #until(isSo: () => boolean, signal?: AbortSignal): Promise<void> {
    while (!isSo() && !this.#closed) {
      const change = Promise.withResolvers<void>();
      this.#waiting.push(change.resolve);
      await untilAborted(change.promise, signal);
    }
  }

  /** To be called when something has changed that somebody may wait for. */
  #progress(): void {
    if (this.#state === 'started' && this.extensions.allWait && !this.hasFailed) {
      this.#isReady = true;
      this.#initialised({});
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refusal = await this.#route(request, response).catch(() => truncated);
    if (refusal !== undefined) refuse(request, response, refusal);
  }

  /** Answers, or returns why it does not. */
  async #route(request: IncomingMessage, response: ServerResponse): Promise<Refusal | undefined> {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    if (path.startsWith(`${extensionsPath}/`)) {
      return this.extensions.route(request, response, path.slice(extensionsPath.length));
    }
    if (path === `${apiPath}/invocation/next`) {
      return request.method === 'GET' ? this.#next(response) : noSuchMethod;
    }
    if (path === `${apiPath}/init/error`) {
      return request.method === 'POST' ? this.#initError(request, response) : noSuchMethod;
    }
    const missing = notSupported[path];
    if (missing !== undefined) {
      if (request.method !== 'PUT') return noSuchMethod;
      sendJson(response, 202, missing);
      return undefined;
    }
    const [, requestId, verb] =
      /^\/2018-06-01\/runtime\/invocation\/([^/]+)\/(response|error)$/.exec(path) ?? [];
    if (requestId === undefined) return noSuchPage;
    if (request.method !== 'POST') return noSuchMethod;
    return this.#outcome(request, response, requestId, verb === 'error' ? 'error' : 'response');
  }

  #next(response: ServerResponse): Refusal | undefined {
    if (this.#state === 'failing' || this.#state === 'failed') {
      return invalidTransition('InitError', 'Ready');
    }
    if (this.#poll !== undefined) return invalidTransition('Ready', 'Ready');
    this.#state = 'started';
    this.extensions.close();
    if (this.#running?.state === 'answering') {
      return invalidTransition('InvocationResponse', 'Ready');
    }
    // An invocation that was given out and not answered is given again: the first answer may have been lost.
    if (this.#running !== undefined) {
      this.#deliver(this.#running, response);
    } else {
      this.#poll = response;
      response.once('close', () => {
        if (this.#poll === response) this.#poll = undefined;
      });
    }
    this.#progress();
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
    kind: 'response' | 'error',
  ): Promise<Refusal | undefined> {
    const running = this.#running;
    if (running === undefined || running.state === 'waiting') {
      return this.#state === 'started'
        ? invalidRequestId
        : invalidTransition('Started', 'InvocationResponse');
    }
    if (running.state === 'answering') {
      return invalidTransition('InvocationResponse', 'InvocationResponse');
    }
    if (requestId !== running.invocation.requestId) return invalidRequestId;
    const mode = headerOf(request, 'lambda-runtime-function-response-mode');
    if (mode !== undefined && mode !== 'streaming' && kind === 'response') {
      running.settle(errorOutcome('Runtime.InvalidResponseModeHeader', ''));
      return invalidResponseMode;
    }
    running.state = 'answering';
    const refusal =
      kind === 'response' && running.invocation.streams === true
        ? await this.#streamed(request, running)
        : await this.#collected(request, running, kind);
    if (refusal === undefined) accept(response);
    return refusal;
  }

  async #streamed(request: IncomingMessage, running: Running): Promise<Refusal | undefined> {
    const body = new StreamedResponse(request);
    running.settle({ kind: 'stream', body, ...contentTypeOf(request) });
    return await body.ended;
  }

  async #collected(
    request: IncomingMessage,
    running: Running,
    kind: 'response' | 'error',
  ): Promise<Refusal | undefined> {
    const { outcome, refusal } = await readOutcome(request, kind);
    running.settle(outcome);
    return refusal;
  }

  async #initError(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Refusal | undefined> {
    if (this.#state !== 'starting') return invalidTransition('Ready', 'InitError');
    this.#state = 'failing';
    const body = await readBody(request, payloadSizeMaxBytes).catch(() => undefined);
    this.#state = 'failed';
    const usable = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
    this.#initialised({ initError: errorFrom(request, usable) });
    if (body === undefined) return truncated;
    if (body === 'too large') return tooLarge(payloadSizeMaxBytes);
    accept(response);
    return undefined;
  }
}

/** APIs of Lambda that there are not here: its own answers where they are switched off. */
const notSupported: Readonly<Record<string, object>> = {
  '/2020-08-15/logs': {
    errorMessage: 'Logs API is not supported',
    errorType: 'Logs.NotSupported',
  },
  '/2022-07-01/telemetry': {
    errorMessage: 'Telemetry API is not supported',
    errorType: 'Telemetry.NotSupported',
  },
};
