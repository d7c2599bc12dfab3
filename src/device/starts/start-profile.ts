/**
 * What cold starts of an image read, learned from start to start: each chunk, and each window of a file, with a weight that fades with every start
 * that does without it. Pure. Format: `docs/formats/start-profile.md`.
 *
 * Invariants: no chunk and no window is listed twice; weights are above `weightMin` and at most 1; chunks are in the order in which starts read.
 */

import { bridged, unknownUs, type CachedWindow, type ReadWindow } from './file-windows.ts';
import type { FirstRead } from './first-reads.ts';
import type { StartPack } from './start-pack.ts';

export interface ProfiledChunk extends FirstRead {
  /** 0..1: 1 if every start has read it. */
  readonly weight: number;
}

export interface ProfiledWindow extends ReadWindow {
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
  /** Copies of the windows' blocks, where they have been made. */
  readonly pack?: StartPack | undefined;
}

/** What one start has read. */
export interface StartReads {
  /** In their order. */
  readonly chunks: readonly FirstRead[];
  /** Undefined if it was not looked at, or cannot be known. */
  readonly windows?: readonly ReadWindow[] | undefined;
  /** Chunks of the disk that it had to load though there was a pack; undefined if there was none. */
  readonly unpackedChunks?: number | undefined;
  /** A chunk of the pack could not be had. */
  readonly hasLostPack?: boolean;
}

/** How much one start counts: what all starts read and the next ones do not, falls out with the fourth of these. */
const newStartShare = 0.4;
/** A chunk that one start alone has read falls out with the second that does not. */
export const weightMin = 0.2;
/** 4 GiB of chunks; what a start reads after these is not learned. */
export const profiledChunksMax = 8192;
/** 2 GiB of page cache at most. */
export const profiledWindowsMax = 32_768;

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

/** The profile after one more start, with the pack of the one before, unless that was lost. */
export function mergeStart(profile: StartProfile | undefined, reads: StartReads): StartProfile {
  return {
    starts: Math.min((profile?.starts ?? 0) + 1, 2 ** 32 - 1),
    chunks: mergeChunks(profile, reads.chunks),
    windows: mergeWindows(profile, reads.windows),
    pack: reads.hasLostPack === true ? undefined : profile?.pack,
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
export function windowKey({ inode, window }: Pick<CachedWindow, 'inode' | 'window'>): string {
  return `${inode} ${window}`;
}

function mergeWindows(
  profile: StartProfile | undefined,
  reads: readonly ReadWindow[] | undefined,
): readonly ProfiledWindow[] {
  const before = profile?.windows ?? [];
  if (reads === undefined) return before;
  const isFirst = before.length === 0;
  const known = new Map(before.map((window) => [windowKey(window), window]));
  const merged = new Map<string, ProfiledWindow>();
  for (const read of reads.slice(0, profiledWindowsMax)) {
    const key = windowKey(read);
    const same = known.get(key);
    // A window that lies in two places on the disk is told as of one of them.
    const pages = same?.diskBlock === read.diskBlock ? read.pages | same.pages : read.pages;
    // Along a pack pages are read ahead of the need for them: the first time that they are seen says most.
    const atUs = same === undefined || same.atUs === unknownUs ? read.atUs : same.atUs;
    const weight = grown(same?.weight, isFirst);
    merged.set(key, { ...read, pages: bridged(pages), atUs, weight });
  }
  for (const window of before) {
    const weight = faded(window.weight);
    if (weight <= weightMin || merged.size >= profiledWindowsMax) continue;
    const key = windowKey(window);
    if (!merged.has(key)) merged.set(key, { ...window, weight });
  }
  return [...merged.values()].toSorted((a, b) => a.inode - b.inode || a.window - b.window);
}

/** More or less, of all. */
const changedShareMin = 0.02;
/** Weight gained and lost, of all. */
const shiftedShareMin = 0.05;
/** Chunks of the disk that starts load though there is a pack: so many for a chunk of it are put up with, or one. */
const unpackedShareMax = 0.05;
const unpackedMax = 1;
/** The first few starts show most of what others will read. */
export const earlyStarts = 3;
/** To look at a page cache takes longer than all else that is done for a start; every so many it is looked whether less is read now. */
const startsPerLook = 16;

/** Whether a start that has to load so many chunks of the disk has from its pack what it needs. */
export function isWellPacked({ pack }: StartProfile, unpackedChunks: number): boolean {
  const packedCount = pack?.chunks.length ?? 0;
  return packedCount > 0 && unpackedChunks <= Math.max(unpackedMax, packedCount * unpackedShareMax);
}

/** Whether the page cache of the next start need not be looked at, where the last one had to load so many chunks of the disk. */
export function isSettled(profile: StartProfile, unpackedChunks: number | undefined): boolean {
  const { starts } = profile;
  const isKnown = unpackedChunks !== undefined && isWellPacked(profile, unpackedChunks);
  return isKnown && starts >= earlyStarts && starts % startsPerLook !== 0;
}

/**
 * Whether starts would gain by `now` where `stored` is what they find. A function that reads the same at every start changes nothing, one that
 * reads a few chunks by chance next to nothing.
 */
export function isWorthSaving(stored: StartProfile | undefined, now: StartProfile): boolean {
  if (stored === undefined) return now.chunks.length > 0;
  if (stored.pack !== undefined && now.pack === undefined) return true;
  return (
    differs(chunkWeights(stored), chunkWeights(now)) ||
    (stored.windows !== now.windows && differs(pageWeights(stored), pageWeights(now)))
  );
}

function chunkWeights({ chunks }: StartProfile): ReadonlyMap<number, number> {
  return new Map(chunks.map(({ index, weight }) => [index, weight]));
}

/** Of each window's pages, together. */
function pageWeights({ windows }: StartProfile): ReadonlyMap<string, number> {
  return new Map(
    windows.map((window) => [windowKey(window), window.weight * pageCount(window.pages)]),
  );
}

/** How many bits of the mask are set. */
export function pageCount(pages: number): number {
  let count = 0;
  for (let rest = pages; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

function differs<Key>(stored: ReadonlyMap<Key, number>, now: ReadonlyMap<Key, number>): boolean {
  let changed = 0;
  let shifted = 0;
  let whole = 0;
  for (const key of new Set([...stored.keys(), ...now.keys()])) {
    const [before = 0, after = 0] = [stored.get(key), now.get(key)];
    if (before === 0 || after === 0) changed += 1;
    shifted += Math.abs(after - before);
    whole += Math.max(before, after);
  }
  const size = Math.max(stored.size, now.size);
  return changed > Math.max(1, size * changedShareMin) || shifted > whole * shiftedShareMin;
}
