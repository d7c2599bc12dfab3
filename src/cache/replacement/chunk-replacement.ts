/** How LRU-2 is set where chunks are kept, in memory and on disk. docs/cache.md says why, and what bench/eviction.bench.ts measured. */

import type { LruKOptions } from './lru-k.ts';

/** Besides how many chunks are remembered, which follows from the size. */
export const chunkReplacement: Omit<LruKOptions, 'historyMax'> = {
  /** As long as a start may take: what it reads again is one use. */
  correlatedMs: 10_000,
  /** Longer than a week, so that weekly starts are seen. */
  retainedMs: 8 * 24 * 60 * 60 * 1000,
  /** A burst of starts may load more than all there is room for within `correlatedMs`. */
  protectedShareMax: 0.25,
};
