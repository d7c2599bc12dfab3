import assert from 'node:assert/strict';
import { test } from 'node:test';

import { VirtualTime } from '../base/testing/virtual-time.ts';
import { WorkerReads } from './worker-reads.ts';

test('there is a pause until the first read, and a quarter of a second after the last one', async () => {
  const time = new VirtualTime();
  const reads = new WorkerReads(time);
  assert.equal(reads.pauseInMs(0), 0);
  for (let read = 0; read < 9; read += 1) {
    reads.note();
    assert.equal(reads.pauseInMs(0), Math.min(250, 2000 - read * 200));
    await time.pass(200);
    assert.equal(reads.pauseInMs(0), 50);
  }
  await time.pass(50);
  assert.equal(reads.pauseInMs(0), 0);
});

test('what has waited for two seconds waits no longer, and what began to wait later does', async () => {
  const time = new VirtualTime();
  const reads = new WorkerReads(time);
  for (let read = 0; read < 20; read += 1) {
    reads.note();
    await time.pass(100);
  }
  assert.equal(reads.pauseInMs(0), 0);
  assert.equal(reads.pauseInMs(100), 100);
  assert.equal(reads.pauseInMs(1000), 150);
});
