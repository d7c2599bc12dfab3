/** Reads tar's fields: text, octal and base-256 numbers, checksums, pax numbers and times. Pure. */

import type { ByteString } from '../base/index.ts';
import type { Timestamp } from './tar-entry.ts';
import { type FieldRange, PosixHeader, blockSizeBytes, fieldRanges } from './tar-layout.ts';

const space = 0x20;
const zero = 0x30;
const seven = 0x37;

/** Up to the first NUL or the field's end. */
export function readText(block: Buffer, { start, end }: FieldRange): ByteString {
  const nul = block.indexOf(0, start);
  return block.toString('latin1', start, nul < 0 || nul > end ? end : nul) as ByteString;
}

/**
 * A number in octal, or in base-256 where the first byte's high bit is set (GNU: two's complement, its second-highest
 * bit the sign). An empty field is 0. Undefined where it is neither, or past what a number holds exactly.
 */
export function readNumber(block: Buffer, range: FieldRange): number | undefined {
  return ((block[range.start] ?? 0) & 0x80) === 0
    ? readOctal(block, range)
    : readBase256(block, range);
}

/** Spaces and NULs may stand on both sides. */
function readOctal(block: Buffer, range: FieldRange): number | undefined {
  let { start, end } = range;
  const isBlank = (at: number): boolean => block[at] === space || block[at] === 0;
  while (start < end && isBlank(start)) start += 1;
  while (start < end && isBlank(end - 1)) end -= 1;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const digit = block[at] ?? 0;
    // What follows a NUL is another, older field's rest.
    if (digit === 0) break;
    if (digit < zero || digit > seven) return undefined;
    value = value * 8 + (digit - zero);
  }
  return Number.isSafeInteger(value) ? value : undefined;
}

function readBase256(block: Buffer, { start, end }: FieldRange): number | undefined {
  const first = block[start] ?? 0;
  const isNegative = (first & 0x40) !== 0;
  let value = BigInt(isNegative ? (first & 0x7f) - 0x80 : first & 0x7f);
  for (let at = start + 1; at < end; at += 1) value = value * 256n + BigInt(block[at] ?? 0);
  const narrowed = Number(value);
  return Number.isSafeInteger(narrowed) ? narrowed : undefined;
}

const chksum = fieldRanges(PosixHeader).chksum;

/** Whether the header's sum is right: of its bytes, the checksum's own as spaces, unsigned or (old tars) signed. */
export function hasValidChecksum(block: Buffer): boolean {
  const stated = readNumber(block, chksum);
  let unsigned = 0;
  let negative = 0;
  for (let at = 0; at < blockSizeBytes; at += 1) {
    const isOwn = at >= chksum.start && at < chksum.end;
    const byte = isOwn ? space : (block[at] ?? 0);
    unsigned += byte;
    if (byte >= 0x80) negative += 256;
  }
  return stated === unsigned || stated === unsigned - negative;
}

export function isZeroBlock(block: Buffer): boolean {
  // A header's first byte is its name's first: almost always this decides.
  if (block[0] !== 0) return false;
  return block.every((byte) => byte === 0);
}

/** A decimal number of a pax record; undefined where it is none. */
export function parseDecimal(text: string): number | undefined {
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A pax time: decimal seconds, maybe negative, with any number of decimals, of which nine count. */
export function parseTime(text: string): Timestamp | undefined {
  const parts = /^([+-]?[0-9]+)(?:\.([0-9]*))?$/.exec(text);
  if (parts === null) return undefined;
  const whole = Number(parts[1]);
  const nanoseconds = Number((parts[2] ?? '').slice(0, 9).padEnd(9, '0'));
  if (!Number.isSafeInteger(whole)) return undefined;
  // -1.25 lies a quarter of a second before -1, that is three quarters after -2.
  return text.startsWith('-') && nanoseconds > 0
    ? { seconds: whole - 1, nanoseconds: 1_000_000_000 - nanoseconds }
    : { seconds: whole + 0, nanoseconds };
}
