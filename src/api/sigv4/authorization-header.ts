/**
 * What a signed request says of its signature.
 * Source: IAM user guide, "Elements of an AWS API request signature": Authorization header, X-Amz-Date.
 */

import { IncompleteSignatureError, UnsignedRequestError } from './errors.ts';

/** A signature and what it claims to be made of; nothing of it is checked against anything yet. */
export interface SignatureClaim {
  readonly accessKeyId: string;
  /** `YYYYMMDD` of the scope. */
  readonly scopeDate: string;
  readonly region: string;
  readonly service: string;
  /** In lower case, in the order given. */
  readonly signedHeaders: readonly string[];
  /** 64 hexadecimal digits. */
  readonly signature: string;
  /** `YYYYMMDDTHHMMSSZ`, as it was sent. */
  readonly signedAt: string;
  readonly signedAtMs: number;
}

export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

const algorithm = 'AWS4-HMAC-SHA256';
const scopePattern = /^([^/\s,]{16,128})\/(\d{8})\/([^/\s,]+)\/([^/\s,]+)\/aws4_request$/;
const dateForm = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/;
const headerMaxLength = 8192;

/** Names are in lower case, as Node gives them. Throws `ERR_API_UNSIGNED`, `ERR_API_INCOMPLETE_SIGNATURE`. */
export function parseAuthorization(headers: RequestHeaders): SignatureClaim {
  const authorization = headers['authorization'];
  if (typeof authorization !== 'string' || authorization === '') throw new UnsignedRequestError();
  if (authorization.length > headerMaxLength) incomplete('The Authorization header is too long.');
  const [name = '', ...rest] = authorization.trim().split(/\s+/);
  if (name !== algorithm) incomplete(`Authorization header requires '${algorithm}'.`);
  const fields = fieldsOf(rest.join(' '));
  const [, accessKeyId = '', scopeDate = '', region = '', service = ''] =
    scopePattern.exec(field(fields, 'Credential')) ?? incomplete(badField('Credential'));
  const signature = field(fields, 'Signature');
  if (!/^[0-9a-f]{64}$/.test(signature)) incomplete(badField('Signature'));
  const signedHeaders = field(fields, 'SignedHeaders').split(';');
  if (
    !signedHeaders.every((header) => /^[!-~]+$/.test(header) && header === header.toLowerCase())
  ) {
    incomplete(badField('SignedHeaders'));
  }
  const signedAt = signingTime(headers);
  const signedAtMs = timeOf(signedAt);
  return {
    accessKeyId,
    scopeDate,
    region,
    service,
    signedHeaders,
    signature,
    signedAt,
    signedAtMs,
  };
}

function incomplete(problem: string): never {
  throw new IncompleteSignatureError(problem);
}

function badField(name: string): string {
  return `Authorization header has a '${name}' parameter that cannot be used.`;
}

function fieldsOf(text: string): ReadonlyMap<string, string> {
  const pairs = text.split(',').map((part) => part.trim());
  const split = pairs.map((pair) => [pair, pair.indexOf('=')] as const);
  return new Map(split.map(([pair, at]) => [pair.slice(0, at), pair.slice(at + 1)]));
}

function field(fields: ReadonlyMap<string, string>, name: string): string {
  return fields.get(name) ?? incomplete(`Authorization header requires '${name}' parameter.`);
}

/** The time is always signed as X-Amz-Date: every signer in use sends it. */
function signingTime(headers: RequestHeaders): string {
  const date = headers['x-amz-date'];
  return typeof date === 'string'
    ? date
    : incomplete("Authorization header requires existence of an 'X-Amz-Date' header.");
}

function timeOf(signedAt: string): number {
  const [, year, month, day, hour, minute, second] =
    dateForm.exec(signedAt) ??
    incomplete('Date must be in ISO-8601 basic format: YYYYMMDDTHHMMSSZ.');
  const timeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(timeMs)) incomplete('Date must be a date that there is.');
  return timeMs;
}
