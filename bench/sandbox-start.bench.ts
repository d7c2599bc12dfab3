/**
 * How long a sandbox with a small static program takes to start, by each way that this machine has, and how many starts a
 * second two at a time give; and what it costs to freeze and thaw one. The root is a directory: what images add is not in it.
 * Needs root and busybox-static.
 */

import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../src/base/index.ts';
import {
  createSandboxFactory,
  probeSandboxRuntimes,
  type SandboxFactory,
  type SandboxSpec,
} from '../src/sandbox/index.ts';
import { spread, type Report } from './harness.ts';

const rounds = 20;
const sustainedMs = 3000;
const atATime = 2;
/** What a worker has to do between two starts at least; sandboxes are got ready meanwhile. */
const pauseMs = 50;

interface Way {
  readonly name: string;
  readonly factory: SandboxFactory;
  readonly createMs: number[];
}

interface Bed {
  readonly directory: string;
  readonly root: string;
  started: number;
}

async function makeBed(): Promise<Bed> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-sandbox-start-'));
  const root = join(directory, 'root');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp']) {
    await mkdir(join(root, name), { recursive: true, mode: name === 'tmp' ? 0o1777 : 0o755 });
  }
  await copyFile('/bin/busybox', join(root, 'bin/true'));
  await copyFile('/bin/busybox', join(root, 'bin/sleep'));
  return { directory, root, started: 0 };
}

function specOf(bed: Bed, ...args: readonly string[]): SandboxSpec {
  bed.started += 1;
  return {
    id: `start-${process.pid}-${bed.started}`,
    rootPath: bed.root,
    args,
    env: { PATH: '/bin' },
    workingDir: '/',
    user: '',
    memoryBytes: 64 * 2 ** 20,
    tmpSizeBytes: 2 ** 20,
    cpus: 1,
  };
}

/** Milliseconds until `create` is done; the program is waited for and removed besides. */
async function startOnce(bed: Bed, factory: SandboxFactory): Promise<number> {
  const startedMs = performance.now();
  await using sandbox = await factory.create(specOf(bed, '/bin/true'), () => {});
  const createMs = performance.now() - startedMs;
  await sandbox.exited;
  return createMs;
}

/** Starts a second, each with its end and removal. */
async function sustained(bed: Bed, factory: SandboxFactory): Promise<number> {
  let done = 0;
  const startedMs = performance.now();
  const startAgain = async (): Promise<void> => {
    while (performance.now() - startedMs < sustainedMs) {
      await startOnce(bed, factory);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: atATime }, startAgain));
  return (done / (performance.now() - startedMs)) * 1000;
}

async function freezing(bed: Bed, factory: SandboxFactory): Promise<string[]> {
  await using sandbox = await factory.create(specOf(bed, '/bin/sleep', '100'), () => {});
  const [freezeMs, thawMs]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds * 5; round += 1) {
    const startedMs = performance.now();
    await sandbox.freeze();
    const frozenMs = performance.now();
    await sandbox.thaw();
    freezeMs.push(frozenMs - startedMs);
    thawMs.push(performance.now() - frozenMs);
  }
  return [freezeMs, thawMs].map((times) => spread(times).median.toFixed(3));
}

export const report: Report = {
  title: 'Starting a sandbox with a static program',
  run: async () => {
    const bed = await makeBed();
    await using made = new AsyncDisposableStack();
    made.defer(() => rm(bed.directory, { recursive: true }));
    const ways: Way[] = [];
    for (const { runtime, usable } of await probeSandboxRuntimes()) {
      if (!usable) continue;
      for (const readyCount of runtime === 'builtin' ? [2, 0] : [0]) {
        const stateDir = join(bed.directory, `${runtime}-${readyCount}`);
        const factory = made.use(await createSandboxFactory({ stateDir, runtime, readyCount }));
        const name = readyCount === 0 ? runtime : `${runtime}, ${readyCount} got ready ahead`;
        ways.push({ name, factory, createMs: [] });
      }
    }
    for (let round = -1; round < rounds; round += 1) {
      for (const { factory, createMs } of ways) {
        await delay(pauseMs);
        const ms = await startOnce(bed, factory);
        if (round >= 0) createMs.push(ms);
      }
    }
    const reference = present(ways.find(({ name }) => name === 'runc') ?? ways.at(-1), 'a way');
    const rows = [];
    for (const { name, factory, createMs } of ways) {
      const ratios = createMs.map((ms, round) => ms / (reference.createMs[round] ?? NaN));
      rows.push([
        name,
        spread(ratios).median.toFixed(2),
        spread(createMs).min.toFixed(1),
        spread(createMs).median.toFixed(1),
        (await sustained(bed, factory)).toFixed(0),
      ]);
    }
    const columns = ['', `of ${reference.name}`, 'ms min', 'ms median', 'starts/s'];
    const [freezeMs = '', thawMs = ''] = await freezing(bed, present(ways[0], 'a way').factory);
    return [
      { title: 'Until the program runs', columns, rows },
      { title: 'Median ms', columns: ['freeze', 'thaw'], rows: [[freezeMs, thawMs]] },
    ];
  },
};
