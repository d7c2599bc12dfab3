/** What a worker's caches say of themselves: JSON, from the agent to whoever asks. */

import type { SlabStatus } from './memory/chunk-slab.ts';
import type { DiskCacheStatus } from './disk/disk-cache.ts';
import type { LoaderStatus } from './search/tiered-loader.ts';
import type { ZoneStatus } from './zone/zone-status.ts';

/** A tier that a worker can do without. */
export type OptionalTier<Status> =
  | ({ readonly state: 'on' } & Status)
  /** Not asked for; or, with a reason, asked for and not to be had. */
  | { readonly state: 'off'; readonly reason?: string };

/** Of the tiers behind a worker's memory. */
export interface TiersStatus {
  readonly loader: LoaderStatus;
  readonly disk: OptionalTier<DiskCacheStatus>;
  readonly zone: OptionalTier<ZoneStatus>;
}

/** What starts waited for, and what was loaded ahead of them. */
export interface StartsStatus {
  /** Starts by what became of their profile, and what was learned; see the device room's `StartProfileCounters`. */
  readonly profiles: Readonly<
    Record<'found' | 'absent' | 'unusable' | 'learned' | 'saved' | 'unsaved', number>
  >;
  /** Chunks that came from a tier before they were asked for; `unreadChunks` of them nobody has read, or not yet. */
  readonly prefetched: {
    readonly chunks: number;
    readonly bytes: number;
    readonly unreadChunks: number;
  };
  /** Reads that waited for a chunk, of any image. */
  readonly waits: { readonly reads: number; readonly totalMs: number };
}

export interface CacheStatus extends TiersStatus {
  readonly memory: SlabStatus;
  /** Left out by an agent that keeps no start profiles. */
  readonly starts?: StartsStatus;
}
