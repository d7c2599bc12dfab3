/**
 * Whether the largest images work, and what they take: a million files, 300,000 of them in one directory, and 10 GiB of content are
 * published, checked by Thaw, exported, checked by e2fsck, mounted by the kernel and compared file by file and byte by byte with what
 * they were made of. Fails at the first difference. Needs root, e2fsck, and 50 GB in the temporary directory.
 * `--share 0.01` makes everything so much smaller, for a try. Results: docs/benchmarks.md.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { runCommand } from '../src/base/index.ts';
import { Thaw } from '../test/support/thaw.ts';
import { megabytes } from './dedup/words.ts';
import type { Report, Table } from './harness.ts';
import type { Published } from './publish/publish-once.ts';
import { compareMount } from './scale/compare-mount.ts';
import { hugeImage, writeHugeImage } from './scale/huge-image.ts';

const launchPath = join(import.meta.dirname, '../scripts/launch');
const publishOncePath = 'bench/publish/publish-once.ts';
const timeoutMs = 3_600_000;

/** What `thaw image check` says. */
interface Checked {
  readonly filesWalked: number;
  readonly problems: readonly string[];
}

/** Does the steps one after the other and keeps what each took and found. */
class Steps {
  readonly rows: string[][] = [];

  async run(name: string, step: () => Promise<string>): Promise<void> {
    const startedMs = performance.now();
    const found = await step();
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stderr.write(`  ${name}: ${seconds} s, ${found}\n`);
    this.rows.push([name, seconds, found]);
  }
}

async function scale(share: number, work: string): Promise<Table> {
  const image = hugeImage(share);
  const layout = join(work, 'layout');
  const state = join(work, 'state');
  const disk = join(work, 'disk.img');
  await mkdir(layout);
  await mkdir(state);
  const thaw = new Thaw(state);
  const steps = new Steps();
  let published: Published | undefined;
  await steps.run('write the layers', async () => {
    await writeHugeImage(image, layout, 'huge');
    return `${image.flat().length} files`;
  });
  await steps.run('publish', async () => {
    const args = [publishOncePath, state, `oci:${layout}:huge`];
    const { stdout } = await promisify(execFile)(launchPath, args);
    published = JSON.parse(stdout) as Published;
    const { contentBytes, storedBytes, chunkCount, peakBytes } = published;
    const sizes = `${megabytes(contentBytes)} of content in ${chunkCount} chunks of ${megabytes(storedBytes)}`;
    return `${sizes}; peak memory ${megabytes(peakBytes)}`;
  });
  await rm(layout, { recursive: true });
  const id = published?.manifestId ?? '';
  await steps.run('thaw image check', async () => {
    const report = await thaw.json<Checked>('image', 'check', id, '--tenant', 'bench');
    assert.deepEqual(report.problems, []);
    return `${report.filesWalked} files walked, no problems`;
  });
  await steps.run('thaw image export', async () => {
    await thaw.json('image', 'export', id, disk, '--tenant', 'bench');
    const { size, blocks } = await stat(disk);
    return `${megabytes(blocks * 512)} of ${size / 2 ** 30} GiB`;
  });
  await rm(state, { recursive: true });
  await steps.run('e2fsck -f -n', async () => {
    const { stdout } = await runCommand('e2fsck', ['-f', '-n', disk], { timeoutMs });
    const said = stdout.split('\n').filter((line) => line !== '' && !/^Pass [1-5]:/.test(line));
    assert.equal(said.length, 1, stdout);
    return said[0] ?? '';
  });
  await steps.run('mount, walk and compare', async () => {
    const mountPoint = join(work, 'mnt');
    await mkdir(mountPoint);
    await runCommand('mount', ['-t', 'ext4', '-o', 'ro,loop', disk, mountPoint]);
    try {
      const { files, directories, bytes } = compareMount(mountPoint, image);
      assert.equal(files + directories, published?.fileCount);
      return `${files} files and ${directories} directories with ${megabytes(bytes)} are equal`;
    } finally {
      await runCommand('umount', [mountPoint]);
    }
  });
  return { title: `${share} of the whole`, columns: ['', 's', ''], rows: steps.rows };
}

export const report: Report = {
  title: 'The largest images: published, checked, mounted and compared',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: { share: { type: 'string', default: '1' } },
    });
    const work = await mkdtemp(join(tmpdir(), 'thaw-bench-scale-'));
    try {
      return [await scale(Number(values.share), work)];
    } finally {
      await rm(work, { recursive: true });
    }
  },
};
