/**
 * What becomes of one request: who sent it, which operation it calls, its answer or Lambda's words for why there is none. Nothing is
 * done for a stranger, and nothing of ours is told to anybody.
 */

import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';

import {
  defined,
  errorCode,
  errorMessage,
  systemClock,
  toHex,
  type Clock,
  type Log,
} from '../../base/index.ts';
import type { FunctionNetwork } from '../../catalog/index.ts';
import type { Authenticator } from '../sigv4/authenticator.ts';
import { CodeLinks, codePrefix } from './code-links.ts';
import { errorReply, invokeBodyMaxBytes, type ErrorSubject } from './error-reply.ts';
import { functionArn, type ArnScope } from './function-name.ts';
import { answerUrl, parseUrlPath, urlPrefix } from './function-url.ts';
import { LambdaError, errorBody, errorHeaders } from './lambda-error.ts';
import type { Answer, Call, LambdaFunctions } from './operation.ts';
import { operations } from './operations.ts';
import {
  BodyBudget,
  ClientGoneError,
  requestBody,
  tooManyBytes,
  type RequestBody,
} from './read-body.ts';
import { RequestCounts } from './request-counts.ts';
import { createRouteTable, type Route } from './route-table.ts';

/** Bounds on what clients may take. */
export interface LambdaApiLimits {
  /** Default 1024; one more is closed at once. */
  readonly connectionsMax: number;
  /** Of requests, held at a time, of all tenants together; see `BodyBudget`. Default 280,668,844: four of the longest. */
  readonly bodiesMaxBytes: number;
  /** Without a byte of a body. Default 20,000. */
  readonly bodyIdleTimeoutMs: number;
  /** For the rest of a request that was refused: whoever is in the middle of sending it could not read the answer else. Default 10,000. */
  readonly refusedBodyTimeoutMs: number;
  /** For all headers. Default 20,000. */
  readonly headersTimeoutMs: number;
  /** For a whole request. Default 300,000. */
  readonly requestTimeoutMs: number;
  /** Between requests of a connection. Default 60,000. */
  readonly keepAliveTimeoutMs: number;
  /**
   * Of a connection over which nothing goes, in either direction: longer than any invoke, so that it is the client who has
   * stopped. Default 1,000,000.
   */
  readonly silenceTimeoutMs: number;
}

export interface LambdaApiOptions {
  readonly host: string;
  /** 0: one that the system chooses. */
  readonly port: number;
  /** PEM. Default: plain HTTP. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Made on first use; throws what is missing on this machine. */
  readonly functions: () => Promise<LambdaFunctions>;
  readonly authenticator: Authenticator;
  readonly region: string;
  readonly accountIdOf: (tenant: string) => string;
  /** Whose function URLs need not name a tenant. */
  readonly defaultTenant: string;
  /** Those that tenants may choose for their functions. Default: `none` and `nat`. */
  readonly networks?: readonly FunctionNetwork[];
  readonly log: Log;
  readonly clock?: Clock;
  readonly limits?: Partial<LambdaApiLimits>;
  /** When it is aborted, requests under way are cut off. */
  readonly stopNow?: AbortSignal;
}

const bodyMaxBytesDefault = 2 ** 20;
/** In the host's own network a function is as a process of the machine: that is for its owner to allow. */
const networksDefault: readonly FunctionNetwork[] = ['none', 'nat'];

/** One request with what is known of it as it is being answered. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  readonly path: string;
  readonly query: URLSearchParams;
  operation: string;
  tenant?: string;
  subject: Omit<ErrorSubject, 'requestId'>;
}

const noSubject = { arn: '', functionName: '', isAlias: false };

/** Answers requests, whoever brings them. */
export class LambdaApi {
  /** Of what was answered so far. */
  readonly counts = new RequestCounts();
  readonly #options: LambdaApiOptions;
  readonly #limits: LambdaApiLimits;
  readonly #budget: BodyBudget;
  readonly #clock: Clock;
  readonly #links = new CodeLinks();
  readonly #routes = createRouteTable(operations);
  readonly #underWay = new Set<Promise<void>>();
  readonly #sending = new Set<Promise<void>>();
  #isStopping = false;

  constructor(options: LambdaApiOptions, limits: LambdaApiLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#clock = options.clock ?? systemClock;
    this.#budget = new BodyBudget(limits.bodiesMaxBytes);
  }

  /** Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answering = this.#answer(request, response);
    this.#underWay.add(answering);
    await answering.finally(() => this.#underWay.delete(answering));
  }

  /**
   * Resolves when `server` has taken its last request and the last one is answered. Node takes a connection for idle once its
   * answer is written, whether or not it is sent: so none may be on its way at the moment of closing.
   */
  async stop(server: Server): Promise<void> {
    this.#isStopping = true;
    while (this.#sending.size > 0) await Promise.race(this.#sending);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    await Promise.all(this.#underWay);
    server.closeAllConnections(); // what is left of them has nothing to wait for
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    const [path = '', query = ''] = splitOnce(request.url ?? '', '?');
    const exchange: Exchange = {
      request,
      response,
      requestId: randomUUID(),
      path,
      query: new URLSearchParams(query),
      operation: 'unknown',
      subject: noSubject,
    };
    this.counts.begin();
    response.on('error', () => {}); // a client that is gone is told of by the stream that is written
    try {
      await this.#send(exchange, await this.#dispatch(exchange));
    } catch (thrown) {
      await this.#sendError(exchange, thrown);
    }
    // Of a function's own answer the status could be anything between 200 and 599.
    this.counts.end(exchange.operation, response.statusCode);
    this.#options.log.debug('API request', {
      requestId: exchange.requestId,
      operation: exchange.operation,
      tenant: exchange.tenant,
      status: response.statusCode,
      elapsedMs: Math.round(this.#clock.monotonicMs() - startedMs),
    });
  }

  async #dispatch(exchange: Exchange): Promise<Answer> {
    const { request, path } = exchange;
    if (path === '/health' && request.method === 'GET')
      return { status: 200, bytes: Buffer.from('ok\n') };
    if (path.startsWith(urlPrefix)) return await this.#callUrl(exchange);
    if (path.startsWith(codePrefix) && request.method === 'GET') {
      return await this.#downloadCode(exchange);
    }
    const route = this.#routes.find(request.method ?? '', path);
    if (route === undefined) {
      throw new LambdaError(
        'UnknownOperationException',
        'There is no operation of this method and path',
      );
    }
    return await this.#callOperation(exchange, route);
  }

  async #callOperation(exchange: Exchange, { operation, labels }: Route): Promise<Answer> {
    exchange.operation = operation.name;
    checkContent(exchange.request);
    const sizeMaxBytes = operation.bodyMaxBytes ?? bodyMaxBytesDefault;
    const body = this.#body(exchange, sizeMaxBytes);
    try {
      const { tenant } = await this.#authenticate(exchange, body);
      const scope = this.#scopeOf(tenant);
      body.chargeTo(tenant);
      exchange.tenant = tenant;
      exchange.subject = subjectOf(labels, exchange.query, scope);
      return await operation.run({
        functions: await this.#options.functions(),
        tenant,
        networks: this.#options.networks ?? networksDefault,
        scope,
        labels,
        query: exchange.query,
        header: (name) => headerOf(exchange.request, name),
        body: await body.bytes(),
        ...this.#urlsOf(exchange.request, tenant),
        isAbout: (of) => {
          exchange.subject = {
            ...exchange.subject,
            arn: functionArn(scope, of),
            functionName: of.name,
          };
        },
      } satisfies Call);
    } finally {
      body.release();
    }
  }

  /** Counted as a body: an archive is held whole while it is sent. */
  async #downloadCode(exchange: Exchange): Promise<Answer> {
    exchange.operation = 'DownloadCode';
    const of = this.#links.find(exchange.path, this.#clock.nowMs());
    if (of === undefined) throw new LambdaError('AccessDeniedException', 'Request has expired');
    exchange.tenant = of.tenant;
    exchange.subject = { ...noSubject, arn: functionArn(this.#scopeOf(of.tenant), of) };
    const functions = await this.#options.functions();
    const { codeSizeBytes } = (await functions.find(of)).record;
    if (exchange.response.destroyed) throw new ClientGoneError();
    const { tenant } = of;
    if (!this.#budget.take(tenant, codeSizeBytes)) throw tooManyBytes();
    exchange.response.once('close', () => this.#budget.giveBack(tenant, codeSizeBytes));
    const bytes = await functions.readArchive(of);
    if (bytes === undefined) throw new LambdaError('AccessDeniedException', 'Request has expired');
    return { status: 200, headers: { 'content-type': 'application/zip' }, bytes };
  }

  async #callUrl(exchange: Exchange): Promise<Answer> {
    exchange.operation = 'InvokeFunctionUrl';
    const { request, requestId, path } = exchange;
    const target = parseUrlPath(path, this.#options.defaultTenant);
    if (target === undefined) throw new LambdaError('AccessDeniedException', 'Forbidden');
    exchange.tenant = target.of.tenant;
    const scope = this.#scopeOf(target.of.tenant);
    exchange.subject = {
      arn: functionArn(scope, target.of),
      functionName: target.of.name,
      isAlias: false,
    };
    const body = this.#body(exchange, invokeBodyMaxBytes);
    body.chargeTo(target.of.tenant);
    try {
      return await answerUrl({
        functions: await this.#options.functions(),
        target,
        request,
        query: splitOnce(request.url ?? '', '?')[1] ?? '',
        requestId,
        body,
        authenticate: async () => await this.#authenticate(exchange, body),
        scope,
        timeMs: this.#clock.nowMs(),
      });
    } finally {
      body.release();
    }
  }

  #body({ request, operation }: Exchange, sizeMaxBytes: number): RequestBody {
    const { bodyIdleTimeoutMs: idleTimeoutMs } = this.#limits;
    return requestBody(request, { operation, sizeMaxBytes, idleTimeoutMs, budget: this.#budget });
  }

  async #authenticate(
    { request }: Exchange,
    body: RequestBody,
  ): Promise<{ readonly tenant: string }> {
    return await this.#options.authenticator.authenticate({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      bodyDigestHex: async (tenant) => {
        body.chargeTo(tenant);
        const hash = createHash('sha256').update(await body.bytes());
        return toHex(hash.digest());
      },
    });
  }

  #scopeOf(tenant: string): ArnScope {
    const { region, accountIdOf } = this.#options;
    return { region, accountId: accountIdOf(tenant) };
  }

  #urlsOf(
    request: IncomingMessage,
    tenant: string,
  ): Pick<Call, 'urlBase' | 'urlSuffix' | 'codeUrlOf'> {
    const { tls, defaultTenant } = this.#options;
    const origin = `${tls === undefined ? 'http' : 'https'}://${headerOf(request, 'host') ?? ''}`;
    return {
      urlBase: origin + urlPrefix,
      urlSuffix: tenant === defaultTenant ? '' : `@${tenant}`,
      codeUrlOf: (of) => origin + this.#links.pathOf(of, this.#clock.nowMs()),
    };
  }

  async #sendError(exchange: Exchange, thrown: unknown): Promise<void> {
    const { response, requestId } = exchange;
    if (thrown instanceof ClientGoneError || response.destroyed) return;
    const { isForeseen, ...reply } = errorReply(thrown, { ...exchange.subject, requestId });
    if (!isForeseen || isOurs(reply.status)) this.#logFailure(exchange, thrown);
    if (response.headersSent) {
      response.destroy(); // the rest of the answer is lost, and the client sees that
      return;
    }
    const headers = errorHeaders(reply);
    const answer = { status: reply.status, headers, json: errorBody(reply) };
    if (!exchange.request.complete) this.#limitRest(exchange.request);
    await this.#send(exchange, answer).catch(() => {});
  }

  #limitRest(request: IncomingMessage): void {
    const { socket } = request;
    const timer = setTimeout(() => socket.destroy(), this.#limits.refusedBodyTimeoutMs);
    request.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
  }

  async #send(exchange: Exchange, answer: Answer): Promise<void> {
    if (this.#isStopping) exchange.response.setHeader('connection', 'close');
    const sending = send(exchange, answer);
    const sent = sending.catch(() => {}).finally(() => this.#sending.delete(sent));
    if (answer.stream === undefined) this.#sending.add(sent); // a stream is not written before it is sent
    await sending;
  }

  #logFailure({ requestId, operation, tenant }: Exchange, thrown: unknown): void {
    this.#options.log.error(
      'API request failed',
      defined({
        requestId,
        operation,
        tenant,
        code: errorCode(thrown),
        reason: errorMessage(thrown),
      }),
    );
  }
}

/** Writes the answer; resolves when all of it is handed over or the client is gone. */
async function send({ response, requestId }: Exchange, answer: Answer): Promise<void> {
  const { status, headers = {}, json, stream } = answer;
  const bytes = json === undefined ? answer.bytes : Buffer.from(JSON.stringify(json));
  response.statusCode = status;
  response.setHeader('x-amzn-requestid', requestId);
  if (json !== undefined) response.setHeader('content-type', 'application/json');
  for (const [name, value] of Object.entries(headers)) {
    response.setHeader(name, typeof value === 'string' ? value : [...value]);
  }
  if (stream !== undefined) {
    await pipeline(stream, response);
    return;
  }
  await new Promise<void>((resolve) => {
    response.once('close', resolve).end(bytes, resolve);
    if (response.destroyed) resolve();
  });
}

/** 502 is a function's own failure to answer, of which its tenant can have any number. */
function isOurs(status: number): boolean {
  return status >= 500 && status !== 502;
}

function subjectOf(
  labels: Readonly<Record<string, string>>,
  query: URLSearchParams,
  scope: ArnScope,
): Omit<ErrorSubject, 'requestId'> {
  const { FunctionName: text, Name: alias, Resource: resource } = labels;
  if (text === undefined) return { ...noSubject, arn: resource ?? '' };
  // As it was asked for, whether or not it is a name: the words are for whoever sent it.
  const [, named = text, inName] =
    /function:([^:]+)(?::(.+))?$/.exec(text) ?? /^([^:]+)(?::(.+))?$/.exec(text) ?? [];
  const qualifier = alias ?? inName ?? query.get('Qualifier') ?? undefined;
  const arn = functionArn(scope, { name: named, ...defined({ qualifier }) });
  return { arn, functionName: named, isAlias: alias !== undefined };
}

/** Bodies are taken as they are, and are JSON, whatever they are called: but what is packed or a form is neither. */
function checkContent(request: IncomingMessage): void {
  const encoding = headerOf(request, 'content-encoding') ?? 'identity';
  const type = headerOf(request, 'content-type') ?? '';
  if (encoding === 'identity' && !type.startsWith('multipart/')) return;
  throw new LambdaError(
    'UnsupportedMediaTypeException',
    'The content type of the request body is not JSON.',
  );
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

function splitOnce(text: string, separator: string): readonly string[] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
