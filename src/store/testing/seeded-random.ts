/** Randomness that a seed repeats. */

import { hash } from 'node:crypto';

/**
 * Numbers of at least 0 and less than 1, the same for the same seed: the start of SHA-256 of seed
 * and count.
 */
export function seededRandom(seed: number): () => number {
  let drawn = 0;
  return () => {
    drawn += 1;
    return hash('sha256', `${seed}:${drawn}`, 'buffer').readUInt32LE(0) / 2 ** 32;
  };
}
