/**
 * The way of a chunk into the worker: from the nearest tier that has it, verified, decrypted, once for all who
 * wait. Behind it are the tiers: the worker's disk, the zone, the origin; in front of it the L1 slab.
 */

import { toHex, type Priority } from '../../base/index.ts';
import type { SealedChunkRef } from '../../chunk/index.ts';

/** One chunk of one image, with what opens it. Comes from that image's manifest, nowhere else. */
export interface ChunkRef extends SealedChunkRef {
  readonly rootId: string;
}

/** Where a chunk was found: in this worker's memory, on its disk, in the zone, or in the object store. */
export const tiers = ['l1', 'l1-disk', 'l2', 'origin'] as const;
export type Tier = (typeof tiers)[number];

/** A chunk, verified and opened. */
export interface FoundChunk {
  /**
   * What `openChunk` gives; the rest of the chunk is zeros. Read-only: callers who asked for the same chunk
   * at the same time share it.
   */
  readonly plaintext: Uint8Array;
  readonly tier: Tier;
}

export interface LoadedChunk extends FoundChunk {
  /**
   * Says that the caller is done with `plaintext`, whose memory is given back when all who share it have said so. Left to the garbage
   * collector, who looks through all of its heap for every few chunks, it took a seventh of the thread's time (bench/start-profile.bench.ts).
   */
  readonly done: () => void;
}

export interface LoadOptions {
  /** Positive. */
  readonly deadlineMs: number;
  /** Default `foreground`, to which a prefetch under way is raised that a foreground load joins. */
  readonly priority?: Priority;
}

export interface ChunkLoader {
  /**
   * Settles within `deadlineMs` of the call, whatever the tiers do.
   *
   * Throws `ERR_CACHE_CHUNK_MISSING`, `ERR_CACHE_CHUNK_CORRUPT` when the origin's copy does not hash to its digest,
   * `ERR_CACHE_CHUNK_UNREADABLE` when the chunk is not what the manifest says of it, `ERR_CACHE_DEADLINE`, or the origin's
   * own error. Never returns a byte that was not verified.
   */
  load(chunk: ChunkRef, options: LoadOptions): Promise<LoadedChunk>;
}

/**
 * What a chunk is kept and joined under: its root, its name and all that opening it depends on. The key belongs to it because
 * knowing a chunk's name does not give the right to read it: a manifest that lists the name with another key must not
 * find it. The rest, because a manifest that lists the chunk with another codec or length makes other bytes of it, or
 * an error, which those who list it rightly must not get.
 */
export function chunkIdentity(chunk: ChunkRef): string {
  const { rootId, ciphertextDigest, key, codec, storedLengthBytes, lengthMaxBytes } = chunk;
  const opening = `${toHex(key)}/${codec}/${storedLengthBytes}/${lengthMaxBytes}`;
  return `${rootId}/${toHex(ciphertextDigest)}/${opening}`;
}
