/**
 * Ways of sealing chunks that were weighed: on the calling thread, in the pool of threads, and with WebCrypto, which has
 * threads of its own; and two ways of finding the zeros at a chunk's end.
 */

import { randomBytes, webcrypto } from 'node:crypto';

import {
  createSealPool,
  defaultChunkSizeBytes,
  sealChunk,
  storedLength,
} from '../src/chunk/index.ts';
import type { Bench } from './harness.ts';

const chunksPerRun = 64;
const inFlight = 8;

const salt = randomBytes(32);
const chunk = randomBytes(defaultChunkSizeBytes);
const zeros = new Uint8Array(defaultChunkSizeBytes);
const words = new BigUint64Array(zeros.buffer);

async function severalAtATime(seal: () => Promise<unknown>): Promise<void> {
  for (let done = 0; done < chunksPerRun; done += inFlight) {
    await Promise.all(Array.from({ length: inFlight }, seal));
  }
}

/** The same construction as `sealChunk`. */
async function sealWithWebCrypto(): Promise<void> {
  const { subtle } = webcrypto;
  const hmac = { name: 'HMAC', hash: 'SHA-256' };
  const macKey = await subtle.importKey('raw', salt, hmac, false, ['sign']);
  const mac = await subtle.sign('HMAC', macKey, await subtle.digest('SHA-256', chunk));
  const key = await subtle.importKey('raw', mac, 'AES-CTR', false, ['encrypt']);
  const counter = { name: 'AES-CTR', counter: new Uint8Array(16), length: 128 };
  await subtle.digest('SHA-256', await subtle.encrypt(counter, key, chunk));
}

function lastWordOfZeros(): number {
  let at = words.length - 1;
  while (at >= 0 && words[at] === 0n) at -= 1;
  return at;
}

function repeat(work: () => unknown): () => void {
  return () => {
    for (let i = 0; i < chunksPerRun; i += 1) work();
  };
}

export const bench: Bench = {
  title: `Seal ${chunksPerRun} chunks of ${defaultChunkSizeBytes / 1024} KiB`,
  prepare: async () => {
    const pool = createSealPool();
    await pool.seal(new Uint8Array(chunk), salt); // starts a thread
    const scan = 'zero scan, BigUint64Array';
    return {
      bytesPerRun: chunksPerRun * defaultChunkSizeBytes,
      dispose: () => pool.close(),
      contenders: [
        { name: 'sealChunk on this thread', run: repeat(() => sealChunk(chunk, salt)) },
        {
          name: 'SealPool, bytes copied in',
          run: () => severalAtATime(() => pool.seal(new Uint8Array(chunk), salt)),
        },
        { name: 'WebCrypto', run: () => severalAtATime(sealWithWebCrypto) },
        { name: scan, run: repeat(lastWordOfZeros) },
        {
          name: 'zero scan, memcmp by step (storedLength)',
          against: scan,
          run: repeat(() => storedLength(zeros)),
        },
      ],
    };
  },
};
