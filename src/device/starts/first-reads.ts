/**
 * When each chunk of an image was first read, in memory that the threads share: a thread that answers a read from the slab
 * notes it without a word to the main thread. So what is recorded is complete also where every chunk was there already.
 */

/** One number a chunk of the disk, shared: 0 until it is read, then 1 + microseconds on the clock of all threads since `baseUs`. */
export interface FirstReadTimes {
  readonly times: Int32Array;
  readonly baseUs: number;
}

/** A read long after the base counts as one of half an hour after it. */
const timeMax = 2 ** 31 - 1;

/** Microseconds on the monotonic clock; unlike `performance.now()` it has one origin in all threads. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}

/** Of untouched pages no memory is taken, so that holes of the disk cost nothing. */
export function createFirstReadTimes(chunkCount: number): FirstReadTimes {
  const memory = new SharedArrayBuffer(chunkCount * Int32Array.BYTES_PER_ELEMENT);
  return { times: new Int32Array(memory), baseUs: nowUs() };
}

/** From any thread. Two that read a chunk first at the same moment both note the same moment. */
export function noteRead({ times, baseUs }: FirstReadTimes, index: number): void {
  if (times[index] !== 0) return;
  Atomics.store(times, index, Math.min(timeMax, 1 + nowUs() - baseUs));
}

/** A chunk and when it was first read, in milliseconds. */
export interface FirstRead {
  readonly index: number;
  readonly atMs: number;
}

/** The main thread's side: forgets and reports. */
export class FirstReads {
  readonly shared: FirstReadTimes;
  readonly #listed: ReadonlyMap<number, unknown>;
  #startUs = 0;

  /** `listed`: the chunks that are not all zeros; only they are ever noted. */
  constructor(chunkCount: number, listed: ReadonlyMap<number, unknown>) {
    this.shared = createFirstReadTimes(chunkCount);
    this.#listed = listed;
  }

  note(index: number): void {
    noteRead(this.shared, index);
  }

  has(index: number): boolean {
    return this.shared.times[index] !== 0;
  }

  /** As if it had not been read. */
  forget(index: number): void {
    Atomics.store(this.shared.times, index, 0);
  }

  /** Begins anew: nothing was read yet. */
  restart(): void {
    const { times, baseUs } = this.shared;
    this.#startUs = nowUs() - baseUs;
    for (const index of this.#listed.keys()) if (times[index] !== 0) times[index] = 0;
  }

  /** What was read since the last `restart`, in the order of the first reads. */
  list(): readonly FirstRead[] {
    const { times } = this.shared;
    const reads: FirstRead[] = [];
    for (const index of this.#listed.keys()) {
      const time = Atomics.load(times, index);
      if (time === 0) continue;
      reads.push({ index, atMs: Math.max(0, time - 1 - this.#startUs) / 1000 });
    }
    return reads.toSorted((a, b) => a.atMs - b.atMs || a.index - b.index);
  }
}
