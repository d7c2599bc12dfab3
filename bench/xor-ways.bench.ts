/** Ways of making a chunk's parity that were weighed, against one SHA-256 of the chunk. */

import { createHash, randomBytes } from 'node:crypto';

import { dataStripeCount, encodeStripes, rebuildChunk } from '../src/erasure/index.ts';
import type { Bench } from './harness.ts';

const chunksPerRun = 64;
const chunkSizeBytes = 512 * 1024;
const stripeSizeBytes = chunkSizeBytes / dataStripeCount;

const chunk = new Uint8Array(randomBytes(chunkSizeBytes));

type NumberArray = Uint8Array | Uint32Array;

/** The four quarters and a target, as elements of one type. */
function xorOf(make: (buffer: ArrayBuffer, offset: number) => NumberArray): () => unknown {
  const [a, b, c, d] = [0, 1, 2, 3].map((index) => make(chunk.buffer, index * stripeSizeBytes));
  const target = make(new ArrayBuffer(stripeSizeBytes), 0);
  if (!a || !b || !c || !d) throw new Error('There are four quarters');
  return () => {
    for (let at = 0; at < target.length; at += 1) {
      target[at] = (a[at] as number) ^ (b[at] as number) ^ (c[at] as number) ^ (d[at] as number);
    }
  };
}

const sha256 = 'SHA-256';

function repeat(work: () => unknown): () => void {
  return () => {
    for (let i = 0; i < chunksPerRun; i += 1) work();
  };
}

/** Memory goes back at once, as it should wherever stripes come and go. */
function freed(work: () => Uint8Array): () => void {
  return () => void (work().buffer as ArrayBuffer).transfer(0);
}

export const bench: Bench = {
  title: `Parity of ${chunksPerRun} chunks of ${chunkSizeBytes / 1024} KiB, 4 of 5`,
  prepare: async () => {
    const { data, parity } = encodeStripes(chunk);
    const withoutFirst = [undefined, ...data.slice(1), parity];
    const bytes = xorOf((buffer, offset) => new Uint8Array(buffer, offset, stripeSizeBytes));
    const words = xorOf((buffer, offset) => new Uint32Array(buffer, offset, stripeSizeBytes / 4));
    return {
      bytesPerRun: chunksPerRun * chunkSizeBytes,
      contenders: [
        { name: sha256, run: repeat(() => createHash('sha256').update(chunk).digest()) },
        { name: 'Uint8Array', run: repeat(bytes) },
        { name: 'Uint32Array', run: repeat(words) },
        {
          name: 'encodeStripes (BigUint64Array)',
          run: repeat(freed(() => encodeStripes(chunk).parity)),
        },
        {
          name: 'rebuildChunk, a quarter missing',
          run: repeat(freed(() => rebuildChunk(withoutFirst))),
        },
        { name: 'rebuildChunk, the four quarters', run: repeat(freed(() => rebuildChunk(data))) },
      ],
    };
  },
};
