/**
 * A start profile as bytes: what is inside of its seal, and the digests of its pack's chunks, which are outside. Bytes: `docs/formats/start-profile.md`.
 *
 * Whatever the bytes are, reading them gives a profile that keeps the invariants, or `ERR_DEVICE_PROFILE`.
 */

import { layout } from '../../base/index.ts';
import { chunkDigestSizeBytes, type ChunkCodec } from '../../chunk/index.ts';
import { StartProfileError } from '../errors.ts';
import { allPages, pageSizeBytes } from './file-windows.ts';
import {
  blockCountOf,
  packedBlocksMax,
  placedRuns,
  type PackRun,
  type PackedChunk,
} from './start-pack.ts';
import {
  profiledChunksMax,
  profiledWindowsMax,
  weightMin,
  weightSteps,
  windowKey,
  type ProfiledChunk,
  type ProfiledWindow,
  type StartProfile,
} from './start-profile.ts';

export const startProfileHead = layout('start_profile_head', 16, [
  [0, 'u32', 'starts'],
  [4, 'u32', 'chunk_count'],
  [8, 'u32', 'window_count'],
  [12, 'u32', 'packed_count'],
]);

export const startProfileChunk = layout('start_profile_chunk', 12, [
  [0, 'u32', 'index'],
  [4, 'u32', 'at_ms'],
  [8, 'u16', 'weight'], // in thousandths
  [10, 'u16', '_reserved'],
]);

export const startProfileWindow = layout('start_profile_window', 20, [
  [0, 'u32', 'inode'],
  [4, 'u32', 'window'],
  [8, 'u32', 'disk_block'],
  [12, 'u32', 'at_us'],
  [16, 'u16', 'pages'],
  [18, 'u16', 'weight'], // in thousandths
]);

export const startProfilePackedChunk = layout('start_profile_packed_chunk', 44, [
  [0, 'bytes32', 'key'],
  [32, 'u32', 'stored_length'],
  [36, 'u32', 'codec'],
  [40, 'u32', 'run_count'],
]);

export const startProfileRun = layout('start_profile_run', 8, [
  [0, 'u32', 'disk_block'],
  [4, 'u32', 'block_count'],
]);

/** `start_profile_packed_chunk.codec` by name. */
const codecNumbers = { none: 0, 'zstd-v1': 1 } as const satisfies Record<ChunkCodec, number>;

const u32Max = 2 ** 32 - 1;

/** The two parts of a profile's bytes. */
export interface EncodedStartProfile {
  /** What only the tenant's key opens. */
  readonly sealed: Uint8Array;
  /** SHA-256 of the ciphertext of each of the pack's chunks, 32 bytes each, in the clear for garbage collection. */
  readonly digests: Uint8Array;
}

export function encodeStartProfile(profile: StartProfile): EncodedStartProfile {
  const { starts, chunks, windows, pack } = profile;
  const packed = pack?.chunks ?? [];
  const head = {
    starts,
    chunk_count: chunks.length,
    window_count: windows.length,
    packed_count: packed.length,
  };
  const sealed = Buffer.concat([
    startProfileHead.encode(head),
    ...chunks.map(encodeChunk),
    ...windows.map(encodeWindow),
    ...packed.flatMap(encodePacked),
  ]);
  return { sealed, digests: Buffer.concat(packed.map((chunk) => chunk.ciphertextDigest)) };
}

function encodeChunk({ index, atMs, weight }: ProfiledChunk): Uint8Array {
  return startProfileChunk.encode({
    index,
    at_ms: Math.min(u32Max, Math.round(atMs)),
    weight: Math.round(weight * weightSteps),
  });
}

function encodeWindow(profiled: ProfiledWindow): Uint8Array {
  const { inode, window, pages, diskBlock, atUs, weight } = profiled;
  return startProfileWindow.encode({
    inode,
    window,
    disk_block: diskBlock,
    at_us: atUs,
    pages,
    weight: Math.round(weight * weightSteps),
  });
}

function encodePacked({ runs, key, storedLengthBytes, codec }: PackedChunk): Uint8Array[] {
  return [
    startProfilePackedChunk.encode({
      key,
      stored_length: storedLengthBytes,
      codec: codecNumbers[codec],
      run_count: runs.length,
    }),
    ...runs.map(({ diskBlock, blockCount }) =>
      startProfileRun.encode({ disk_block: diskBlock, block_count: blockCount }),
    ),
  ];
}

/** Reads records from front to back. Throws `ERR_DEVICE_PROFILE` where there are no more bytes. */
class Records {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next<Fields>(of: {
    readonly sizeBytes: number;
    decode(source: Uint8Array, at?: number): Fields;
  }): Fields {
    const at = this.#at;
    this.#at += of.sizeBytes;
    if (this.#at > this.#bytes.byteLength) throw new StartProfileError('it is cut short');
    return of.decode(this.#bytes, at);
  }

  end(): void {
    if (this.#at !== this.#bytes.byteLength) {
      throw new StartProfileError('it is longer than what it lists');
    }
  }
}

/** Throws `ERR_DEVICE_PROFILE`. */
export function decodeStartProfile({ sealed, digests }: EncodedStartProfile): StartProfile {
  const records = new Records(sealed);
  const head = records.next(startProfileHead);
  const { starts, chunk_count: chunkCount, window_count: windowCount } = head;
  if (chunkCount > profiledChunksMax) throw new StartProfileError(`it lists ${chunkCount} chunks`);
  if (windowCount > profiledWindowsMax) {
    throw new StartProfileError(`it lists ${windowCount} windows`);
  }
  if (head.packed_count * chunkDigestSizeBytes !== digests.byteLength) {
    throw new StartProfileError(
      `it has other than the digests of ${head.packed_count} packed chunks`,
    );
  }
  const chunks = decodeChunks(records, chunkCount);
  const windows = decodeWindows(records, windowCount);
  const packed = decodePacked(records, digests);
  records.end();
  const pack = packed.length === 0 ? undefined : { chunks: packed };
  return { starts, chunks, windows, pack };
}

function decodeChunks(records: Records, count: number): readonly ProfiledChunk[] {
  const chunks = new Map<number, ProfiledChunk>();
  for (let number = 0; number < count; number += 1) {
    const { index, at_ms: atMs, weight: steps } = records.next(startProfileChunk);
    if (chunks.has(index)) throw new StartProfileError(`it lists chunk ${index} twice`);
    chunks.set(index, { index, atMs, weight: weightOf(steps, `chunk ${index}`) });
  }
  return [...chunks.values()];
}

function decodeWindows(records: Records, count: number): readonly ProfiledWindow[] {
  const windows = new Map<string, ProfiledWindow>();
  for (let number = 0; number < count; number += 1) {
    const record = records.next(startProfileWindow);
    const { inode, window, disk_block: diskBlock, at_us: atUs, pages, weight: steps } = record;
    const what = `window ${window} of inode ${inode}`;
    const key = windowKey({ inode, window });
    if (windows.has(key)) throw new StartProfileError(`it lists ${what} twice`);
    if (pages === 0 || pages > allPages) throw new StartProfileError(`${what} has no pages`);
    windows.set(key, { inode, window, pages, diskBlock, atUs, weight: weightOf(steps, what) });
  }
  return [...windows.values()];
}

function decodePacked(records: Records, digests: Uint8Array): readonly PackedChunk[] {
  const chunks: PackedChunk[] = [];
  for (let at = 0; at < digests.byteLength; at += chunkDigestSizeBytes) {
    const record = records.next(startProfilePackedChunk);
    const runs: PackRun[] = [];
    for (let number = 0; number < record.run_count; number += 1) {
      const { disk_block: diskBlock, block_count: blockCount } = records.next(startProfileRun);
      runs.push({ diskBlock, blockCount });
    }
    const blockCount = blockCountOf(runs);
    const codec = record.codec === codecNumbers.none ? 'none' : 'zstd-v1';
    const { stored_length: storedLengthBytes } = record;
    const isFitting = storedLengthBytes > 0 && storedLengthBytes <= blockCount * pageSizeBytes;
    if (blockCount > packedBlocksMax || !isFitting || record.codec > codecNumbers['zstd-v1']) {
      throw new StartProfileError(
        `a chunk of its pack has ${blockCount} blocks, or a wrong length or codec`,
      );
    }
    const ciphertextDigest = digests.slice(at, at + chunkDigestSizeBytes);
    chunks.push({ runs, key: record.key, storedLengthBytes, codec, ciphertextDigest });
  }
  checkRuns(chunks);
  return chunks;
}

/** No block may be in a pack twice: where it is read would not be certain. */
function checkRuns(chunks: readonly PackedChunk[]): void {
  let end = 0;
  for (const { diskBlock, blockCount } of placedRuns({ chunks })) {
    if (blockCount === 0) throw new StartProfileError(`its pack has nothing of block ${diskBlock}`);
    if (diskBlock < end) throw new StartProfileError(`its pack has block ${diskBlock} twice`);
    end = diskBlock + blockCount;
  }
}

function weightOf(steps: number, what: string): number {
  const weight = steps / weightSteps;
  if (weight > weightMin && weight <= 1) return weight;
  throw new StartProfileError(`${what} has the weight ${weight}`);
}
