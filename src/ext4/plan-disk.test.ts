import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { runCommand } from '../base/index.ts';
import { planDisk } from './index.ts';
import { testImage, writeDisk } from './test-images.ts';

test('e2fsck finds nothing to say about a tree of every file type', async () => {
  const image = await testImage([
    [
      { path: 'etc/hostname', data: 'thaw\n' },
      { path: 'link', type: 'symlink', target: 'etc/hostname' },
      { path: 'hard', type: 'hardlink', target: 'etc/hostname' },
      { path: 'null', type: 'character-device', device: [1, 3] },
      { path: 'fifo', type: 'fifo' },
    ],
  ]);
  const directory = await mkdtemp(join(tmpdir(), 'thaw-ext4-'));
  try {
    const disk = join(directory, 'disk.img');
    await writeDisk(planDisk(image.tree), image.content, disk);
    const { stdout } = await runCommand('e2fsck', ['-f', '-n', disk]);
    assert.match(stdout, /Pass 5/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
