import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createFirstReadTimes, FirstReads, noteRead } from '../starts/first-reads.ts';
import { ReadWaits } from './read-waits.ts';

test('ReadWaits counts waits that overlap as one stall', () => {
  const waits = new ReadWaits();
  const first = waits.begin(100);
  const second = waits.begin(105);
  first(110);
  second(125);
  waits.begin(200)(204);
  assert.deepEqual(waits.counters, { reads: 3, totalMs: 34, stalls: 2, stalledMs: 29 });
});

test('FirstReads tells what was read first in its order, from when it was restarted', () => {
  const listed = new Map([3, 5, 8, 9].map((index) => [index, index]));
  const reads = new FirstReads(10, listed);
  for (const index of [5, 3, 5]) reads.note(index);
  assert.deepEqual(
    reads.list().map(({ index }) => index),
    [5, 3],
  );
  reads.restart();
  assert.deepEqual(reads.list(), []);
  noteRead(reads.shared, 8); // as a thread does
  reads.note(3);
  const again = reads.list();
  assert.deepEqual(
    again.map(({ index }) => index),
    [8, 3],
  );
  assert.ok(again.every(({ atMs }) => atMs >= 0));
  assert.equal(reads.has(5), false);
});

test('noteRead keeps a moment long after the base', () => {
  const { times } = createFirstReadTimes(2);
  noteRead({ times, baseUs: -1e12 }, 1);
  assert.deepEqual([times[0], times[1]], [0, 2 ** 31 - 1]);
});
