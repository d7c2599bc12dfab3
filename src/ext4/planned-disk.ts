/** A finished plan: parts in the order in which they lie on the disk, rendered when asked for. */

import { assert } from '../base/index.ts';
import type { DiskPart } from './disk-part.ts';
import type { ContentReader, DiskPlan } from './disk-plan.ts';
import {
  blockSizeBytes,
  blocksPerGroup,
  chunkBlocks,
  diskFormatVersion,
  type BlockRange,
} from './geometry.ts';

/** Blocks that lie together, and which of the part's they are. */
interface Piece extends BlockRange {
  readonly part: DiskPart;
  readonly firstIndex: number;
}

export class PlannedDisk implements DiskPlan {
  readonly diskSizeBytes: number;
  readonly formatVersion = diskFormatVersion;
  readonly fileCount: number;
  readonly contentBytes: number;
  /** Rising and apart. */
  get pieces() {
    return this.#pieces;
  }
  readonly #pieces: readonly Piece[];

  constructor(plan: {
    readonly parts: readonly DiskPart[];
    readonly groupCount: number;
    readonly fileCount: number;
    readonly contentBytes: number;
  }) {
    this.diskSizeBytes = plan.groupCount * blocksPerGroup * blockSizeBytes;
    this.fileCount = plan.fileCount;
    this.contentBytes = plan.contentBytes;
    this.#pieces = piecesOf(plan.parts);
  }

  chunkIndexes(chunkSizeBytes: number): readonly number[] {
    const perChunk = chunkSizeBytes / blockSizeBytes;
    const indexes: number[] = [];
    for (const { firstBlock, blockCount } of this.#pieces) {
      const first = Math.max(Math.floor(firstBlock / perChunk), (indexes.at(-1) ?? -1) + 1);
      const last = Math.floor((firstBlock + blockCount - 1) / perChunk);
      for (let index = first; index <= last; index += 1) indexes.push(index);
    }
    return indexes;
  }

  async render(offset: number, target: Uint8Array, content: ContentReader): Promise<void> {
    const aligned = offset % blockSizeBytes === 0 && target.byteLength % blockSizeBytes === 0;
    assert(aligned, `Cannot render ${target.byteLength} bytes at ${offset}: both must be blocks`);
    target.fill(0);
    const start = offset / blockSizeBytes;
    const end = start + target.byteLength / blockSizeBytes;
    for (let index = this.#firstPieceEndingAfter(start); ; index += 1) {
      const piece = this.#pieces[index];
      if (piece === undefined || piece.firstBlock >= end) return;
      const from = Math.max(start, piece.firstBlock);
      const to = Math.min(end, piece.firstBlock + piece.blockCount);
      const part = target.subarray((from - start) * blockSizeBytes, (to - start) * blockSizeBytes);
      await piece.part.render(piece.firstIndex + from - piece.firstBlock, part, content);
    }
  }

  /** By bisection. */
  #firstPieceEndingAfter(block: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const piece = this.#pieces[middle];
      if (piece !== undefined && piece.firstBlock + piece.blockCount <= block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Chunks in which nothing is live are left out: no inode refers to them. */
function piecesOf(parts: readonly DiskPart[]): Piece[] {
  const pieces: Piece[] = [];
  const liveChunks = chunksOf(parts.filter(({ live }) => live));
  for (const part of parts) {
    let firstIndex = 0;
    for (const range of part.ranges()) {
      for (const kept of part.live ? [range] : cutAtChunks(range)) {
        if (!part.live && !liveChunks.has(chunkOf(kept.firstBlock))) continue;
        pieces.push({ ...kept, part, firstIndex: firstIndex + kept.firstBlock - range.firstBlock });
      }
      firstIndex += range.blockCount;
    }
  }
  pieces.sort((a, b) => a.firstBlock - b.firstBlock);
  let end = 0;
  for (const { firstBlock, blockCount, part } of pieces) {
    assert(
      firstBlock >= end,
      `Two parts of the disk overlap at block ${firstBlock}: "${part.path}"`,
    );
    end = firstBlock + blockCount;
  }
  return pieces;
}

function chunksOf(parts: readonly DiskPart[]): ReadonlySet<number> {
  const chunks = new Set<number>();
  for (const part of parts) {
    for (const { firstBlock, blockCount } of part.ranges()) {
      const last = chunkOf(firstBlock + blockCount - 1);
      for (let chunk = chunkOf(firstBlock); chunk <= last; chunk += 1) chunks.add(chunk);
    }
  }
  return chunks;
}

function cutAtChunks({ firstBlock, blockCount }: BlockRange): BlockRange[] {
  const ranges: BlockRange[] = [];
  const end = firstBlock + blockCount;
  for (let at = firstBlock; at < end;) {
    const next = Math.min(end, (chunkOf(at) + 1) * chunkBlocks);
    ranges.push({ firstBlock: at, blockCount: next - at });
    at = next;
  }
  return ranges;
}

function chunkOf(block: number): number {
  return Math.floor(block / chunkBlocks);
}
