/**
 * What sealing and opening a chunk costs beside the bare primitives it is made of: OpenSSL's SHA-256 (twice) and
 * AES-256-CTR, as Node hands them out. The ratio is what Thaw's own code adds.
 */

import { createCipheriv, hash, randomBytes } from 'node:crypto';

import { defaultChunkSizeBytes, openChunk, sealChunk } from '../src/chunk/index.ts';
import type { Bench } from './harness.ts';

const chunksPerRun = 64;

export const bench: Bench = {
  title: `Seal and open ${chunksPerRun} chunks of ${defaultChunkSizeBytes / 1024} KiB, one thread`,
  prepare: async () => {
    const salt = randomBytes(32);
    const iv = Buffer.alloc(16);
    const plaintext = randomBytes(defaultChunkSizeBytes);
    const sealed = sealChunk(plaintext, salt);
    if (sealed === undefined) throw new Error('Random bytes cannot be a zero chunk');
    const ref = { ...sealed, lengthMaxBytes: plaintext.byteLength };
    const repeat = (work: () => unknown) => () => {
      for (let i = 0; i < chunksPerRun; i += 1) work();
    };
    const cipher = () => createCipheriv('aes-256-ctr', salt, iv).update(plaintext);
    return {
      bytesPerRun: chunksPerRun * defaultChunkSizeBytes,
      contenders: [
        {
          name: 'primitives of a seal (2 x SHA-256, AES-256-CTR)',
          run: repeat(() => [hash('sha256', plaintext), hash('sha256', cipher())]),
        },
        { name: 'seal', run: repeat(() => sealChunk(plaintext, salt)) },
        {
          name: 'primitives of an open (SHA-256, AES-256-CTR)',
          run: repeat(() => [hash('sha256', plaintext), cipher()]),
        },
        {
          name: 'open',
          against: 'primitives of an open (SHA-256, AES-256-CTR)',
          run: repeat(() => openChunk(ref, sealed.ciphertext)),
        },
      ],
    };
  },
};
