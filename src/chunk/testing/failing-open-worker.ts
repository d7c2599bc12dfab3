/**
 * A thread for `OpenPool` that ends in the way that the first byte of the ciphertext says: 1 exits, 2 throws, all else
 * opens.
 */

import { parentPort } from 'node:worker_threads';

import { present } from '../../base/index.ts';
import { openChunk } from '../codec.ts';
import type { OpenRequest, OpenResponse } from '../open-worker.ts';

const port = present(parentPort, 'the port of a worker thread');

port.on('message', ({ job, ref, ciphertext }: OpenRequest) => {
  if (ciphertext[0] === 1) process.exit(3);
  if (ciphertext[0] === 2) throw new Error('an error that nobody catches');
  port.postMessage({ job, plaintext: openChunk(ref, ciphertext) } satisfies OpenResponse);
});
port.postMessage({ job: 0 } satisfies OpenResponse);
