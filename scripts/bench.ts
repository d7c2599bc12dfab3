/**
 * `npm run bench` lists the benchmarks; `npm run bench -- NAME [--json]` runs bench/NAME.bench.ts, whose header says which
 * options of its own it has.
 * Read the ratios; times depend on the machine and on what else it does.
 */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import {
  runBench,
  type Bench,
  type BenchResult,
  type Report,
  type Spread,
  type Table,
} from '../bench/harness.ts';

const folder = join(import.meta.dirname, '..', 'bench');
const suffix = '.bench.ts';

function names(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .sort();
}

function columns({ min, median, max }: Spread, digits: number): string {
  return [min, median, max].map((value) => value.toFixed(digits).padStart(9)).join('');
}

function table({ title, rounds, contenders }: BenchResult): string {
  const width = Math.max(...contenders.map(({ name }) => name.length));
  const lines = contenders.map(({ name, timeMs, ratio, mebibytesPerSecond: throughput }) =>
    [
      name.padEnd(width),
      columns(ratio, 2),
      columns(timeMs, 1),
      throughput === undefined ? '' : throughput.toFixed(0).padStart(9),
    ].join(''),
  );
  const heading = ['ratio min', 'median', 'max', 'ms min', 'median', 'max', 'MiB/s'];
  return [
    `${title}; ${rounds} rounds`,
    `${''.padEnd(width)}${heading.map((word) => word.padStart(9)).join('')}`,
    ...lines,
  ].join('\n');
}

function columnsOf({ title, columns, rows }: Table): string {
  const lines = [columns, ...rows];
  const widths = columns.map((_, at) => Math.max(...lines.map((cells) => cells[at]?.length ?? 0)));
  const text = lines.map((cells) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `\n${title}\n${text.join('\n')}`;
}

const [name, ...rest] = process.argv.slice(2);
const isJson = rest.includes('--json');
const args = rest.filter((arg) => arg !== '--json');
if (name === undefined) {
  process.stdout.write(`${names().join('\n')}\n`);
} else if (!existsSync(join(folder, name + suffix))) {
  process.stderr.write(`No such benchmark: "${name}"; there are ${names().join(', ')}\n`);
  process.exitCode = 2;
} else {
  const { bench, report } = (await import(join(folder, name + suffix))) as {
    readonly bench?: Bench;
    readonly report?: Report;
  };
  if (bench !== undefined) {
    const result = await runBench(bench);
    process.stdout.write(`${isJson ? JSON.stringify(result, null, 2) : table(result)}\n`);
  } else if (report !== undefined) {
    const { title } = report;
    const tables = await report.run(args);
    const text = [title, ...tables.map(columnsOf)].join('\n');
    process.stdout.write(`${isJson ? JSON.stringify({ title, tables }, null, 2) : text}\n`);
  }
}
