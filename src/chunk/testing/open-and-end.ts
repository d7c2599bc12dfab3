/** A program: opens chunks until a thread of a pool has opened one, says so, and has nothing more to do. */

import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../../base/index.ts';
import { sealChunk } from '../codec.ts';
import { createOpenPool } from '../open-pool.ts';

const plaintext = Buffer.alloc(65_536, 'text');
const sealed = present(sealChunk(plaintext, Buffer.alloc(32), 'zstd-v1'), 'a chunk');
const pool = createOpenPool();
for (;;) {
  const ciphertext = new Uint8Array(sealed.ciphertext);
  await pool.open({ ...sealed, lengthMaxBytes: plaintext.byteLength }, ciphertext);
  if (ciphertext.byteLength === 0) break; // a thread took it over
  await delay(1);
}
process.stdout.write('opened\n');
