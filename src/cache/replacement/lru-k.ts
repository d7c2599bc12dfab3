/**
 * LRU-2 page replacement, after E. J. O'Neil, P. E. O'Neil, G. Weikum: The LRU-K Page Replacement Algorithm for Database Disk
 * Buffering, SIGMOD 1993, section 2.1 and figure 2.1, with its names: HIST(p,1) and HIST(p,2) are when p was last
 * and second to last referenced, correlated references counted as one; LAST(p) is when it was last referenced at all.
 *
 * - The victim is the page whose HIST(p,2) lies furthest back (never counts as furthest; among those, the one with the oldest LAST(p),
 *   which the paper leaves open), so that a page used once goes before any that was used twice: a scan pushes out nothing but itself.
 * - References at most a Correlated Reference Period after the one before are one reference; and a page cannot be the
 *   victim for so long after its last.
 * - What is known of a page outlives it by the Retained Information Period after its last reference, for at most so many pages.
 *
 * One thing is added, as caches here may take in more than their size within a Correlated Reference Period: the pages
 * protected by it are at most a share of all (`protectedShareMax`). Beyond it the victim is chosen among all pages.
 *
 * Invariant: a page that is resident is in exactly one of `#correlated` and `#eligible`; one that is remembered is in `#history`.
 * Every call is O(log n). Memory: about 160 bytes a page, resident or remembered, with a key of 35 characters (measured with 200,000).
 */

import { assert } from '../../base/index.ts';
import { IndexedHeap, IndexedList } from './indexed-queues.ts';

export interface LruKOptions {
  /** Correlated Reference Period: 0 or more. */
  readonly correlatedMs: number;
  /** Retained Information Period. */
  readonly retainedMs: number;
  /** Pages remembered that are not resident: 0 or more. */
  readonly historyMax: number;
  /** Of the resident pages, 0..1: how many may be kept from being the victim by the Correlated Reference Period. 1: as in the paper. */
  readonly protectedShareMax: number;
}

/** What is known of a page, in milliseconds; `-Infinity`: never. */
export interface PageHistory {
  readonly hist1Ms: number;
  readonly hist2Ms: number;
  readonly lastMs: number;
}

export interface Page<Key> extends PageHistory {
  readonly key: Key;
  readonly isResident: boolean;
}

const never = -Infinity;

function doubled(times: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * times.length);
  larger.set(times);
  return larger;
}

/**
 * Says which page to evict; the pages themselves are the caller's. Times are milliseconds on one monotonic clock; one that goes back
 * is taken for the latest.
 */
export class LruK<Key> {
  readonly #options: LruKOptions;
  readonly #indexes = new Map<Key, number>();
  readonly #keys: (Key | undefined)[] = [];
  readonly #free: number[] = [];
  #hist1 = new Float64Array(16);
  #hist2 = new Float64Array(16);
  #last = new Float64Array(16);
  /** Resident, in their Correlated Reference Period: for the order of victims, and by their last reference. */
  #correlated = this.#newHeap();
  #correlatedByLast = new IndexedList();
  /** Resident, out of it. */
  #eligible = this.#newHeap();
  /** Not resident, in the order of eviction. */
  #history = new IndexedList();
  #latestMs = never;

  constructor(options: LruKOptions) {
    this.#options = options;
  }

  get residentCount(): number {
    return this.#correlated.size + this.#eligible.size;
  }

  get historyCount(): number {
    return this.#history.size;
  }

  /** True if the page is resident. */
  has(key: Key): boolean {
    return this.#residentIndex(key) !== undefined;
  }

  /** A reference to a page; false, and nothing, if it is not resident. */
  reference(key: Key, atMs: number): boolean {
    const index = this.#residentIndex(key);
    if (index === undefined) return false;
    const nowMs = this.#tick(atMs);
    const lastMs = this.#last[index] as number;
    if (nowMs - lastMs > this.#options.correlatedMs) {
      // HIST(p,1) moved up by the correlation period, LAST(p) - HIST(p,1), that it began.
      this.#hist2[index] = lastMs;
      this.#hist1[index] = nowMs;
    }
    this.#last[index] = nowMs;
    this.#eligible.remove(index);
    this.#enterCorrelated(index);
    return true;
  }

  /** A reference to a page that is not resident, and becomes so. */
  admit(key: Key, atMs: number): void {
    const nowMs = this.#tick(atMs);
    const known = this.#indexes.get(key);
    const index = known ?? this.#allocate(key);
    assert(known === undefined || this.#history.has(index), 'A page was admitted twice');
    const isRetained =
      known !== undefined && nowMs - (this.#last[index] as number) <= this.#options.retainedMs;
    this.#hist2[index] = isRetained ? (this.#hist1[index] as number) : never;
    this.#hist1[index] = nowMs;
    this.#last[index] = nowMs;
    this.#history.remove(index);
    this.#enterCorrelated(index);
  }

  /** The page to evict next, which stays resident until `evict`. Undefined if every page is pinned. */
  victim(atMs: number, isPinned: (key: Key) => boolean = () => false): Key | undefined {
    const nowMs = this.#tick(atMs);
    this.#endCorrelation(nowMs);
    const { protectedShareMax } = this.#options;
    const hasTooMany = this.#correlated.size > protectedShareMax * this.residentCount;
    const passedOver: (readonly [heap: IndexedHeap, index: number])[] = [];
    let victim: Key | undefined;
    for (;;) {
      const heap = hasTooMany ? this.#heapOfVictim() : this.#heapOfEligible();
      const index = heap.first;
      if (index === undefined) break;
      const key = this.#keys[index] as Key;
      if (!isPinned(key)) {
        victim = key;
        break;
      }
      heap.remove(index);
      passedOver.push([heap, index]);
    }
    for (const [heap, index] of passedOver) heap.add(index);
    return victim;
  }

  /** The page is no longer resident; what is known of it is kept for a while. */
  evict(key: Key): void {
    const index = this.#residentIndex(key);
    assert(index !== undefined, 'A page was evicted that is not resident');
    this.#leave(index);
    this.#history.add(index);
    this.trimHistory();
  }

  /** The page is not resident, and nothing is known of it. */
  remove(key: Key): void {
    const index = this.#indexes.get(key);
    if (index === undefined) return;
    this.#leave(index);
    this.#release(index);
  }

  clear(): void {
    this.#indexes.clear();
    this.#keys.length = 0;
    this.#free.length = 0;
    this.#correlated = this.#newHeap();
    this.#eligible = this.#newHeap();
    this.#correlatedByLast = new IndexedList();
    this.#history = new IndexedList();
  }

  /** Remembers a page as another instance knew it, beyond `historyMax` until `trimHistory`. Nothing if the page is known here. */
  restore(key: Key, { hist1Ms, hist2Ms, lastMs }: PageHistory): void {
    if (this.#indexes.has(key)) return;
    const index = this.#allocate(key);
    this.#hist1[index] = hist1Ms;
    this.#hist2[index] = hist2Ms;
    this.#last[index] = lastMs;
    this.#history.add(index);
  }

  /** Makes a page resident that was found, without a reference to it; one that nothing is known of counts as referenced now. */
  resume(key: Key, atMs: number): void {
    const index = this.#indexes.get(key);
    if (index === undefined) {
      this.admit(key, atMs);
      return;
    }
    if (!this.#history.has(index)) return;
    this.#history.remove(index);
    this.#eligible.add(index);
  }

  /** Forgets what exceeds `historyMax`, of those evicted first. */
  trimHistory(): void {
    while (this.#history.size > this.#options.historyMax) {
      const oldest = this.#history.first;
      if (oldest === undefined) return;
      this.#history.remove(oldest);
      this.#release(oldest);
    }
  }

  /** All pages, resident or remembered. Pages may change meanwhile, and are then given as they were or as they are. */
  *pages(): Iterable<Page<Key>> {
    for (let index = 0; index < this.#keys.length; index += 1) {
      const key = this.#keys[index];
      if (key === undefined) continue;
      yield {
        key,
        isResident: !this.#history.has(index),
        hist1Ms: this.#hist1[index] as number,
        hist2Ms: this.#hist2[index] as number,
        lastMs: this.#last[index] as number,
      };
    }
  }

  #newHeap(): IndexedHeap {
    return new IndexedHeap((one, other) => this.#goesBefore(one, other));
  }

  /** The order of victims. */
  #goesBefore(one: number, other: number): boolean {
    const [a, b] = [this.#hist2[one] as number, this.#hist2[other] as number];
    return a === b ? (this.#last[one] as number) < (this.#last[other] as number) : a < b;
  }

  #tick(atMs: number): number {
    this.#latestMs = Math.max(this.#latestMs, atMs);
    return this.#latestMs;
  }

  #residentIndex(key: Key): number | undefined {
    const index = this.#indexes.get(key);
    return index === undefined || this.#history.has(index) ? undefined : index;
  }

  #enterCorrelated(index: number): void {
    if (this.#correlated.has(index)) this.#correlated.update(index);
    else this.#correlated.add(index);
    this.#correlatedByLast.remove(index);
    this.#correlatedByLast.add(index);
  }

  #endCorrelation(nowMs: number): void {
    for (;;) {
      const index = this.#correlatedByLast.first;
      if (index === undefined) return;
      if (nowMs - (this.#last[index] as number) <= this.#options.correlatedMs) return;
      this.#correlatedByLast.remove(index);
      this.#correlated.remove(index);
      this.#eligible.add(index);
    }
  }

  /** With the first of the eligible; where there is none, of those that are not. */
  #heapOfEligible(): IndexedHeap {
    return this.#eligible.first === undefined ? this.#correlated : this.#eligible;
  }

  /** With the first of all. */
  #heapOfVictim(): IndexedHeap {
    const [eligible, correlated] = [this.#eligible.first, this.#correlated.first];
    if (eligible === undefined) return this.#correlated;
    if (correlated === undefined) return this.#eligible;
    return this.#goesBefore(correlated, eligible) ? this.#correlated : this.#eligible;
  }

  #leave(index: number): void {
    this.#eligible.remove(index);
    this.#correlated.remove(index);
    this.#correlatedByLast.remove(index);
    this.#history.remove(index);
  }

  #allocate(key: Key): number {
    const index = this.#free.pop() ?? this.#keys.length;
    this.#keys[index] = key;
    this.#indexes.set(key, index);
    if (index >= this.#last.length) {
      this.#hist1 = doubled(this.#hist1);
      this.#hist2 = doubled(this.#hist2);
      this.#last = doubled(this.#last);
    }
    return index;
  }

  #release(index: number): void {
    this.#indexes.delete(this.#keys[index] as Key);
    this.#keys[index] = undefined;
    this.#free.push(index);
  }
}
