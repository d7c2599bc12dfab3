/**
 * The manifest: which chunks a disk image consists of, in the clear for garbage collection, and the
 * keys that open them, sealed for one tenant. Byte tables: `docs/formats/manifest.md`. Source:
 * paper §3.1.
 */

/**
 * How a chunk's bytes were coded before encryption: not at all, or compressed by zstd with the
 * first set of parameters (`compressed-form.ts`). Each is a codec of its own, because other
 * parameters give other bytes.
 */
export type ChunkCodec = 'none' | 'zstd-v1';

export interface ManifestChunk {
  /** Position on the disk in chunks. Indexes rise; one left out is an all-zero chunk. */
  readonly index: number;
  /**
   * Bytes of ciphertext stored: 1..chunkSizeBytes, a multiple of 4,096, and of
   * `compressedStepBytes` where compressed. What the chunk has beyond the bytes in it is zeros.
   */
  readonly storedLengthBytes: number;
  readonly codec: ChunkCodec;
  /** SHA-256 of the ciphertext, 32 bytes: names the object and proves every byte of it. */
  readonly ciphertextDigest: Uint8Array;
}

/** What anyone who can read the store learns. */
export interface ManifestHeader {
  /** Of the disk layout (`DiskPlan.formatVersion`). */
  readonly diskFormatVersion: number;
  readonly rootId: string;
  readonly diskSizeBytes: number;
  readonly chunkSizeBytes: number;
  readonly chunks: readonly ManifestChunk[];
}

/** What only the tenant's key opens. */
export interface ManifestSecrets {
  /** The key of `chunks[i]`, 32 bytes each, in the same order. */
  readonly chunkKeys: readonly Uint8Array[];
  /**
   * The publisher's own words on the image (identity, execution parameters): at most 1 MiB, opaque
   * here; `publish` defines its JSON.
   */
  readonly imageDocument: Uint8Array;
}

/** A manifest opened, or one to be sealed. */
export interface Manifest extends ManifestHeader, ManifestSecrets {}
