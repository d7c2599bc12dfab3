/**
 * When each part of an image's chunks was first read, in memory that the threads share: a thread that answers a read from the slab
 * notes it without a word to the main thread. So what is recorded is complete also where every chunk was there already.
 */

/** One number a part, shared: 0 until it is read, then 1 + microseconds on the clock of all threads since `base[0]`. */
export interface FirstReadTimes {
  /** Those of one chunk lie together. */
  readonly times: Int32Array;
  /** One number, shared. */
  readonly base: Float64Array;
  readonly partsPerChunk: number;
  /** Infinity: a chunk has one. */
  readonly partSizeBytes: number;
}

/** Of a disk: about what the processes of a start read at once. */
const diskPartSizeBytes = 64 * 1024;

/** A read long after the base counts as one of half an hour after it. */
const timeMax = 2 ** 31 - 1;

/** Microseconds on the monotonic clock; unlike `performance.now()` it has one origin in all threads. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}

/** Of untouched pages no memory is taken, so that holes of the disk cost nothing. `chunkSizeBytes`: of a disk. */
export function createFirstReadTimes(chunkCount: number, chunkSizeBytes?: number): FirstReadTimes {
  const partsPerChunk = Math.max(1, Math.floor((chunkSizeBytes ?? 0) / diskPartSizeBytes));
  const partSizeBytes = (chunkSizeBytes ?? Infinity) / partsPerChunk;
  const partCount = chunkCount * partsPerChunk;
  const memory = new SharedArrayBuffer(partCount * Int32Array.BYTES_PER_ELEMENT);
  const base = new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT));
  base[0] = nowUs();
  return { times: new Int32Array(memory), base, partsPerChunk, partSizeBytes };
}

/** The chunk's bytes `start..end` are read. From any thread. Two that read a part first at the same moment both note the same moment. */
export function noteRead(
  { times, base, partsPerChunk, partSizeBytes }: FirstReadTimes,
  index: number,
  start: number,
  end: number,
): void {
  const first = index * partsPerChunk;
  const last = first + Math.floor((end - 1) / partSizeBytes);
  for (let part = first + Math.floor(start / partSizeBytes); part <= last; part += 1) {
    if (times[part] !== 0) continue;
    const sinceUs = Math.max(0, nowUs() - (base[0] ?? 0)); // a restart may come in between
    Atomics.store(times, part, Math.min(timeMax, 1 + sinceUs));
  }
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

  /** `listed`: the chunks that are not all zeros; only they are ever noted. `chunkSizeBytes`: of a disk. */
  constructor(chunkCount: number, listed: ReadonlyMap<number, unknown>, chunkSizeBytes?: number) {
    this.shared = createFirstReadTimes(chunkCount, chunkSizeBytes);
    this.#listed = listed;
  }

  /** The chunk's bytes `start..end` are read. */
  note(index: number, start: number, end: number): void {
    noteRead(this.shared, index, start, end);
  }

  has(index: number): boolean {
    return this.#parts(index).some((time) => time !== 0);
  }

  /** As if it had not been read. */
  forget(index: number): void {
    this.#parts(index).fill(0);
  }

  /** Begins anew: nothing was read yet. */
  restart(): void {
    this.shared.base[0] = nowUs();
    for (const index of this.#listed.keys()) if (this.has(index)) this.forget(index);
  }

  /** What was read since the last `restart`, in the order of the first reads. */
  list(): readonly FirstRead[] {
    const reads: FirstRead[] = [];
    for (const index of this.#listed.keys()) {
      const atUs = this.#firstUs(this.#parts(index));
      if (atUs !== undefined) reads.push({ index, atMs: atUs / 1000 });
    }
    return reads.toSorted((a, b) => a.atMs - b.atMs || a.index - b.index);
  }

  /** When a part that has bytes `from..to` of the disk was first read, in microseconds since the last `restart`; undefined if none was. */
  atUs(from: number, to: number): number | undefined {
    const { times, partSizeBytes } = this.shared;
    const [first, end] = [Math.floor(from / partSizeBytes), Math.ceil(to / partSizeBytes)];
    return this.#firstUs(times.subarray(first, end));
  }

  /** Shared. */
  #parts(index: number): Int32Array {
    const { times, partsPerChunk } = this.shared;
    return times.subarray(index * partsPerChunk, (index + 1) * partsPerChunk);
  }

  #firstUs(parts: Int32Array): number | undefined {
    const read = parts.filter((time) => time !== 0);
    if (read.length === 0) return undefined;
    return Math.min(...read) - 1;
  }
}
