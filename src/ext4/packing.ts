/**
 * Puts things into chunks so that small edits stay small.
 *
 * A large thing begins at a chunk boundary, so that the same file gives the same chunks wherever it appears. Small ones
 * share bins of at most one chunk, in the order given; a full bin is cut at the path with the least hash in its last
 * eighth, so that after an added, removed or grown file the next cuts may fall where they fell before. Bins and large
 * things lie at hashed slots with room to spare, so that one bin more does not move all that follow.
 *
 * Chunks that are hardly used cost a reader as much as full ones. So large files' short tails share bins of their own, and
 * in a small layer the last bins of stretches are joined.
 */

import type { ByteString } from '../base/index.ts';
import { chunkBlocks, largeFileBlocks, slotBlock } from './geometry.ts';
import { hashedPlace, pathHash } from './path-hash.ts';

/** Something of so many blocks that shares a bin with its neighbours. */
export interface Binnable {
  readonly path: ByteString;
  readonly blockCount: number;
}

export interface Packable extends Binnable {
  /** From the epoch, for the order among things of a kind; 0 where it has no say. */
  readonly modifiedSeconds: number;
  /** Set by packing. */
  firstBlock: number;
}

/** Things that lie one after the other from a chunk boundary on. */
interface Run<Item extends Packable> {
  readonly items: readonly Item[];
  readonly hash: number;
  readonly slotCount: number;
}

/**
 * Gives each item its first block, counted from the first block of slot 0's group; slots below `firstSlot` are taken.
 * `packed` are bins and large items. Returns the end of the slots used, spare ones included.
 */
export function packIntoSlots(
  packed: readonly (Packable | readonly Packable[])[],
  firstSlot: number,
): number {
  const runs = packed.map(toRun);
  const { slots, slotCount } = chooseSlots(runs);
  for (const [index, run] of runs.entries()) {
    placeInOrder(run.items, slotBlock(firstSlot + (slots[index] ?? 0)));
  }
  return firstSlot + slotCount;
}

/** Gives the items consecutive blocks from `firstBlock` on; returns where they end. */
export function placeInOrder(items: readonly Packable[], firstBlock: number): number {
  let at = firstBlock;
  for (const item of items) {
    item.firstBlock = at;
    at += item.blockCount;
  }
  return at;
}

/** Blocks by which a file of more than a chunk reaches into one more, if they are less than half a chunk; else 0. */
export function shortTailBlocks(blockCount: number): number {
  const tailBlocks = blockCount % chunkBlocks;
  return blockCount > chunkBlocks && tailBlocks < largeFileBlocks ? tailBlocks : 0;
}

/** True for what begins at a chunk boundary. */
export function isLarge(item: Binnable): boolean {
  return item.blockCount >= largeFileBlocks;
}

function toRun<Item extends Packable>(packed: Item | readonly Item[]): Run<Item> {
  const items = Array.isArray(packed) ? (packed as readonly Item[]) : [packed as Item];
  const blockCount = totalBlocks(items);
  return {
    items,
    hash: pathHash(items[0]?.path ?? ('' as ByteString)),
    slotCount: Math.ceil(blockCount / chunkBlocks),
  };
}

/** Stretches of no more blocks (40 MiB) than this together are a small layer's: half a chunk for each is much to it. */
const fewBlocks = 80 * chunkBlocks;

/** No bin has items of two stretches, but that of few blocks in all the last bins are joined while they fit. */
export function cutStretches<Item extends Binnable>(
  stretches: readonly (readonly Item[])[],
): Item[][] {
  const cut = stretches.map(cutIntoBins);
  if (totalBlocks(stretches.flat()) > fewBlocks) return cut.flat();
  const bins = cut.flatMap((ofStretch) => ofStretch.slice(0, -1));
  let open: Item[] = [];
  for (const last of cut.flatMap((ofStretch) => ofStretch.slice(-1))) {
    if (totalBlocks(open) + totalBlocks(last) > chunkBlocks) {
      bins.push(open);
      open = [];
    }
    open.push(...last);
  }
  if (open.length > 0) bins.push(open);
  return bins;
}

export function totalBlocks(items: readonly Binnable[]): number {
  return items.reduce((sum, { blockCount }) => sum + blockCount, 0);
}

/** Cuts items of at most a chunk each, in the order given, into bins of at most one chunk. */
export function cutIntoBins<Item extends Binnable>(items: readonly Item[]): Item[][] {
  const bins: Item[][] = [];
  let open: Item[] = [];
  let openBlocks = 0;
  for (const item of items) {
    if (openBlocks + item.blockCount > chunkBlocks) {
      const cut = leastHashInLastEighth(open, item);
      bins.push(open.slice(0, cut));
      open = open.slice(cut);
      openBlocks = totalBlocks(open);
    }
    open.push(item);
    openBlocks += item.blockCount;
  }
  if (open.length > 0) bins.push(open);
  return bins;
}

/** A quarter would make 2 % more chunks and keep no more of them after edits, where stretches are as short as ours. */
const cutFromBlock = (7 / 8) * chunkBlocks;

/** Where to cut a full bin: an index into `bin`, or its length to keep it whole and begin the next with `next`. */
function leastHashInLastEighth(bin: readonly Binnable[], next: Binnable): number {
  let best = bin.length;
  let leastHash = pathHash(next.path);
  let at = 0;
  for (const [index, item] of bin.entries()) {
    const hash = pathHash(item.path);
    if (at >= cutFromBlock && hash < leastHash) {
      best = index;
      leastHash = hash;
    }
    at += item.blockCount;
  }
  return best;
}

/**
 * A slot for each run: the one that its hash names or the next free ones after it. Longer runs choose first, because
 * they need free slots in a row; a run that finds none goes to the end.
 */
function chooseSlots(runs: readonly Run<Packable>[]): { slots: number[]; slotCount: number } {
  const needed = runs.reduce((sum, run) => sum + run.slotCount, 0);
  const capacity = spacious(needed);
  const taken = new Uint8Array(capacity);
  let end = capacity;
  const slots: number[] = [];
  const order = [...runs.keys()].sort((a, b) => compareRuns(runs[a], runs[b]));
  for (const index of order) {
    const { hash = 0, slotCount = 0 } = runs[index] ?? {};
    const found = findFree(taken, hashedPlace(hash, capacity), slotCount);
    if (found === undefined) {
      slots[index] = end;
      end += slotCount;
    } else {
      taken.fill(1, found, found + slotCount);
      slots[index] = found;
    }
  }
  return { slots, slotCount: end };
}

function compareRuns(a: Run<Packable> | undefined, b: Run<Packable> | undefined): number {
  if (a === undefined || b === undefined) return 0;
  return b.slotCount - a.slotCount || a.hash - b.hash;
}

/** The next 2^n or 3 * 2^n that leaves a quarter more than needed: it seldom changes when a layer does. */
function spacious(needed: number): number {
  if (needed === 0) return 0;
  const wanted = Math.ceil(needed * 1.25);
  let capacity = 1;
  while (capacity < wanted) capacity *= 2;
  return capacity >= 4 && capacity * 0.75 >= wanted ? capacity * 0.75 : capacity;
}

/** The first of `count` free slots in a row, searched from `start` on and then from 0. */
function findFree(taken: Uint8Array, start: number, count: number): number | undefined {
  return findFreeFrom(taken, start, count) ?? findFreeFrom(taken, 0, count);
}

function findFreeFrom(taken: Uint8Array, start: number, count: number): number | undefined {
  let free = 0;
  for (let slot = start; slot < taken.length; slot += 1) {
    free = taken[slot] === 0 ? free + 1 : 0;
    if (free === count) return slot - count + 1;
  }
  return undefined;
}
