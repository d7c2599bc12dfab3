/** A finished plan: parts in the order in which they lie on the disk, rendered when asked for. */

import { firstNotBefore, assert, present } from '../base/index.ts';
import type { DiskPart } from './disk-part.ts';
import type { ContentReader, DiskPlan } from './disk-plan.ts';
import {
  blockSizeBytes,
  blocksPerGroup,
  chunkBlocks,
  diskFormatVersion,
  type BlockRange,
} from './geometry.ts';

export class PlannedDisk implements DiskPlan {
  readonly diskSizeBytes: number;
  readonly formatVersion = diskFormatVersion;
  readonly fileCount: number;
  readonly contentBytes: number;
  readonly #pieces: PieceList;

  constructor(plan: {
    readonly parts: readonly DiskPart[];
    readonly groupCount: number;
    readonly fileCount: number;
    readonly contentBytes: number;
  }) {
    this.diskSizeBytes = plan.groupCount * blocksPerGroup * blockSizeBytes;
    this.fileCount = plan.fileCount;
    this.contentBytes = plan.contentBytes;
    this.#pieces = new PieceList(piecesOf(plan.parts));
  }

  chunkIndexes(chunkSizeBytes: number): readonly number[] {
    const perChunk = chunkSizeBytes / blockSizeBytes;
    const indexes: number[] = [];
    for (let piece = 0; piece < this.#pieces.count; piece += 1) {
      const { firstBlock, blockCount } = this.#pieces.at(piece);
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
    for (let index = this.#pieces.firstEndingAfter(start); ; index += 1) {
      if (index >= this.#pieces.count) return;
      const piece = this.#pieces.at(index);
      if (piece.firstBlock >= end) return;
      const from = Math.max(start, piece.firstBlock);
      const to = Math.min(end, piece.firstBlock + piece.blockCount);
      const part = target.subarray((from - start) * blockSizeBytes, (to - start) * blockSizeBytes);
      await piece.part.render(piece.firstIndex + from - piece.firstBlock, part, content);
    }
  }
}

/** Blocks that lie together, and which of the part's they are. */
interface Piece extends BlockRange {
  readonly part: DiskPart;
  readonly firstIndex: number;
}

/** Pieces, rising and apart. There is one for nearly every file, so they are kept in columns. */
class PieceList {
  readonly count: number;
  readonly #parts: readonly DiskPart[];
  readonly #firstBlocks: Uint32Array;
  readonly #blockCounts: Uint32Array;
  readonly #firstIndexes: Uint32Array;

  constructor(pieces: Iterable<Piece>) {
    const parts: DiskPart[] = [];
    const firstBlocks: number[] = [];
    const blockCounts: number[] = [];
    const firstIndexes: number[] = [];
    for (const { part, firstBlock, blockCount, firstIndex } of pieces) {
      parts.push(part);
      firstBlocks.push(firstBlock);
      blockCounts.push(blockCount);
      firstIndexes.push(firstIndex);
    }
    const startOf = columnOf(firstBlocks);
    const order = Uint32Array.from(parts.keys()).sort((a, b) => startOf(a) - startOf(b));
    this.count = parts.length;
    this.#parts = Array.from(order, columnOf(parts));
    this.#firstBlocks = order.map(startOf);
    this.#blockCounts = order.map(columnOf(blockCounts));
    this.#firstIndexes = order.map(columnOf(firstIndexes));
    this.#checkApart();
  }

  #checkApart(): void {
    let end = 0;
    for (let index = 0; index < this.count; index += 1) {
      const { firstBlock, blockCount, part } = this.at(index);
      assert(
        firstBlock >= end,
        `Two parts of the disk overlap at block ${firstBlock}: "${part.path}"`,
      );
      end = firstBlock + blockCount;
    }
  }

  at(index: number): Piece {
    return {
      part: present(this.#parts[index], 'a part of the disk'),
      firstBlock: this.#firstBlocks[index] ?? 0,
      blockCount: this.#blockCounts[index] ?? 0,
      firstIndex: this.#firstIndexes[index] ?? 0,
    };
  }

  /** The index of the first piece that ends after `block`, by bisection. */
  firstEndingAfter(block: number): number {
    return firstNotBefore(this.count, (index) => {
      const { firstBlock, blockCount } = this.at(index);
      return firstBlock + blockCount <= block;
    });
  }
}

/** Reads a column by the index of a piece. */
function columnOf<Value>(values: readonly Value[]): (piece: number) => Value {
  return (piece) => present(values[piece], 'a piece of the disk');
}

/** Chunks in which nothing is live are left out: no inode refers to them. */
function* piecesOf(parts: readonly DiskPart[]): Generator<Piece> {
  const liveChunks = chunksOf(parts.filter(({ live }) => live));
  for (const part of parts) {
    let firstIndex = 0;
    for (const range of part.ranges()) {
      for (const { firstBlock, blockCount } of part.live ? [range] : cutAtChunks(range)) {
        if (!part.live && !liveChunks.has(chunkOf(firstBlock))) continue;
        yield {
          part,
          firstBlock,
          blockCount,
          firstIndex: firstIndex + firstBlock - range.firstBlock,
        };
      }
      firstIndex += range.blockCount;
    }
  }
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
