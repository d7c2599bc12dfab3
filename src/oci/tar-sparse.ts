/**
 * Where the bytes of sparse files lie. Sources: GNU tar manual, "Storing Sparse Files" (formats 0.0, 0.1 and 1.0)
 * and `struct sparse` (the old GNU format).
 */

import type { DataSegment } from './tar-entry.ts';
import { parseDecimal, readNumber } from './tar-fields.ts';
import {
  OldGnuHeader,
  SparseExtension,
  SparseRun,
  blockSizeBytes,
  fieldRanges,
} from './tar-layout.ts';
import type { PaxRecords } from './tar-pax.ts';

/** A run of a sparse file's data. */
export interface SparseMapRun {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Why a sparse map cannot be used. */
export class SparseMapError extends Error {}

/** More runs than this are refused: the map of each file is held in memory. */
export const sparseRunsMax = 1 << 17;

const gnu = fieldRanges(OldGnuHeader);
const extension = fieldRanges(SparseExtension);

/** Reads the block at an offset of the archive; the view is good until the next call. */
export type ReadBlock = (offset: number) => Promise<Buffer>;

/** The map that an old GNU header and the extension blocks after it hold, and where these end. */
export async function readOldGnuMap(
  header: Buffer,
  extensionsOffset: number,
  readBlock: ReadBlock,
): Promise<{ readonly runs: SparseMapRun[]; readonly endOffset: number }> {
  const runs = runsOf(header, gnu.sp.start, gnu.sp.end);
  let isExtended = header[gnu.isextended.start] !== 0;
  let endOffset = extensionsOffset;
  while (isExtended) {
    const block = await readBlock(endOffset);
    runs.push(...runsOf(block, extension.sp.start, extension.sp.end));
    if (runs.length > sparseRunsMax) throw new SparseMapError('it has too many runs');
    isExtended = block[extension.isextended.start] !== 0;
    endOffset += blockSizeBytes;
  }
  return { runs, endOffset };
}

/** An unused place starts with a NUL and ends the list. */
function runsOf(block: Buffer, start: number, end: number): SparseMapRun[] {
  const runs: SparseMapRun[] = [];
  for (let at = start; at < end && block[at] !== 0; at += SparseRun.sizeBytes) {
    const middle = at + 12;
    runs.push({
      offset: checkNumber(readNumber(block, { start: at, end: middle })),
      lengthBytes: checkNumber(readNumber(block, { start: middle, end: at + SparseRun.sizeBytes })),
    });
  }
  return runs;
}

/** Format 0.1's `offset,length,offset,length,…`. */
export function parsePaxMap(text: string): SparseMapRun[] {
  const numbers = text.split(',', 2 * sparseRunsMax + 1);
  return pairUp(numbers.map((number) => checkNumber(parseDecimal(number))));
}

/**
 * Format 1.0's map, which fills the first blocks of the data: the number of runs, then offset and length of
 * each, in decimal, a number a line.
 */
export async function readDataMap(
  dataOffset: number,
  readBlock: ReadBlock,
): Promise<{ readonly runs: SparseMapRun[]; readonly endOffset: number }> {
  let endOffset = dataOffset;
  let unread = '';
  const numbers: number[] = [];
  const wanted = (): number => 1 + 2 * (numbers[0] ?? 0);
  while (numbers.length < wanted()) {
    if (unread.length > blockSizeBytes) throw new SparseMapError('a line of it has no end');
    unread += (await readBlock(endOffset)).toString('latin1');
    endOffset += blockSizeBytes;
    for (let end = unread.indexOf('\n'); end >= 0 && numbers.length < wanted();) {
      numbers.push(checkNumber(parseDecimal(unread.slice(0, end))));
      if ((numbers[0] ?? 0) > sparseRunsMax) throw new SparseMapError('it has too many runs');
      unread = unread.slice(end + 1);
      end = unread.indexOf('\n');
    }
  }
  return { runs: pairUp(numbers.slice(1)), endOffset };
}

function checkNumber(value: number | undefined): number {
  if (value === undefined || value < 0) throw new SparseMapError('it holds a malformed number');
  return value;
}

function pairUp(numbers: readonly number[]): SparseMapRun[] {
  if (numbers.length % 2 !== 0) throw new SparseMapError('an offset in it has no length');
  if (numbers.length > 2 * sparseRunsMax) throw new SparseMapError('it has too many runs');
  const runs: SparseMapRun[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    runs.push({ offset: numbers[at] ?? 0, lengthBytes: numbers[at + 1] ?? 0 });
  }
  return runs;
}

/**
 * The segments of a file of `sizeBytes` whose runs lie one after the other from `dataOffset` to `dataEnd`.
 * Throws `SparseMapError` unless the runs rise, do not overlap, lie in the file and are just the data.
 */
export function segmentsOf(
  runs: readonly SparseMapRun[],
  where: { readonly sizeBytes: number; readonly dataOffset: number; readonly dataEnd: number },
): DataSegment[] {
  const segments: DataSegment[] = [];
  let fileEnd = 0;
  let tarOffset = where.dataOffset;
  for (const { offset, lengthBytes } of runs) {
    if (offset < fileEnd) throw new SparseMapError('its runs overlap or are out of order');
    fileEnd = offset + lengthBytes;
    if (fileEnd > where.sizeBytes)
      throw new SparseMapError('a run of it ends past the end of the file');
    if (lengthBytes > 0) segments.push({ fileOffset: offset, tarOffset, lengthBytes });
    tarOffset += lengthBytes;
  }
  if (tarOffset !== where.dataEnd) {
    throw new SparseMapError('its runs do not add up to the data that the archive holds');
  }
  return segments;
}

/** Which of the pax sparse formats the records announce, if any. Throws `SparseMapError` for one yet to be invented. */
export function paxSparseFormat(records: PaxRecords): '0.x' | '1.0' | undefined {
  const major = records.get('GNU.sparse.major');
  const minor = records.get('GNU.sparse.minor');
  if (major === undefined && minor === undefined) {
    return records.has('GNU.sparse.map') ? '0.x' : undefined;
  }
  if (major === '1' && minor === '0') return '1.0';
  if (major === '0' && (minor === '0' || minor === '1')) return '0.x';
  throw new SparseMapError(`its format ${major}.${minor} is not known`);
}
