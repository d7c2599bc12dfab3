/** Priming: what is published is put where workers will look for it first, so that its first start does not go to the origin. */

/** A new chunk by what it is known by outside a worker. */
export interface PublishedChunk {
  readonly rootId: string;
  /** SHA-256 of the ciphertext. */
  readonly ciphertextDigest: Uint8Array;
  readonly storedLengthBytes: number;
}

/**
 * Puts a chunk there, and waits as long as that takes: publishing gets no faster than it. True if it is there now, as far
 * as is known; a chunk that is not is no failure of publishing. Rejects with the signal's reason, and no other.
 * `ciphertext` does not change until it settles, and is not to be used after.
 */
export type PrimeChunk = (
  chunk: PublishedChunk,
  ciphertext: Uint8Array,
  options: { readonly signal: AbortSignal },
) => Promise<boolean>;

/** Chunks new to the store that were primed, and that could not be. */
export interface PrimedCounts {
  readonly chunks: number;
  readonly failed: number;
}
