/** cache: a chunk's way from the tiers into the worker, verified, and the memory where its threads read it. */

export * from './cache-status.ts';
export * from './cache-tier.ts';
export * from './chunk-loader.ts';
export { chunkReplacement } from './chunk-replacement.ts';
export * from './chunk-slab.ts';
export {
  openDiskCache,
  type DiskCache,
  type DiskCacheOptions,
  type DiskCacheStatus,
} from './disk-cache.ts';
export * from './errors.ts';
export { LruK, type LruKOptions } from './lru-k.ts';
export type { ReadOutcome, TierReadStatus } from './tier-tally.ts';
export * from './tiered-loader.ts';
export {
  memcachedAuthProblem,
  memcachedServerId,
  parseMemcachedAddress,
  type MemcachedAddress,
  type MemcachedTls,
} from './memcached-address.ts';
export * from './memcached-server.ts';
export * from './worker-caches.ts';
export { WorkerReads } from './worker-reads.ts';
export { ZoneCache, type ZoneCacheOptions } from './zone-cache.ts';
export { fillBytesPerSecondOf, type NodeCounters, type ZoneMember } from './zone-members.ts';
export * from './zone-server.ts';
export type { ZoneNodeStatus, ZoneStatus } from './zone-status.ts';
