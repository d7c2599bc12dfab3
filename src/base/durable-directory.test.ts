import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { needsPrograms } from '../../test/support/programs.ts';
import { mountPowerFailureDisk } from '../store/testing/power-failure.ts';
import { makeDirectoryDurably } from './durable-directory.ts';

test('makeDirectoryDurably() makes what is missing, and leaves alone what is there', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'thaw-directory-'));
  try {
    const path = join(parent, 'a', 'b');
    await makeDirectoryDurably(path, 0o700);
    assert.equal((await stat(path)).mode & 0o777, 0o700);
    await makeDirectoryDurably(path, 0o755);
    assert.equal((await stat(path)).mode & 0o777, 0o700);
    await writeFile(join(parent, 'file'), '');
    await assert.rejects(makeDirectoryDurably(join(parent, 'file', 'c')), { code: 'ENOTDIR' });
  } finally {
    await rm(parent, { recursive: true });
  }
});

test(
  'makeDirectoryDurably() makes directories that survive a power failure',
  { skip: process.geteuid?.() === 0 ? needsPrograms('mkfs.ext4', 'mount') : 'needs root' },
  async () => {
    await using disk = await mountPowerFailureDisk();
    await makeDirectoryDurably(join(disk.path, 'a/b/c'));
    await disk.afterPowerFailure(async (path) => {
      assert.ok((await stat(join(path, 'a/b/c'))).isDirectory());
    });
  },
);
