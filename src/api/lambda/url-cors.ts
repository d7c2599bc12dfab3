/**
 * What a function URL's `Cors` says to browsers: answers to preflight requests, which the function does not see, and headers of its
 * answers to other origins. Pure. Source: WHATWG Fetch, 3.3 "CORS protocol"; AWS Lambda developer guide, "Cross-origin resource
 * sharing (CORS)" of function URLs.
 */

import type { FunctionUrlCors } from '../../catalog/index.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';

/** By their names in lower case. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;
type CorsHeaders = Readonly<Record<string, string>>;

const listLengthMax = 100;
const methodsMax = 6;
const maxAgeRange = { min: 0, max: 86_400 };
/** What a header's list can hold: no comma, no line end. Source: RFC 9110, 5.6.2. */
const namePattern = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,1024}$/;
const methodPattern = /^(?:\*|[A-Z]{1,6})$/;
const originPattern = /^[\x21-\x2b\x2d-\x7e]{1,253}$/;

/** What a request's `Cors` asks for; an empty one stands for none. Throws `LambdaError`. */
export function corsFrom(fields: JsonFields): FunctionUrlCors | 'none' {
  const cors = {
    allowCredentials: fields.boolean('AllowCredentials') ?? false,
    allowHeaders: listOf(fields, 'AllowHeaders', namePattern),
    allowMethods: listOf(fields, 'AllowMethods', methodPattern, methodsMax),
    allowOrigins: listOf(fields, 'AllowOrigins', originPattern),
    exposeHeaders: listOf(fields, 'ExposeHeaders', namePattern),
    maxAgeSeconds: fields.integer('MaxAge', maxAgeRange) ?? 0,
  };
  const isEmpty = Object.values(cors).every((value) =>
    Array.isArray(value) ? value.length === 0 : !value,
  );
  return isEmpty ? 'none' : cors;
}

function listOf(
  fields: JsonFields,
  name: string,
  pattern: RegExp,
  lengthMax = listLengthMax,
): readonly string[] {
  const list = fields.strings(name) ?? [];
  if (list.length <= lengthMax && list.every((text) => pattern.test(text))) return list;
  throw new LambdaError(
    'ValidationException',
    `1 validation error detected: Value at 'cors.${name.charAt(0).toLowerCase()}${name.slice(1)}' failed to satisfy constraint: ` +
      `Member must have length less than or equal to ${lengthMax}, its members satisfying regular expression pattern: ${pattern.source}`,
  );
}

/** As Lambda's API shows it. */
export function corsShape(cors: FunctionUrlCors): object {
  return {
    AllowCredentials: cors.allowCredentials,
    AllowHeaders: cors.allowHeaders,
    AllowMethods: cors.allowMethods,
    AllowOrigins: cors.allowOrigins,
    ExposeHeaders: cors.exposeHeaders,
    MaxAge: cors.maxAgeSeconds,
  };
}

/** Whether a browser asks what it may send, before it sends it. Such a request is never signed. */
export function isPreflight(method: string, headers: Headers): boolean {
  return (
    method === 'OPTIONS' &&
    headers['origin'] !== undefined &&
    headers['access-control-request-method'] !== undefined
  );
}

/** The answer's headers; of an origin that is not allowed they allow nothing. */
export function preflightHeaders(cors: FunctionUrlCors, headers: Headers): CorsHeaders {
  const allowed = originHeaders(cors, headers);
  if (allowed['access-control-allow-origin'] === undefined) return allowed;
  return {
    ...allowed,
    ...listHeader('access-control-allow-methods', cors.allowMethods),
    ...listHeader('access-control-allow-headers', cors.allowHeaders),
    'access-control-max-age': String(cors.maxAgeSeconds),
  };
}

/** A function's answer with the headers that its URL's settings make, instead of any that it made itself. */
export function withCors<Value>(
  cors: FunctionUrlCors,
  request: Headers,
  response: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value | string>> {
  const own = Object.entries(response).filter(([name]) => !name.startsWith('access-control-'));
  const { vary, ...allowed } = originHeaders(cors, request);
  const exposed =
    allowed['access-control-allow-origin'] === undefined
      ? {}
      : listHeader('access-control-expose-headers', cors.exposeHeaders);
  const varies = [response['vary'] ?? [], vary ?? []].flat().join(', ');
  return {
    ...Object.fromEntries(own),
    ...allowed,
    ...exposed,
    ...(varies === '' ? {} : { vary: varies }),
  };
}

/** With credentials a browser takes no wildcard: then the origin itself is named. */
function originHeaders(cors: FunctionUrlCors, headers: Headers): CorsHeaders {
  const { allowOrigins, allowCredentials } = cors;
  const isAnyAllowed = allowOrigins.includes('*');
  const vary: CorsHeaders = isAnyAllowed && !allowCredentials ? {} : { vary: 'Origin' };
  const origin = headers['origin'];
  if (typeof origin !== 'string' || !(isAnyAllowed || allowOrigins.includes(origin))) return vary;
  return {
    ...vary,
    'access-control-allow-origin': isAnyAllowed && !allowCredentials ? '*' : origin,
    ...(allowCredentials && { 'access-control-allow-credentials': 'true' }),
  };
}

function listHeader(name: string, list: readonly string[]): CorsHeaders {
  return list.length === 0 ? {} : { [name]: list.join(',') };
}
