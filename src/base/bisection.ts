/** Finding a place in something sorted. Pure. */

/**
 * The first of the indexes 0..`count` - 1 of which `isBefore` is not true, `count` where it is true of all. Once it is not true
 * of an index, it MUST NOT be of a later one. Asks about log2(`count`) times.
 */
export function firstNotBefore(count: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
