/** Pax extended headers. Source: POSIX.1-2017, pax, "pax Extended Header". Pure. */

import { type ByteString, compareStrings } from '../base/index.ts';

/** Keyword to value. An empty value takes an earlier one back; only extended attributes may be empty. */
export type PaxRecords = ReadonlyMap<string, ByteString>;

export const noPaxRecords: PaxRecords = new Map();

const schilyPrefix = 'SCHILY.xattr.';
const libarchivePrefix = 'LIBARCHIVE.xattr.';
const textKeywords = new Set(['path', 'linkpath', 'uname', 'gname', 'GNU.sparse.name']);
const newline = 0x0a;
const space = 0x20;

/** Why a block of records cannot be read. */
export class PaxSyntaxError extends Error {}

/**
 * Reads `LENGTH KEYWORD=VALUE\n` records. Of equal keywords the last counts; only GNU's sparse format 0.0
 * repeats keywords, and its runs are gathered into the `GNU.sparse.map` that format 0.1 has.
 * Throws `PaxSyntaxError`.
 */
export function parsePaxRecords(bytes: Buffer): PaxRecords {
  const records = new Map<string, ByteString>();
  const sparseRuns: string[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const record = readRecord(bytes, at);
    at = record.end;
    const { keyword, value } = record;
    if (keyword === 'GNU.sparse.offset' || keyword === 'GNU.sparse.numbytes') {
      const wantsOffset = sparseRuns.length % 2 === 0;
      if (wantsOffset !== (keyword === 'GNU.sparse.offset') || value.includes(',')) {
        throw new PaxSyntaxError('its sparse runs are not pairs of offset and length');
      }
      sparseRuns.push(value);
    } else if (value === '' && !isXattr(keyword)) records.delete(keyword);
    else records.set(keyword, value);
  }
  if (sparseRuns.length > 0) records.set('GNU.sparse.map', sparseRuns.join(',') as ByteString);
  return records;
}

function readRecord(
  bytes: Buffer,
  start: number,
): { readonly keyword: string; readonly value: ByteString; readonly end: number } {
  const gap = bytes.indexOf(space, start);
  const lengthText = bytes.toString('latin1', start, Math.min(gap < 0 ? start : gap, start + 20));
  const end = start + Number(lengthText);
  if (!/^[0-9]{1,8}$/.test(lengthText) || end <= gap || end > bytes.byteLength) {
    throw new PaxSyntaxError(`the record at its byte ${start} has no valid length`);
  }
  const equals = bytes.indexOf('=', gap + 1);
  if (bytes[end - 1] !== newline || equals <= gap + 1 || equals >= end) {
    throw new PaxSyntaxError(`the record at its byte ${start} is not of the form "keyword=value"`);
  }
  const keyword = bytes.toString('latin1', gap + 1, equals);
  const value = bytes.toString('latin1', equals + 1, end - 1) as ByteString;
  if (keyword.includes('\0') || (textKeywords.has(keyword) && value.includes('\0'))) {
    throw new PaxSyntaxError(`the record at its byte ${start} holds a NUL byte`);
  }
  return { keyword, value, end };
}

const noXattrs: ReadonlyMap<ByteString, Uint8Array> = new Map();

function isXattr(keyword: string): boolean {
  return keyword.startsWith(schilyPrefix) || keyword.startsWith(libarchivePrefix);
}

/**
 * The extended attributes among the records, by name in byte order. `SCHILY.xattr.*` has the raw value (star, GNU tar, Go);
 * `LIBARCHIVE.xattr.*` a URL-encoded name and a base64 value, and counts only where the other is missing.
 */
export function xattrsOf(records: PaxRecords): ReadonlyMap<ByteString, Uint8Array> {
  const found: [name: ByteString, value: Uint8Array][] = [];
  for (const [keyword, value] of records) {
    if (keyword.startsWith(schilyPrefix)) {
      const name = keyword.slice(schilyPrefix.length) as ByteString;
      found.push([name, Buffer.from(value, 'latin1')]);
    } else if (keyword.startsWith(libarchivePrefix)) {
      const name = decodeUrl(keyword.slice(libarchivePrefix.length));
      if (!records.has(schilyPrefix + name)) found.push([name, Buffer.from(value, 'base64')]);
    }
  }
  if (found.length === 0) return noXattrs;
  return new Map(found.sort(([a], [b]) => compareStrings(a, b)));
}

function decodeUrl(text: string): ByteString {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  ) as ByteString;
}
