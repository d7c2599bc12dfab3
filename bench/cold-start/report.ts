/** Reports of samples: tables for the terminal and in Markdown, figures in JSON, charts as SVG. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Table } from '../harness.ts';
import { apps } from './apps.ts';
import { Cells, type Cell } from './cells.ts';
import { barsChart, linesChart } from './charts.ts';
import { goalTable } from './goals.ts';
import type { Sample, SampleFile } from './samples.ts';
import { systemIds, systems } from './systems.ts';

function titleOf(app: string): string {
  return apps.find(({ id }) => id === app)?.title ?? app;
}

function whole(ms: number): string {
  return ms.toFixed(0);
}

/** p50 / p90 / p99 of every function by every system. */
function roundTrips(cells: Cells, link: string): Table {
  const shown = systemIds.filter((system) => cells.all.some((cell) => cell.system === system));
  const rows = apps
    .filter(({ id }) => cells.all.some((cell) => cell.app === id && cell.link === link))
    .map(({ id, title }) => [
      title,
      ...shown.map((system) => {
        const cell = cells.find(link, id, system);
        if (cell === undefined) return '–';
        const times = [cell.p50Ms, cell.p90Ms, cell.p99Ms].map(whole).join(' / ');
        return `${times} (${cell.samples})`;
      }),
    ]);
  const columns = ['function', ...shown.map((system) => systems[system])];
  const title = `Round trip, ms, p50 / p90 / p99 (samples), over ${link}`;
  return { title, columns, rows };
}

function phaseRow(cell: Cell): readonly string[] {
  const { phasesMs, chunks, bytes = 0, chunksByTier = {} } = cell;
  const phases = Object.entries(phasesMs)
    .filter(([name]) => name !== 'total')
    .map(([name, ms]) => `${name} ${whole(ms)}`);
  const tiers = Object.entries(chunksByTier)
    .filter(([, count]) => count > 0)
    .map(([tier, count]) => `${tier} ${count}`);
  const processor = Object.entries(cell.processorMs ?? {})
    .filter(([, ms]) => ms >= 5)
    .toSorted(([, a], [, b]) => b - a)
    .map(([part, ms]) => `${part} ${whole(ms)}`);
  return [
    titleOf(cell.app),
    systems[cell.system],
    whole(cell.p50Ms),
    phases.join(', '),
    chunks === undefined ? '' : `${chunks} (${(bytes / 1e6).toFixed(1)} MB)`,
    tiers.join(', '),
    processor.join(', '),
    `${(cell.linkShare * 100).toFixed(0)} %`,
    String(cell.samples),
  ];
}

function phases(cells: Cells, link: string): Table {
  return {
    title: `Phases, ms, medians, over ${link}`,
    columns: [
      'function',
      'system',
      'p50',
      'phases',
      'chunks',
      'from',
      'processor time, ms, means',
      "link's share",
      'samples',
    ],
    rows: cells.all.filter((cell) => cell.link === link).map(phaseRow),
  };
}

export function reportTables(samples: readonly Sample[]): readonly Table[] {
  const cells = new Cells(samples);
  return [
    ...cells.links.map((link) => roundTrips(cells, link)),
    goalTable(cells),
    ...cells.links.map((link) => phases(cells, link)),
  ];
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function markdown({ title, columns, rows }: Table): string {
  const rule = line(columns.map(() => '---'));
  return [`## ${title}`, '', line(columns), rule, ...rows.map(line), ''].join('\n');
}

/** `cold-start.json`, `cold-start.md` and the charts, in place of those that are there. */
export async function writeReports(directory: string, file: SampleFile): Promise<void> {
  const { all: samples, measurement } = file;
  const cells = new Cells(samples);
  await writeFile(join(directory, 'cold-start.json'), `${JSON.stringify(cells.all, null, 1)}\n`);
  const { commit, link } = measurement;
  const of = `Thaw at commit ${commit}, over the link ${link}.`;
  const tables = reportTables(samples).map(markdown);
  const text = ['# Cold starts to the first response', '', of, '', ...tables];
  await writeFile(join(directory, 'cold-start.md'), text.join('\n'));
  for (const link of cells.links) {
    const charts = {
      lines: linesChart(samples, link),
      bars: barsChart(cells, link, false),
      'bars-imported': barsChart(cells, link, true),
    };
    const speed = link.split(' ')[0];
    for (const [name, svg] of Object.entries(charts)) {
      if (svg === undefined) continue;
      await writeFile(join(directory, `cold-start-${name}-${speed}-gbit.svg`), svg);
    }
  }
}
