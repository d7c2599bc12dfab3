/**
 * HTTP requests as events for functions, and what functions return as HTTP responses: payload format 2.0 of function URLs.
 * Source: AWS Lambda developer guide, "Invoking Lambda function URLs", "Response streaming for Lambda functions". Nothing here
 * trusts what a function returns: a status or headers that are none make the response that Lambda gives then, 502.
 */

import { Readable } from 'node:stream';

export type UrlHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** What is known of a request without its body. */
export interface UrlRequestHead {
  readonly method: string;
  /** Begins with `/`, still percent-encoded, without the query. */
  readonly path: string;
  /** By lower-case name. */
  readonly headers: UrlHeaders;
  readonly requestId: string;
  readonly accountId: string;
  readonly sourceIp: string;
  /** When the request came, milliseconds since 1970. */
  readonly timeMs: number;
}

export interface UrlRequest extends UrlRequestHead {
  /** Still encoded, without its question mark. */
  readonly query: string;
  readonly body: Uint8Array;
}

/** `requestContext` of an event; adapters of web frameworks read it, too. */
export interface UrlRequestContext {
  readonly accountId: string;
  readonly apiId: string;
  readonly authentication: null;
  readonly domainName: string;
  readonly domainPrefix: string;
  readonly http: {
    readonly method: string;
    readonly path: string;
    readonly protocol: string;
    readonly sourceIp: string;
    readonly userAgent: string;
  };
  readonly requestId: string;
  readonly routeKey: '$default';
  readonly stage: '$default';
  /** As in `12/Mar/2020:19:03:58 +0000`. */
  readonly time: string;
  readonly timeEpoch: number;
}

/** An event of payload format 2.0. What a request does not have is left out. */
export interface UrlEvent {
  readonly version: '2.0';
  readonly routeKey: '$default';
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly cookies?: readonly string[];
  /** Several of a name joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  /** Decoded; several of a name joined by commas. */
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly requestContext: UrlRequestContext;
  readonly body?: string;
  readonly isBase64Encoded: boolean;
}

/** Whose body is text, if it is UTF-8 and not compressed. Forms are not, as in Lambda. */
const textTypes =
  /^\s*(text\/[^;]*|application\/(json|javascript|xml|yaml)|[^;]*\+(json|xml|yaml))\s*(;|$)/i;
const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** The event of a request to a function URL. */
export function urlEventOf(request: UrlRequest): UrlEvent {
  const cookies = allOf(request.headers['cookie']).flatMap((line) => line.split(/;\s*/));
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: request.path,
    rawQueryString: request.query,
    ...(cookies.length === 0 ? {} : { cookies }),
    headers: joined(request.headers),
    ...queryOf(request.query),
    requestContext: urlRequestContext(request),
    ...bodyOf(request),
  };
}

export function urlRequestContext(request: UrlRequestHead): UrlRequestContext {
  const { accountId, headers, method, path, requestId, sourceIp, timeMs } = request;
  const domainName = allOf(headers['host'])[0] ?? '';
  const domainPrefix = domainName.split(/[.:]/, 1)[0] ?? '';
  return {
    accountId,
    apiId: domainPrefix,
    authentication: null,
    domainName,
    domainPrefix,
    http: {
      method,
      path,
      protocol: 'HTTP/1.1',
      sourceIp,
      userAgent: allOf(headers['user-agent'])[0] ?? '',
    },
    requestId,
    routeKey: '$default',
    stage: '$default',
    time: commonLogTime(timeMs),
    timeEpoch: timeMs,
  };
}

function allOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

function joined(headers: UrlHeaders): Record<string, string> {
  const known = Object.entries(headers).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    known.map(([name, value]) => [name, allOf(value).join(name === 'cookie' ? '; ' : ',')]),
  );
}

function queryOf(query: string): Pick<UrlEvent, 'queryStringParameters'> {
  if (query === '') return {};
  const values = new Map<string, string[]>();
  for (const [name, value] of new URLSearchParams(query)) {
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  const entries = [...values].map(([name, all]) => [name, all.join(',')] as const);
  return { queryStringParameters: Object.fromEntries(entries) };
}

function bodyOf({ headers, body }: UrlRequest): Pick<UrlEvent, 'body' | 'isBase64Encoded'> {
  if (body.byteLength === 0) return { isBase64Encoded: false };
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const text = isTextual(headers) ? utf8Of(bytes) : undefined;
  return text === undefined
    ? { body: bytes.toString('base64'), isBase64Encoded: true }
    : { body: text, isBase64Encoded: false };
}

/** Whether headers are of a body that an event, or a response object, holds as text. */
export function isTextual(headers: UrlHeaders): boolean {
  if (allOf(headers['content-encoding']).some((encoding) => encoding !== 'identity')) return false;
  return textTypes.test(allOf(headers['content-type'])[0] ?? '');
}

/** Undefined where the bytes are not UTF-8, so that nothing is lost. */
export function utf8Of(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function commonLogTime(timeMs: number): string {
  const at = new Date(timeMs);
  const date = `${two(at.getUTCDate())}/${months[at.getUTCMonth()]}/${at.getUTCFullYear()}`;
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(':');
  return `${date}:${time} +0000`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** An HTTP response; headers by lower-case name. */
export interface UrlResponseHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

export interface UrlResponse extends UrlResponseHead {
  readonly body: Uint8Array;
}

/** What Lambda answers where a function returns nothing that is a response. */
function badGateway(): UrlResponse {
  return {
    status: 502,
    headers: { 'content-type': 'text/plain' },
    body: Buffer.from('Internal Server Error'),
  };
}

/**
 * The response of a function that returned `payload`. An object with `statusCode` says what the response is; any other JSON is
 * the body of a response with status 200 and content type application/json. `contentType` is what the runtime called the
 * payload, if it did: a stream that was gathered is taken apart by it.
 */
export function urlResponseOf(payload: Uint8Array, contentType?: string): UrlResponse {
  if (isIntegration(contentType)) return integrationResponse(payload);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload).toString('utf8'));
  } catch {
    return badGateway();
  }
  if (typeof value !== 'object' || value === null || !('statusCode' in value)) {
    return { status: 200, headers: { 'content-type': 'application/json' }, body: payload };
  }
  const head = headOf(value);
  const body = head === undefined ? undefined : bodyBytes(value);
  if (head === undefined || body === undefined) return badGateway();
  const headers = { 'content-type': 'application/json', ...head.headers };
  return { status: head.status, headers, body };
}

/** Status, headers and cookies of a response object or a stream's prelude; undefined where they are none. */
function headOf(value: object): UrlResponseHead | undefined {
  const { statusCode, headers, cookies } = value as Record<string, unknown>;
  const status = Number(textOf(statusCode ?? 200));
  const isStatus = Number.isInteger(status) && status >= 100 && status <= 599;
  if (!isStatus || !isOptionalObject(headers) || !isOptionalList(cookies)) return undefined;
  const entries = Object.entries(headers ?? {}).map(([name, field]) => {
    const text = Array.isArray(field) ? field.map(textOf) : textOf(field);
    return [name.toLowerCase(), text] as const;
  });
  const all: Record<string, string | readonly string[]> = Object.fromEntries(entries);
  if (cookies !== undefined && cookies !== null && cookies.length > 0) {
    all['set-cookie'] = [...allOf(all['set-cookie']), ...cookies.map(textOf)];
  }
  return { status, headers: all };
}

/** Of any JSON value: an object may have members that `String` takes for methods. */
function textOf(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}

function isOptionalObject(value: unknown): value is object | null | undefined {
  return value === undefined || (typeof value === 'object' && !Array.isArray(value));
}

function isOptionalList(value: unknown): value is readonly unknown[] | null | undefined {
  return value === undefined || value === null || Array.isArray(value);
}

function bodyBytes(value: object): Uint8Array | undefined {
  const { body, isBase64Encoded } = value as Record<string, unknown>;
  if (body === undefined || body === null) return Buffer.alloc(0);
  if (typeof body !== 'string') return Buffer.from(JSON.stringify(body));
  if (isBase64Encoded !== true) return Buffer.from(body, 'utf8');
  return /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(body) ? Buffer.from(body, 'base64') : undefined;
}

/** A stream that begins with a prelude: JSON with status, headers and cookies, then eight zero bytes, then the body. */
const integrationType = 'application/vnd.awslambda.http-integration-response';
const delimiter = Buffer.alloc(8);
const preludeSizeMaxBytes = 64 * 1024;

function isIntegration(contentType: string | undefined): boolean {
  return contentType?.split(';', 1)[0]?.trim().toLowerCase() === integrationType;
}

function integrationResponse(payload: Uint8Array): UrlResponse {
  const bytes = Buffer.from(payload);
  const at = bytes.indexOf(delimiter);
  const head = at < 0 ? undefined : preludeOf(bytes.subarray(0, at));
  return head === undefined
    ? badGateway()
    : { ...head, body: bytes.subarray(at + delimiter.byteLength) };
}

function preludeOf(bytes: Uint8Array): UrlResponseHead | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const head = headOf(value);
    if (head === undefined) return undefined;
    return { ...head, headers: { 'content-type': 'application/octet-stream', ...head.headers } };
  } catch {
    return undefined;
  }
}

export interface UrlStream extends UrlResponseHead {
  /** The reader's: to be read to its end or destroyed, which destroys what it comes from. */
  readonly body: Readable;
}

/**
 * The response of a function that streams. Resolves with the head, once the prelude is there if the content type promises one,
 * which then is not part of the body; else with status 200 and the content type. Rejects with what the stream fails with before
 * that; the body fails with what it fails with after.
 */
export async function splitUrlStream(stream: Readable, contentType?: string): Promise<UrlStream> {
  if (!isIntegration(contentType)) {
    const headers = { 'content-type': contentType ?? 'application/octet-stream' };
    return { status: 200, headers, body: stream };
  }
  const parts = stream.iterator() as AsyncIterator<Buffer>;
  let begin = Buffer.alloc(0);
  let at = -1;
  while (at < 0 && begin.byteLength <= preludeSizeMaxBytes) {
    const part = await parts.next();
    if (part.done === true) break;
    begin = Buffer.concat([begin, part.value]);
    at = begin.indexOf(delimiter);
  }
  const head = at < 0 ? undefined : preludeOf(begin.subarray(0, at));
  if (head === undefined) {
    stream.destroy();
    const { body, ...failed } = badGateway();
    return { ...failed, body: Readable.from([body], { objectMode: false }) };
  }
  const rest = begin.subarray(at + delimiter.byteLength);
  const body = Readable.from(followedBy(rest, parts), { objectMode: false, highWaterMark: 1 });
  body.once('close', () => stream.destroy());
  return { ...head, body };
}

async function* followedBy(first: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (first.byteLength > 0) yield first;
  for (let part = await rest.next(); part.done !== true; part = await rest.next()) yield part.value;
}
