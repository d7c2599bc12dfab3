/** Manifests for tests: fixed ones, and any that the format allows. */

import * as fc from 'fast-check';

import { chunkKeySizeBytes } from '../codec.ts';
import { compressedStepBytes } from '../compressed-form.ts';
import type { Manifest, ManifestChunk } from '../manifest.ts';

/** `chunkCount` chunks of 512 KiB from the start of the disk, all of it stored. */
export function fullManifest(chunkCount: number, imageDocument: Uint8Array): Manifest {
  const chunkSizeBytes = 512 * 1024;
  const positions = Array.from({ length: chunkCount }, (_, position) => position);
  return {
    diskFormatVersion: 1,
    rootId: 'root-1',
    diskSizeBytes: chunkCount * chunkSizeBytes,
    chunkSizeBytes,
    chunks: positions.map((index) => ({
      index,
      storedLengthBytes: chunkSizeBytes,
      codec: 'none',
      ciphertextDigest: new Uint8Array(32).fill(0x80 + index),
    })),
    chunkKeys: positions.map((index) => new Uint8Array(chunkKeySizeBytes).fill(index + 1)),
    imageDocument,
  };
}

/** How a chunk is stored, in any of the ways that a disk of such chunks allows. */
function storedForms(chunkSizeBytes: number) {
  const lengths = (step: number): fc.Arbitrary<number> =>
    fc.integer({ min: 1, max: chunkSizeBytes / step }).map((steps) => steps * step);
  const plain = fc.record({
    codec: fc.constant('none' as const),
    storedLengthBytes: lengths(4096),
  });
  if (chunkSizeBytes < compressedStepBytes) return plain;
  const codec = fc.constant('zstd-v1' as const);
  return fc.oneof(plain, fc.record({ codec, storedLengthBytes: lengths(compressedStepBytes) }));
}

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

function chunksOf(
  indexes: readonly number[],
  chunkSizeBytes: number,
): fc.Arbitrary<readonly { readonly chunk: ManifestChunk; readonly key: Uint8Array }[]> {
  return fc.tuple(
    ...indexes.map((index) =>
      fc.record({
        chunk: fc
          .tuple(storedForms(chunkSizeBytes), bytes32)
          .map(([form, ciphertextDigest]) => ({ index, ...form, ciphertextDigest })),
        key: bytes32,
      }),
    ),
  );
}

/** Any small manifest that the format allows. */
export const manifests: fc.Arbitrary<Manifest> = fc
  .record({
    diskFormatVersion: fc.nat(2 ** 31 - 1),
    rootId: fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/),
    chunkSizeBytes: fc.integer({ min: 12, max: 24 }).map((power) => 2 ** power),
    indexes: fc.uniqueArray(fc.nat(2 ** 20), { maxLength: 8 }),
    imageDocument: fc.uint8Array({ maxLength: 300 }),
    spareBlocks: fc.nat(1000),
  })
  .chain(({ indexes, spareBlocks, ...rest }) => {
    const rising = indexes.toSorted((a, b) => a - b);
    const chunksEnd = ((rising.at(-1) ?? 0) + 1) * rest.chunkSizeBytes;
    return chunksOf(rising, rest.chunkSizeBytes).map((entries) => ({
      ...rest,
      diskSizeBytes: chunksEnd + spareBlocks * 4096,
      chunks: entries.map(({ chunk }) => chunk),
      chunkKeys: entries.map(({ key }) => key),
    }));
  });
