/**
 * Finds the server whose stripe spoils a chunk. A stripe with a right checksum may still be no part of the chunk: whoever writes
 * to a server can make one. Four stripes with such a one among them give a chunk with a wrong hash, and none of the four
 * shows which it was; but all five do, since only the four others give the chunk.
 */

import { hash } from 'node:crypto';

import { untilAborted, viewOf, type Timers } from '../../base/index.ts';
import { rebuildChunk, stripeCount } from '../../erasure/index.ts';
import type { ChunkName } from '../cache-tier.ts';
import { parseStripe } from './stripe.ts';
import type { ZoneServer } from './zone-server.ts';

export interface ForgerySearch {
  /** Those that hold the chunk's stripes. */
  readonly servers: readonly ZoneServer[];
  readonly key: string;
  readonly chunk: ChunkName;
  readonly deadlineMs: number;
  readonly timers: Timers;
}

/**
 * The position of the one server whose stripe does not belong to the others'; undefined if that cannot be told: fewer than five gave
 * stripes of five indexes in time, or more than one is wrong, or none. Hashes the chunk up to five times. Never rejects.
 */
export async function findForger(search: ForgerySearch): Promise<number | undefined> {
  const stripes = await allStripes(search);
  const indexes = new Set(stripes.map((stripe) => stripe?.index));
  if (indexes.size !== stripeCount || indexes.has(undefined)) return undefined;
  const forgers = [...stripes.keys()].filter((suspect) => {
    const others: Uint8Array[] = [];
    for (const [position, stripe] of stripes.entries()) {
      if (stripe !== undefined && position !== suspect) others[stripe.index] = stripe.payload;
    }
    const digest = hash('sha256', rebuildChunk(others), 'buffer');
    return viewOf(search.chunk.ciphertextDigest).equals(digest);
  });
  // All five are right if every four of them are.
  return forgers.length === 1 ? forgers[0] : undefined;
}

interface FoundStripe {
  readonly index: number;
  readonly payload: Uint8Array;
}

async function allStripes(search: ForgerySearch): Promise<(FoundStripe | undefined)[]> {
  const { servers, key, chunk, deadlineMs, timers } = search;
  const abort = new AbortController();
  const cancelTimer = timers.after(deadlineMs, () => abort.abort());
  const request = { signal: abort.signal, priority: 'prefetch' } as const;
  try {
    return await Promise.all(
      servers.map(async (server) => {
        const bytes = await untilAborted(server.get(key, request), abort.signal);
        const stripe = bytes && parseStripe(bytes, chunk);
        return stripe?.fault === undefined ? stripe : undefined;
      }),
    );
  } catch {
    return []; // without all five there is nothing to tell
  } finally {
    cancelTimer();
    abort.abort();
  }
}
