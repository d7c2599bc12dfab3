/** Byte strings and small helpers on bytes. Pure. */

import { InternalError } from './errors.ts';

declare const byteStringBrand: unique symbol;

/**
 * Bytes held in a string, one UTF-16 code unit (0..255) a byte. File names and paths are byte strings
 * everywhere in Thaw: they may be in any encoding, they work as keys of a Map, and comparing them with
 * `<` gives byte order, which determinism needs.
 */
export type ByteString = string & { readonly [byteStringBrand]: true };

/** The byte string of a text's UTF-8 encoding. */
export function byteString(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1') as ByteString;
}

/** The bytes as they are, whatever encoding they may be in. */
export function byteStringFromBytes(bytes: Uint8Array): ByteString {
  return viewOf(bytes).toString('latin1') as ByteString;
}

/** A fresh array of the string's bytes. */
export function byteStringToBytes(string: ByteString): Uint8Array {
  return Buffer.from(string, 'latin1');
}

/** For people: the string read as UTF-8, bytes that are not UTF-8 shown as U+FFFD. */
export function byteStringToDisplay(string: ByteString): string {
  return Buffer.from(string, 'latin1').toString('utf8');
}

/** A Buffer over the same memory, without a copy. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Two lower-case digits a byte. */
export function toHex(bytes: Uint8Array): string {
  return viewOf(bytes).toString('hex');
}

/** Byte order, as for `Array.prototype.sort`. */
export function compareStrings(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Rounds up to a multiple of `step`, which need not be a power of two. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Narrows an unsigned 64-bit value; `what` names the field in the error. Throws `InternalError` past 2^53. */
export function toSafeNumber(value: bigint, what: string): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new InternalError(`Cannot hold ${what} in a number: it is ${value}`);
  }
  return Number(value);
}
