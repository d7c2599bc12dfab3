/**
 * Publishing images of real package files whose layers lie on local disk, against what one would do without Thaw to get an ext4 disk
 * of them: unpack with umoci, then `mke2fs -d`. Thaw's time includes hashing, encryption and durable storage, the others' does
 * not. Thaw's memory is the peak of its process. `npm run bench -- publish [250MB] [600MB] [2GB] [10GB] [1Mfiles]`, by default
 * the smallest. Needs root, umoci and mke2fs, and what the corpus needs.
 */

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { runCommand } from '../src/base/index.ts';
import { spread, type Report, type Table } from './harness.ts';
import { imageSizes, largeImage, type ImageSize, type LargeImage } from './publish/large-images.ts';
import type { Published } from './publish/publish-once.ts';

const rounds: Readonly<Record<ImageSize, number>> = {
  '250MB': 3,
  '600MB': 3,
  '2GB': 2,
  '10GB': 1,
  '1Mfiles': 1,
};
const launchPath = join(import.meta.dirname, '../scripts/launch');
const publishOncePath = 'bench/publish/publish-once.ts';
const timeoutMs = 3_600_000;

/** The goals of peak memory: so much, and so much for each file. */
const memoryBytes = 300e6;
const memoryPerFileBytes = 1000;

/** One way to a disk, in one round. */
interface Run {
  readonly way: string;
  readonly elapsedMs: number;
  readonly published?: Published;
}

export const report: Report = {
  title: 'Publish an image, against umoci raw unpack + mke2fs -d of it',
  run: async (args) => {
    const sizes = args.length === 0 ? (['250MB'] as const) : args.map(checkSize);
    const tables: Table[] = [];
    for (const size of sizes) tables.push(await measure(size));
    return tables;
  },
};

function checkSize(text: string): ImageSize {
  if (text in imageSizes) return text as ImageSize;
  throw new Error(`No such size: "${text}"; there are ${Object.keys(imageSizes).join(', ')}`);
}

async function measure(size: ImageSize): Promise<Table> {
  const image = await largeImage(size);
  const work = await mkdtemp(join(tmpdir(), 'thaw-bench-publish-'));
  try {
    const runs: Run[][] = [];
    for (let round = 0; round < rounds[size]; round += 1) {
      runs.push(await runRound(image, join(work, `${round}`), round));
      await rm(join(work, `${round}`), { recursive: true });
    }
    return tableOf(size, runs);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** All ways once, each with a quiet disk before it. The order turns, but what builds on a published image follows it. */
async function runRound(image: LargeImage, work: string, round: number): Promise<Run[]> {
  const { layoutDir, tags } = image;
  const [first = '', second = ''] = tags;
  const state = join(work, 'state');
  await mkdir(state, { recursive: true });
  const others = async (): Promise<Run[]> => [await unpackAndMake(`${layoutDir}:${first}`, work)];
  const ours = async (): Promise<Run[]> => [
    await publish('thaw, nothing known before', state, `oci:${layoutDir}:${first}`),
    await publish('thaw, only the app layer new', state, `oci:${layoutDir}:${second}`),
    await publish('thaw, published before', state, `oci:${layoutDir}:${first}`),
  ];
  if (round % 2 === 0) return [...(await others()), ...(await ours())];
  const published = await ours();
  return [...(await others()), ...published];
}

async function unpackAndMake(image: string, work: string): Promise<Run> {
  const root = join(work, 'unpacked');
  const disk = join(work, 'disk');
  await runCommand('sync', [], { timeoutMs });
  const unpackMs = await timed('umoci', ['raw', 'unpack', '--image', image, root]);
  const use = async (flag: string): Promise<number> =>
    Number.parseInt((await runCommand('du', ['-s', flag, root], { timeoutMs })).stdout, 10);
  const [blocks, inodes] = [await use('--block-size=4096'), await use('--inodes')];
  const flags = ['-q', '-t', 'ext4', '-O', '^has_journal', '-N', `${inodes + 100}`, '-d', root];
  const sizeKb = Math.ceil(blocks * 4 * 1.1) + inodes + 16_384;
  const elapsedMs = unpackMs + (await timed('mke2fs', [...flags, disk, `${sizeKb}k`]));
  await rm(root, { recursive: true });
  await rm(disk);
  return told({ way: 'umoci raw unpack + mke2fs -d', elapsedMs });
}

async function timed(command: string, args: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  await runCommand(command, args, { timeoutMs });
  return performance.now() - startedMs;
}

async function publish(way: string, state: string, source: string): Promise<Run> {
  await runCommand('sync', [], { timeoutMs });
  const args = [publishOncePath, state, source];
  const { stdout } = await promisify(execFile)(launchPath, args);
  const published = JSON.parse(stdout) as Published;
  return told({ way, elapsedMs: published.elapsedMs, published });
}

/** The largest images take a while. */
function told(run: Run): Run {
  const memory = run.published === undefined ? '' : `, ${run.published.peakBytes / 1e6} MB`;
  process.stderr.write(`  ${run.way}: ${(run.elapsedMs / 1000).toFixed(1)} s${memory}\n`);
  return run;
}

function tableOf(size: ImageSize, runs: readonly (readonly Run[])[]): Table {
  const [firstRound = []] = runs;
  const rows = firstRound.map(({ way }, place) => {
    const column = runs.map((round) => round[place]).filter((run) => run !== undefined);
    const ratio = spread(
      column.map((run, at) => run.elapsedMs / (runs[at]?.[0]?.elapsedMs ?? NaN)),
    );
    const seconds = spread(column.map((run) => run.elapsedMs / 1000)).median.toFixed(1);
    const peaks = column.map((run) => run.published?.peakBytes ?? 0);
    const memory = Math.max(...peaks);
    const { known = 0, total = 0 } = column[0]?.published?.layers ?? {};
    return [
      way,
      seconds,
      [ratio.min, ratio.median, ratio.max].map((value) => value.toFixed(3)).join(' '),
      memory === 0 ? '' : (memory / 1e6).toFixed(0),
      total === 0 ? '' : `${known} of ${total}`,
    ];
  });
  const published = firstRound.at(-1)?.published;
  const { fileCount = 0, contentBytes = 0 } = published ?? {};
  const limit = (memoryBytes + fileCount * memoryPerFileBytes) / 1e6;
  const content = `${(contentBytes / 1e6).toFixed(0)} MB in ${fileCount} files`;
  return {
    title: `${size}: ${content}; memory may be ${limit.toFixed(0)} MB; ${runs.length} rounds`,
    columns: ['', 's', 'ratio min median max', 'MB', 'layers known'],
    rows,
  };
}
