/**
 * What the replacement policy of a disk cache knows, as it outlives the process, format version 1: a header, a record a page, a checksum.
 * docs/formats/disk-cache.md shows the same rows. Times are kept as ages, as every process has a monotonic clock of its own.
 *
 * Losing it costs history only: which chunks are there, the directory says.
 */

import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { layout } from '../../base/index.ts';
import {
  diskChunkKeyOfBytes,
  diskChunkKeySizeBytes,
  type DiskChunkKey,
} from './disk-chunk-name.ts';
import type { PageHistory } from '../replacement/lru-k.ts';

export const diskHistoryHeader = layout('disk_history_header', 24, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u32', 'format_version'],
  [0x0c, 'u32', 'page_count'],
  [0x10, 'u64', 'saved_at_ms'],
]);

export const diskHistoryPage = layout('disk_history_page', 48, [
  [0x00, 'bytes35', 'key'],
  [0x23, 'u8', '_reserved'],
  [0x24, 'u32', 'hist1_age'],
  [0x28, 'u32', 'hist2_age'],
  [0x2c, 'u32', 'last_age'],
]);

const magic = Buffer.from('THAWDHST', 'ascii');
const formatVersion = 1;
const checksumSizeBytes = 32;
/** Of an age. */
const unitMs = 100;
const neverAge = 0xffffffff;
/** Encoded or decoded without giving the event loop a turn: about a millisecond's work. */
const pagesPerTurn = 2048;

export interface Moment {
  /** Since 1970. */
  readonly nowMs: number;
  readonly monotonicMs: number;
}

type KeyedHistory = PageHistory & { readonly key: DiskChunkKey };

function ageOf(atMs: number, now: Moment): number {
  if (atMs === -Infinity) return neverAge;
  return Math.min(neverAge - 1, Math.max(0, Math.round((now.monotonicMs - atMs) / unitMs)));
}

/** The file's content in parts. Takes turns with other work; a page that changes meanwhile is as before or as after. */
export async function encodeDiskHistory(
  pages: Iterable<KeyedHistory>,
  now: Moment,
): Promise<readonly Uint8Array[]> {
  const bodies: Buffer[] = [];
  let pageCount = 0;
  let body = Buffer.alloc(0);
  for (const page of pages) {
    const offset = (pageCount % pagesPerTurn) * diskHistoryPage.sizeBytes;
    if (offset === 0) {
      if (pageCount > 0) await nextTurn();
      body = Buffer.alloc(pagesPerTurn * diskHistoryPage.sizeBytes);
      bodies.push(body);
    }
    // By hand, as there are hundreds of thousands; the table above says what is where.
    body.write(page.key, offset, diskChunkKeySizeBytes, 'latin1');
    body.writeUInt32LE(ageOf(page.hist1Ms, now), offset + 0x24);
    body.writeUInt32LE(ageOf(page.hist2Ms, now), offset + 0x28);
    body.writeUInt32LE(ageOf(page.lastMs, now), offset + 0x2c);
    pageCount += 1;
  }
  const inLast = pageCount - pagesPerTurn * (bodies.length - 1);
  if (bodies.length > 0) {
    bodies[bodies.length - 1] = body.subarray(0, inLast * diskHistoryPage.sizeBytes);
  }
  const header = diskHistoryHeader.encode({
    magic,
    format_version: formatVersion,
    page_count: pageCount,
    saved_at_ms: BigInt(Math.round(now.nowMs)),
  });
  return [header, ...bodies, await checksum([header, ...bodies])];
}

async function checksum(parts: readonly Uint8Array[]): Promise<Buffer> {
  const hash = createHash('sha256');
  for (const part of parts) {
    hash.update(part);
    await nextTurn();
  }
  return hash.digest();
}

/** Its pages, some at a time; undefined if it is cut short, damaged, or of another version. */
export async function decodeDiskHistory(
  file: Buffer,
  now: Moment,
): Promise<Iterable<readonly KeyedHistory[]> | undefined> {
  const endOfPages = file.byteLength - checksumSizeBytes;
  if (endOfPages < diskHistoryHeader.sizeBytes) return undefined;
  const header = diskHistoryHeader.decode(file);
  if (!magic.equals(header.magic) || header.format_version !== formatVersion) return undefined;
  const sizeBytes = diskHistoryHeader.sizeBytes + header.page_count * diskHistoryPage.sizeBytes;
  if (sizeBytes !== endOfPages) return undefined;
  const stepBytes = pagesPerTurn * diskHistoryPage.sizeBytes;
  const parts = Array.from({ length: Math.ceil(endOfPages / stepBytes) }, (_, index) =>
    file.subarray(index * stepBytes, Math.min((index + 1) * stepBytes, endOfPages)),
  );
  if (!(await checksum(parts)).equals(file.subarray(endOfPages))) return undefined;
  // A clock that was set back makes pages no younger than they were.
  const awayMs = Math.max(0, now.nowMs - Number(header.saved_at_ms));
  return pagesOf(file, header.page_count, now.monotonicMs - awayMs);
}

function* pagesOf(
  file: Buffer,
  pageCount: number,
  savedAtMs: number,
): Iterable<readonly KeyedHistory[]> {
  const timeAt = (offset: number): number => {
    const age = file.readUInt32LE(offset);
    return age === neverAge ? -Infinity : savedAtMs - age * unitMs;
  };
  for (let first = 0; first < pageCount; first += pagesPerTurn) {
    yield Array.from({ length: Math.min(pagesPerTurn, pageCount - first) }, (_, index) => {
      const offset = diskHistoryHeader.sizeBytes + (first + index) * diskHistoryPage.sizeBytes;
      return {
        key: diskChunkKeyOfBytes(file.subarray(offset, offset + diskChunkKeySizeBytes)),
        hist1Ms: timeAt(offset + 0x24),
        hist2Ms: timeAt(offset + 0x28),
        lastMs: timeAt(offset + 0x2c),
      };
    });
  }
}
