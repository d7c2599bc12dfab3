/**
 * A start pack: chunks that hold copies of just those blocks of a disk that starts read. Of each chunk of the disk that a start touches it
 * wants a few pages; with the pack it loads these, side by side, and nothing around them. Pure. Format: `docs/formats/start-profile.md`.
 *
 * The chunks come in the order in which starts read, so that a program can go on with what the first have while the last are on their
 * way; in a chunk blocks lie in the order of the disk. Where a chunk ends depends on which windows are read around there and on nothing else. So images
 * that begin alike share chunks, and a page more or less, or two read in another order, change a few chunks around there.
 *
 * Invariants: no block is packed twice, no run is in two chunks; the runs of a chunk are in the order of the disk.
 */

import { isDeepStrictEqual } from 'node:util';

import { firstNotBefore, present } from '../../base/index.ts';
import type { ChunkCodec } from '../../chunk/index.ts';
import { pageSizeBytes, pagesPerWindow, type ReadWindow } from './file-windows.ts';

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
/** Of what a chunk may hold: it ends at the best place from there on. */
const packedShareMin = 0.625;
/** 512 MiB. What starts read beyond is loaded as chunks of the disk. */
const packBlocksMax = 131_072;

/** Blocks of a window, those left out that are in one before it. */
interface Piece {
  readonly blocks: readonly number[];
  /** How good a place there is behind it: the least is the best. The same in all images that have the window there. */
  readonly rank: number;
}

/** In the order of the first reads. Windows may lie across each other: one file ends where in another's window its first page lies. */
function piecesOf(windows: readonly ReadWindow[], blocksMax: number): readonly Piece[] {
  const packed = new Set<number>();
  const inOrder = windows.toSorted((a, b) => a.atUs - b.atUs || a.diskBlock - b.diskBlock);
  const pieces: Piece[] = [];
  for (const { diskBlock, pages } of inOrder) {
    const blocks: number[] = [];
    for (let page = 0; page < pagesPerWindow; page += 1) {
      const block = diskBlock + page;
      if ((pages & (1 << page)) === 0 || packed.has(block)) continue;
      packed.add(block);
      blocks.push(block);
    }
    if (packed.size > packBlocksMax) break;
    const rank = Math.imul(diskBlock, 0x9e3779b1) >>> 0;
    for (let at = 0; at < blocks.length; at += blocksMax) {
      pieces.push({ blocks: blocks.slice(at, at + blocksMax), rank });
    }
  }
  return pieces;
}

/** Where the chunk that begins with piece `from` ends: the first piece that is not in it. */
function chunkEnd(pieces: readonly Piece[], from: number, blocksMax: number): number {
  let blockCount = 0;
  let best: { readonly end: number; readonly rank: number } | undefined;
  for (let at = from; at < pieces.length; at += 1) {
    const { blocks, rank } = present(pieces[at], 'a piece of the pack');
    blockCount += blocks.length;
    if (blockCount > blocksMax) return best?.end ?? at;
    const isLong = blockCount >= blocksMax * packedShareMin;
    if (isLong && (best === undefined || rank < best.rank)) best = { end: at + 1, rank };
  }
  return pieces.length;
}

/** What a pack of these windows' blocks consists of: the runs of each of its chunks, of `blocksMax` blocks at most. */
export function planPack(
  windows: readonly ReadWindow[],
  blocksMax = packedBlocksMax,
): readonly (readonly PackRun[])[] {
  const pieces = piecesOf(windows, blocksMax);
  const chunks: (readonly PackRun[])[] = [];
  for (let at = 0; at < pieces.length;) {
    const end = chunkEnd(pieces, at, blocksMax);
    const blocks = pieces.slice(at, end).flatMap((piece) => piece.blocks);
    chunks.push(runsOf(blocks.toSorted((a, b) => a - b)));
    at = end;
  }
  return chunks;
}

/** `blocks` in the order of the disk. */
function runsOf(blocks: readonly number[]): readonly PackRun[] {
  const runs: PackRun[] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    if (run !== undefined && run.diskBlock + run.blockCount === block) {
      runs[runs.length - 1] = { ...run, blockCount: run.blockCount + 1 };
    } else runs.push({ diskBlock: block, blockCount: 1 });
  }
  return runs;
}

/** Whether there may have been no room in it for all that starts read. */
export function isFull({ chunks }: StartPack): boolean {
  const blockCount = chunks.reduce((sum, { runs }) => sum + blockCountOf(runs), 0);
  return blockCount > packBlocksMax - pagesPerWindow;
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

export function createPackMap(pack: StartPack): PackMap {
  const placed = placedRuns(pack);
  const bytes = placed.length * wordsPerRun * Uint32Array.BYTES_PER_ELEMENT;
  const map = new Uint32Array(new SharedArrayBuffer(bytes));
  for (const [at, { diskBlock, blockCount, index, block }] of placed.entries()) {
    map.set([diskBlock, blockCount, index, block], at * wordsPerRun);
  }
  return map;
}

/** A run, the pack's chunk that has it, and where in that its first block is. */
export interface PlacedRun extends PackRun {
  readonly index: number;
  readonly block: number;
}

/** All runs of a pack in the order of the disk. */
export function placedRuns({ chunks }: StartPack): readonly PlacedRun[] {
  const placed: PlacedRun[] = [];
  for (const [index, { runs }] of chunks.entries()) {
    let block = 0;
    for (const run of runs) {
      placed.push({ ...run, index, block });
      block += run.blockCount;
    }
  }
  return placed.toSorted((a, b) => a.diskBlock - b.diskBlock);
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
