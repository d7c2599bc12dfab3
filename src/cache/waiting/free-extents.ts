/**
 * Which parts of a piece of memory are free. The lowest place that is long enough is taken: what was never needed at once is never touched, and
 * costs the machine no memory.
 *
 * Invariant: extents are in order, none is empty, and between any two of them something is taken.
 */

import { assert } from '../../base/index.ts';

interface Extent {
  readonly start: number;
  readonly end: number;
}

export class FreeExtents {
  readonly #sizeBytes: number;
  #free: readonly Extent[];

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#free = sizeBytes > 0 ? [{ start: 0, end: sizeBytes }] : [];
  }

  /** Where so many bytes, more than 0, are the caller's from now on; undefined if there are not as many in one place. */
  take(lengthBytes: number): number | undefined {
    assert(lengthBytes > 0, 'Nothing was asked for');
    const at = this.#free.findIndex(({ start, end }) => end - start >= lengthBytes);
    const found = this.#free[at];
    if (found === undefined) return undefined;
    const { start, end } = found;
    const left = start + lengthBytes < end ? [{ start: start + lengthBytes, end }] : [];
    this.#free = this.#free.toSpliced(at, 1, ...left);
    return start;
  }

  /** Gives back what `take` gave, all of it. Throws `ERR_INTERNAL` if any of it is free already. */
  give(start: number, lengthBytes: number): void {
    const end = start + lengthBytes;
    const next = this.#free.findIndex((extent) => extent.start >= end);
    const at = next === -1 ? this.#free.length : next;
    const before = this.#free[at - 1];
    const after = this.#free[at];
    const isTaken = start >= (before?.end ?? 0) && end <= this.#sizeBytes;
    assert(isTaken && lengthBytes > 0, 'Memory was given back that was not taken');
    const joinsBefore = before?.end === start;
    const joinsAfter = after?.start === end;
    this.#free = this.#free.toSpliced(
      joinsBefore ? at - 1 : at,
      Number(joinsBefore) + Number(joinsAfter),
      {
        start: joinsBefore ? before.start : start,
        end: joinsAfter ? after.end : end,
      },
    );
  }
}
