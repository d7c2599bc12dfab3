/**
 * A start profile as bytes: what is inside of its seal. Bytes: `docs/formats/start-profile.md`.
 *
 * Whatever the bytes are, reading them gives a profile that keeps the invariants, or `ERR_DEVICE_PROFILE`.
 */

import { layout } from '../base/index.ts';
import { StartProfileError } from './errors.ts';
import {
  profiledChunksMax,
  weightMin,
  weightSteps,
  type ProfiledChunk,
  type StartProfile,
} from './start-profile.ts';

export const startProfileHead = layout('start_profile_head', 8, [
  [0, 'u32', 'starts'],
  [4, 'u32', 'chunk_count'],
]);

export const startProfileChunk = layout('start_profile_chunk', 12, [
  [0, 'u32', 'index'],
  [4, 'u32', 'at_ms'],
  [8, 'u16', 'weight'], // in thousandths
  [10, 'u16', '_reserved'],
]);

const u32Max = 2 ** 32 - 1;

export function encodeStartProfile({ starts, chunks }: StartProfile): Uint8Array {
  const { sizeBytes } = startProfileChunk;
  const bytes = Buffer.alloc(startProfileHead.sizeBytes + chunks.length * sizeBytes);
  startProfileHead.encodeInto(bytes, 0, { starts, chunk_count: chunks.length });
  for (const [position, { index, atMs, weight }] of chunks.entries()) {
    startProfileChunk.encodeInto(bytes, startProfileHead.sizeBytes + position * sizeBytes, {
      index,
      at_ms: Math.min(u32Max, Math.round(atMs)),
      weight: Math.round(weight * weightSteps),
    });
  }
  return bytes;
}

/** Throws `ERR_DEVICE_PROFILE`. */
export function decodeStartProfile(bytes: Uint8Array): StartProfile {
  const { sizeBytes } = startProfileChunk;
  if (bytes.byteLength < startProfileHead.sizeBytes) throw new StartProfileError('it is cut short');
  const { starts, chunk_count: chunkCount } = startProfileHead.decode(bytes);
  if (chunkCount > profiledChunksMax) throw new StartProfileError(`it lists ${chunkCount} chunks`);
  if (bytes.byteLength !== startProfileHead.sizeBytes + chunkCount * sizeBytes) {
    throw new StartProfileError(`its length is not that of ${chunkCount} chunks`);
  }
  const seen = new Set<number>();
  const chunks: ProfiledChunk[] = [];
  for (let position = 0; position < chunkCount; position += 1) {
    const at = startProfileHead.sizeBytes + position * sizeBytes;
    const { index, at_ms: atMs, weight: steps } = startProfileChunk.decode(bytes, at);
    const weight = steps / weightSteps;
    if (seen.has(index)) throw new StartProfileError(`it lists chunk ${index} twice`);
    if (weight <= weightMin || weight > 1) {
      throw new StartProfileError(`chunk ${index} has the weight ${weight}`);
    }
    seen.add(index);
    chunks.push({ index, atMs, weight });
  }
  return { starts, chunks };
}
