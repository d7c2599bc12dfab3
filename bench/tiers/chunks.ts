/** Chunks to read: sealed as Thaw seals them, full, and the same in every run. */

import { createCipheriv, createHash } from 'node:crypto';

import { present } from '../../src/base/index.ts';
import type { ChunkRef } from '../../src/cache/index.ts';
import { defaultChunkSizeBytes, sealChunk } from '../../src/chunk/index.ts';

/** What opens a chunk, and its ciphertext; a `ChunkRef` of the root it is read from. */
export interface BenchChunk extends Omit<ChunkRef, 'rootId'> {
  readonly ciphertext: Uint8Array;
}

/** `count` chunks of 512 KiB that no compression would make smaller. */
export function makeChunks(count: number): readonly BenchChunk[] {
  const salt = Buffer.alloc(32, 'thaw');
  const zeros = Buffer.alloc(defaultChunkSizeBytes);
  return Array.from({ length: count }, (_, index) => {
    const key = createHash('sha256').update(`chunk ${index}`).digest();
    const plaintext = createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(zeros);
    const sealed = present(sealChunk(plaintext, salt), 'a chunk that is not all zeros');
    return { ...sealed, lengthMaxBytes: defaultChunkSizeBytes };
  });
}

/** Whole numbers below `max`, the same for one seed. Source: George Marsaglia, "Xorshift RNGs", 2003. */
export function randomIndexes(seed: number, max: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % max;
  };
}
