import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { DirectorySync } from './directory-sync.ts';

test('sync() resolves only after an fsync of that directory which started after the call', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 12 }),
      async (scheduler, paths) => {
        let now = 0;
        const completed: { readonly path: string; readonly startedAt: number }[] = [];
        const fsync = async (path: string): Promise<void> => {
          now += 1;
          const startedAt = now;
          await scheduler.schedule(Promise.resolve(), `fsync ${path}`);
          completed.push({ path, startedAt });
        };
        const directorySync = new DirectorySync(fsync);
        const calls = paths.map(async (path, index) => {
          await scheduler.schedule(Promise.resolve(), `call ${index}`);
          now += 1;
          const calledAt = now;
          await directorySync.sync(path);
          assert.ok(completed.some((done) => done.path === path && done.startedAt > calledAt));
        });
        await scheduler.waitFor(Promise.all(calls));
        assert.ok(completed.length <= paths.length);
      },
    ),
  );
});

test('callers who come while an fsync is under way share the next one', async () => {
  const waiting: (() => void)[] = [];
  const directorySync = new DirectorySync(() => new Promise((resolve) => waiting.push(resolve)));
  const first = directorySync.sync('a');
  const others = Promise.all([1, 2, 3, 4].map(() => directorySync.sync('a')));
  waiting.shift()?.();
  await first;
  await new Promise(setImmediate);
  assert.equal(waiting.length, 1);
  waiting.shift()?.();
  await others;
  assert.equal(waiting.length, 0);
});

test('a failed fsync fails those who waited for it and no later one', async () => {
  const outcomes = [new Error('input/output error'), undefined];
  const directorySync = new DirectorySync(async () => {
    const outcome = outcomes.shift();
    if (outcome !== undefined) throw outcome;
  });
  const first = directorySync.sync('a');
  const next = directorySync.sync('a');
  await assert.rejects(first, /input\/output error/);
  await next;
});
