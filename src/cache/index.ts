/** cache: a chunk's way from the tiers into the worker, verified, and the memory where its threads read it. */

export * from './cache-status.ts';
export * from './cache-tier.ts';
export * from './search/chunk-loader.ts';
export { chunkReplacement } from './replacement/chunk-replacement.ts';
export * from './memory/chunk-slab.ts';
export {
  openDiskCache,
  type DiskCache,
  type DiskCacheOptions,
  type DiskCacheStatus,
} from './disk/disk-cache.ts';
export * from './errors.ts';
export { LruK, type LruKOptions } from './replacement/lru-k.ts';
export type { ReadOutcome, TierReadStatus } from './search/tier-tally.ts';
export * from './search/tiered-loader.ts';
export {
  memcachedAuthProblem,
  memcachedServerId,
  parseMemcachedAddress,
  type MemcachedAddress,
  type MemcachedTls,
} from './memcached/memcached-address.ts';
export * from './memcached/memcached-server.ts';
export * from './worker-caches.ts';
export { WaitingChunks, type WaitingChunk } from './waiting/waiting-chunks.ts';
export { WorkerReads } from './worker-reads.ts';
export { ZoneCache, type ZoneCacheOptions } from './zone/zone-cache.ts';
export { fillBytesPerSecondOf, type NodeCounters, type ZoneMember } from './zone/zone-members.ts';
export * from './zone/zone-server.ts';
export type { ZoneNodeStatus, ZoneStatus } from './zone/zone-status.ts';
