import assert from 'node:assert/strict';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { runCommand } from '../../base/index.ts';
import { mountImageFile } from '../mounts/attach.ts';
import { cachedWindows, openFileByInode, windowSizeBytes } from './file-windows.ts';
import { unmount } from '../mounts/mounts.ts';
import { OpenedFiles } from './opened-files.ts';
import { makeReferenceDisk, missingHere } from '../testing/worker-fixture.ts';

const large = randomBytes(40 * windowSizeBytes + 1000);

describe('files of a mounted disk', { skip: missingHere() }, () => {
  let dir: string;
  let diskPath: string;
  let mountPoint: string;
  let mountFd: number;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-windows-'));
    const tree = join(dir, 'tree');
    await mkdir(join(tree, 'directory'), { recursive: true });
    await writeFile(join(tree, 'large'), large);
    await writeFile(join(tree, 'small'), 'small');
    await writeFile(join(tree, 'empty'), '');
    await writeFile(join(tree, 'hole'), '');
    await truncate(join(tree, 'hole'), 4 * windowSizeBytes);
    await symlink('large', join(tree, 'link'));
    await runCommand('mkfifo', [join(tree, 'fifo')]);
    await runCommand('mknod', [join(tree, 'null'), 'c', '1', '3']);
    diskPath = join(dir, 'disk.img');
    await makeReferenceDisk(tree, diskPath, '16M');
    mountPoint = join(dir, 'mount');
    await mkdir(mountPoint);
    await mountImageFile(diskPath, mountPoint);
    mountFd = openSync(mountPoint, constants.O_RDONLY);
  });
  after(async () => {
    closeSync(mountFd);
    await unmount(mountPoint, { lazily: false });
    await rm(dir, { recursive: true });
  });

  async function inodeOf(name: string): Promise<number> {
    const { stdout } = await runCommand('stat', ['-c', '%i', join(mountPoint, name)]);
    return Number(stdout);
  }

  /** Past this process, and at no more than these bytes. */
  async function read(name: string, offset: number, sizeBytes: number): Promise<void> {
    const range = [`skip=${offset}`, `count=${sizeBytes}`, 'iflag=skip_bytes,count_bytes'];
    await runCommand('dd', [`if=${join(mountPoint, name)}`, 'of=/dev/null', 'bs=4096', ...range]);
  }

  test('have the windows in the page cache that were read, which lie on the disk where it says', async () => {
    const inode = await inodeOf('large');
    assert.deepEqual(await cachedWindows(mountFd, inode), []);
    await read('large', 8 * windowSizeBytes, 4096);
    await read('large', large.byteLength - 500, 500);
    const windows = await cachedWindows(mountFd, inode);
    const got = windows.map(({ window }) => window);
    assert.ok(got.includes(8) && got.includes(40));
    assert.ok(!got.includes(20), 'far from all that was read');
    const disk = await readFile(diskPath);
    for (const { window, diskOffset, lastDiskOffset } of windows) {
      const content = large.subarray(window * windowSizeBytes, (window + 1) * windowSizeBytes);
      assert.ok(content.equals(disk.subarray(diskOffset, diskOffset + content.byteLength)));
      assert.equal(lastDiskOffset, diskOffset + content.byteLength - 1);
    }
  });

  test('are found by their inodes if they are regular files, and nothing else is', async () => {
    using small = await openFileByInode(mountFd, await inodeOf('small'));
    assert.equal(small?.sizeBytes, 5);
    for (const name of ['directory', 'link', 'fifo', 'null']) {
      assert.equal(await openFileByInode(mountFd, await inodeOf(name)), undefined, name);
    }
    for (const inode of [0, 1, 3, 7, 8, 100_000, 2 ** 32 - 1]) {
      assert.equal(await openFileByInode(mountFd, inode), undefined, `inode ${inode}`);
    }
  });

  test('that hold nothing on the disk have no windows', async () => {
    await read('empty', 0, 1);
    await read('hole', 0, 2 * windowSizeBytes);
    for (const name of ['empty', 'hole', 'directory']) {
      assert.deepEqual(await cachedWindows(mountFd, await inodeOf(name)), [], name);
    }
  });

  test('are listed when other processes open them, once, in their order, by their inodes', async () => {
    const opened = OpenedFiles.watch(mountPoint);
    assert.ok(opened !== undefined);
    try {
      assert.deepEqual(opened.inodes(), []);
      await runCommand(
        'cat',
        ['small', 'large', 'small'].map((name) => join(mountPoint, name)),
      );
      await readFile(join(mountPoint, 'hole')); // by this process
      assert.deepEqual(opened.inodes(), [await inodeOf('small'), await inodeOf('large')]);
      await runCommand('cat', [join(mountPoint, 'empty')]);
      assert.deepEqual(opened.inodes(), [(await stat(join(mountPoint, 'empty'))).ino]);
    } finally {
      opened.close();
    }
  });

  test('cannot be watched where nothing is', () => {
    assert.equal(OpenedFiles.watch(join(dir, 'missing')), undefined);
  });
});

test('a watched filesystem can be unmounted', { skip: missingHere() }, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-watched-'));
  try {
    const [tree, mountPoint] = [join(dir, 'tree'), join(dir, 'mount')];
    await mkdir(tree);
    await mkdir(mountPoint);
    await makeReferenceDisk(tree, join(dir, 'disk.img'), '4M');
    await mountImageFile(join(dir, 'disk.img'), mountPoint);
    const opened = OpenedFiles.watch(mountPoint);
    await unmount(mountPoint, { lazily: false });
    assert.deepEqual(opened?.inodes(), []);
    opened?.close();
  } finally {
    await rm(dir, { recursive: true });
  }
});
