import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { parseMountInfo, unmount } from './mounts.ts';

test('parseMountInfo reads mount points, types and sources, with and without optional fields', () => {
  const text = [
    // The example of kernel Documentation/filesystems/proc.rst, section 3.5.
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
    '71 27 0:52 / /run/thaw/images rw - fuse thaw rw,user_id=0,group_id=0',
    '72 27 7:0 / /a\\040b\\134c ro shared:1 master:2 - ext4 /dev/loop0 ro',
    '',
  ].join('\n');
  assert.deepEqual(parseMountInfo(text), [
    { mountPoint: '/mnt2', fileSystemType: 'ext3', source: '/dev/root' },
    { mountPoint: '/run/thaw/images', fileSystemType: 'fuse', source: 'thaw' },
    { mountPoint: '/a b\\c', fileSystemType: 'ext4', source: '/dev/loop0' },
  ]);
});

test('unmounting what somebody else has unmounted already is no failure', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-mounts-'));
  t.after(() => rm(dir, { recursive: true }));
  await unmount(dir, { lazily: true });
  await unmount(dir, { lazily: false });
});
