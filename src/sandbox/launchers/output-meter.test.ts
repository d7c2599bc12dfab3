import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OutputMeter, windowSizeBytes } from './output-meter.ts';

test('output is taken at once up to a megabyte in a tenth of a second, then no more of it', () => {
  const meter = new OutputMeter();
  assert.equal(meter.take(windowSizeBytes - 1, 1000), 0);
  assert.equal(meter.take(1, 1030), 70);
  assert.equal(meter.take(1, 1100), 0);
  assert.equal(meter.take(2 * windowSizeBytes, 1100), 100);
});

test('whoever prints all the time is taken 10 MiB of a second', () => {
  const meter = new OutputMeter();
  let takenBytes = 0;
  for (let nowMs = 0; nowMs < 1000; nowMs += meter.take(65_536, nowMs)) takenBytes += 65_536;
  assert.equal(takenBytes, 10 * windowSizeBytes);
});
