/** A directory store on a file system that is full, read-only or gone. */

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { mountSmallFilesystem } from '../../test/support/small-filesystem.ts';
import { errorCode, runCommand } from '../base/index.ts';
import { openDirectoryStore } from './directory-store.ts';

const skip = process.geteuid?.() === 0 ? false : 'needs root';

async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-store-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test(
  'a full disk refuses puts, keeps what is there, and takes puts again when there is room',
  { skip },
  async () => {
    await using disk = await mountSmallFilesystem(2 * 2 ** 20);
    const store = await openDirectoryStore(disk.path);
    const bytes = Buffer.alloc(300 * 1024, 7);
    const stored: string[] = [];
    const putUntilFull = async (): Promise<unknown> => {
      for (let number = 0; ; number += 1) {
        try {
          await store.putIfAbsent(`n${number}`, bytes);
          stored.push(`n${number}`);
        } catch (thrown) {
          return thrown;
        }
      }
    };
    assert.equal(errorCode(await putUntilFull()), 'ERR_STORE_FULL');
    assert.ok(stored.length >= 4);
    assert.deepEqual(await readdir(join(disk.path, '@tmp')), []);
    for (const name of stored) assert.ok(Buffer.from((await store.get(name)) ?? []).equals(bytes));
    assert.equal(await store.head(`n${stored.length}`), undefined);
    assert.equal(await store.delete('n0'), true);
    assert.equal(await store.putIfAbsent('again', bytes), 'created');
  },
);

test('a read-only disk serves reads and says that puts are not possible', { skip }, async () => {
  await using disk = await mountSmallFilesystem(2 * 2 ** 20);
  const store = await openDirectoryStore(disk.path);
  await store.putIfAbsent('a', Buffer.from('1'));
  await runCommand('mount', ['-o', 'remount,ro', disk.path]);
  const code = 'ERR_STORE_UNAVAILABLE';
  await assert.rejects(store.putIfAbsent('b', Buffer.from('2')), { code, retryable: true });
  await assert.rejects(store.delete('a'), { code });
  assert.equal(Buffer.from((await store.get('a')) ?? []).toString(), '1');
});

test('a store whose directory is gone is unavailable: it does not say that objects are missing', async () => {
  await using directory = await makeDirectory();
  const path = join(directory.path, 'origin');
  const store = await openDirectoryStore(path);
  await store.putIfAbsent('a', Buffer.from('1'));
  await rename(path, join(directory.path, 'elsewhere'));
  await mkdir(path); // as an empty mount point
  const code = 'ERR_STORE_UNAVAILABLE';
  await assert.rejects(store.get('a'), { code });
  await assert.rejects(store.head('a'), { code });
  await assert.rejects(store.delete('a'), { code });
  await assert.rejects(store.putIfAbsent('a', Buffer.from('1')), { code });
  await assert.rejects(store.list('')[Symbol.asyncIterator]().next(), { code });
  await rm(path, { recursive: true });
  await rename(join(directory.path, 'elsewhere'), path);
  assert.equal(await store.putIfAbsent('a', Buffer.from('2')), 'existed');
});
