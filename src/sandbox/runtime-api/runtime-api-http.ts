/**
 * How the Runtime API and the Extensions API read requests, answer and refuse, in Lambda's words. Bodies are read up to a
 * limit and within a time: the other side is hostile.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';

/** 6 MiB and a little, as in Lambda. */
export const payloadSizeMaxBytes = 6 * 1024 * 1024 + 100;
/** Of all bodies but responses, whose time is the invocation's. */
const bodyTimeoutMs = 60_000;

/** What is refused, with Lambda's status and words. */
export class Refusal {
  readonly status: number;
  readonly errorType: string;
  readonly errorMessage: string;

  constructor(status: number, errorType: string, errorMessage: string) {
    this.status = status;
    this.errorType = errorType;
    this.errorMessage = errorMessage;
  }
}

export const truncated = new Refusal(
  400,
  'TruncatedHTTPRequest',
  'HTTP request detected as truncated',
);
export const noSuchPage = new Refusal(404, 'NotFound', '404 page not found');
export const noSuchMethod = new Refusal(405, 'MethodNotAllowed', 'Method not allowed');

export function tooLarge(sizeMaxBytes: number): Refusal {
  const words = `Exceeded maximum allowed payload size (${sizeMaxBytes} bytes).`;
  return new Refusal(413, 'RequestEntityTooLarge', words);
}

/**
 * Reads a body up to `sizeMaxBytes`. Rejects when the connection ends before it does, and when the
 * body takes a minute, unless its time `isUnlimited`.
 */
export async function readBody(
  request: IncomingMessage,
  sizeMaxBytes: number,
  { isUnlimited = false }: { isUnlimited?: boolean } = {},
): Promise<Buffer | 'too large'> {
  if (Number(request.headers['content-length'] ?? 0) > sizeMaxBytes) return 'too large';
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  const end = Promise.withResolvers<'whole' | 'too large'>();
  const timer = isUnlimited ? undefined : setTimeout(end.reject, bodyTimeoutMs, truncated);
  request.on('data', (part: Buffer) => {
    sizeBytes += part.byteLength;
    if (sizeBytes <= sizeMaxBytes) parts.push(part);
    else end.resolve('too large');
  });
  request.once('end', () => end.resolve('whole'));
  request.once('close', () => end.reject(truncated));
  try {
    return (await end.promise) === 'whole' ? Buffer.concat(parts) : 'too large';
  } finally {
    clearTimeout(timer);
  }
}

export function accept(response: ServerResponse): void {
  sendJson(response, 202, { status: 'OK' });
}

/** Refuses; where part of a body is still to come, the connection ends with the answer. */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  if (!request.complete) response.setHeader('Connection', 'close');
  const { status, errorType, errorMessage } = refusal;
  sendJson(response, status, { errorMessage, errorType });
}

export function sendJson(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** UTF-8 in a header, line ends and other control characters as blanks. */
export function headerValue(value: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  return Buffer.from(value.replaceAll(/[\u0000-\u001f\u007f]/g, ' '), 'utf8').toString('latin1');
}

/** The header where it came once. */
export function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function parseObject(body: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return value as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
