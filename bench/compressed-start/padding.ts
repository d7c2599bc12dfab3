/** What the lengths of an image's compressed chunks tell, and what padding them costs. */

import { createDecipheriv } from 'node:crypto';

import { toHex } from '../../src/base/index.ts';
import type { Manifest } from '../../src/chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../../src/store/index.ts';
import type { Table } from '../harness.ts';

/** What a chunk holds, and how long it would be stored without padding; equal for a chunk stored as it is. */
interface ChunkLengths {
  readonly plainBytes: number;
  readonly exactBytes: number;
}

/** Looks into the compressed forms, by the byte table of `docs/formats/chunk.md`. */
export async function chunkLengths(
  store: ObjectStore,
  manifest: Manifest,
): Promise<ChunkLengths[]> {
  const lengths: ChunkLengths[] = [];
  for (const [position, chunk] of manifest.chunks.entries()) {
    const { codec, storedLengthBytes, ciphertextDigest } = chunk;
    if (codec === 'none') {
      lengths.push({ plainBytes: storedLengthBytes, exactBytes: storedLengthBytes });
      continue;
    }
    const sealed = await store.get(chunkObjectName(manifest.rootId, toHex(ciphertextDigest)));
    const key = manifest.chunkKeys[position];
    if (sealed === undefined || key === undefined) throw new Error('A chunk is gone');
    const decipher = createDecipheriv('aes-256-ctr', key, Buffer.alloc(16));
    const header = decipher.update(sealed.subarray(0, 8));
    lengths.push({ plainBytes: header.readUInt32LE(0), exactBytes: 8 + header.readUInt32LE(4) });
  }
  return lengths;
}

function entropyBits(values: readonly number[]): number {
  const shares = [...Map.groupBy(values, (value) => value).values()].map(
    (equal) => equal.length / values.length,
  );
  return shares.reduce((bits, share) => bits - share * Math.log2(share), 0);
}

const kibibytes = [4, 8, 16, 32, 64];

/** Source: Nikitin et al., Reducing Metadata Leakage from Encrypted Files and Communication with PURBs, PETS'19, section 4. */
function padmeStep(lengthBytes: number): number {
  const exponent = Math.floor(Math.log2(lengthBytes));
  return 2 ** (exponent - Math.floor(Math.log2(exponent)) - 1);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** What the lengths of an image's chunks say, and what padding them to steps costs. */
export function paddingTable(name: string, lengths: readonly ChunkLengths[]): Table {
  const plain = lengths.map(({ plainBytes }) => plainBytes);
  const exact = lengths.map(({ exactBytes }) => exactBytes);
  const row = (title: string, values: readonly number[]): readonly string[] => [
    title,
    (sum(plain) / sum(values)).toFixed(2),
    `${((sum(values) / sum(exact) - 1) * 100).toFixed(1)} %`,
    String(new Set(values).size),
    entropyBits(values).toFixed(1),
  ];
  const padded = (stepOf: (lengthBytes: number) => number): number[] =>
    lengths.map(({ plainBytes, exactBytes }) => {
      if (exactBytes === plainBytes) return plainBytes;
      const step = stepOf(exactBytes);
      return Math.ceil(exactBytes / step) * step;
    });
  return {
    title: `What the lengths of the ${lengths.length} chunks of "${name}" say`,
    columns: ['stored', 'plain : stored', 'over exact', 'lengths', 'bits per chunk'],
    rows: [
      row('plain', plain),
      row('zstd, exact', exact),
      ...kibibytes.map((step) =>
        row(
          `zstd, step ${step} KiB`,
          padded(() => step * 1024),
        ),
      ),
      row('zstd, Padmé', padded(padmeStep)),
    ],
  };
}
