/**
 * What cold starts of an image read, learned from start to start: each chunk with a weight that fades with every start that does
 * without it. Pure. Format: `docs/formats/start-profile.md`.
 *
 * Invariants: no chunk is listed twice; weights are above `weightMin` and at most 1; the order is that in which starts read.
 */

import type { FirstRead } from './first-reads.ts';

export interface ProfiledChunk extends FirstRead {
  /** 0..1: 1 if every start has read it. */
  readonly weight: number;
}

export interface StartProfile {
  /** How many starts it was learned from. */
  readonly starts: number;
  /** In the order in which the last start read them; what it did not read, after what came before it in earlier ones. */
  readonly chunks: readonly ProfiledChunk[];
}

/** How much one start counts: what all starts read and the next ones do not, falls out with the fourth of these. */
const newStartShare = 0.4;
/** A chunk that one start alone has read falls out with the second that does not. */
export const weightMin = 0.2;
/** 4 GiB of chunks; what a start reads after these is not learned. */
export const profiledChunksMax = 8192;

/** Weights as they are stored. */
export const weightSteps = 1000;

function stepped(weight: number): number {
  return Math.round(weight * weightSteps) / weightSteps;
}

/** The profile after one more start, whose `reads` are in their order. */
export function mergeStart(
  profile: StartProfile | undefined,
  reads: readonly FirstRead[],
): StartProfile {
  const kept = reads.slice(0, profiledChunksMax);
  const readAt = new Map(kept.map(({ index }, position) => [index, position]));
  const before = profile?.chunks ?? [];
  const weights = new Map(before.map(({ index, weight }) => [index, weight]));
  const placed = kept.map((read, place) => {
    const known = weights.get(read.index);
    // What the first start reads counts in full: there is nothing else to go by.
    const weight = profile === undefined ? 1 : (known ?? 0) * (1 - newStartShare) + newStartShare;
    return { place, chunk: { ...read, weight: stepped(weight) } };
  });
  let place = -1;
  for (const chunk of before) {
    const position = readAt.get(chunk.index);
    if (position !== undefined) {
      place = position;
      continue;
    }
    const weight = stepped(chunk.weight * (1 - newStartShare));
    if (weight > weightMin) placed.push({ place: place + 0.5, chunk: { ...chunk, weight } });
  }
  const chunks = placed.toSorted((a, b) => a.place - b.place).map(({ chunk }) => chunk);
  return {
    starts: Math.min((profile?.starts ?? 0) + 1, 2 ** 32 - 1),
    chunks: chunks.slice(0, profiledChunksMax),
  };
}

/** Chunks more or less, of all. */
const changedShareMin = 0.02;
/** Weight gained and lost, of all chunks. */
const shiftedShareMin = 0.05;

/**
 * Whether starts would gain by `now` where `stored` is what they find. A function that reads the same at every start changes nothing, one that
 * reads a few chunks by chance next to nothing.
 */
export function isWorthSaving(stored: StartProfile | undefined, now: StartProfile): boolean {
  if (stored === undefined) return now.chunks.length > 0;
  const weights = new Map(stored.chunks.map(({ index, weight }) => [index, weight]));
  let changed = 0;
  let shifted = 0;
  for (const { index, weight } of now.chunks) {
    const before = weights.get(index);
    if (before === undefined) changed += 1;
    shifted += Math.abs(weight - (before ?? 0));
    weights.delete(index);
  }
  for (const weight of weights.values()) {
    changed += 1;
    shifted += weight;
  }
  const size = Math.max(stored.chunks.length, now.chunks.length);
  return changed > Math.max(1, size * changedShareMin) || shifted > size * shiftedShareMin;
}
