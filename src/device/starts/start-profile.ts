/**
 * What cold starts of an image read, learned from start to start: each chunk, and each window of a file, with a weight that fades with every start
 * that does without it. Pure. Format: `docs/formats/start-profile.md`.
 *
 * Invariants: no chunk and no window is listed twice; weights are above `weightMin` and at most 1; chunks are in the order in which starts read.
 */

import type { FileWindow } from './file-windows.ts';

import type { FirstRead } from './first-reads.ts';

export interface ProfiledChunk extends FirstRead {
  /** 0..1: 1 if every start has read it. */
  readonly weight: number;
}

/** A window of a file that starts had in the page cache. */
export interface StartWindow extends FileWindow {
  /** Of the disk, in which it begins. */
  readonly chunk: number;
  /** In which it ends. */
  readonly lastChunk: number;
}

export interface ProfiledWindow extends StartWindow {
  /** As a chunk's. */
  readonly weight: number;
}

export interface StartProfile {
  /** How many starts it was learned from. */
  readonly starts: number;
  /** In the order in which the last start read them; what it did not read, after what came before it in earlier ones. */
  readonly chunks: readonly ProfiledChunk[];
  /** In the order of inodes and of windows. */
  readonly windows: readonly ProfiledWindow[];
}

/** What one start has read. */
export interface StartReads {
  /** In their order. */
  readonly chunks: readonly FirstRead[];
  /** Undefined if it is not known. */
  readonly windows?: readonly StartWindow[] | undefined;
}

/** How much one start counts: what all starts read and the next ones do not, falls out with the fourth of these. */
const newStartShare = 0.4;
/** A chunk that one start alone has read falls out with the second that does not. */
export const weightMin = 0.2;
/** 4 GiB of chunks; what a start reads after these is not learned. */
export const profiledChunksMax = 8192;
/** 512 MiB of page cache. */
export const profiledWindowsMax = 8192;

/** Weights as they are stored. */
export const weightSteps = 1000;

function stepped(weight: number): number {
  return Math.round(weight * weightSteps) / weightSteps;
}

/** The weight of what a start has read. What the first one reads counts in full: there is nothing else to go by. */
function grown(weight: number | undefined, isFirst: boolean): number {
  return isFirst ? 1 : stepped((weight ?? 0) * (1 - newStartShare) + newStartShare);
}

/** The weight of what a start has not read. */
function faded(weight: number): number {
  return stepped(weight * (1 - newStartShare));
}

/** The profile after one more start. */
export function mergeStart(profile: StartProfile | undefined, reads: StartReads): StartProfile {
  return {
    starts: Math.min((profile?.starts ?? 0) + 1, 2 ** 32 - 1),
    chunks: mergeChunks(profile, reads.chunks),
    windows: mergeWindows(profile, reads.windows),
  };
}

function mergeChunks(
  profile: StartProfile | undefined,
  reads: readonly FirstRead[],
): readonly ProfiledChunk[] {
  const kept = reads.slice(0, profiledChunksMax);
  const readAt = new Map(kept.map(({ index }, position) => [index, position]));
  const before = profile?.chunks ?? [];
  const weights = new Map(before.map(({ index, weight }) => [index, weight]));
  const placed = kept.map((read, place) => {
    const known = weights.get(read.index);
    return { place, chunk: { ...read, weight: grown(known, profile === undefined) } };
  });
  let place = -1;
  for (const chunk of before) {
    const position = readAt.get(chunk.index);
    if (position !== undefined) {
      place = position;
      continue;
    }
    const weight = faded(chunk.weight);
    if (weight > weightMin) placed.push({ place: place + 0.5, chunk: { ...chunk, weight } });
  }
  const chunks = placed.toSorted((a, b) => a.place - b.place).map(({ chunk }) => chunk);
  return chunks.slice(0, profiledChunksMax);
}

/** Tells windows apart. */
export function windowKey({ inode, window }: FileWindow): string {
  return `${inode} ${window}`;
}

function mergeWindows(
  profile: StartProfile | undefined,
  reads: readonly StartWindow[] | undefined,
): readonly ProfiledWindow[] {
  const before = profile?.windows ?? [];
  if (reads === undefined) return before;
  const isFirst = before.length === 0;
  const weights = new Map(before.map((known) => [windowKey(known), known.weight]));
  const merged = new Map<string, ProfiledWindow>();
  for (const read of reads.slice(0, profiledWindowsMax)) {
    const key = windowKey(read);
    merged.set(key, { ...read, weight: grown(weights.get(key), isFirst) });
  }
  for (const known of before) {
    const weight = faded(known.weight);
    if (weight <= weightMin || merged.size >= profiledWindowsMax) continue;
    const key = windowKey(known);
    if (!merged.has(key)) merged.set(key, { ...known, weight });
  }
  return [...merged.values()].toSorted((a, b) => a.inode - b.inode || a.window - b.window);
}

/** More or less, of all. */
const changedShareMin = 0.02;
/** Weight gained and lost, of all. */
const shiftedShareMin = 0.05;

/**
 * Whether starts would gain by `now` where `stored` is what they find. A function that reads the same at every start changes nothing, one that
 * reads a few chunks by chance next to nothing.
 */
export function isWorthSaving(stored: StartProfile | undefined, now: StartProfile): boolean {
  if (stored === undefined) return now.chunks.length > 0;
  return (
    differs(chunkWeights(stored), chunkWeights(now)) ||
    differs(windowWeights(stored), windowWeights(now))
  );
}

function chunkWeights({ chunks }: StartProfile): ReadonlyMap<number, number> {
  return new Map(chunks.map(({ index, weight }) => [index, weight]));
}

function windowWeights({ windows }: StartProfile): ReadonlyMap<string, number> {
  return new Map(windows.map((window) => [windowKey(window), window.weight]));
}

function differs<Key>(stored: ReadonlyMap<Key, number>, now: ReadonlyMap<Key, number>): boolean {
  let changed = 0;
  let shifted = 0;
  for (const key of new Set([...stored.keys(), ...now.keys()])) {
    const [before, after] = [stored.get(key), now.get(key)];
    if (before === undefined || after === undefined) changed += 1;
    shifted += Math.abs((after ?? 0) - (before ?? 0));
  }
  const size = Math.max(stored.size, now.size);
  return changed > Math.max(1, size * changedShareMin) || shifted > size * shiftedShareMin;
}
