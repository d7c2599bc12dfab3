/**
 * A planned disk image: where every byte of the filesystem lies, with metadata as bytes and file data as
 * references into the layers. The plan is complete before any file data is read; any part of the disk can be
 * rendered at any time and in any order, so memory holds metadata and the parts under way, never content.
 */

/** Reads file data: `lengthBytes` bytes at `tarOffset` of layer `layer`'s uncompressed tar. */
export interface ContentReader {
  /**
   * Fills the whole of `target`, which stays the caller's. Where that is a part of the array given to `render`,
   * `render` does not look at what is read into it: so who only keeps a note of such a call learns what a part of
   * the disk is made of without reading content, and can fill it in later.
   */
  read(layer: number, tarOffset: number, target: Uint8Array): Promise<void>;
}

export interface DiskPlan {
  /** Of the block device; a multiple of 1 MiB. Mostly unused address space. */
  readonly diskSizeBytes: number;
  /** Raised whenever the same tree would give other bytes. Recorded in every manifest. */
  readonly formatVersion: number;
  /** Inodes in use: files, directories and all other types, each hard-linked file once. */
  readonly fileCount: number;
  /** Sum of the sizes of the tree's regular files, each hard-linked file once, holes included. */
  readonly contentBytes: number;
  /**
   * Rising indexes of the chunks of `chunkSizeBytes` that may hold anything but zeros. All others are
   * all zero. `chunkSizeBytes` is a power of two >= 4,096.
   */
  chunkIndexes(chunkSizeBytes: number): readonly number[];
  /**
   * Fills `target` with the disk's bytes from `offset` on, zeros included; `target` stays the caller's.
   * `offset` and the length are multiples of 4,096. May be called concurrently.
   */
  render(offset: number, target: Uint8Array, content: ContentReader): Promise<void>;
}
