import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { withFileLock } from './file-lock.ts';

async function makeDirectory(): Promise<{ readonly lock: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-lock-'));
  return { lock: join(path, 'lock'), [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('withFileLock() lets one in at a time', async () => {
  await using directory = await makeDirectory();
  let inside = 0;
  let entered = 0;
  const enter = async (): Promise<void> => {
    inside += 1;
    entered += 1;
    assert.equal(inside, 1);
    await new Promise(setImmediate);
    inside -= 1;
  };
  await Promise.all([1, 2, 3, 4, 5].map(() => withFileLock(directory.lock, enter)));
  assert.equal(entered, 5);
});

test('withFileLock() gives the lock back when the work fails, and throws what it threw', async () => {
  await using directory = await makeDirectory();
  const failure = new Error('the work failed');
  await assert.rejects(
    withFileLock(directory.lock, () => Promise.reject(failure)),
    failure,
  );
  assert.equal(await withFileLock(directory.lock, async () => 5), 5);
});

test('withFileLock() gives up waiting after its timeout', async () => {
  await using directory = await makeDirectory();
  await withFileLock(directory.lock, async () => {
    await assert.rejects(
      withFileLock(directory.lock, async () => {}, 50),
      /stayed locked for 50 ms/,
    );
  });
});

test('withFileLock() says so where the file cannot be made', async () => {
  await using directory = await makeDirectory();
  await assert.rejects(
    withFileLock(join(directory.lock, 'in', 'nothing'), async () => {}),
    /flock could not lock/,
  );
});
