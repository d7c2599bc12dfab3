/**
 * Requests to function URLs: `/url/NAME[:ALIAS][@TENANT]/PATH`. A function that is a web server gets them as they are, any other
 * one as events of payload format 2.0. Whoever may not call a URL is answered the same whether the function is there or not.
 * Source: AWS Lambda developer guide, "Creating and managing Lambda function URLs".
 */

import {
  validateHeaderName,
  validateHeaderValue,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Readable } from 'node:stream';

import { defined, errorCode } from '../../base/index.ts';
import type { FunctionUrl } from '../../catalog/index.ts';
import {
  splitUrlStream,
  urlEventOf,
  urlResponseOf,
  type FunctionDescription,
  type FunctionRef,
  type StreamedResult,
} from '../../functions/index.ts';
import type { ArnScope } from './function-name.ts';
import { LambdaError } from './lambda-error.ts';
import type { Answer, LambdaFunctions } from './operation.ts';
import type { RequestBody } from './read-body.ts';
import { isPreflight, preflightHeaders, withCors } from './url-cors.ts';

/** What function URLs begin with on this server. */
export const urlPrefix = '/url/';

/** What a URL names. */
export interface UrlTarget {
  readonly of: FunctionRef;
  /** What is left for the function: begins with `/`, without the query. */
  readonly path: string;
}

export interface UrlRequest {
  readonly functions: LambdaFunctions;
  readonly target: UrlTarget;
  readonly request: IncomingMessage;
  /** Without its question mark, still encoded. */
  readonly query: string;
  readonly requestId: string;
  readonly body: RequestBody;
  /** Who signed the request. Throws where nobody did. */
  readonly authenticate: () => Promise<{ readonly tenant: string }>;
  /** Of the function's tenant. */
  readonly scope: ArnScope;
  readonly timeMs: number;
}

const targetPattern =
  /^\/url\/([a-zA-Z0-9-_]{1,64})(?::([a-zA-Z0-9-_]{1,128}))?(?:@([a-zA-Z0-9-_]{1,64}))?(\/.*)?$/s;

/** Undefined if the path names nothing that could be a function's. */
export function parseUrlPath(path: string, defaultTenant: string): UrlTarget | undefined {
  const [, name, qualifier, tenant = defaultTenant, rest = '/'] = targetPattern.exec(path) ?? [];
  if (name === undefined) return undefined;
  return { of: { tenant, name, ...defined({ qualifier }) }, path: rest };
}

/** Throws `LambdaError` of `AccessDeniedException` for whoever may not know more, and what running the function throws. */
export async function answerUrl(url: UrlRequest): Promise<Answer> {
  const { method = '', headers } = url.request;
  const found = await find(url);
  const cors = found?.config.cors;
  if (cors !== undefined && isPreflight(method, headers)) {
    return { status: 200, headers: preflightHeaders(cors, headers) };
  }
  const answer = await answerOf(url, await permitted(url, found));
  if (cors === undefined) return answer;
  return { ...answer, headers: withCors(cors, headers, answer.headers ?? {}) };
}

async function answerOf(url: UrlRequest, { description, config }: Found): Promise<Answer> {
  if (description.record.webServer !== undefined) return await fetchWeb(url);
  return config.invokeMode === 'RESPONSE_STREAM' ? await streamEvent(url) : await invokeEvent(url);
}

/** A function with such a URL. */
interface Found {
  readonly description: FunctionDescription;
  readonly config: FunctionUrl;
}

async function find({ functions, target }: UrlRequest): Promise<Found | undefined> {
  const description = await functions.find(target.of).catch((thrown: unknown) => {
    if (errorCode(thrown) === 'ERR_FUNCTION_NOT_FOUND') return undefined;
    throw thrown;
  });
  const urls = description?.settings.urls ?? {};
  const qualifier = target.of.qualifier ?? '';
  const config = Object.hasOwn(urls, qualifier) ? urls[qualifier] : undefined;
  if (description === undefined || config === undefined) return undefined;
  return { description, config };
}

/** What was found, for whoever may call it. */
async function permitted(
  { target, authenticate }: UrlRequest,
  found: Found | undefined,
): Promise<Found> {
  if (found?.config.authType !== 'NONE') {
    const caller = await authenticate().catch(() => undefined);
    if (caller?.tenant !== target.of.tenant) throw forbidden();
  }
  if (found === undefined) throw forbidden();
  return found;
}

/** Headers that belong to a connection, not to what is said over it. Source: RFC 9110, 7.6.1. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

type Headers = Readonly<Record<string, string | readonly string[]>>;

/** The request's own, and from whom it came to which door: as every proxy says it, and Lambda. */
function forwarded({ headers, socket }: IncomingMessage): Headers {
  const before = [headers['x-forwarded-for'] ?? []].flat();
  return {
    ...endToEnd(headers),
    'x-forwarded-for': [...before, socket.remoteAddress ?? ''].join(', '),
    'x-forwarded-port': String(socket.localPort ?? ''),
    'x-forwarded-proto': 'encrypted' in socket ? 'https' : 'http',
  };
}

/** A body that has been read for its signature is handed on from memory, any other one as it comes. */
async function fetchWeb({ functions, target, request, query, body }: UrlRequest): Promise<Answer> {
  const response = await functions.fetch({
    ...target.of,
    method: request.method ?? 'GET',
    path: target.path + (query === '' ? '' : `?${query}`),
    headers: forwarded(request),
    body: body.isBegun() ? Readable.from([await body.bytes()]) : request,
  });
  return { ...headOf(response), stream: response.body };
}

/** Of an answer that is taken whole. Source: Lambda quotas, "Invocation payload", as its error says it. */
const answerMaxBytes = 6_291_556;

/** Asked for as a stream, too, since only so the runtime says what kind of answer it gives. */
async function invokeEvent(url: UrlRequest): Promise<Answer> {
  const { functions, target } = url;
  const payload = await eventOf(url);
  const { body, contentType, ended } = await functions.invokeStreaming({ ...target.of, payload });
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    sizeBytes += part.byteLength;
    if (sizeBytes > answerMaxBytes) throw badGateway();
    parts.push(part);
  }
  await checkEnd(ended);
  const response = urlResponseOf(Buffer.concat(parts), contentType);
  return { ...eventHeadOf(response), bytes: response.body };
}

async function streamEvent(url: UrlRequest): Promise<Answer> {
  const { functions, target } = url;
  const payload = await eventOf(url);
  const result = await functions.invokeStreaming({ ...target.of, payload });
  const response = await splitUrlStream(await wholeStream(result), result.contentType);
  return { ...eventHeadOf(response), stream: response.body };
}

/** The answer as it comes, broken off where the function fails. Throws where it fails before it has said anything. */
async function wholeStream({ body, ended }: StreamedResult): Promise<Readable> {
  const parts = body.iterator() as AsyncIterableIterator<Buffer>;
  const first = await parts.next();
  if (first.done === true) await checkEnd(ended);
  return Readable.from(
    (async function* () {
      if (first.done !== true) yield first.value;
      yield* parts;
      await checkEnd(ended);
    })(),
    { objectMode: false },
  );
}

async function checkEnd(ended: StreamedResult['ended']): Promise<void> {
  if ((await ended).functionError !== undefined) throw badGateway();
}

async function eventOf({
  target,
  request,
  query,
  requestId,
  body,
  scope,
  timeMs,
}: UrlRequest): Promise<Buffer> {
  const event = urlEventOf({
    method: request.method ?? 'GET',
    path: target.path,
    query,
    headers: forwarded(request),
    body: await body.bytes(),
    requestId,
    accountId: scope.accountId,
    sourceIp: request.socket.remoteAddress ?? '',
    timeMs,
  });
  return Buffer.from(JSON.stringify(event));
}

/** The head of a function's answer, where it is one that HTTP can carry. */
function headOf(response: {
  readonly status: number;
  readonly headers: Headers;
}): Pick<Answer, 'status' | 'headers'> {
  const { status } = response;
  if (!Number.isInteger(status) || status < 200 || status > 599) throw badGateway();
  const headers = endToEnd(response.headers);
  try {
    for (const [name, values] of Object.entries(headers)) {
      validateHeaderName(name);
      for (const value of [values].flat()) validateHeaderValue(name, value);
    }
  } catch {
    throw badGateway();
  }
  return { status, headers };
}

/**
 * The same of an answer to an event, whose body says itself how long it is: the function's word for it would let the body go on
 * as the answer to the connection's next request, or hold that answer back.
 */
function eventHeadOf(response: Parameters<typeof headOf>[0]): ReturnType<typeof headOf> {
  const { 'content-length': _claimed, ...headers } = response.headers;
  return headOf({ ...response, headers });
}

function endToEnd(headers: IncomingHttpHeaders | Headers): Headers {
  const named = String(headers['connection'] ?? '')
    .toLowerCase()
    .split(/\s*,\s*/);
  return Object.fromEntries(
    Object.entries(headers).filter(
      (entry): entry is [string, string | string[]] =>
        entry[1] !== undefined && !hopByHop.has(entry[0]) && !named.includes(entry[0]),
    ),
  );
}

function forbidden(): LambdaError {
  return new LambdaError('AccessDeniedException', 'Forbidden');
}

function badGateway(): LambdaError {
  return new LambdaError('BadGatewayException', 'Internal Server Error');
}
