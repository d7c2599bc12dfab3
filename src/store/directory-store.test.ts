import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { openDirectoryStore } from './directory-store.ts';
import { objectStoreConformance } from './testing/object-store-conformance.ts';

async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-store-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

objectStoreConformance({
  name: 'directory',
  create: async () => {
    const directory = await makeDirectory();
    const store = await openDirectoryStore(join(directory.path, 'origin'));
    return { store, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
  },
});

test('openDirectoryStore() shows the objects of a store that was there', async () => {
  await using directory = await makeDirectory();
  const before = await openDirectoryStore(directory.path);
  await before.putIfAbsent('root/chunks/abcd', Buffer.from('1'));
  const after = await openDirectoryStore(directory.path);
  assert.equal(await after.putIfAbsent('root/chunks/abcd', Buffer.from('2')), 'existed');
  assert.equal(Buffer.from((await after.get('root/chunks/abcd')) ?? []).toString(), '1');
});

test('an object lies below directories of its first two characters', async () => {
  await using directory = await makeDirectory();
  const store = await openDirectoryStore(directory.path);
  await store.putIfAbsent('root/chunks/abcd', Buffer.from('1'));
  assert.deepEqual(await readdir(join(directory.path, 'root/chunks/@a/@b')), ['abcd']);
});

test('a put leaves no temporary file, whatever its outcome', async () => {
  await using directory = await makeDirectory();
  const store = await openDirectoryStore(directory.path);
  await Promise.all([1, 2, 3].map(() => store.putIfAbsent('a', Buffer.from('1'))));
  const abort = new AbortController();
  const aborted = store.putIfAbsent('b', Buffer.alloc(1024 * 1024), { signal: abort.signal });
  abort.abort();
  await assert.rejects(aborted, { name: 'AbortError' });
  assert.deepEqual(await readdir(join(directory.path, '@tmp')), []);
});

test('openDirectoryStore() sweeps temporary files older than an hour and keeps younger ones', async () => {
  await using directory = await makeDirectory();
  await openDirectoryStore(directory.path);
  const nowMs = Date.UTC(2026, 0, 1);
  for (const [name, ageMinutes] of [
    ['old', 61],
    ['young', 59],
  ] as const) {
    const path = join(directory.path, '@tmp', name);
    await writeFile(path, 'half');
    const time = new Date(nowMs - ageMinutes * 60_000);
    await utimes(path, time, time);
  }
  await openDirectoryStore(directory.path, { clock: { nowMs: () => nowMs, monotonicMs: () => 0 } });
  assert.deepEqual(await readdir(join(directory.path, '@tmp')), ['young']);
});

test('openDirectoryStore() says that a path which is a file cannot be a store', async () => {
  await using directory = await makeDirectory();
  await writeFile(join(directory.path, 'file'), '');
  await assert.rejects(openDirectoryStore(join(directory.path, 'file')), {
    code: 'ERR_STORE_UNAVAILABLE',
  });
});
