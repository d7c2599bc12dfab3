/**
 * Cold starts as users feel them: the client's round trip of a function's first invocation, of Thaw in four cache states and of what a user
 * would pick instead (containerd pulling and unpacking, eStargz optimised and not), the same images over the same link, in turn. What
 * all are held against is a start from an unpacked, page-warm overlayfs. See docs/benchmarks.md for what is measured how.
 *
 * Samples are appended to a file, and a cell that has enough is not measured again: what pulls its image each time has enough from five on, once its median is
 * known to 15 %. Samples of other code, or over another link, count for nothing. Options: `--samples N` a cell (20); `--quick`: 3 samples
 * of a few functions over one link; `--apps LIST` and `--systems LIST` take ids (`--list` prints them), `--links 1,10` by Gbit/s;
 * `--results DIR` (bench/results/cold-start); `--report` measures nothing and writes the reports of what is there; `--prepare` only builds
 * and converts what is kept between runs, half an hour the first time; `--sustained SECONDS` measures only how many cold starts a second
 * there can be. Needs root, FUSE,
 * overlayfs, runc, memcached, Ceph, containerd, ctr-remote, Go, gcc, a JDK, zip and what the corpus needs.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { errorMessage, present } from '../src/base/index.ts';
import { apps } from './cold-start/apps.ts';
import { appArchive } from './cold-start/make-images.ts';
import { presentMeasurement } from './cold-start/measurement.ts';
import { openSetting } from './cold-start/open-setting.ts';
import { reportTables, writeReports } from './cold-start/report.ts';
import { areEnough, SampleFile, type CellId } from './cold-start/samples.ts';
import { measureSustained } from './cold-start/sustained.ts';
import {
  AppUnderTest,
  isPossible,
  systemIds,
  type BenchSetting,
  type SystemId,
} from './cold-start/systems.ts';
import type { Report, Table } from './harness.ts';
import { shapes } from './support/shaped-link.ts';

const quickApps = ['static', 'node-0', 'node-50', 'node-50-imported', 'node-250'];
const resultsDefault = join(import.meta.dirname, 'results/cold-start');
/** A second, on two cores. */
const sustainedGoal = 20;
/** Of one cell in a row; then it is given up for this run. */
const failuresMax = 3;

interface Selection {
  readonly links: readonly (keyof typeof shapes)[];
  readonly appIds: readonly string[];
  readonly systemIds: readonly SystemId[];
  readonly samples: number;
}

function progress(what: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${what}\n`);
}

function chosen<Id extends string>(list: string | undefined, all: readonly Id[]): readonly Id[] {
  if (list === undefined) return all;
  const wanted = list.split(',');
  const unknown = wanted.filter((id) => !all.some((known) => known === id));
  if (unknown.length > 0)
    throw new Error(`No such: ${unknown.join(', ')}; there are ${all.join(', ')}`);
  return all.filter((id) => wanted.includes(id));
}

/** What is still to be measured, of one app over one link, in the order of this round. */
function missing(
  file: SampleFile,
  { systemIds: wanted, samples }: Selection,
  of: Omit<CellId, 'system'>,
  round: number,
): readonly SystemId[] {
  const app = apps.find(({ id }) => id === of.app);
  const systems = wanted.filter(
    (system) =>
      app !== undefined &&
      isPossible(app, system.startsWith('zip') ? 'zip' : 'image') &&
      !areEnough(file.of({ ...of, system }), samples),
  );
  const turn = systems.length === 0 ? 0 : round % systems.length;
  return [...systems.slice(turn), ...systems.slice(0, turn)];
}

let isStopping = false;

/** What has been measured is kept, and what has been started is ended. */
function stopOnSignal(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      progress('stopping after this sample');
      isStopping = true;
    });
  }
}

async function measureApp(
  setting: BenchSetting,
  file: SampleFile,
  selection: Selection,
  of: Omit<CellId, 'system'>,
): Promise<void> {
  const app = apps.find(({ id }) => id === of.app);
  if (isStopping || app === undefined || missing(file, selection, of, 0).length === 0) return;
  progress(`${of.app} over ${of.link}: making ready`);
  const prepared = await AppUnderTest.prepare(setting, app, missing(file, selection, of, 0));
  const failures = new Map<SystemId, number>();
  for (let round = 0; ; round += 1) {
    const systems = missing(file, selection, of, round).filter(
      (system) => (failures.get(system) ?? 0) < failuresMax,
    );
    if (systems.length === 0) return;
    for (const system of systems) {
      if (isStopping) return;
      try {
        const before = await setting.link.processorMs();
        const measured = await prepared.measure(system);
        const linkProcessorMs = (await setting.link.processorMs()) - before;
        const at = new Date().toISOString();
        await file.add({ ...of, system, at, linkProcessorMs, ...measured });
        progress(`${of.app} ${system} ${measured.elapsedMs.toFixed(0)} ms`);
      } catch (thrown) {
        failures.set(system, (failures.get(system) ?? 0) + 1);
        progress(`${of.app} ${system} failed: ${errorMessage(thrown)}`);
      }
    }
  }
}

async function measureAll(file: SampleFile, selection: Selection): Promise<void> {
  await using made = new AsyncDisposableStack();
  // Not in the temporary directory: sockets have short paths.
  const directory = await mkdtemp('/var/tmp/thaw-cold-');
  made.defer(() =>
    rm(directory, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }),
  );
  stopOnSignal();
  progress('starting servers');
  const setting = made.use(await openSetting(directory));
  for (const app of selection.appIds) {
    for (const link of selection.links) {
      await setting.link.shape(shapes[link]);
      await measureApp(setting, file, selection, { link, app });
    }
  }
}

/** Builds and converts all that is kept between runs. */
async function prepareAll({ appIds }: Selection): Promise<void> {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp('/var/tmp/thaw-cold-');
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const setting = made.use(await openSetting(directory));
  stopOnSignal();
  for (const app of apps.filter(({ id }) => appIds.includes(id))) {
    if (isStopping) return;
    progress(`preparing ${app.id}`);
    await AppUnderTest.prepare(setting, app, ['stargz', 'stargz-optimised']);
    if (isPossible(app, 'zip')) await appArchive(app);
  }
}

/** Cold starts a second, for so many seconds. */
async function sustained(seconds: number): Promise<Table> {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp('/var/tmp/thaw-cold-');
  made.defer(() =>
    rm(directory, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }),
  );
  const setting = made.use(await openSetting(directory));
  const app = present(
    apps.find(({ id }) => id === 'static'),
    'the static program',
  );
  await AppUnderTest.prepare(setting, app, ['thaw-zone']);
  progress(`cold starts of "${app.title}" for ${seconds} s`);
  const found = await measureSustained(setting.thaw, app.id, seconds * 1000);
  const verdict = found.perSecond >= sustainedGoal ? 'reached' : 'MISSED';
  return {
    title: `Cold starts of "${app.title}", one after the other by ${found.clients} clients, image mounted; goal ${sustainedGoal} a second`,
    columns: ['seconds', 'cold starts', 'a second', '', 'ms p50', 'p99', 'failed'],
    rows: [
      [
        found.seconds.toFixed(1),
        String(found.coldStarts),
        found.perSecond.toFixed(1),
        verdict,
        found.p50Ms.toFixed(0),
        found.p99Ms.toFixed(0),
        String(found.failed),
      ],
    ],
  };
}

export const report: Report = {
  title: 'Cold starts to the first response',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        samples: { type: 'string' },
        quick: { type: 'boolean', default: false },
        apps: { type: 'string' },
        systems: { type: 'string' },
        links: { type: 'string' },
        results: { type: 'string', default: resultsDefault },
        report: { type: 'boolean', default: false },
        prepare: { type: 'boolean', default: false },
        sustained: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    });
    const appIds = apps.map(({ id }) => id);
    if (values.list) return [listOf(appIds, 'functions'), listOf(systemIds, 'systems')];
    const linkNames = Object.keys(shapes) as (keyof typeof shapes)[];
    const speeds = values.links?.split(',') ?? (values.quick ? ['10'] : ['1', '10']);
    const selection: Selection = {
      links: linkNames.filter((name) => speeds.includes(String(shapes[name].bitsPerSecond / 1e9))),
      appIds: chosen(values.apps ?? (values.quick ? quickApps.join(',') : undefined), appIds),
      systemIds: chosen(values.systems, systemIds),
      samples: Number(values.samples ?? (values.quick ? 3 : 20)),
    };
    if (values.prepare) {
      await prepareAll(selection);
      return [];
    }
    if (values.sustained !== undefined) return [await sustained(Number(values.sustained))];
    const measurement = values.report ? undefined : await presentMeasurement();
    const file = await SampleFile.open(join(values.results, 'samples.jsonl'), measurement);
    if (!values.report) await measureAll(file, selection);
    await writeReports(values.results, file);
    return reportTables(file.all);
  },
};

function listOf(ids: readonly string[], title: string): Table {
  return { title, columns: ['id'], rows: ids.map((id) => [id]) };
}
