/** One image that the agent serves: what is known of it at once, and what its manifest says once that is open. */

import { present } from '../../base/index.ts';
import {
  chunkIdentity,
  type ChunkRef,
  type ChunkSlab,
  type SlabTable,
  type Tier,
} from '../../cache/index.ts';
import { chunkLengthMax, type ChunkCodec, type Manifest } from '../../chunk/index.ts';
import { eachTier, type ImageRef, type ReadCounters } from './block-images.ts';
import { ImageUnsupportedError } from '../errors.ts';
import { FirstReads } from '../starts/first-reads.ts';
import type { Overlay } from './overlay.ts';
import type { PrefetchRun, PrefetchTarget, PrefetchedChunk } from '../starts/prefetcher.ts';
import type { OpenPack } from '../starts/open-pack.ts';
import type { DiskShape } from './read-spans.ts';
import { ReadWaits } from './read-waits.ts';

/** Enough to answer everything but reads; the agent's state file keeps it, so that it outlives the agent. */
export interface ImageEntry extends DiskShape {
  /** Never used for another image, nor for the same one opened again: its pages must not be mixed up. */
  readonly nodeId: number;
  readonly fileName: string;
  readonly image: ImageRef;
  /** Who keeps it open, each once. */
  readonly users: readonly string[];
  /** Of a writable image: where what was written is kept, and the key that it is encrypted under. */
  readonly overlay?: { readonly path: string; readonly keyHex: string };
}

/** A disk of more chunks than this is refused: 8 TiB at 512 KiB. Bounds a table's addresses to 64 MiB, of which only what stored chunks need is touched. */
const chunkCountMax = 2 ** 24;

/** A chunk that is not all zeros, and what the slab knows it by. */
export interface ListedChunk {
  readonly chunk: ChunkRef;
  readonly identity: string;
}

/** An image whose manifest is open: its chunks can be loaded. */
export class OpenImage implements PrefetchTarget {
  readonly table: SlabTable;
  readonly firstReads: FirstReads;
  /** Of a writable image. */
  readonly overlay: Overlay | undefined;
  /** From which reads are answered whose chunks are not in the slab. */
  pack: OpenPack | undefined;
  /** Chunks that were loaded for reads since the start began, the pack notwithstanding. */
  readonly unpackedReads = new Set<number>();
  /** Is told when a chunk of the pack could not be had; it is not read from any more. */
  onPackLost: (() => void) | undefined;
  readonly #manifest: Manifest;
  readonly #rootId: string;
  /** Of the image's chunks: compressed if any of them is. */
  readonly codec: ChunkCodec;
  /** Where in the manifest's list a chunk of the disk is; those left out are all zeros. */
  readonly #positions: ReadonlyMap<number, number>;

  /** Throws `ERR_DEVICE_IMAGE_UNSUPPORTED` if this worker's slots cannot hold its chunks. */
  constructor(manifest: Manifest, image: ImageRef, slab: ChunkSlab, overlay?: Overlay) {
    const chunkCount = Math.ceil(manifest.diskSizeBytes / manifest.chunkSizeBytes);
    if (manifest.chunkSizeBytes > slab.memory.slotSizeBytes) {
      const limit = `this worker takes up to ${slab.memory.slotSizeBytes} bytes`;
      const why = `its chunks are ${manifest.chunkSizeBytes} bytes; ${limit}`;
      throw new ImageUnsupportedError(image.manifestId, why);
    }
    if (chunkCount > chunkCountMax) {
      const why = `it has ${chunkCount} chunks, more than ${chunkCountMax}`;
      throw new ImageUnsupportedError(image.manifestId, why);
    }
    this.overlay = overlay;
    this.#manifest = manifest;
    this.#rootId = manifest.rootId;
    this.codec = manifest.chunks.find(({ codec }) => codec !== 'none')?.codec ?? 'none';
    this.#positions = new Map(manifest.chunks.map(({ index }, position) => [index, position]));
    this.table = slab.createTable(chunkCount, this.#positions.keys());
    this.firstReads = new FirstReads(chunkCount, this.#positions, manifest.chunkSizeBytes);
  }

  /** Answers no more reads from the pack, of which a chunk could not be had. */
  losePack(): void {
    this.pack = undefined;
    this.onPackLost?.();
  }

  /** What loads the disk's chunk `index`; undefined if it is all zeros. */
  chunk(index: number): ListedChunk | undefined {
    const position = this.#positions.get(index);
    if (position === undefined) return undefined;
    const listed = present(this.#manifest.chunks[position], 'a listed chunk');
    const key = present(this.#manifest.chunkKeys[position], "a listed chunk's key");
    const lengthMaxBytes = chunkLengthMax(this.#manifest, index);
    const chunk = { ...listed, rootId: this.#rootId, key, lengthMaxBytes };
    return { chunk, identity: chunkIdentity(chunk) };
  }
}

/**
 * Counts each chunk of an image once, by the tier that it was first found in. A chunk that was prefetched counts when it is read, by the
 * tier that it was prefetched from.
 */
export class ReadTally {
  readonly waits = new ReadWaits();
  /** By identity. */
  readonly #seen = new Map<string, PrefetchedChunk>();
  #failed = 0;

  chunk({ chunk, identity }: ListedChunk, tier: Tier): void {
    const { storedLengthBytes } = chunk;
    if (!this.#seen.has(identity)) this.#seen.set(identity, { tier, storedLengthBytes });
  }

  failure(): void {
    this.#failed += 1;
  }

  /** `prefetches`: of the image; the threads count nothing when they read what these have brought in. */
  counters(prefetches: readonly PrefetchRun[]): ReadCounters {
    const byTier = eachTier(() => ({ chunks: 0, bytes: 0 }));
    const ahead = { chunks: 0, bytes: 0, unreadChunks: 0 };
    const read = new Map(this.#seen);
    for (const { identity, chunk, isRead } of prefetches.flatMap((run) => [...run.arrived()])) {
      if (isRead) read.set(identity, chunk);
      if (chunk.tier === 'l1') continue;
      ahead.chunks += 1;
      ahead.bytes += chunk.storedLengthBytes;
      if (!isRead) ahead.unreadChunks += 1;
    }
    for (const { tier, storedLengthBytes } of read.values()) {
      byTier[tier].chunks += 1;
      byTier[tier].bytes += storedLengthBytes;
    }
    return {
      chunks: read.size,
      bytes: Object.values(byTier).reduce((sum, tier) => sum + tier.bytes, 0),
      byTier,
      failed: this.#failed,
      waits: this.waits.counters,
      prefetched: ahead,
    };
  }
}

/** An image that has a file in the mount. Its manifest may still have to be opened, or opened again. */
export class ServedImage {
  readonly tally = new ReadTally();
  readonly users: Set<string>;
  readonly nodeId: number;
  readonly fileName: string;
  readonly image: ImageRef;
  readonly shape: DiskShape;
  readonly overlay: ImageEntry['overlay'];
  readonly #openManifest: () => Promise<OpenImage>;
  #opening: Promise<OpenImage> | undefined;
  /** Of the start under way, or the one that was last. */
  prefetches: readonly PrefetchRun[] = [];

  constructor(entry: ImageEntry, openManifest: () => Promise<OpenImage>) {
    this.nodeId = entry.nodeId;
    this.fileName = entry.fileName;
    this.image = entry.image;
    this.users = new Set(entry.users);
    this.shape = { diskSizeBytes: entry.diskSizeBytes, chunkSizeBytes: entry.chunkSizeBytes };
    this.overlay = entry.overlay;
    this.#openManifest = openManifest;
  }

  /** The manifest's content; the first caller opens it. A failure is not kept: the next caller tries again. */
  open(): Promise<OpenImage> {
    this.#opening ??= this.#openManifest().catch((thrown: unknown) => {
      this.#opening = undefined;
      throw thrown;
    });
    return this.#opening;
  }

  counters(): ReadCounters {
    return this.tally.counters(this.prefetches);
  }

  get isWritable(): boolean {
    return this.overlay !== undefined;
  }

  get entry(): ImageEntry {
    const { nodeId, fileName, image, users, shape, overlay } = this;
    const entry = { nodeId, fileName, image, users: [...users], ...shape };
    return overlay === undefined ? entry : { ...entry, overlay };
  }
}
