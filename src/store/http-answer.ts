/**
 * One answer of an HTTP/1.1 server, read as its bytes arrive: a body of known length straight into the array that is handed out, without a
 * copy. Bodies of errors are read whatever their framing, as far as they matter.
 *
 * Invariant: an array that was never cleared is handed out only when it is full, or what of it was received.
 *
 * Source: RFC 9112, sections 2 to 7.
 */

import { present } from '../base/index.ts';

/** The server's answer, whatever its status. */
export interface Answer {
  readonly status: number;
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** All of it with a status of 2xx, else the first 64 KiB. */
  readonly body: Uint8Array;
}

/** An answer that is not what HTTP or S3 promises: nobody can tell what it means, so the request may be made again. */
export class BadAnswerError extends Error {}

/** Errors describe themselves in less. */
const errorBodyMaxBytes = 64 * 1024;
const headMaxBytes = 64 * 1024;
const headEnd = Buffer.from('\r\n\r\n');

type Framing =
  | { readonly kind: 'length'; readonly lengthBytes: number }
  | { readonly kind: 'chunked' | 'until the end' };

interface Head {
  readonly status: number;
  readonly headers: Record<string, string>;
  /** The server takes further requests over this connection. */
  readonly isKept: boolean;
}

/** Reads one answer. What it throws is a `BadAnswerError`; it is of no use after that. */
export class AnswerReader {
  readonly #bodyMaxBytes: number;
  #head: Head | undefined;
  #framing: Framing = { kind: 'until the end' };
  /** The head's bytes, then the body's. */
  #memory = Buffer.alloc(0);
  #receivedBytes = 0;
  #isWhole = false;
  /** There were bytes of which it is not known where they end, or that nobody asked for. */
  #hasMore = false;

  /** A longer body of a 2xx answer is refused unread. */
  constructor(bodyMaxBytes: number) {
    this.#bodyMaxBytes = bodyMaxBytes;
  }

  /** Where the body's next bytes may be put; undefined if there is no such place, as long as it is not known what comes. */
  room(): Uint8Array | undefined {
    const hasRoom = this.#head !== undefined && this.#receivedBytes < this.#memory.byteLength;
    return hasRoom ? this.#memory.subarray(this.#receivedBytes) : undefined;
  }

  /** That many bytes were put there. True when the answer is whole. */
  filled(countBytes: number): boolean {
    this.#receivedBytes += countBytes;
    return this.#look();
  }

  /** The next bytes, which stay the caller's. True when the answer is whole. */
  take(bytes: Uint8Array): boolean {
    if (this.#head !== undefined) return this.#takeBody(bytes);
    const rest = this.#takeHead(bytes);
    return rest !== undefined && this.#takeBody(rest);
  }

  /** Nothing more will come. True if that is how the answer ends. */
  ended(): boolean {
    this.#isWhole ||= this.#head !== undefined && this.#framing.kind === 'until the end';
    return this.#isWhole;
  }

  /** Of the body of a 2xx answer; 0 of another one, undefined as long as there is no head. */
  get expectedBytes(): number | undefined {
    if (this.#head === undefined) return undefined;
    if (this.#head.status >= 300 || this.#framing.kind !== 'length') return 0;
    return this.#framing.lengthBytes;
  }

  /** Whether the connection may be used again after the answer. */
  get isKept(): boolean {
    const isRead = this.#framing.kind !== 'until the end' && !this.#hasMore;
    return this.#isWhole && isRead && this.#head?.isKept === true;
  }

  /** To be asked for when it is whole. */
  answer(): Answer {
    const { status, headers } = present(this.#head, 'the head of a whole answer');
    const bytes = this.#memory.subarray(0, this.#receivedBytes);
    const body = this.#framing.kind === 'chunked' ? dechunk(bytes).body : bytes;
    return { status, headers, body };
  }

  /** What follows the head; undefined if more of it is to come. */
  #takeHead(bytes: Uint8Array): Uint8Array | undefined {
    const received = Buffer.concat([this.#memory.subarray(0, this.#receivedBytes), bytes]);
    const endsAt = received.indexOf(headEnd);
    if (endsAt < 0) {
      if (received.byteLength > headMaxBytes)
        throw new BadAnswerError("the answer's head has no end");
      this.#memory = received;
      this.#receivedBytes = received.byteLength;
      return undefined;
    }
    const rest = received.subarray(endsAt + headEnd.byteLength);
    const head = parseHead(received.toString('latin1', 0, endsAt));
    this.#receivedBytes = 0;
    if (head.status < 200) return this.#takeHead(rest); // it only informs: the final answer follows
    this.#head = head;
    this.#framing = framingOf(head);
    this.#memory = Buffer.allocUnsafeSlow(this.#roomFor(head, this.#framing));
    return rest;
  }

  #takeBody(bytes: Uint8Array): boolean {
    const room = this.#memory.subarray(this.#receivedBytes);
    room.set(bytes.subarray(0, room.byteLength));
    this.#hasMore ||= bytes.byteLength > room.byteLength;
    this.#receivedBytes += Math.min(bytes.byteLength, room.byteLength);
    return this.#look();
  }

  /** How much is read of a body. */
  #roomFor({ status, headers }: Head, framing: Framing): number {
    const isKnown = framing.kind === 'length';
    if (status >= 300) {
      return isKnown ? Math.min(framing.lengthBytes, errorBodyMaxBytes) : errorBodyMaxBytes;
    }
    if (isKnown && framing.lengthBytes <= this.#bodyMaxBytes) return framing.lengthBytes;
    const said = `the answer's length is ${headers['content-length']}`;
    throw new BadAnswerError(`${said}, expected up to ${this.#bodyMaxBytes} bytes`);
  }

  #look(): boolean {
    const isFull = this.#receivedBytes === this.#memory.byteLength;
    if (this.#framing.kind === 'length') {
      this.#isWhole = isFull;
      this.#hasMore ||= isFull && this.#framing.lengthBytes > this.#receivedBytes;
      return isFull;
    }
    const received = this.#memory.subarray(0, this.#receivedBytes);
    const endsAt = this.#framing.kind === 'chunked' ? dechunk(received).endsAt : undefined;
    this.#isWhole = isFull || endsAt !== undefined;
    this.#hasMore ||= endsAt !== this.#receivedBytes;
    if (!this.#isWhole) this.#hasMore = false;
    return this.#isWhole;
  }
}

/** `text`: without the empty line at its end. */
function parseHead(text: string): Head {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const [, version, code] = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |$)/.exec(statusLine) ?? [];
  if (code === undefined) throw new BadAnswerError('the answer is not HTTP/1.1');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name, value = ''] =
      /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined) throw new BadAnswerError('the answer has a header that is none');
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  const isClosed = /(^|,)\s*close\s*(,|$)/i.test(headers['connection'] ?? '');
  return { status: Number(code), headers, isKept: version === '1' && !isClosed };
}

/** Source: the same, section 6.3. */
function framingOf({ status, headers }: Head): Framing {
  if (status === 204 || status === 304) return { kind: 'length', lengthBytes: 0 };
  const coding = headers['transfer-encoding'];
  if (coding !== undefined) {
    return { kind: coding.toLowerCase() === 'chunked' ? 'chunked' : 'until the end' };
  }
  const length = headers['content-length'];
  if (length === undefined) return { kind: 'until the end' };
  const lengthBytes = /^\d+$/.test(length) ? Number(length) : NaN;
  if (Number.isSafeInteger(lengthBytes)) return { kind: 'length', lengthBytes };
  throw new BadAnswerError(`the answer's length is ${length}`);
}

/** As far as it is there. `endsAt`: behind the last of its bytes, once that is there. Source: the same, section 7.1. */
function dechunk(bytes: Buffer): { readonly body: Uint8Array; readonly endsAt?: number } {
  const parts: Uint8Array[] = [];
  const body = (): Uint8Array => Buffer.concat(parts);
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf('\r\n', at, 'latin1');
    if (lineEnd < 0) return { body: body() };
    const size = /^[0-9a-f]{1,8}(?=[ \t;]|$)/i.exec(bytes.toString('latin1', at, lineEnd))?.[0];
    if (size === undefined) throw new BadAnswerError('the answer has a chunk without a size');
    const sizeBytes = Number.parseInt(size, 16);
    if (sizeBytes === 0) {
      const trailersEnd = bytes.indexOf(headEnd, lineEnd); // nobody asked for any, but there may be some
      return trailersEnd < 0 ? { body: body() } : { body: body(), endsAt: trailersEnd + 4 };
    }
    const startsAt = lineEnd + 2;
    parts.push(bytes.subarray(startsAt, startsAt + sizeBytes));
    at = startsAt + sizeBytes + 2;
    if (at > bytes.byteLength) return { body: body() };
  }
}
