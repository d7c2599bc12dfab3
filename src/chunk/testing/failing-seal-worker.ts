/**
 * A thread for `SealPool` that ends in the way that the salt's first byte says: 1 exits, 2 throws,
 * all else seals.
 */

import { parentPort } from 'node:worker_threads';

import { sealChunk } from '../codec.ts';
import type { SealRequest, SealResponse } from '../seal-worker.ts';

parentPort?.on('message', ({ job, plaintext, salt, codec }: SealRequest) => {
  if (salt[0] === 1) process.exit(3);
  if (salt[0] === 2) throw new Error('an error that nobody catches');
  parentPort?.postMessage(
    { job, sealed: sealChunk(plaintext, salt, codec) } satisfies SealResponse,
    [],
  );
});
