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

/** A sequence of UTF-8 (The Unicode Standard, table 3-7), or a byte that is in none. */
const utf8OrByte = new RegExp(
  [
    '[\\xc2-\\xdf][\\x80-\\xbf]',
    '\\xe0[\\xa0-\\xbf][\\x80-\\xbf]',
    '[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}',
    '\\xed[\\x80-\\x9f][\\x80-\\xbf]',
    '\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}',
    '[\\xf1-\\xf3][\\x80-\\xbf]{3}',
    '\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}',
    '[^]',
  ].join('|'),
  'g',
);
/** Controls, what steers the direction of text, what ends a line, a byte that is not UTF-8. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\uFFFD]/u;

/**
 * For a line on a terminal: printable UTF-8 as it is, every other byte as a backslash and three octal digits, a
 * backslash as two. `byteStringFromPrintable` reads it back, byte for byte.
 */
export function byteStringToPrintable(string: ByteString): string {
  if (/^[\x20-\x5b\x5d-\x7e]*$/.test(string)) return string;
  return string.replaceAll(utf8OrByte, (sequence) => {
    if (sequence === '\\') return '\\\\';
    const text = byteStringToDisplay(sequence as ByteString);
    if (!unprintable.test(text)) return text;
    return Array.from(byteStringToBytes(sequence as ByteString), octalEscape).join('');
  });
}

function octalEscape(byte: number): string {
  return `\\${byte.toString(8).padStart(3, '0')}`;
}

/** Reads `byteStringToPrintable`'s notation. A backslash before anything else stands for itself. */
export function byteStringFromPrintable(text: string): ByteString {
  return byteString(text).replaceAll(/\\(\\|[0-3][0-7]{2})/g, (_, escaped: string) =>
    escaped === '\\' ? escaped : String.fromCharCode(Number.parseInt(escaped, 8)),
  ) as ByteString;
}

/** A Buffer over the same memory, without a copy. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Two lower-case digits a byte. */
export function toHex(bytes: Uint8Array): string {
  return viewOf(bytes).toString('hex');
}

/**
 * Gives the memory behind `bytes` back now: the array, and every other one over the same memory, is empty afterwards. For large
 * buffers of which many come and go: left to the garbage collector they pile up, and what piles up outside of its heap makes
 * it look through all of the heap again and again.
 */
export function release(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
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
