/** A disk image as the store sees it: chunks that hold anything, by content, without their trailing zeros. */

import { createHash } from 'node:crypto';

import type { RandomAccess } from '../../src/base/index.ts';
import { defaultChunkSizeBytes, storedLength } from '../../src/chunk/index.ts';
import type { ContentReader, DiskPlan } from '../../src/ext4/index.ts';

export const blockSizeBytes = 4096;
export const blocksPerChunk = defaultChunkSizeBytes / blockSizeBytes;

/** Whoever wrote it. */
export interface Disk extends RandomAccess {
  /** Chunks that may hold anything but zeros, rising. */
  readonly chunkIndexes: readonly number[];
}

/** What chunks are compared by. */
export interface ChunkFacts {
  /** Of what is stored. */
  readonly digest: string;
  readonly storedBytes: number;
}

export interface StoredChunk extends ChunkFacts {
  readonly index: number;
  /** For each block 1 if it holds anything. */
  readonly used: Uint8Array;
}

const zeroBlock = Buffer.alloc(blockSizeBytes);

export async function storedChunks(disk: Disk): Promise<readonly StoredChunk[]> {
  const chunk = Buffer.alloc(defaultChunkSizeBytes);
  const stored: StoredChunk[] = [];
  for (const index of disk.chunkIndexes) {
    await disk.read(index * defaultChunkSizeBytes, chunk);
    const storedBytes = storedLength(chunk);
    if (storedBytes === 0) continue;
    const used = Uint8Array.from({ length: blocksPerChunk }, (_, block) => {
      const at = block * blockSizeBytes;
      return chunk.compare(zeroBlock, 0, blockSizeBytes, at, at + blockSizeBytes) === 0 ? 0 : 1;
    });
    const digest = createHash('sha256').update(chunk.subarray(0, storedBytes)).digest('base64');
    stored.push({ index, digest, storedBytes, used });
  }
  return stored;
}

/** What a plan would write, rendered where it is read. */
export function plannedDisk(plan: DiskPlan, content: ContentReader): Disk {
  return {
    sizeBytes: plan.diskSizeBytes,
    chunkIndexes: plan.chunkIndexes(defaultChunkSizeBytes),
    read: async (offset, target) => {
      const start = Math.floor(offset / blockSizeBytes) * blockSizeBytes;
      const end = Math.ceil((offset + target.byteLength) / blockSizeBytes) * blockSizeBytes;
      if (end - start === target.byteLength) {
        await plan.render(offset, target, content);
        return;
      }
      const blocks = Buffer.alloc(end - start);
      await plan.render(start, blocks, content);
      target.set(blocks.subarray(offset - start, offset - start + target.byteLength));
    },
  };
}
