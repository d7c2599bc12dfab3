/** What a worker's caches say of themselves: JSON, from the agent to whoever asks. */

import type { SlabStatus } from './chunk-slab.ts';
import type { DiskCacheStatus } from './disk-cache.ts';
import type { LoaderStatus } from './tiered-loader.ts';
import type { ZoneStatus } from './zone-status.ts';

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

export interface CacheStatus extends TiersStatus {
  readonly memory: SlabStatus;
}
