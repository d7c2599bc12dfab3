/** How many bytes of verified, decrypted chunks a worker takes out of the zone when only processors limit it, and what that costs. */

import { readFile } from 'node:fs/promises';

import { createTieredLoader, type CacheTier } from '../../src/cache/index.ts';
import type { OpenPool } from '../../src/chunk/index.ts';
import type { ObjectStore } from '../../src/store/index.ts';
import type { Table } from '../harness.ts';
import { randomIndexes, type BenchChunk } from './chunks.ts';
import { fill, fourOfFive, oneCopy } from './contenders.ts';
import { BenchZone } from './zone.ts';

export interface ThroughputOptions {
  readonly chunks: readonly BenchChunk[];
  readonly opener: Pick<OpenPool, 'open'>;
  readonly durationMs: number;
  readonly progress: (what: string) => void;
}

const goalMegabytesPerSecond = 500;
const cores = 2;
const atATimeTried = [4, 8, 16] as const;
const rounds = 3;
/** Of Linux, in /proc: USER_HZ. */
const ticksPerSecond = 100;

const noOrigin: Pick<ObjectStore, 'get'> = { get: async () => undefined };

/** User and system time of processes. Source: proc(5), /proc/PID/stat, fields 14 and 15. */
async function processorMs(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return (ticks / ticksPerSecond) * 1000;
}

interface Taken {
  readonly chunks: number;
  readonly failed: number;
  readonly elapsedMs: number;
  readonly workerMs: number;
  readonly serversMs: number;
}

async function takeFor(
  zone: BenchZone,
  cache: Pick<CacheTier, 'get'>,
  rootId: string,
  atATime: number,
  options: ThroughputOptions,
): Promise<Taken> {
  const { get } = cache;
  const tier = { get, offer: () => {}, forget: async () => {}, hedgeAfterMs: () => Infinity };
  const tiers = [{ tier: 'l2' as const, cache: tier }];
  const loader = createTieredLoader({ tiers, store: noOrigin, opener: options.opener });
  const nextIndex = randomIndexes(1, options.chunks.length);
  let chunks = 0;
  let failed = 0;
  const own = process.cpuUsage();
  const serversMs = await processorMs(zone.pids);
  const startedMs = performance.now();
  const next = async (): Promise<void> => {
    while (performance.now() - startedMs < options.durationMs) {
      const chunk = options.chunks[nextIndex()];
      if (chunk === undefined) return;
      const loading = loader.load({ ...chunk, rootId }, { deadlineMs: 10_000 });
      const isThere = await loading.then(
        () => true,
        () => false,
      );
      if (isThere) chunks += 1;
      else failed += 1;
    }
  };
  await Promise.all(Array.from({ length: atATime }, next));
  const elapsedMs = performance.now() - startedMs;
  const used = process.cpuUsage(own);
  return {
    chunks,
    failed,
    elapsedMs,
    workerMs: (used.user + used.system) / 1000,
    serversMs: (await processorMs(zone.pids)) - serversMs,
  };
}

/** Directly on the servers, which share the processors. The best of some rounds: others use the machine too. */
export async function measureThroughput(options: ThroughputOptions): Promise<Table> {
  const { chunks, progress } = options;
  progress('no link: filling');
  await using zone = await BenchZone.start();
  await using ways = new AsyncDisposableStack();
  const contenders = [fourOfFive, oneCopy].map((way) => ways.use(way(zone.places)));
  for (const way of contenders) await fill(way, chunks);
  const megabytes = (chunks[0]?.storedLengthBytes ?? 0) / 1e6;
  const rows: string[][] = [];
  for (const atATime of atATimeTried) {
    const taken = new Map(contenders.map((way) => [way, [] as Taken[]]));
    for (let round = 0; round < rounds; round += 1) {
      progress(`no link: ${atATime} at a time, round ${round + 1} of ${rounds}`);
      for (const [way, all] of taken) {
        const rootId = way.name.replaceAll(' ', '-');
        all.push(await takeFor(zone, way, rootId, atATime, options));
      }
    }
    for (const [{ name }, all] of taken) {
      const [best] = all.toSorted((a, b) => b.chunks / b.elapsedMs - a.chunks / a.elapsedMs);
      if (best === undefined) continue;
      const costMs = (best.workerMs + best.serversMs) / best.chunks;
      rows.push([
        name,
        String(atATime),
        String(best.chunks),
        String(all.reduce((sum, { failed }) => sum + failed, 0)),
        ((best.chunks * megabytes) / (best.elapsedMs / 1000)).toFixed(0),
        (best.workerMs / best.chunks).toFixed(2),
        (best.serversMs / best.chunks).toFixed(2),
        ((cores * 1000 * megabytes) / costMs).toFixed(0),
      ]);
    }
  }
  return {
    title: `Chunks out of the zone without a link, best of ${rounds} rounds. Goal: ${goalMegabytesPerSecond} MB/s on two cores`,
    columns: [
      'way',
      'at a time',
      'chunks',
      'failed',
      'MB/s',
      'CPU ms/chunk: worker',
      'servers',
      'MB/s of two cores that do nothing else',
    ],
    rows,
  };
}
