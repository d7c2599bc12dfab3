/**
 * What sealing chunks costs: finding the end of a chunk, sealing on this thread, with WebCrypto,
 * and in the pool. Prints one line a measurement. `npm run bench` or `node bench/seal.ts`.
 */

import { createHash, randomBytes, webcrypto } from 'node:crypto';

import {
  createSealPool,
  defaultChunkSizeBytes,
  sealChunk,
  storedLength,
} from '../src/chunk/index.ts';

const chunkCount = 400;
const salt = randomBytes(32);
const chunk = randomBytes(defaultChunkSizeBytes);

async function measure(name: string, work: () => unknown): Promise<void> {
  const rounds: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const startMs = performance.now();
    await work();
    rounds.push((performance.now() - startMs) / chunkCount);
  }
  const msPerChunk = rounds.toSorted((a, b) => a - b)[2] ?? 0; // the median
  const mibPerSecond = (defaultChunkSizeBytes / 1024 / 1024 / msPerChunk) * 1000;
  console.log(`${name}: ${(msPerChunk * 1000).toFixed(0)} us, ${mibPerSecond.toFixed(0)} MiB/s`);
}

function repeat(work: () => unknown): () => void {
  return () => {
    for (let count = 0; count < chunkCount; count += 1) work();
  };
}

/**
 * The same construction on WebCrypto, which has threads of its own. Four at a time, as libuv has
 * four threads.
 */
async function sealWithWebCrypto(): Promise<void> {
  const { subtle } = webcrypto;
  const seal = async (): Promise<void> => {
    const digest = await subtle.digest('SHA-256', chunk);
    const macKey = await subtle.importKey('raw', salt, { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
    ]);
    const key = await subtle.importKey(
      'raw',
      await subtle.sign('HMAC', macKey, digest),
      'AES-CTR',
      false,
      ['encrypt'],
    );
    const counter = new Uint8Array(16);
    const ciphertext = await subtle.encrypt({ name: 'AES-CTR', counter, length: 128 }, key, chunk);
    await subtle.digest('SHA-256', ciphertext);
  };
  for (let done = 0; done < chunkCount; done += 4)
    await Promise.all([seal(), seal(), seal(), seal()]);
}

const zeros = new Uint8Array(defaultChunkSizeBytes);
const words = new BigUint64Array(zeros.buffer);

function wordsOfZeros(): boolean {
  let at = words.length - 1;
  while (at >= 0 && words[at] === 0n) at -= 1;
  return at < 0;
}

await measure(
  'zero scan, memcmp by step',
  repeat(() => storedLength(zeros)),
);
await measure('zero scan, BigUint64Array', repeat(wordsOfZeros));
await measure(
  'SHA-256 of a chunk',
  repeat(() => createHash('sha256').update(chunk).digest()),
);
await measure(
  'sealChunk on this thread',
  repeat(() => sealChunk(chunk, salt)),
);
await measure('WebCrypto', sealWithWebCrypto);
for (const threads of [1, 2]) {
  await using pool = createSealPool({ threads });
  await pool.seal(new Uint8Array(chunk), salt); // starts a thread
  await measure(`SealPool of ${threads}, bytes copied in`, async () => {
    for (let done = 0; done < chunkCount; done += 8) {
      await Promise.all(Array.from({ length: 8 }, () => pool.seal(new Uint8Array(chunk), salt)));
    }
  });
}
