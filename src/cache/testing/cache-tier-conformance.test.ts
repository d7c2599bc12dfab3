/** The suite holds for the plainest tier there is: a map. */

import { toHex } from '../../base/index.ts';
import type { CacheTier, ChunkName } from '../cache-tier.ts';
import { TierUnavailableError } from '../errors.ts';
import { cacheTierConformance } from './cache-tier-conformance.ts';

class MapTier implements CacheTier {
  readonly copies = new Map<string, Uint8Array>();
  isBroken = false;

  keyOf({ rootId, ciphertextDigest, storedLengthBytes }: ChunkName): string {
    return `${rootId}/${toHex(ciphertextDigest)}/${storedLengthBytes}`;
  }

  async get(
    chunk: ChunkName,
    { signal }: { signal: AbortSignal },
  ): Promise<Uint8Array | undefined> {
    signal.throwIfAborted();
    if (this.isBroken) throw new TierUnavailableError('map', 'it is broken');
    const copy = this.copies.get(this.keyOf(chunk));
    return copy && Uint8Array.from(copy);
  }

  offer(chunk: ChunkName, ciphertext: Uint8Array): void {
    if (!this.isBroken) this.copies.set(this.keyOf(chunk), Uint8Array.from(ciphertext));
  }

  async forget(chunk: ChunkName): Promise<void> {
    this.copies.delete(this.keyOf(chunk));
  }

  hedgeAfterMs(): number {
    return Infinity;
  }
}

cacheTierConformance({
  name: 'a map',
  create: async () => {
    const tier = new MapTier();
    return {
      tier,
      settled: async () => {},
      damage: async (chunk) => void tier.copies.get(tier.keyOf(chunk))?.fill(0),
      breakDown: async () => {
        tier.isBroken = true;
      },
      [Symbol.asyncDispose]: async () => {},
    };
  },
});
