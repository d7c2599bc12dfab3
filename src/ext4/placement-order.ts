/**
 * The order in which a layer's files share chunks, and their inodes tables. What a start may read lies apart from what it
 * hardly reads; and in each half, what came together lies together, because it is replaced together.
 *
 * A package manager keeps the times that its packages were built with, so equal times mark a package: an upgrade then
 * changes chunks of that package instead of one chunk in every directory. An installer that sets no times writes
 * its files within seconds, a minute of each other; all of these make one group, within which paths decide, so that
 * the moment of a build has no say.
 *
 * The order is divided into stretches that are packed each by itself, so that what an edit moves moves to the end of its
 * stretch at most. Where they begin depends on nothing but a path and whether it is the first of its group. On real
 * upgrades of Debian and npm packages that leaves a quarter more of the small files' chunks as they were.
 */

import { compareStrings, type ByteString } from '../base/index.ts';
import { pathHash } from './path-hash.ts';
import { isSeldomReadAtStart } from './start-hints.ts';

/** What decides where something goes. */
export interface Placeable {
  readonly path: ByteString;
  /** From the epoch. The same for all where times say nothing. */
  readonly modifiedSeconds: number;
}

/** The stretches in order, none of them empty. Groups that came together are in order of their least paths. */
export function placementStretches<Item extends Placeable>(items: Iterable<Item>): Item[][] {
  const atStart: Item[] = [];
  const seldom: Item[] = [];
  for (const item of [...items].sort((a, b) => compareStrings(a.path, b.path))) {
    (isSeldomReadAtStart(item.path) ? seldom : atStart).push(item);
  }
  return [atStart, seldom].flatMap((half) => cutIntoStretches(groupsThatCameTogether(half)));
}

/** One group in so many begins a stretch, and one path in so many within a group. */
const groupsPerStretch = 8;
const pathsPerStretch = 512;

function cutIntoStretches<Item extends Placeable>(groups: Iterable<readonly Item[]>): Item[][] {
  const stretches: Item[][] = [];
  for (const group of groups) {
    for (const [index, item] of group.entries()) {
      const oneIn = index === 0 ? groupsPerStretch : pathsPerStretch;
      const stretch = stretches.at(-1);
      if (stretch === undefined || pathHash(item.path) % oneIn === 0) stretches.push([item]);
      else stretch.push(item);
    }
  }
  return stretches;
}

/** Times closer than this to the next belong together. */
const togetherSeconds = 3600;

function groupsThatCameTogether<Item extends Placeable>(
  inPathOrder: readonly Item[],
): Iterable<Item[]> {
  const arrivals = arrivalsOf(inPathOrder.map(({ modifiedSeconds }) => modifiedSeconds));
  const groups = new Map<number | undefined, Item[]>();
  for (const item of inPathOrder) {
    const arrival = arrivals.get(item.modifiedSeconds);
    const group = groups.get(arrival);
    if (group === undefined) groups.set(arrival, [item]);
    else group.push(item);
  }
  return groups.values();
}

/** For each time the first one of its chain. */
function arrivalsOf(times: readonly number[]): Map<number, number> {
  const rising = Float64Array.from(new Set(times)).sort();
  const arrivals = new Map<number, number>();
  let first = NaN;
  let last = NaN;
  for (const time of rising) {
    if (!(time - last < togetherSeconds)) first = time;
    arrivals.set(time, first);
    last = time;
  }
  return arrivals;
}
