/**
 * A worker's cold starts over some days, made from a seed: functions that are used all the time, a few of them most (Zipf), and
 * very many that a clock starts once an hour, a day or a week. A start reads each of its chunks within seconds, some of them again.
 */

/** One read of a chunk. */
export interface ChunkUse {
  readonly atMs: number;
  readonly chunk: number;
  /** False for a read again in the same start. */
  readonly isFirst: boolean;
}

export interface TraceOptions {
  readonly random: () => number;
  readonly days: number;
  /** Functions by how they are started. */
  readonly popular: number;
  readonly hourly: number;
  readonly daily: number;
  readonly weekly: number;
  /** Starts of all the popular ones together. */
  readonly popularStartsPerMinute: number;
  /** Of a Zipf distribution: the n-th function is started in proportion to n ** -exponent. */
  readonly zipfExponent: number;
}

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** Of a function: its own chunks, and those of the base that it shares with others. */
const ownChunks = 14;
const baseChunks = 10;
const baseCount = 12;
/** A start reads its chunks within this time, and some of them again. */
const startMs = 3 * secondMs;
const readAgainShare = 0.4;
/** Clocks are set to full hours, and are not exact. */
const clockJitterMs = 3 * minuteMs;

interface Start {
  readonly atMs: number;
  readonly functionIndex: number;
}

/** How many chunks there are in all, at most. */
export function chunkCountOf({ popular, hourly, daily, weekly }: TraceOptions): number {
  return (popular + hourly + daily + weekly) * ownChunks + baseCount * baseChunks;
}

function zipf({ random, popular, zipfExponent }: TraceOptions): () => number {
  let sum = 0;
  const cumulative = Array.from({ length: popular }, (_, rank) => {
    sum += (rank + 1) ** -zipfExponent;
    return sum;
  });
  return () => {
    const drawn = random() * sum;
    let [low, high] = [0, popular - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] ?? Infinity) > drawn) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

/** Starts at random moments, independent of each other. */
function popularStarts(options: TraceOptions): Start[] {
  const { random, days, popularStartsPerMinute } = options;
  const drawFunction = zipf(options);
  const starts: Start[] = [];
  const meanGapMs = minuteMs / popularStartsPerMinute;
  for (let atMs = 0; atMs < days * dayMs; atMs -= Math.log(1 - random()) * meanGapMs) {
    starts.push({ atMs, functionIndex: drawFunction() });
  }
  return starts;
}

/** Each of `count` functions from index `first` on, once a period, at its own full hour of it. */
function clockStarts(
  { random, days }: TraceOptions,
  { first, count, periodMs }: { first: number; count: number; periodMs: number },
): Start[] {
  const starts: Start[] = [];
  for (let functionIndex = first; functionIndex < first + count; functionIndex += 1) {
    const ownHourMs = Math.floor(random() * (periodMs / hourMs)) * hourMs;
    for (let atMs = ownHourMs; atMs < days * dayMs; atMs += periodMs) {
      starts.push({ atMs: atMs + random() * clockJitterMs, functionIndex });
    }
  }
  return starts;
}

function chunksOf(functionIndex: number): number[] {
  const base = functionIndex % baseCount;
  return [
    ...Array.from({ length: baseChunks }, (_, index) => base * baseChunks + index),
    ...Array.from(
      { length: ownChunks },
      (_, index) => baseCount * baseChunks + functionIndex * ownChunks + index,
    ),
  ];
}

function usesOf({ atMs, functionIndex }: Start, random: () => number): ChunkUse[] {
  return chunksOf(functionIndex).flatMap((chunk) => {
    const firstMs = atMs + random() * startMs;
    const first = { atMs: firstMs, chunk, isFirst: true };
    if (random() >= readAgainShare) return [first];
    return [first, { atMs: firstMs + random() * startMs, chunk, isFirst: false }];
  });
}

/** In order of time. */
export function makeStartTrace(options: TraceOptions): readonly ChunkUse[] {
  const { random, popular, hourly, daily, weekly } = options;
  const clocks = [
    { first: popular, count: hourly, periodMs: hourMs },
    { first: popular + hourly, count: daily, periodMs: dayMs },
    { first: popular + hourly + daily, count: weekly, periodMs: 7 * dayMs },
  ];
  const starts = [
    ...popularStarts(options),
    ...clocks.flatMap((clock) => clockStarts(options, clock)),
  ];
  return starts.flatMap((start) => usesOf(start, random)).sort((a, b) => a.atMs - b.atMs);
}
