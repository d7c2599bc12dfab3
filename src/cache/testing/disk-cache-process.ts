/**
 * A process that writes chunks into a disk cache, `node disk-cache-process.ts PATH SIZE_MAX_BYTES FIRST_SEED`, until it is killed. A line a
 * chunk that was offered, with its seed; those to come follow at once.
 */

import { openDiskCache } from '../disk/disk-cache.ts';
import { namedChunk } from './cache-tier-conformance.ts';
import { tryLock } from './flock.ts';

const [path = '', sizeMaxBytes = '', firstSeed = ''] = process.argv.slice(2);
const cache = await openDiskCache({ path, sizeMaxBytes: Number(sizeMaxBytes), tryLock });
for (let seed = Number(firstSeed); ; seed += 1) {
  const { name, ciphertext } = namedChunk(seed, (1 + (seed % 16)) * 4096);
  cache.offer(name, ciphertext);
  process.stdout.write(`${seed}\n`);
  // A few at a time, so that there is always a write under way.
  if (seed % 4 === 0) await cache.settled();
}
