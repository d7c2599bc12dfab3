/** Makes a start pack out of an image that is open: copies blocks of its disk into chunks and seals them as any chunk of its root. */

import { assert, toHex } from '../../base/index.ts';
import { sealChunk, type ChunkCodec } from '../../chunk/index.ts';
import { pageSizeBytes, type ReadWindow } from './file-windows.ts';
import {
  areSameRuns,
  blockCountOf,
  packedBlocksMax,
  planPack,
  type PackRun,
  type PackedChunk,
  type StartPack,
} from './start-pack.ts';

export interface PackSource {
  /** That many bytes of the disk; the caller's. */
  readonly read: (offset: number, sizeBytes: number) => Promise<Uint8Array>;
  /** Of the disk: none of the pack is longer. At most 512 KiB are used. */
  readonly chunkSizeBytes: number;
  /** Of the root. */
  readonly salt: Uint8Array;
  /** For chunks that gain by it. */
  readonly codec: ChunkCodec;
  /** Keeps a chunk in the store, if it is not there yet. `digestHex` names it. */
  readonly keep: (digestHex: string, ciphertext: Uint8Array) => Promise<void>;
  /** Loads a chunk that was kept as a start will, which brings it into the caches on the way. Throws if it cannot be had. */
  readonly readBack: (chunk: PackedChunk) => Promise<void>;
}

/** Each waits for the store, and the thread has other things to do in between. */
const chunksAtATime = 2;

/**
 * A pack of the windows' blocks, all of it stored; chunks of `before` that are the same are taken over. Chunks that are all zeros are left
 * out: the disk's own take no room. Throws what reading, keeping and reading back throw, once nothing of it is under way any more.
 */
export async function writeStartPack(
  windows: readonly ReadWindow[],
  before: StartPack | undefined,
  source: PackSource,
): Promise<StartPack> {
  const chunks: (PackedChunk | undefined)[] = [];
  const blocksMax = Math.min(packedBlocksMax, source.chunkSizeBytes / pageSizeBytes);
  const plan = planPack(windows, blocksMax).entries();
  const known = new Map(before?.chunks.map((chunk) => [chunk.runs[0]?.diskBlock, chunk]));
  const failures: unknown[] = [];
  const writeNext = async (): Promise<void> => {
    for (const [at, runs] of plan) {
      if (failures.length > 0) return;
      const same = known.get(runs[0]?.diskBlock);
      const isSame = same !== undefined && areSameRuns(runs, same.runs);
      try {
        chunks[at] = isSame ? same : await writeChunk(runs, source);
      } catch (thrown) {
        failures.push(thrown);
      }
    }
  };
  await Promise.all(Array.from({ length: chunksAtATime }, writeNext));
  if (failures.length > 0) throw failures[0];
  return { chunks: chunks.filter((chunk) => chunk !== undefined) };
}

async function writeChunk(
  runs: readonly PackRun[],
  { read, salt, codec, keep, readBack }: PackSource,
): Promise<PackedChunk | undefined> {
  const bytes = new Uint8Array(blockCountOf(runs) * pageSizeBytes);
  let at = 0;
  for (const { diskBlock, blockCount } of runs) {
    const sizeBytes = blockCount * pageSizeBytes;
    const run = await read(diskBlock * pageSizeBytes, sizeBytes);
    assert(run.byteLength === sizeBytes, `Block ${diskBlock} of the disk was not read in full`);
    bytes.set(run, at);
    at += sizeBytes;
  }
  const sealed = sealChunk(bytes, salt, codec);
  if (sealed === undefined) return undefined;
  const { ciphertext, ...listed } = sealed;
  await keep(toHex(sealed.ciphertextDigest), ciphertext);
  const chunk = { runs, ...listed };
  await readBack(chunk);
  return chunk;
}
