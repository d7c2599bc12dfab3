/**
 * A start pack: chunks that hold copies of just those blocks of a disk that starts read. Of each chunk of the disk that a start touches it
 * wants a few pages; with the pack it loads these, side by side, and nothing around them. Pure. Format: `docs/formats/start-profile.md`.
 *
 * Blocks lie in a pack in the order of the disk, and as a rule a stretch of the disk begins a chunk of its own. So equal stretches of two
 * images, read alike, give equal chunks, and a page more or less changes the chunks of one stretch.
 *
 * Invariants: no block is packed twice, no run is in two chunks, runs are in the order of the disk.
 */

import { isDeepStrictEqual } from 'node:util';

import { firstNotBefore } from '../../base/index.ts';
import type { ChunkCodec } from '../../chunk/index.ts';
import { pageSizeBytes, pagesPerWindow, type CachedWindow } from './file-windows.ts';

/** Blocks of the disk, of `pageSizeBytes`, that lie one after the other there and in the pack. */
export interface PackRun {
  readonly diskBlock: number;
  readonly blockCount: number;
}

/** A chunk of the pack, and what opens it. */
export interface PackedChunk {
  /** One after the other, from the chunk's first byte on. */
  readonly runs: readonly PackRun[];
  /** As of a chunk in a manifest; what the runs have beyond it is zeros. */
  readonly storedLengthBytes: number;
  readonly codec: ChunkCodec;
  readonly ciphertextDigest: Uint8Array;
  readonly key: Uint8Array;
}

export interface StartPack {
  readonly chunks: readonly PackedChunk[];
}

/** 512 KiB, as of a disk. */
export const packedBlocksMax = 128;
/** 8 MiB of the disk. */
const stretchBlocks = 2048;
/** A chunk with fewer goes on past the end of its stretch. */
const packedBlocksMin = 32;
/** 512 MiB. What starts read beyond is loaded as chunks of the disk. */
const packBlocksMax = 131_072;

/** In the order of the disk, each once. Windows may lie across each other: one file ends where in another's window its first page lies. */
function blocksOf(windows: readonly CachedWindow[]): readonly number[] {
  const blocks = new Set<number>();
  for (const { diskBlock, pages } of windows) {
    for (let page = 0; page < pagesPerWindow; page += 1) {
      if ((pages & (1 << page)) !== 0) blocks.add(diskBlock + page);
    }
  }
  return [...blocks].toSorted((a, b) => a - b);
}

/** What a pack of these windows' blocks consists of: the runs of each of its chunks, of `blocksMax` blocks at most. */
export function planPack(
  windows: readonly CachedWindow[],
  blocksMax = packedBlocksMax,
): readonly (readonly PackRun[])[] {
  const chunks: PackRun[][] = [];
  let inChunk = 0;
  let total = 0;
  let stretch = -1;
  for (const block of blocksOf(windows)) {
    if (total === packBlocksMax) break;
    const isNext = Math.floor(block / stretchBlocks) !== stretch && inChunk >= packedBlocksMin;
    if (chunks.length === 0 || isNext || inChunk === blocksMax) {
      chunks.push([]);
      inChunk = 0;
    }
    stretch = Math.floor(block / stretchBlocks);
    inChunk += 1;
    total += 1;
    const runs = chunks.at(-1) ?? [];
    const run = runs.at(-1);
    if (run !== undefined && run.diskBlock + run.blockCount === block) {
      runs[runs.length - 1] = { ...run, blockCount: run.blockCount + 1 };
    } else runs.push({ diskBlock: block, blockCount: 1 });
  }
  return chunks;
}

/** Whether there was no room in it for all that starts read. */
export function isFull({ chunks }: StartPack): boolean {
  return chunks.reduce((sum, { runs }) => sum + blockCountOf(runs), 0) >= packBlocksMax;
}

export function blockCountOf(runs: readonly PackRun[]): number {
  return runs.reduce((sum, { blockCount }) => sum + blockCount, 0);
}

/** Whether two lists are of the same runs. */
export function areSameRuns(some: readonly PackRun[], others: readonly PackRun[]): boolean {
  return isDeepStrictEqual(some, others);
}

/**
 * Where blocks of the disk are in a pack, in memory that threads share: for each run, in the order of the disk, `diskBlock`, `blockCount`, the chunk
 * of the pack, and the block in it.
 */
export type PackMap = Uint32Array<SharedArrayBuffer>;

const wordsPerRun = 4;

export function createPackMap({ chunks }: StartPack): PackMap {
  const runCount = chunks.reduce((sum, { runs }) => sum + runs.length, 0);
  const map = new Uint32Array(
    new SharedArrayBuffer(runCount * wordsPerRun * Uint32Array.BYTES_PER_ELEMENT),
  );
  let at = 0;
  for (const [index, { runs }] of chunks.entries()) {
    let block = 0;
    for (const { diskBlock, blockCount } of runs) {
      map.set([diskBlock, blockCount, index, block], at);
      at += wordsPerRun;
      block += blockCount;
    }
  }
  return map;
}

/** A part of a pack's chunk: its bytes `start..end`. */
export interface PackSpan {
  readonly index: number;
  readonly start: number;
  readonly end: number;
}

/** The number of the last run that begins at or before `block`; -1 if none does. */
function lastRunFrom(map: PackMap, block: number): number {
  const isBefore = (run: number): boolean => (map[run * wordsPerRun] ?? Infinity) <= block;
  return firstNotBefore(map.length / wordsPerRun, isBefore) - 1;
}

/** Where the bytes `offset..end` of the disk are in the pack, in their order; undefined if any of them is not there. */
export function packedSpans(map: PackMap, offset: number, end: number): PackSpan[] | undefined {
  const spans: PackSpan[] = [];
  let run = lastRunFrom(map, Math.floor(offset / pageSizeBytes));
  for (let at = offset; at < end; run += 1) {
    const word = run * wordsPerRun;
    const [diskBlock, blockCount, index, block] = map.subarray(word, word + wordsPerRun);
    if (run < 0 || diskBlock === undefined || blockCount === undefined) return undefined;
    const [runStart, runEnd] = [
      diskBlock * pageSizeBytes,
      (diskBlock + blockCount) * pageSizeBytes,
    ];
    if (at < runStart || at >= runEnd) return undefined;
    const start = (block ?? 0) * pageSizeBytes + at - runStart;
    const length = Math.min(end, runEnd) - at;
    spans.push({ index: index ?? 0, start, end: start + length });
    at += length;
  }
  return spans;
}
