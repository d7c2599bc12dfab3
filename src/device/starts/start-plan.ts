/**
 * What a start is to load along its profile, and what it is then to read ahead into the page cache, in the order of need. Pure.
 *
 * A page that the start pack has is wanted from there, any other from the disk's own chunk.
 */

import { firstNotBefore } from '../../base/index.ts';
import { pageSizeBytes, pagesPerWindow, type CachedWindow } from './file-windows.ts';
import type { StartProfile } from './start-profile.ts';
import { isFull, packedBlocksMax, type PackRun, type StartPack } from './start-pack.ts';

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
  const packedRuns = packedRunsOf(pack);
  for (const window of windows.toSorted((a, b) => a.diskBlock - b.diskBlock)) {
    for (const { page, diskBlock, packedIndex } of pagesOf(window, packedRuns)) {
      const diskChunk = Math.floor(diskBlock / blocksPerChunk);
      covered.add(diskChunk);
      const chunk =
        packedIndex === undefined
          ? chunkOf(ofDisk, diskChunk, false)
          : chunkOf(packed, packedIndex, true);
      chunk.diskChunks.add(diskChunk);
      append(chunk.runs, window.inode, page);
    }
  }
  for (const { index } of chunks) {
    if (!covered.has(index)) chunkOf(ofDisk, index, false).diskChunks.add(index);
  }
  const places = new Map(chunks.map(({ index }, place) => [index, place]));
  return inOrder([...packed.values(), ...ofDisk.values()], places);
}

/** How many chunks of the disk, of 512 KiB, starts load for pages that are not in the pack; 0 if that can hold no more. */
export function unpackedChunkCount(profile: StartProfile): number {
  const { pack } = profile;
  if (pack !== undefined && isFull(pack)) return 0;
  const planned = planStart(profile, packedBlocksMax * pageSizeBytes);
  return planned.filter(({ isPacked, runs }) => !isPacked && runs.length > 0).length;
}

/** A run of the pack, and the pack's chunk that has it. */
interface PackedRun extends PackRun {
  readonly index: number;
}

function packedRunsOf(pack: StartPack | undefined): readonly PackedRun[] {
  return (pack?.chunks ?? []).flatMap(({ runs }, index) => runs.map((run) => ({ ...run, index })));
}

/** The pages of a window, and the chunk of the pack that each is in. */
function* pagesOf(
  { window, pages, diskBlock: firstBlock }: CachedWindow,
  packedRuns: readonly PackedRun[],
): Generator<{ page: number; diskBlock: number; packedIndex: number | undefined }> {
  const endOf = (at: number): number => {
    const run = packedRuns[at];
    return run === undefined ? Infinity : run.diskBlock + run.blockCount;
  };
  let at = firstNotBefore(packedRuns.length, (run) => endOf(run) <= firstBlock);
  for (let bit = 0; bit < pagesPerWindow; bit += 1) {
    if ((pages & (1 << bit)) === 0) continue;
    const diskBlock = firstBlock + bit;
    while (endOf(at) <= diskBlock) at += 1;
    const run = packedRuns[at];
    const packedIndex = run !== undefined && run.diskBlock <= diskBlock ? run.index : undefined;
    yield { page: window * pagesPerWindow + bit, diskBlock, packedIndex };
  }
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
function append(runs: PageRun[], inode: number, page: number): void {
  const last = runs.at(-1);
  const isNext = last?.inode === inode && last.page + last.pageCount === page;
  if (last !== undefined && isNext)
    runs[runs.length - 1] = { ...last, pageCount: last.pageCount + 1 };
  else runs.push({ inode, page, pageCount: 1 });
}

/** `places`: of the disk's chunks. One without a place comes last. */
function inOrder(
  chunks: readonly PlannedChunk[],
  places: ReadonlyMap<number, number>,
): readonly PlannedChunk[] {
  const placeOf = ({ diskChunks }: PlannedChunk): number =>
    Math.min(...[...diskChunks].map((index) => places.get(index) ?? places.size));
  return chunks
    .map((chunk) => ({ chunk, place: placeOf(chunk) }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ chunk }) => chunk);
}
