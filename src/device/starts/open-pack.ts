/** A start pack that reads are answered from: beside the disk's chunks a second, short table of them. */

import { chunkIdentity, type ChunkRef, type ChunkSlab, type SlabTable } from '../../cache/index.ts';
import type { ListedChunk } from '../images/served-image.ts';
import { pageSizeBytes } from './file-windows.ts';
import { FirstReads } from './first-reads.ts';
import type { PrefetchTarget } from './prefetcher.ts';
import {
  blockCountOf,
  createPackMap,
  packedSpans,
  type PackMap,
  type PackSpan,
  type PackedChunk,
  type StartPack,
} from './start-pack.ts';

/** What loads a packed chunk of an image of that root. */
export function packedChunkRef(packed: PackedChunk, rootId: string): ChunkRef {
  const { runs, ...listed } = packed;
  return { ...listed, rootId, lengthMaxBytes: blockCountOf(runs) * pageSizeBytes };
}

export class OpenPack implements PrefetchTarget {
  readonly content: StartPack;
  readonly map: PackMap;
  readonly table: SlabTable;
  readonly firstReads: FirstReads;
  readonly #listed: readonly ListedChunk[];

  /** `rootId`: of the image, whose store has the chunks. The table is to be dropped from the slab when it is no longer used. */
  constructor(content: StartPack, rootId: string, slab: ChunkSlab) {
    const { length } = content.chunks;
    this.content = content;
    this.#listed = content.chunks.map((packed) => {
      const chunk = packedChunkRef(packed, rootId);
      return { chunk, identity: chunkIdentity(chunk) };
    });
    this.map = createPackMap(content);
    this.table = slab.createTable(length, content.chunks.keys());
    this.firstReads = new FirstReads(length, new Map(content.chunks.entries()));
  }

  /** None is all zeros. */
  chunk(index: number): ListedChunk | undefined {
    return this.#listed[index];
  }

  /** Where in the pack the disk's bytes are; undefined if any of them is not there. */
  spans(offset: number, sizeBytes: number): readonly PackSpan[] | undefined {
    return packedSpans(this.map, offset, offset + sizeBytes);
  }
}
