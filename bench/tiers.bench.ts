/**
 * The three tiers, real at each of them: five memcached servers with extstore, Ceph's RADOS gateway, a link of known
 * bandwidth and delay (bench/support/shaped-link.ts), the same for all. What a chunk takes from each tier; four of five stripes
 * against one copy in one piece and against four of four stripes, with one server healthy, slow, stopped and killed; how many bytes two
 * cores take out of the zone.
 *
 * Times are from the question to the verified and decrypted chunk of 512 KiB, seen by one client that reads one chunk after another.
 * Options: `--quick` for a look (few reads, one link), `--reads N` of four of five a cell (5,000; the others read less), `--rounds N` (8), `--chunks N` (384),
 * `--only link,tiers,ways,bytes`, `--charts DIR` writes the distribution functions there. Needs memcached, and Ceph for the
 * origin. Results: docs/benchmarks.md.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { createOpenPool, type OpenPool } from '../src/chunk/index.ts';
import type { Report, Table } from './harness.ts';
import { checkLinks } from './support/check-link.ts';
import { ecdfChart, type EcdfPanel } from './support/ecdf-chart.ts';
import { shapes, type LinkShape } from './support/shaped-link.ts';
import { makeChunks, type BenchChunk } from './tiers/chunks.ts';
import { compareWays } from './tiers/compare-ways.ts';
import { measureTiers, startOrigin, tierColumns } from './tiers/each-tier.ts';
import { measureThroughput } from './tiers/zone-throughput.ts';

const parts = ['link', 'tiers', 'ways', 'bytes'] as const;
type Part = (typeof parts)[number];

interface Setting {
  readonly shapes: Readonly<Record<string, LinkShape>>;
  readonly chunks: readonly BenchChunk[];
  readonly opener: OpenPool;
  readonly readCount: number;
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly chartsDir: string | undefined;
}

function progress(what: string): void {
  process.stderr.write(`${what}\n`);
}

async function writeChart(
  { chartsDir }: Setting,
  name: string,
  chart: Parameters<typeof ecdfChart>[0],
): Promise<void> {
  if (chartsDir !== undefined) await writeFile(join(chartsDir, `${name}.svg`), ecdfChart(chart));
}

function noteOf({ readCount }: Setting): string {
  return `${readCount.toLocaleString('en')} reads a line, one at a time, verified and decrypted`;
}

async function ways(setting: Setting): Promise<Table[]> {
  const tables: Table[] = [];
  for (const [name, shape] of Object.entries(setting.shapes)) {
    const { table, panels } = await compareWays(name, shape, { ...setting, progress });
    tables.push(table);
    await writeChart(setting, `zone-reads-${shape.bitsPerSecond / 1e9}-gbit`, {
      title: `Reading 512 KiB from the zone over ${name}`,
      note: `one read at a time, verified and decrypted; ${setting.readCount.toLocaleString('en')} of 4 of 5, fewer of the others`,
      panels,
    });
  }
  return tables;
}

async function tiers(setting: Setting): Promise<Table[]> {
  progress('starting the origin');
  const radosgw = await startOrigin(setting.chunks);
  try {
    const rows: (readonly string[])[] = [];
    const panels: EcdfPanel[] = [];
    for (const [name, shape] of Object.entries(setting.shapes)) {
      const measured = await measureTiers(name, shape, radosgw, { ...setting, progress });
      rows.push(...measured.rows);
      panels.push(measured.panel);
    }
    await writeChart(setting, 'tiers', {
      title: 'A chunk of 512 KiB from each tier',
      note: noteOf(setting),
      panels,
    });
    const title = 'A chunk from each tier, one at a time, ms';
    return [{ title, columns: tierColumns, rows }];
  } finally {
    await radosgw.stop();
  }
}

const measures: Readonly<Record<Part, (setting: Setting) => Promise<Table[]>>> = {
  link: async (setting) => [await checkLinks(setting.shapes)],
  tiers,
  ways,
  bytes: async (setting) => {
    const durationMs = setting.isQuick ? 2000 : 6000;
    return [await measureThroughput({ ...setting, durationMs, progress })];
  },
};

function count(text: string | undefined, byDefault: number): number {
  return text === undefined ? byDefault : Math.max(1, Number.parseInt(text, 10));
}

export const report: Report = {
  title: 'The tiers of a chunk',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        reads: { type: 'string' },
        rounds: { type: 'string' },
        chunks: { type: 'string' },
        only: { type: 'string', default: parts.join(',') },
        charts: { type: 'string' },
      },
    });
    const { quick } = values;
    await using opener = createOpenPool();
    const setting: Setting = {
      shapes: quick ? { '10 Gbit/s + 1 ms': shapes['10 Gbit/s + 1 ms'] } : shapes,
      chunks: makeChunks(count(values.chunks, quick ? 64 : 384)),
      opener,
      readCount: count(values.reads, quick ? 250 : 5000),
      rounds: count(values.rounds, quick ? 2 : 8),
      isQuick: quick,
      chartsDir: values.charts,
    };
    const wanted = parts.filter((part) => values.only.split(',').includes(part));
    const tables: Table[] = [];
    for (const part of wanted) tables.push(...(await measures[part](setting)));
    return tables;
  },
};
