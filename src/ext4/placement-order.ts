/**
 * The order in which a layer's files share chunks: those that came together lie together, because they are replaced
 * together and used together.
 *
 * A package manager keeps the times that its packages were built with, so equal times mark a package: an upgrade then
 * changes chunks of that package instead of one chunk in every directory. An installer that sets no times writes
 * its files within seconds, a minute of each other; all of these make one group, within which paths decide, so that
 * the moment of a build has no say.
 */

/** Times closer than this to the next belong together. */
const sameArrivalSeconds = 3600;

/** `items` in path order, sorted into groups that came together; the group whose first path is least comes first. */
export function inOrderOfArrival<Item>(
  items: readonly Item[],
  modifiedSeconds: (item: Item) => number,
): Item[] {
  const arrivals = arrivalsOf(items.map(modifiedSeconds));
  const groups = new Map<number | undefined, Item[]>();
  for (const item of items) {
    const arrival = arrivals.get(modifiedSeconds(item));
    const group = groups.get(arrival);
    if (group === undefined) groups.set(arrival, [item]);
    else group.push(item);
  }
  return [...groups.values()].flat();
}

/** For each time the first one of its chain. */
function arrivalsOf(times: readonly number[]): Map<number, number> {
  const rising = Float64Array.from(new Set(times)).sort();
  const arrivals = new Map<number, number>();
  let first = NaN;
  let last = NaN;
  for (const time of rising) {
    if (!(time - last < sameArrivalSeconds)) first = time;
    arrivals.set(time, first);
    last = time;
  }
  return arrivals;
}
