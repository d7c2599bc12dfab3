/**
 * The contract of a tier between a worker's memory and the origin: a place that may have a sealed chunk, and may lose
 * it at any time. A tier knows names and ciphertext, never keys; who reads from it verifies what it gives.
 */

import type { Priority } from '../base/index.ts';

/** What a sealed chunk is known by outside the worker. */
export interface ChunkName {
  readonly rootId: string;
  /** SHA-256 of the ciphertext, 32 bytes. */
  readonly ciphertextDigest: Uint8Array;
  /** Of the ciphertext: a positive multiple of 4,096. */
  readonly storedLengthBytes: number;
}

export interface TierRequest {
  /** Aborted when nobody wants the answer any longer. The call MUST then reject soon, with the signal's reason. */
  readonly signal: AbortSignal;
  /** May rise to `foreground` while the call is under way: `review` is called then. */
  readonly priority: Priority;
  /**
   * Whether these bytes are the chunk, for tiers that can mend a wrong one. Bytes of which it has said so are not hashed once more when the
   * tier gives them, and MUST NOT change afterwards. Left out: who asked verifies what he gets, all of it.
   */
  readonly isRight?: ((ciphertext: Uint8Array) => boolean) | undefined;
}

export interface CacheTier {
  /**
   * A chunk's ciphertext as this tier has it, `storedLengthBytes` long, in an array that is the caller's; undefined if it is
   * not here. MUST NOT be trusted: it may be anything. Throws `ERR_CACHE_TIER_UNAVAILABLE` if the tier cannot say (it is
   * gone, overloaded, out of time); nothing else, but programming errors and the signal's reason.
   */
  get(chunk: ChunkName, request: TierRequest): Promise<Uint8Array | undefined>;
  /**
   * Offers a verified chunk. Returns at once; the tier writes it in the background, or drops it when it has no room to
   * queue it, is full, or is unavailable: which is counted and never thrown. `ciphertext` stays the caller's: a tier copies what it queues.
   */
  offer(chunk: ChunkName, ciphertext: Uint8Array): void;
  /** Forgets the chunk, because its copy is not what its name says. Best effort; never rejects. */
  forget(chunk: ChunkName): Promise<void>;
  /** After this a reader that still waits asks the next tier too. Infinity: never. */
  hedgeAfterMs(): number;
  /** The priority of a call under way has risen: whoever queues calls looks again. Left out: nothing waits here for its turn. */
  review?(): void;
}
