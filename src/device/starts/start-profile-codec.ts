/**
 * A start profile as bytes: what is inside of its seal. Bytes: `docs/formats/start-profile.md`.
 *
 * Whatever the bytes are, reading them gives a profile that keeps the invariants, or `ERR_DEVICE_PROFILE`.
 */

import { layout } from '../../base/index.ts';
import { StartProfileError } from '../errors.ts';
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

export const startProfileHead = layout('start_profile_head', 12, [
  [0, 'u32', 'starts'],
  [4, 'u32', 'chunk_count'],
  [8, 'u32', 'window_count'],
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
  [8, 'u32', 'chunk'],
  [12, 'u32', 'last_chunk'],
  [16, 'u16', 'weight'], // in thousandths
  [18, 'u16', '_reserved'],
]);

const u32Max = 2 ** 32 - 1;

export function encodeStartProfile({ starts, chunks, windows }: StartProfile): Uint8Array {
  const head = { starts, chunk_count: chunks.length, window_count: windows.length };
  const chunkRecords = chunks.map(({ index, atMs, weight }) =>
    startProfileChunk.encode({
      index,
      at_ms: Math.min(u32Max, Math.round(atMs)),
      weight: Math.round(weight * weightSteps),
    }),
  );
  const windowRecords = windows.map(({ lastChunk, weight, ...place }) =>
    startProfileWindow.encode({
      ...place,
      last_chunk: lastChunk,
      weight: Math.round(weight * weightSteps),
    }),
  );
  return Buffer.concat([startProfileHead.encode(head), ...chunkRecords, ...windowRecords]);
}

/** Throws `ERR_DEVICE_PROFILE`. */
export function decodeStartProfile(bytes: Uint8Array): StartProfile {
  if (bytes.byteLength < startProfileHead.sizeBytes) throw new StartProfileError('it is cut short');
  const head = startProfileHead.decode(bytes);
  const { starts, chunk_count: chunkCount, window_count: windowCount } = head;
  if (chunkCount > profiledChunksMax) throw new StartProfileError(`it lists ${chunkCount} chunks`);
  if (windowCount > profiledWindowsMax) {
    throw new StartProfileError(`it lists ${windowCount} windows`);
  }
  const windowsAt = startProfileHead.sizeBytes + chunkCount * startProfileChunk.sizeBytes;
  if (bytes.byteLength !== windowsAt + windowCount * startProfileWindow.sizeBytes) {
    throw new StartProfileError(
      `its length is not that of ${chunkCount} chunks and ${windowCount} windows`,
    );
  }
  const chunks = decodeChunks(bytes.subarray(startProfileHead.sizeBytes, windowsAt));
  return { starts, chunks, windows: decodeWindows(bytes.subarray(windowsAt)) };
}

function decodeChunks(bytes: Uint8Array): readonly ProfiledChunk[] {
  const chunks = new Map<number, ProfiledChunk>();
  for (let at = 0; at < bytes.byteLength; at += startProfileChunk.sizeBytes) {
    const { index, at_ms: atMs, weight: steps } = startProfileChunk.decode(bytes, at);
    if (chunks.has(index)) throw new StartProfileError(`it lists chunk ${index} twice`);
    chunks.set(index, { index, atMs, weight: weightOf(steps, `chunk ${index}`) });
  }
  return [...chunks.values()];
}

function decodeWindows(bytes: Uint8Array): readonly ProfiledWindow[] {
  const windows = new Map<string, ProfiledWindow>();
  for (let at = 0; at < bytes.byteLength; at += startProfileWindow.sizeBytes) {
    const { weight: steps, last_chunk: lastChunk, ...place } = startProfileWindow.decode(bytes, at);
    const what = `window ${place.window} of inode ${place.inode}`;
    if (windows.has(windowKey(place))) throw new StartProfileError(`it lists ${what} twice`);
    windows.set(windowKey(place), { ...place, lastChunk, weight: weightOf(steps, what) });
  }
  return [...windows.values()];
}

function weightOf(steps: number, what: string): number {
  const weight = steps / weightSteps;
  if (weight > weightMin && weight <= 1) return weight;
  throw new StartProfileError(`${what} has the weight ${weight}`);
}
