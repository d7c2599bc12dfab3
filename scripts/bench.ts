/**
 * `npm run bench` lists the benchmarks; `npm run bench -- NAME [--json]` runs bench/NAME.bench.ts.
 * Read the ratios; times depend on the machine and on what else it does.
 */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { runBench, type Bench, type BenchResult, type Spread } from '../bench/harness.ts';

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

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false } },
});
const [name] = positionals;
if (name === undefined) {
  process.stdout.write(`${names().join('\n')}\n`);
} else if (!existsSync(join(folder, name + suffix))) {
  process.stderr.write(`No such benchmark: "${name}"; there are ${names().join(', ')}\n`);
  process.exitCode = 2;
} else {
  const { bench } = (await import(join(folder, name + suffix))) as { bench: Bench };
  const result = await runBench(bench);
  process.stdout.write(`${values.json ? JSON.stringify(result, null, 2) : table(result)}\n`);
}
