/**
 * Events for a function that is a web server, as HTTP requests, and its answers as what Invoke returns: what AWS's Lambda Web
 * Adapter does inside an image. An event of payload format 2.0 is the request that it tells of; any other one is posted as it is
 * to `/events`, and what is answered is the result. Source: the adapter's documentation, "Non-HTTP events", "Request context".
 */

import { isTextual, utf8Of, type UrlResponse } from './url-event.ts';

/** Where an event goes that is no request. */
const passThroughPath = '/events';

export interface WebEvent {
  /** Whether the event is a request of payload format 2.0. */
  readonly isRequest: boolean;
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** JSON text for `x-amzn-request-context`. */
  readonly requestContext: string;
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function textOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : otherwise;
}

/** `payload` is JSON text. */
export function webEventOf(payload: Uint8Array): WebEvent {
  const event = fieldsOf(JSON.parse(Buffer.from(payload).toString('utf8')));
  const context = fieldsOf(event['requestContext']);
  const { method } = fieldsOf(context['http']);
  if (event['version'] !== '2.0' || typeof method !== 'string') return passedThrough(payload);
  const query = encoded(textOf(event['rawQueryString']));
  const path = requestTarget(textOf(event['rawPath'], '/'));
  const body = textOf(event['body']);
  return {
    isRequest: true,
    method,
    path: query === '' ? path : `${path}?${query}`,
    headers: headersOf(event),
    body: Buffer.from(body, event['isBase64Encoded'] === true ? 'base64' : 'utf8'),
    requestContext: JSON.stringify(context),
  };
}

/** API Gateway decodes paths, so that they may hold what no request line can. */
function requestTarget(path: string): string {
  return encoded(path.startsWith('/') ? path : `/${path}`);
}

function encoded(text: string): string {
  return text.toWellFormed().replaceAll(/[^\u0021-\u007e]+/g, encodeURIComponent);
}

function passedThrough(payload: Uint8Array): WebEvent {
  return {
    isRequest: false,
    method: 'POST',
    path: passThroughPath,
    headers: { host: 'localhost', 'content-type': 'application/json' },
    body: Buffer.from(payload),
    requestContext: 'null',
  };
}

function headersOf(event: Fields): Record<string, string> {
  const told = Object.entries(fieldsOf(event['headers']));
  const headers = told
    .filter((entry): entry is [string, string] => typeof entry[1] === 'string')
    .map(([name, value]) => [name.toLowerCase(), value] as const);
  const cookies = Array.isArray(event['cookies']) ? event['cookies'].map(String) : [];
  const cookie = cookies.length === 0 ? {} : { cookie: cookies.join('; ') };
  return { ...Object.fromEntries(headers), ...cookie };
}

/** What Invoke returns of a server's answer to `event`. */
export function webResultOf(event: WebEvent, response: UrlResponse): Uint8Array {
  if (!event.isRequest) return isJson(response.body) ? response.body : Buffer.from('null');
  const { 'set-cookie': cookies = [], ...rest } = response.headers;
  const headers = Object.entries(rest).map(([name, value]) => [name, [value].flat().join(',')]);
  const hasType = 'content-type' in response.headers;
  const text = !hasType || isTextual(response.headers) ? utf8Of(response.body) : undefined;
  const result = {
    statusCode: response.status,
    headers: Object.fromEntries(headers) as Record<string, string>,
    cookies: [cookies].flat(),
    body: text ?? Buffer.from(response.body).toString('base64'),
    isBase64Encoded: text === undefined,
  };
  return Buffer.from(JSON.stringify(result));
}

function isJson(body: Uint8Array): boolean {
  try {
    JSON.parse(Buffer.from(body).toString('utf8'));
    return true;
  } catch {
    return false;
  }
}
