/**
 * Cuts what a memcached server sends into replies. The socket reads into the memory that `target()` names: the reader's own while lines
 * are expected, and the value itself once its length is known, so most bytes of a value are where they belong when they leave
 * the kernel; or, of a value that nobody wants, memory that is never read. Never throws, whatever the bytes; what is allocated is bounded by `valueMaxBytes`.
 */

import type { Reply } from './memcached-protocol.ts';

/** Who the replies are for. */
export interface ReplySink {
  /** Asked when a value begins: false if its bytes are to be passed over. */
  wantsValue(): boolean;
  reply(reply: Reply): void;
  /** What came is no reply; the stream is of no use any longer, and the reader takes nothing more. */
  fault(reason: string): void;
}

/** Answers without a value are short; errors of the server are a sentence. */
const lineMaxBytes = 1024;
/** `\r\n` after a value. */
const lineEndBytes = 2;
/** Where what nobody wants goes, of all connections: one read takes the most of it. Never read. */
const unwanted = Buffer.alloc(128 * 1024);
const carriageReturn = 0x0d;
const lineFeed = 0x0a;

interface Value {
  /** The value and the line end after it. */
  readonly bytes: Buffer;
  filledBytes: number;
}

export class ReplyReader {
  readonly #sink: ReplySink;
  readonly #valueMaxBytes: number;
  readonly #scan: Buffer;
  /** The start of a line whose end has not come yet, at the start of `#scan`. */
  #heldBytes = 0;
  #value: Value | undefined;
  /** Still to pass over, of a value that is not wanted. */
  #skipBytes = 0;
  #isStopped = false;

  constructor(options: {
    readonly sink: ReplySink;
    readonly valueMaxBytes: number;
    /** Of the fixed memory that lines and the beginnings of values arrive in. */
    readonly scanBytes: number;
  }) {
    this.#sink = options.sink;
    this.#valueMaxBytes = options.valueMaxBytes;
    this.#scan = Buffer.alloc(Math.max(options.scanBytes, 2 * lineMaxBytes));
  }

  /** Where the next bytes go. Stays so until they are there. */
  target(): Buffer {
    const value = this.#value;
    if (value !== undefined) return value.bytes.subarray(value.filledBytes);
    if (this.#skipBytes > 0) return unwanted.subarray(0, this.#skipBytes);
    return this.#heldBytes === 0 ? this.#scan : this.#scan.subarray(this.#heldBytes);
  }

  /** Says that `countBytes` bytes are in what `target()` gave. */
  received(countBytes: number): void {
    if (this.#isStopped) return;
    if (this.#value !== undefined) this.#fill(this.#value, countBytes);
    else if (this.#skipBytes > 0) this.#skip(countBytes);
    else this.#scanUpTo(this.#heldBytes + countBytes);
  }

  /** Gives no more replies. */
  stop(): void {
    this.#isStopped = true;
  }

  #scanUpTo(end: number): void {
    let at = 0;
    this.#heldBytes = 0;
    while (at < end && !this.#isStopped) {
      if (this.#skipBytes > 0) {
        at += this.#skip(end - at);
        continue;
      }
      const lineFeedAt = this.#scan.indexOf(lineFeed, at);
      if (lineFeedAt === -1 || lineFeedAt >= end) {
        this.#hold(at, end);
        return;
      }
      const line = this.#scan.toString('latin1', at, lineFeedAt - 1);
      const isLine = lineFeedAt > at && this.#scan[lineFeedAt - 1] === carriageReturn;
      at = lineFeedAt + 1;
      if (!isLine) this.#fault('it sent a line without an end');
      else at += this.#readLine(line, at, end);
    }
  }

  #hold(at: number, end: number): void {
    if (end - at > lineMaxBytes) {
      this.#fault('it sent a line that is too long');
      return;
    }
    this.#scan.copyWithin(0, at, end);
    this.#heldBytes = end - at;
  }

  /** How many of the bytes at `at` belong to what the line announced. */
  #readLine(line: string, at: number, end: number): number {
    if (!line.startsWith('VA ')) {
      this.#sink.reply({ kind: 'line', line });
      return 0;
    }
    const lengthBytes = /^VA (\d{1,15})(?: |$)/.exec(line)?.[1];
    if (lengthBytes === undefined) {
      this.#fault('it sent a value without a length');
      return 0;
    }
    return this.#beginValue(Number(lengthBytes), at, end);
  }

  #beginValue(lengthBytes: number, at: number, end: number): number {
    if (lengthBytes > this.#valueMaxBytes) {
      this.#fault(`it sent a value of ${lengthBytes} bytes, more than ${this.#valueMaxBytes}`);
      return 0;
    }
    const wholeBytes = lengthBytes + lineEndBytes;
    if (!this.#sink.wantsValue()) {
      this.#skipBytes = wholeBytes;
      return 0;
    }
    // Not zeroed: nobody sees it before all of it has arrived.
    this.#value = { bytes: Buffer.allocUnsafeSlow(wholeBytes), filledBytes: 0 };
    const hereBytes = Math.min(wholeBytes, end - at);
    this.#scan.copy(this.#value.bytes, 0, at, at + hereBytes);
    this.#fill(this.#value, hereBytes);
    return hereBytes;
  }

  #fill(value: Value, countBytes: number): void {
    value.filledBytes += countBytes;
    const { bytes, filledBytes } = value;
    if (filledBytes < bytes.byteLength) return;
    this.#value = undefined;
    const lengthBytes = bytes.byteLength - lineEndBytes;
    if (bytes[lengthBytes] !== carriageReturn || bytes[lengthBytes + 1] !== lineFeed) {
      this.#fault('it sent a value that is longer than it said');
      return;
    }
    const whole = new Uint8Array(bytes.buffer, bytes.byteOffset, lengthBytes);
    this.#sink.reply({ kind: 'value', value: whole });
  }

  #skip(availableBytes: number): number {
    const countBytes = Math.min(this.#skipBytes, availableBytes);
    this.#skipBytes -= countBytes;
    if (this.#skipBytes === 0) this.#sink.reply({ kind: 'skipped' });
    return countBytes;
  }

  #fault(reason: string): void {
    this.stop();
    this.#sink.fault(reason);
  }
}
