/** The link that the benchmarks measure over, against arithmetic: all their conclusions hang on it. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import * as fc from 'fast-check';

import { compiled } from '../bench/support/shaped-link/program.ts';
import type { LinkShape } from '../bench/support/shaped-link.ts';
import { runCommand } from '../src/base/index.ts';
import { needsPrograms } from './support/programs.ts';

interface Arrival {
  readonly flow: number;
  /** 0: the end. */
  readonly bytes: number;
  readonly dueMs: number;
}

type Step =
  | { readonly push: number; readonly bytes: number; readonly nowMs: number }
  | { readonly take: number };

const isClose = (a: number, b: number): boolean => Math.abs(a - b) < 1e-6;
suite('the schedule of the shaped link', { skip: needsPrograms('gcc') }, () => {
  let directory = '';
  let program = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'thaw-link-'));
    program = await compiled('schedule-lines', directory);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  /** Everything that arrives: what is taken in between, then the rest, asked for as soon as something may have. */
  async function arrivals(
    { bitsPerSecond, delayMs }: LinkShape,
    steps: readonly Step[],
  ): Promise<Arrival[]> {
    const lines = steps.map((step) =>
      'take' in step ? `take ${step.take}` : `push ${step.push} ${step.bytes} ${step.nowMs}`,
    );
    const { stdout } = await runCommand(program, [String(bitsPerSecond), String(delayMs)], {
      input: `${lines.join('\n')}\n`,
    });
    const printed = stdout.split('\n').filter((line) => line !== '');
    return printed.map((line) => {
      const [flow = NaN, bytes = NaN, dueMs = NaN] = line.split(' ').map(Number);
      return { flow, bytes, dueMs };
    });
  }

  test('a chunk arrives after the delay and size / bandwidth, and an idle link saves up nothing', async () => {
    const arrived = await arrivals({ bitsPerSecond: 1e9, delayMs: 2 }, [
      { push: 0, bytes: 512 * 1024, nowMs: 10 },
      { take: 11.99 },
      { push: 1, bytes: 1, nowMs: 1000 },
    ]);
    assert.ok(arrived.every(({ dueMs }) => dueMs > 12));
    const lastMs = arrived.findLast(({ flow }) => flow === 0)?.dueMs ?? 0;
    assert.ok(isClose(lastMs, 10 + 2 + (512 * 1024 * 8) / 1e6));
    assert.ok(isClose(arrived.at(-1)?.dueMs ?? 0, 1002 + 8 / 1e6));
  });

  test('flows share the bandwidth: a short answer does not wait for a long one before it', async () => {
    const all = await arrivals({ bitsPerSecond: 1e9, delayMs: 0 }, [
      { push: 0, bytes: 1_000_000, nowMs: 0 },
      { push: 1, bytes: 100_000, nowMs: 0 },
    ]);
    const lastOf = (wanted: number): number =>
      all.findLast(({ flow }) => flow === wanted)?.dueMs ?? 0;
    assert.ok(lastOf(1) < 2.2, `${lastOf(1)} ms`); // twice its own bytes, and two turns
    assert.ok(isClose(lastOf(0), 8.8));
  });

  test('the end of a flow arrives after all of its bytes', async () => {
    const all = await arrivals({ bitsPerSecond: 1e9, delayMs: 1 }, [
      { push: 0, bytes: 100_000, nowMs: 0 },
      { push: 0, bytes: 0, nowMs: 0 },
    ]);
    assert.deepEqual(
      all.map(({ bytes }) => bytes),
      [32_768, 32_768, 32_768, 1696, 0],
    );
    assert.ok(isClose(all.at(-1)?.dueMs ?? 0, 1.8));
  });

  test('whatever is sent when, and however late one looks, every byte arrives in order and at its time', async () => {
    const pushes = fc.array(
      fc.record({
        flow: fc.integer({ min: 0, max: 2 }),
        bytes: fc.integer({ min: 1, max: 200_000 }),
        afterUs: fc.integer({ min: 0, max: 3000 }),
        looks: fc.boolean(),
      }),
      { minLength: 1, maxLength: 30 },
    );
    const speeds = fc.integer({ min: 1, max: 100 });
    const property = fc.asyncProperty(pushes, speeds, async (sent, speed) => {
      const shape = { bitsPerSecond: speed * 1e8, delayMs: 2 };
      const steps: Step[] = [];
      let nowMs = 0;
      let freeMs = 0; // of a link that sends one after another
      for (const { flow, bytes, afterUs, looks } of sent) {
        nowMs += afterUs / 1000;
        if (looks) steps.push({ take: nowMs });
        steps.push({ push: flow, bytes, nowMs });
        freeMs = Math.max(freeMs, nowMs) + (bytes * 8000) / shape.bitsPerSecond;
      }
      const seen = await arrivals(shape, steps);
      assert.ok(isClose(seen.at(-1)?.dueMs ?? 0, freeMs + shape.delayMs));
      for (const flow of [0, 1, 2]) {
        const total = (all: readonly { readonly flow: number; readonly bytes: number }[]): number =>
          all.filter((one) => one.flow === flow).reduce((sum, { bytes }) => sum + bytes, 0);
        assert.equal(total(seen), total(sent));
      }
      const times = seen.map(({ dueMs }) => dueMs);
      assert.deepEqual(
        times,
        times.toSorted((a, b) => a - b),
      );
      assert.ok(seen.every(({ bytes }) => bytes <= 65_536));
    });
    await fc.assert(property, { numRuns: 50 });
  });
});
