/**
 * What a cold start to the first response touches of an image's disk, Thaw's and that of `mke2fs -d` of the same tree: chunks of
 * 512 KiB that hold anything, and what these store. Counted at the loop device by the kernel's own trace. Each start is
 * repeated; where the counts differ, their range is shown. Options: `--image TEXT` takes only images with TEXT in their name;
 * `--read-ahead KIB` is 128, as of Thaw's own loop devices, and set on both disks;
 * `--rounds N` is 3. Results: docs/benchmarks.md.
 */

import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { defaultChunkSizeBytes } from '../src/chunk/index.ts';
import { planDisk } from '../src/ext4/index.ts';
import { plannedDisk } from './dedup/disk-chunks.ts';
import { openLayers, type LayerFile } from './dedup/layered-image.ts';
import { megabytes } from './dedup/words.ts';
import { spread, type Report, type Table } from './harness.ts';
import { startImage, startImageNames, type StartImageName } from './starts/images.ts';
import { recordStart } from './starts/record-reads.ts';
import { readFileBlocks, touchedBy, type Touched } from './starts/touched-chunks.ts';

/** At most, of what `mke2fs -d` has. */
const goals = { chunks: 1.05, storedBytes: 1 } as const;

interface Options {
  readonly rounds: number;
  readonly readAheadKib: number;
}

async function writeThawDisk(path: string, layers: readonly LayerFile[]): Promise<void> {
  await using image = await openLayers(layers);
  const disk = plannedDisk(planDisk(image.tree), image.content);
  await using file = await open(path, 'w');
  await file.truncate(disk.sizeBytes);
  const chunk = Buffer.alloc(defaultChunkSizeBytes);
  for (const index of disk.chunkIndexes) {
    await disk.read(index * defaultChunkSizeBytes, chunk);
    await file.write(chunk, 0, chunk.byteLength, index * defaultChunkSizeBytes);
  }
}

/** Of each round. */
async function touchedInRounds(
  diskPath: string,
  command: readonly string[],
  { rounds, readAheadKib }: Options,
): Promise<readonly Touched[]> {
  const fileBlocks = await readFileBlocks(diskPath);
  const touched: Touched[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const reads = await recordStart({ diskPath, command, readAheadKib });
    touched.push(await touchedBy(reads, diskPath, fileBlocks));
  }
  return touched;
}

function medianOf(touched: readonly Touched[], of: (one: Touched) => number): number {
  return spread(touched.map(of)).median;
}

function rowOf(title: readonly [string, string], touched: readonly Touched[]): string[] {
  const { min, median, max } = spread(touched.map(({ chunks }) => chunks));
  return [
    ...title,
    min === max ? `${median}` : `${median} (${min} to ${max})`,
    megabytes(medianOf(touched, ({ storedBytes }) => storedBytes)),
    megabytes(medianOf(touched, ({ readBytes }) => readBytes)),
    `${medianOf(touched, ({ metadataChunks }) => metadataChunks)}`,
  ];
}

async function rowsFor(name: StartImageName, options: Options): Promise<string[][]> {
  const { layers, mke2fsDisk, start } = await startImage(name);
  const theirs = await touchedInRounds(mke2fsDisk, start, options);
  const work = await mkdtemp(join(tmpdir(), 'thaw-bench-start-touch-'));
  try {
    const diskPath = join(work, 'thaw.img');
    await writeThawDisk(diskPath, layers);
    const ours = await touchedInRounds(diskPath, start, options);
    const verdicts = (['chunks', 'storedBytes'] as const).map((key) => {
      const ratio = medianOf(ours, (one) => one[key]) / medianOf(theirs, (one) => one[key]);
      return `${ratio.toFixed(2)} ${ratio <= goals[key] ? 'reached' : 'MISSED'}`;
    });
    return [rowOf([name, 'mke2fs -d'], theirs), [...rowOf(['', 'Thaw'], ours), ...verdicts]];
  } finally {
    await rm(work, { recursive: true });
  }
}

const columns = [
  'image',
  'disk',
  'chunks',
  'their stored bytes',
  'read',
  'chunks of metadata only',
  `chunks, <= ${goals.chunks}`,
  `bytes, <= ${goals.storedBytes}`,
];

export const report: Report = {
  title: 'Chunks touched by a cold start to the first response',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        image: { type: 'string', default: '' },
        rounds: { type: 'string', default: '3' },
        'read-ahead': { type: 'string', default: '128' },
      },
    });
    const readAheadKib = Number(values['read-ahead']);
    const options = { rounds: Number(values.rounds), readAheadKib };
    const rows: string[][] = [];
    for (const name of startImageNames) {
      if (name.includes(values.image)) rows.push(...(await rowsFor(name, options)));
    }
    const table: Table = { title: `Read-ahead ${readAheadKib} KiB`, columns, rows };
    return [table];
  },
};
