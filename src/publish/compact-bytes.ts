/**
 * Numbers and byte strings in few bytes: the alphabet of layer records. A number is in base 128, the least digit first, with the
 * high bit set on all but the last; a string is its length and its bytes. Pure.
 */

import { byteStringFromBytes, viewOf, type ByteString } from '../base/index.ts';
import { LayerRecordError } from './layer-record-error.ts';

const firstCapacityBytes = 4096;
/** Digits of 2^53. */
const digitsMax = 8;

/** Appends to an array that grows. */
export class CompactWriter {
  #bytes = Buffer.alloc(firstCapacityBytes);
  #length = 0;

  get lengthBytes(): number {
    return this.#length;
  }

  /** An integer, 0 to 2^53 - 1. */
  number(value: number): void {
    this.#reserve(digitsMax);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length] = (rest % 0x80) + 0x80;
      this.#length += 1;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length] = rest;
    this.#length += 1;
  }

  bytes(value: Uint8Array): void {
    this.number(value.byteLength);
    this.raw(value);
  }

  string(value: ByteString): void {
    this.number(value.length);
    this.#reserve(value.length);
    this.#length += this.#bytes.write(value, this.#length, 'latin1');
  }

  /** Bytes whose length the reader knows. */
  raw(value: Uint8Array): void {
    this.#reserve(value.byteLength);
    this.#bytes.set(value, this.#length);
    this.#length += value.byteLength;
  }

  /** What was written since the last time, in an array of its own. */
  take(): Uint8Array {
    const taken = new Uint8Array(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  #reserve(lengthBytes: number): void {
    const needed = this.#length + lengthBytes;
    if (needed <= this.#bytes.byteLength) return;
    const larger = Buffer.alloc(Math.max(needed, this.#bytes.byteLength * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

/** Reads what `CompactWriter` wrote. All methods throw `ERR_PUBLISH_LAYER_RECORD` past the end. */
export class CompactReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = viewOf(bytes);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.byteLength;
  }

  number(): number {
    let value = 0;
    for (let factor = 1, digits = 1; digits <= digitsMax; factor *= 0x80, digits += 1) {
      const digit = this.#bytes[this.#at];
      if (digit === undefined) throw new LayerRecordError('it is cut short');
      this.#at += 1;
      if (digit < 0x80) {
        value += digit * factor;
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      value += (digit - 0x80) * factor;
    }
    throw new LayerRecordError('a number in it is too large');
  }

  /** A number of things that take a byte or more each, so that none is believed that cannot be. */
  count(): number {
    const count = this.number();
    if (count > this.#bytes.byteLength - this.#at) throw new LayerRecordError('it is cut short');
    return count;
  }

  /** A view. */
  bytes(): Uint8Array {
    return this.raw(this.number());
  }

  string(): ByteString {
    return byteStringFromBytes(this.bytes());
  }

  /** A view. */
  raw(lengthBytes: number): Uint8Array {
    const end = this.#at + lengthBytes;
    if (end > this.#bytes.byteLength) throw new LayerRecordError('it is cut short');
    const view = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return view;
  }
}
