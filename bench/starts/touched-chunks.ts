/** What a start touches of a disk: the chunks that it waits for, and why. */

import { RandomAccessFile } from '../../src/base/index.ts';
import { defaultChunkSizeBytes, storedLength } from '../../src/chunk/index.ts';
import { openFilesystem } from '../../src/ext4/index.ts';
import { blockSizeBytes, blocksPerChunk } from '../dedup/disk-chunks.ts';
import type { DiskRead } from './record-reads.ts';

export interface Touched {
  /** That hold anything. */
  readonly chunks: number;
  /** Of these chunks, trailing zeros left out. */
  readonly storedBytes: number;
  readonly readBytes: number;
  /** Chunks of which nothing was read but the filesystem's own. */
  readonly metadataChunks: number;
}

/** The blocks that hold data of files. */
export async function readFileBlocks(path: string): Promise<ReadonlySet<number>> {
  await using disk = await RandomAccessFile.open(path);
  const reader = await openFilesystem(disk);
  const blocks = new Set<number>();
  for await (const { inode } of reader.walk()) {
    if (inode.type !== 'file') continue;
    for (const { physicalBlock, blockCount } of await reader.extents(inode)) {
      for (let at = 0; at < blockCount; at += 1) blocks.add(physicalBlock + at);
    }
  }
  return blocks;
}

/** `fileBlocks` as `readFileBlocks` gives them. */
export async function touchedBy(
  reads: readonly DiskRead[],
  path: string,
  fileBlocks: ReadonlySet<number>,
): Promise<Touched> {
  const chunks = Map.groupBy(blocksOf(reads), (block) => Math.floor(block / blocksPerChunk));
  await using disk = await RandomAccessFile.open(path);
  const chunk = Buffer.alloc(defaultChunkSizeBytes);
  let [chunkCount, storedBytes, readBytes, metadataChunks] = [0, 0, 0, 0];
  for (const [index, blocks] of chunks) {
    await disk.read(index * defaultChunkSizeBytes, chunk);
    const stored = storedLength(chunk);
    if (stored === 0) continue;
    chunkCount += 1;
    storedBytes += stored;
    readBytes += blocks.length * blockSizeBytes;
    if (!blocks.some((block) => fileBlocks.has(block))) metadataChunks += 1;
  }
  return { chunks: chunkCount, storedBytes, readBytes, metadataChunks };
}

function blocksOf(reads: readonly DiskRead[]): ReadonlySet<number> {
  const blocks = new Set<number>();
  for (const { offset, lengthBytes } of reads) {
    for (let at = offset; at < offset + lengthBytes; at += blockSizeBytes) {
      blocks.add(Math.floor(at / blockSizeBytes));
    }
  }
  return blocks;
}
