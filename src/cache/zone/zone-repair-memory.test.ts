import assert from 'node:assert/strict';
import { test } from 'node:test';

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { RepairMemory } from './zone-repair-memory.ts';

test('a stripe rests on its server, on that one alone and for its time', async () => {
  const clock = new VirtualTime();
  const memory = new RepairMemory({ restMs: 100, entriesMax: 10, clock });
  memory.remember('key', 'a');
  assert.equal(memory.isResting('key', 'a'), true);
  assert.equal(memory.isResting('key', 'b'), false);
  assert.equal(memory.isResting('other', 'a'), false);
  await clock.pass(99);
  assert.equal(memory.isResting('key', 'a'), true);
  await clock.pass(1);
  assert.equal(memory.isResting('key', 'a'), false);
});

test('memory is bounded: the oldest are forgotten first, and those that have rested with any', async () => {
  const clock = new VirtualTime();
  const memory = new RepairMemory({ restMs: 100, entriesMax: 3, clock });
  for (const key of ['1', '2', '3', '1', '4']) memory.remember(key, 'a');
  assert.equal(memory.size, 3);
  assert.deepEqual(
    ['1', '2', '3', '4'].map((key) => memory.isResting(key, 'a')),
    [true, false, true, true],
  );
  await clock.pass(100);
  memory.remember('5', 'a');
  assert.equal(memory.size, 1);
});
