/**
 * What a start is to load along its profile, and what it is then to read ahead into the page cache, in the order of need. Pure.
 *
 * A page that the start pack has is wanted from there, any other from the disk's own chunk.
 */

import { firstNotBefore } from '../../base/index.ts';
import { pageSizeBytes, pagesPerWindow, type CachedWindow } from './file-windows.ts';
import type { StartProfile } from './start-profile.ts';
import { isFull, packedBlocksMax, placedRuns, type PlacedRun } from './start-pack.ts';

/** Pages of a file that lie side by side. */
export interface PageRun {
  /** Of a regular file, or `diskInode`. */
  readonly inode: number;
  readonly page: number;
  readonly pageCount: number;
}

/** A chunk of the start pack or of the disk, and what can be read ahead when it is in memory. */
export interface PlannedChunk {
  readonly isPacked: boolean;
  readonly index: number;
  /** In the order of the disk. None: it was read otherwise than by pages that are known. */
  readonly runs: readonly PageRun[];
  /** The chunks of the disk that it stands for. */
  readonly diskChunks: ReadonlySet<number>;
}

interface GrowingChunk extends PlannedChunk {
  readonly runs: PageRun[];
  readonly diskChunks: Set<number>;
}

/** Each chunk once. */
export function planStart(
  { chunks, windows, pack }: StartProfile,
  chunkSizeBytes: number,
): readonly PlannedChunk[] {
  const blocksPerChunk = chunkSizeBytes / pageSizeBytes;
  const packed = new Map<number, GrowingChunk>();
  const ofDisk = new Map<number, GrowingChunk>();
  const covered = new Set<number>();
  const packedRuns = pack === undefined ? [] : placedRuns(pack);
  for (const window of windows.toSorted((a, b) => a.diskBlock - b.diskBlock)) {
    for (const { page, pageCount, diskBlock, packedIndex } of piecesOf(
      window,
      packedRuns,
      blocksPerChunk,
    )) {
      const diskChunk = Math.floor(diskBlock / blocksPerChunk);
      covered.add(diskChunk);
      const chunk =
        packedIndex === undefined
          ? chunkOf(ofDisk, diskChunk, false)
          : chunkOf(packed, packedIndex, true);
      chunk.diskChunks.add(diskChunk);
      append(chunk.runs, { inode: window.inode, page, pageCount });
    }
  }
  for (const { index } of chunks) {
    if (!covered.has(index)) chunkOf(ofDisk, index, false).diskChunks.add(index);
  }
  const places = new Map(chunks.map(({ index }, place) => [index, place]));
  const placeOf = ({ index }: PlannedChunk): number => places.get(index) ?? places.size;
  return [
    ...[...packed.values()].toSorted((a, b) => a.index - b.index),
    ...[...ofDisk.values()].toSorted((a, b) => placeOf(a) - placeOf(b)),
  ];
}

/** How many chunks of the disk, of 512 KiB, starts load for pages that are not in the pack; 0 if that can hold no more. */
export function unpackedChunkCount(profile: StartProfile): number {
  const { pack } = profile;
  if (pack !== undefined && isFull(pack)) return 0;
  const planned = planStart(profile, packedBlocksMax * pageSizeBytes);
  return planned.filter(({ isPacked, runs }) => !isPacked && runs.length > 0).length;
}

/** Pages of a window that lie side by side, in one chunk of the disk, and either in one chunk of the pack or not in the pack. */
interface Piece {
  readonly page: number;
  readonly pageCount: number;
  readonly diskBlock: number;
  readonly packedIndex: number | undefined;
}

function piecesOf(
  { window, pages, diskBlock: firstBlock }: CachedWindow,
  packedRuns: readonly PlacedRun[],
  blocksPerChunk: number,
): readonly Piece[] {
  const pieces: Piece[] = [];
  const startOf = (at: number): number => packedRuns[at]?.diskBlock ?? Infinity;
  const endOf = (at: number): number => startOf(at) + (packedRuns[at]?.blockCount ?? 0);
  let at = firstNotBefore(packedRuns.length, (run) => endOf(run) <= firstBlock);
  for (let bit = 0; bit < pagesPerWindow;) {
    if ((pages & (1 << bit)) === 0) {
      bit += 1;
      continue;
    }
    const diskBlock = firstBlock + bit;
    while (endOf(at) <= diskBlock) at += 1;
    const isPacked = startOf(at) <= diskBlock;
    const end = Math.min(
      isPacked ? endOf(at) : startOf(at),
      (Math.floor(diskBlock / blocksPerChunk) + 1) * blocksPerChunk,
    );
    const from = bit;
    while (firstBlock + bit < end && (pages & (1 << bit)) !== 0) bit += 1; // no bit beyond the last page
    const packedIndex = isPacked ? packedRuns[at]?.index : undefined;
    const page = window * pagesPerWindow + from;
    pieces.push({ page, pageCount: bit - from, diskBlock, packedIndex });
  }
  return pieces;
}

function chunkOf(
  chunks: Map<number, GrowingChunk>,
  index: number,
  isPacked: boolean,
): GrowingChunk {
  const known = chunks.get(index);
  if (known !== undefined) return known;
  const chunk = { isPacked, index, runs: [], diskChunks: new Set<number>() };
  chunks.set(index, chunk);
  return chunk;
}

/** What lies side by side is read at once. */
function append(runs: PageRun[], run: PageRun): void {
  const last = runs.at(-1);
  if (last?.inode === run.inode && last.page + last.pageCount === run.page) {
    runs[runs.length - 1] = { ...last, pageCount: last.pageCount + run.pageCount };
  } else runs.push(run);
}
