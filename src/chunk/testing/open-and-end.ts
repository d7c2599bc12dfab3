/**
 * A program: opens chunks until a thread of a pool has opened one, says so, and has nothing more to do; with the argument `close`
 * it closes the pool while its first thread comes up, and says that.
 */

import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../../base/index.ts';
import { sealChunk } from '../codec.ts';
import { createOpenPool } from '../open-pool.ts';

const plaintext = Buffer.alloc(65_536, 'text');
const sealed = present(sealChunk(plaintext, Buffer.alloc(32), 'zstd-v1'), 'a chunk');
const pool = createOpenPool();
if (process.argv[2] === 'close') {
  await pool.open({ ...sealed, lengthMaxBytes: plaintext.byteLength }, sealed.ciphertext);
  const started = performance.now();
  while (performance.now() - started < 300); // the thread is up, and its message waits
  await pool[Symbol.asyncDispose]();
  process.stdout.write('closed\n');
  process.exit();
}
for (;;) {
  const ciphertext = new Uint8Array(sealed.ciphertext);
  await pool.open({ ...sealed, lengthMaxBytes: plaintext.byteLength }, ciphertext);
  if (ciphertext.byteLength === 0) break; // a thread took it over
  await delay(1);
}
process.stdout.write('opened\n');
