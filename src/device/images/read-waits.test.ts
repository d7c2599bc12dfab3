import assert from 'node:assert/strict';
import { test } from 'node:test';

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
