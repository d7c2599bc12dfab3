/**
 * Share of chunk reads that a worker's cache answers, by the rule for what goes: LRU-2 as L1 has it, plain LRU, CLOCK (as the memory had it
 * before), and what no rule can beat. The trace is generated (bench/eviction/start-trace.ts says how) and simulated, nothing is measured in
 * time, so the figures are the same on any machine. Reads again in the same start are not counted. Options: `--seed N` is 1; `--days N`
 * is 8, of which the first is not counted. Results: docs/cache.md.
 */

import { parseArgs } from 'node:util';

import { clock, lru, lruK, optimal, type MakeBuffer } from './eviction/buffers.ts';
import {
  chunkCountOf,
  makeStartTrace,
  type ChunkUse,
  type TraceOptions,
} from './eviction/start-trace.ts';
import type { Report, Table } from './harness.ts';

const minuteMs = 60 * 1000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** Of all chunks that there are. */
const sizes = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4] as const;

const rules: readonly (readonly [name: string, make: MakeBuffer])[] = [
  ['LRU', lru],
  ['CLOCK', clock],
  ['LRU-2', lruK()],
  ['best possible', optimal],
];

/** 32-bit xorshift (Marsaglia 2003): the trace draws millions of numbers. */
function xorshift(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** Of first reads after the first day. */
function hitRatio(make: MakeBuffer, size: number, trace: readonly ChunkUse[]): number {
  const use = make(size, trace);
  let [hits, reads] = [0, 0];
  for (const one of trace) {
    const isHit = use(one);
    if (!one.isFirst || one.atMs < dayMs) continue;
    reads += 1;
    if (isHit) hits += 1;
  }
  return hits / reads;
}

function byRule(trace: readonly ChunkUse[], chunkCount: number): Table {
  const rows = sizes.map((share) => {
    const size = Math.round(chunkCount * share);
    const ratios = rules.map(([, make]) => hitRatio(make, size, trace));
    const [ofLru = 0, , ofLruK = 0] = ratios;
    const origin = (1 - ofLruK) / (1 - ofLru);
    return [percent(share), String(size), ...ratios.map(percent), percent(origin)];
  });
  return {
    title: 'Hit ratio by the size of the cache',
    columns: ['of all chunks', 'chunks', ...rules.map(([name]) => name), 'misses of LRU-2 / LRU'],
    rows,
  };
}

/** The settings of LRU-2, at two sizes. */
function bySetting(trace: readonly ChunkUse[], chunkCount: number): Table {
  const small = Math.round(chunkCount * 0.02);
  const large = Math.round(chunkCount * 0.1);
  const settings = [
    ...[0, 1, 3, 10, 60, 600].map((seconds) => ({
      name: `correlated reference period ${seconds} s`,
      of: () => ({ correlatedMs: seconds * 1000 }),
    })),
    ...[0, 0.25, 0.5, 1].map((share) => ({
      name: `protected by it: at most ${percent(share)}`,
      of: () => ({ protectedShareMax: share }),
    })),
    ...[1, 24, 192].map((hours) => ({
      name: `retained information period ${hours} h`,
      of: () => ({ retainedMs: hours * hourMs }),
    })),
    ...[0, 0.25, 1, 4].map((share) => ({
      name: `remembered: ${share} of what is resident`,
      of: (size: number) => ({ historyMax: Math.round(size * share) }),
    })),
  ];
  const rows = settings.map(({ name, of }) => [
    name,
    ...[small, large].map((size) => percent(hitRatio(lruK(of(size)), size, trace))),
  ]);
  return { title: 'Hit ratio of LRU-2 by its settings', columns: ['setting', '2 %', '10 %'], rows };
}

/**
 * What is left of a hot set of half the cache, used once a minute, after a sweep of chunks that are used once each, four caches full of
 * them, that takes so long. The hot set goes on being used.
 */
function bySweep(): Table {
  const size = 1000;
  const hot = size / 2;
  const sweepCount = 4 * size;
  const left = (make: MakeBuffer, sweepMs: number): number => {
    const uses: ChunkUse[] = [];
    for (let minute = 0; minute < 15; minute += 1) {
      for (let chunk = 0; chunk < hot; chunk += 1) {
        uses.push({ atMs: (minute + chunk / hot) * minuteMs, chunk, isFirst: true });
      }
    }
    for (let index = 0; index < sweepCount; index += 1) {
      const atMs = 5 * minuteMs + (index / sweepCount) * sweepMs;
      uses.push({ atMs, chunk: hot + index, isFirst: true });
    }
    uses.sort((a, b) => a.atMs - b.atMs);
    const use = make(size, uses);
    let [hits, reads] = [0, 0];
    for (const one of uses) {
      const isHit = use(one);
      if (one.chunk >= hot || one.atMs < 5 * minuteMs) continue;
      if (one.atMs > 5 * minuteMs + Math.max(sweepMs, minuteMs)) continue;
      reads += 1;
      if (isHit) hits += 1;
    }
    return hits / reads;
  };
  const contenders = [
    ...rules.slice(0, 2),
    ['LRU-2, protecting all that is correlated', lruK({ protectedShareMax: 1 })] as const,
    ['LRU-2', lruK()] as const,
  ];
  return {
    title: 'Hits in the hot set while a sweep goes over it',
    columns: ['sweep takes', ...contenders.map(([name]) => name)],
    rows: [1, 10, 60, 600].map((seconds) => [
      `${seconds} s`,
      ...contenders.map(([, make]) => percent(left(make, seconds * 1000))),
    ]),
  };
}

export const report: Report = {
  title: 'Eviction: hit ratios on a generated trace of starts',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: { seed: { type: 'string' }, days: { type: 'string' } },
    });
    const options: TraceOptions = {
      random: xorshift(Number(values.seed ?? 1)),
      days: Number(values.days ?? 8),
      popular: 400,
      hourly: 60,
      daily: 1200,
      weekly: 3000,
      popularStartsPerMinute: 3,
      zipfExponent: 1,
    };
    const trace = makeStartTrace(options);
    const chunkCount = chunkCountOf(options);
    return [byRule(trace, chunkCount), bySweep(), bySetting(trace, chunkCount)];
  },
};
