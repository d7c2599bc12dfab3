/** The parts of the cold start benchmark that decide what its report says, held to examples worked out by hand. */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Cells } from '../bench/cold-start/cells.ts';
import { goalTable } from '../bench/cold-start/goals.ts';
import { directoriesOf } from '../bench/cold-start/npm-packages.ts';
import { areEnough, quantile, SampleFile, type Sample } from '../bench/cold-start/samples.ts';
import { reportTables } from '../bench/cold-start/report.ts';
import type { SystemId } from '../bench/cold-start/systems.ts';

const link = '10 Gbit/s + 1 ms';

const measurement = { commit: 'abc', code: 'new', link: 'link-1', method: 1 };

function sample(system: SystemId, elapsedMs: number, app = 'node-0', code = 'new'): Sample {
  const at = '2026-11-23T00:00:00.000Z';
  const id = { measurement: { ...measurement, code }, link, app, system, at };
  return { ...id, elapsedMs, phasesMs: { mount: 1 }, linkProcessorMs: 0 };
}

test('a quantile is a value that was measured, by nearest rank', () => {
  const values = [5, 1, 4, 2, 3];
  assert.deepEqual(
    [0, 0.2, 0.5, 0.9, 1].map((share) => quantile(values, share)),
    [1, 1, 3, 5, 5],
  );
  assert.equal(quantile([], 0.5), NaN);
});

test('a set of packages takes the directories of all that it needs, nested ones with their parents', () => {
  const lock = {
    packages: {
      'node_modules/a': { dependencies: { b: '1', c: '1' } },
      'node_modules/a/node_modules/b': { dependencies: { c: '1', d: '1' } },
      'node_modules/b': { dependencies: { e: '1' } },
      'node_modules/c': { optionalDependencies: { missing: '1' } },
      'node_modules/d': { dependencies: { a: '1' } },
      'node_modules/e': {},
    },
  };
  assert.deepEqual(directoriesOf(lock, ['a']), [
    'node_modules/a',
    'node_modules/c',
    'node_modules/d',
  ]);
  assert.deepEqual(directoriesOf(lock, ['b']), ['node_modules/b', 'node_modules/e']);
});

test('goals are of added times: ours beyond runc on overlayfs, theirs beyond their own warm start', () => {
  const cells = new Cells([
    sample('overlayfs', 100),
    sample('containerd-warm', 200),
    sample('containerd', 3200),
    sample('stargz-optimised', 500),
    sample('thaw-zone', 300),
  ]);
  const measured = goalTable(cells).rows.map(([goal, , , most, ratio, verdict]) => {
    return [goal, most, ratio, verdict];
  });
  assert.deepEqual(measured, [
    ['zone warm: first response / warm overlayfs start', '1.25', '3.00', 'missed by 2.4x'],
    ['zone warm: added time / what pull, unpack and run add', '0.07', '0.07', 'reached'],
    ['zone warm: added time / what optimised eStargz adds', '0.33', '0.67', 'missed by 2.0x'],
  ]);
});

test('a report has a row for each function that was measured, and a dash for what was not', () => {
  const [roundTrips] = reportTables([
    sample('overlayfs', 100),
    sample('overlayfs', 120),
    sample('thaw-zone', 300, 'static'),
  ]);
  assert.deepEqual(roundTrips?.rows, [
    ['Small static program', '–', '300 / 300 / 300 (1)'],
    ['Node, no packages', '100 / 120 / 120 (2)', '–'],
  ]);
});

test('what pulls its image needs fewer samples than wanted where they agree, and nothing else does', () => {
  const pulls = [4000, 4100, 4200, 4300, 4400].map((ms) => sample('containerd', ms));
  assert.equal(areEnough(pulls.slice(1), 20), false);
  assert.equal(areEnough(pulls, 20), true);
  const apart = [1000, 2000, 4000, 6000, 9000].map((ms) => sample('containerd', ms));
  assert.equal(areEnough(apart, 20), false);
  assert.equal(areEnough(apart, 5), true);
  const starts = pulls.map(({ elapsedMs }) => sample('thaw-zone', elapsedMs));
  assert.equal(areEnough(starts, 20), false);
});

test('samples of other code or another link stay in the file and count for nothing, but of what pulls its image', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-samples-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, 'samples.jsonl');
  const { measurement: _, ...oldest } = sample('overlayfs', 1);
  const otherLink = { ...sample('containerd', 5), measurement: { ...measurement, link: 'link-0' } };
  const kept = [
    oldest,
    sample('thaw-zone', 2, 'node-0', 'old'),
    sample('containerd', 3, 'node-0', 'old'),
    sample('thaw-zone', 4),
    otherLink,
  ].map((one) => JSON.stringify(one));
  await writeFile(path, `${kept.join('\n')}\n`);
  const file = await SampleFile.open(path, measurement);
  assert.deepEqual(
    file.all.map(({ elapsedMs }) => elapsedMs),
    [3, 4],
  );
  const { measurement: __, ...found } = sample('thaw-zone', 6);
  await file.add(found);
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  assert.deepEqual(lines.slice(0, -1), kept);
  assert.deepEqual(JSON.parse(lines.at(-1) ?? ''), sample('thaw-zone', 6));
  const again = await SampleFile.open(path); // of the last sample
  assert.deepEqual(again.measurement, measurement);
  assert.equal(again.all.length, 3);
});
