/**
 * The contract of the device room towards functions and the CLI: an image becomes a root filesystem mounted on this
 * machine, and says what has been read of it.
 */

import { tiers, type DroppableCache, type Tier } from '../../cache/index.ts';
import type { WaitCounters } from './read-waits.ts';

/** Which manifest, and whose key opens it. */
export interface ImageRef {
  readonly rootId: string;
  readonly manifestId: string;
  readonly tenant: string;
}

/** A number of chunks and their plaintext bytes as stored. */
export interface ReadAmount {
  readonly chunks: number;
  readonly bytes: number;
}

/** A record of what `of` says for each tier that a chunk can be found in. */
export function eachTier<Value>(of: (tier: Tier) => Value): Readonly<Record<Tier, Value>> {
  return Object.fromEntries(tiers.map((tier) => [tier, of(tier)])) as Record<Tier, Value>;
}

/** Reads that reached the agent since the image was opened there. What page caches answered is not seen. */
export interface ReadCounters {
  /**
   * Distinct chunks handed out, and their plaintext bytes as stored. All-zero chunks are not counted. An agent that takes
   * the place of one that died counts from zero.
   */
  readonly chunks: number;
  readonly bytes: number;
  /** The same chunks by where they were found the first time: `l1` means that another image had brought it in. */
  readonly byTier: Readonly<Record<Tier, ReadAmount>>;
  /** Reads that ended in EIO. */
  readonly failed: number;
  /** Reads that waited for a chunk, and how long. */
  readonly waits: WaitCounters;
  /** Chunks that were brought in from a tier before they were asked for, those among them that nobody has read (yet) as well. */
  readonly prefetched: ReadAmount & { readonly unreadChunks: number };
}

/** What came of the end of a start. */
export interface StartEnd {
  /** Distinct chunks that it has read; 0 if no start of the image was being recorded. */
  readonly chunks: number;
  /** Whether its profile was written to the store. Where the one that is there says the same it is not. */
  readonly saved: boolean;
}

/** One read-only mount of an image, shared by all who acquired it. */
export interface MountedRoot extends AsyncDisposable {
  readonly path: string;
  /** Phases of what this acquire had to do; zeros when the mount was there already. */
  readonly timelineMs: Readonly<Record<'open' | 'attach' | 'mount', number>>;
  /** Gives the mount back; unmounted, detached and closed when nobody holds it and `keepIdle` is not set. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface RootMounts {
  /** Opens, attaches and mounts on first use. Throws `ERR_DEVICE_*` and whatever opening the manifest throws. */
  acquire(image: ImageRef): Promise<MountedRoot>;
  counters(image: ImageRef): Promise<ReadCounters>;
  /**
   * To be told once a start has got as far as others will: at its first response. What the image's first start after it was
   * opened here has read until then becomes part of its start profile, along which later starts prefetch. Without it a start ends after 15 s. Need
   * not be waited for; resolves when the profile is stored, where that is worth a write.
   */
  startEnded(image: ImageRef): Promise<StartEnd>;
  /**
   * Unmounts what nobody holds and forgets every chunk that the worker holds in memory and on disk, or in those named, so
   * that the next start is cold. Resolves with those that there were to drop: the disk may be off.
   */
  dropCaches(caches?: readonly DroppableCache[]): Promise<readonly DroppableCache[]>;
  /** Unmounts everything that this object mounted. */
  close(): Promise<void>;
}
