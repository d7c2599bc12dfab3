/** Opening chunks as they are and compressed, on the calling thread and in the pool, several at a time as a start does. */

import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../src/base/index.ts';
import {
  createOpenPool,
  defaultChunkSizeBytes,
  openChunk,
  sealChunk,
  type OpenPool,
  type SealedChunkRef,
} from '../src/chunk/index.ts';
import type { Bench } from './harness.ts';

const chunksPerRun = 32;
const atATime = 8;

interface Chunk extends SealedChunkRef {
  readonly ciphertext: Uint8Array;
}

/** Only a thread takes the array over, and each starts when those before it have work. */
async function untilThreadsAreUp(pool: OpenPool, chunks: readonly Chunk[]): Promise<void> {
  for (let takenOver = 0; takenOver < chunks.length;) {
    const ciphertexts = chunks.map(({ ciphertext }) => new Uint8Array(ciphertext));
    await Promise.all(
      ciphertexts.map((bytes, at) => pool.open(present(chunks[at], 'a chunk'), bytes)),
    );
    takenOver = ciphertexts.filter(({ byteLength }) => byteLength === 0).length;
    await delay(10);
  }
}

export const bench: Bench = {
  title: 'Open 32 chunks of the running Node, 512 KiB each, 8 at a time',
  prepare: async () => {
    const program = await readFile(process.execPath);
    const salt = Buffer.alloc(32, 1);
    const chunks = (codec: 'none' | 'zstd-v1') =>
      Array.from({ length: chunksPerRun }, (_, index) => {
        const at = (1 + index) * defaultChunkSizeBytes;
        const sealed = sealChunk(program.subarray(at, at + defaultChunkSizeBytes), salt, codec);
        if (sealed === undefined) throw new Error(`Chunk ${index} of Node is all zeros`);
        return { ...sealed, lengthMaxBytes: defaultChunkSizeBytes };
      });
    const plain = chunks('none');
    const compressed = chunks('zstd-v1');
    const pool = createOpenPool();
    await untilThreadsAreUp(pool, compressed);
    const severalAtATime = async (): Promise<void> => {
      const left = compressed.values();
      const next = async (): Promise<void> => {
        for (const chunk of left) await pool.open(chunk, new Uint8Array(chunk.ciphertext));
      };
      await Promise.all(Array.from({ length: atATime }, next));
    };
    return {
      bytesPerRun: chunksPerRun * defaultChunkSizeBytes,
      dispose: async () => await pool[Symbol.asyncDispose](),
      contenders: [
        {
          name: 'plain, this thread',
          run: () => plain.map((chunk) => openChunk(chunk, chunk.ciphertext)),
        },
        {
          name: 'compressed, this thread',
          run: () => compressed.map((chunk) => openChunk(chunk, chunk.ciphertext)),
        },
        { name: 'compressed, pool', run: severalAtATime },
      ],
    };
  },
};
