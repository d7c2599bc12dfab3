/** What a power failure leaves of a directory store: everything that had been promised. */

import assert from 'node:assert/strict';
import { link, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { needsPrograms } from '../../test/support/programs.ts';
import { openDirectoryStore } from './directory-store.ts';
import { mountPowerFailureDisk } from './testing/power-failure.ts';

const skip = process.geteuid?.() === 0 ? needsPrograms('mkfs.ext4', 'mount') : 'needs root';

const bytes = Buffer.alloc(100_000, 'an object;');

test(
  'a file that nobody synced is lost in a power failure, so the tests below can fail',
  { skip },
  async () => {
    await using disk = await mountPowerFailureDisk();
    await writeFile(join(disk.path, 'file'), bytes);
    await disk.afterPowerFailure(async (path) => {
      await assert.rejects(stat(join(path, 'file')), { code: 'ENOENT' });
    });
  },
);

test(
  'objects survive a power failure from the moment that their put resolves',
  { skip },
  async () => {
    await using disk = await mountPowerFailureDisk();
    const store = await openDirectoryStore(join(disk.path, 'origin'));
    const names = Array.from({ length: 12 }, (_, number) => `root/chunks/${number % 3}${number}`);
    await Promise.all(names.map((name) => store.putIfAbsent(name, bytes)));
    await disk.afterPowerFailure(async (path) => {
      const after = await openDirectoryStore(join(path, 'origin'));
      for (const name of names)
        assert.ok(Buffer.from((await after.get(name)) ?? []).equals(bytes), name);
    });
  },
);

test(
  'an object that was found to exist survives too: its writer may not have come so far',
  { skip },
  async () => {
    await using disk = await mountPowerFailureDisk();
    const store = await openDirectoryStore(disk.path);
    const directory = join(disk.path, 'root/chunks/@a/@b');
    const temporary = join(disk.path, '@tmp/of-another-writer');
    await mkdir(directory, { recursive: true });
    await writeFile(temporary, bytes, { flush: true });
    await link(temporary, join(directory, 'abcd')); // and then it stops
    assert.equal(await store.putIfAbsent('root/chunks/abcd', bytes), 'existed');
    await disk.afterPowerFailure(async (path) => {
      const after = await openDirectoryStore(path);
      assert.ok(Buffer.from((await after.get('root/chunks/abcd')) ?? []).equals(bytes));
    });
  },
);

test('a deleted object does not come back after a power failure', { skip }, async () => {
  await using disk = await mountPowerFailureDisk();
  const store = await openDirectoryStore(disk.path);
  await store.putIfAbsent('a', bytes);
  assert.equal(await store.delete('a'), true);
  await disk.afterPowerFailure(async (path) => {
    assert.equal(await (await openDirectoryStore(path)).head('a'), undefined);
  });
});
