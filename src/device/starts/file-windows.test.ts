import assert from 'node:assert/strict';
import { closeSync, constants, openSync } from 'node:fs';
import {
  appendFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { needsPrograms } from '../../../test/support/programs.ts';
import { runCommand } from '../../base/index.ts';
import { mountImageFile } from '../mounts/attach.ts';
import { setReadAhead, threadId } from '../system-calls.ts';
import {
  allPages,
  bridged,
  cachedDiskWindows,
  cachedWindows,
  diskInode,
  openFileByInode,
  pageSizeBytes,
  pagesPerWindow,
  windowSizeBytes,
  type CachedWindow,
} from './file-windows.ts';
import { unmount } from '../mounts/mounts.ts';
import { OpenedFiles } from './opened-files.ts';
import { pageCount } from './start-profile.ts';
import { makeReferenceDisk, missingHere } from '../testing/worker-fixture.ts';

const large = randomBytes(40 * windowSizeBytes + 1000);
const diskSizeBytes = 16 * 1024 * 1024;

/** Two pages, three of which nothing is on the disk, and eleven more. */
const gappyPages = { before: 2, gap: 3, behind: 11 };

function pagesOf({ window, pages }: CachedWindow): number[] {
  const all = Array.from({ length: pagesPerWindow }, (_, page) => page);
  return all.filter((page) => (pages >> page) & 1).map((page) => window * pagesPerWindow + page);
}

const skip = missingHere() || needsPrograms('debugfs', 'fincore');

describe('files of a mounted disk', { skip }, () => {
  let dir: string;
  let diskPath: string;
  let mountPoint: string;
  let mountFd: number;
  let deviceFd: number;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-windows-'));
    const tree = join(dir, 'tree');
    await mkdir(join(tree, 'directory'), { recursive: true });
    await writeFile(join(tree, 'large'), large);
    await writeFile(join(tree, 'small'), 'small');
    await writeFile(join(tree, 'empty'), '');
    await writeFile(join(tree, 'hole'), '');
    await truncate(join(tree, 'hole'), 4 * windowSizeBytes);
    await writeFile(join(tree, 'late'), '');
    await truncate(join(tree, 'late'), 3 * windowSizeBytes);
    await appendFile(join(tree, 'late'), large.subarray(0, windowSizeBytes));
    const gappy = await open(join(tree, 'gappy'), 'w');
    const { before: pagesBefore, gap, behind } = gappyPages;
    await gappy.write(randomBytes(pagesBefore * pageSizeBytes), 0);
    const behindAt = (pagesBefore + gap) * pageSizeBytes;
    await gappy.write(randomBytes(behind * pageSizeBytes), 0, null, behindAt);
    await gappy.close();
    await symlink('large', join(tree, 'link'));
    await runCommand('mkfifo', [join(tree, 'fifo')]);
    await runCommand('mknod', [join(tree, 'null'), 'c', '1', '3']);
    diskPath = join(dir, 'disk.img');
    await makeReferenceDisk(tree, diskPath, `${diskSizeBytes / 1024}k`);
    mountPoint = join(dir, 'mount');
    await mkdir(mountPoint);
    const { device } = await mountImageFile(diskPath, mountPoint);
    mountFd = openSync(mountPoint, constants.O_RDONLY);
    deviceFd = openSync(device, constants.O_RDONLY);
    setReadAhead(deviceFd, pageSizeBytes); // else a page read would be a window read
  });
  after(async () => {
    closeSync(deviceFd);
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

  /** Of each page that is listed, its content where it is said to lie on the disk. */
  async function contentsOf(windows: readonly CachedWindow[]): Promise<Map<number, Buffer>> {
    const disk = await readFile(diskPath);
    const contents = new Map<number, Buffer>();
    for (const window of windows) {
      for (const page of pagesOf(window)) {
        const block = window.diskBlock + page - window.window * pagesPerWindow;
        assert.ok(!contents.has(page), `page ${page} is listed once`);
        const bytes = disk.subarray(block * pageSizeBytes, (block + 1) * pageSizeBytes);
        contents.set(page, bytes);
      }
    }
    return contents;
  }

  /** By a program that is not ours. */
  async function cachedPageCountOf(name: string): Promise<number> {
    const { stdout } = await runCommand('fincore', ['-nro', 'PAGES', join(mountPoint, name)]);
    return Number(stdout);
  }

  test('have the pages in the page cache that were read, which lie on the disk where it says', async () => {
    const inode = await inodeOf('large');
    assert.deepEqual(cachedWindows(mountFd, inode), []);
    const read1 = [8 * pagesPerWindow, 8 * pagesPerWindow + 5, 30 * pagesPerWindow + 15];
    for (const page of read1) await read('large', page * pageSizeBytes, pageSizeBytes);
    await read('large', large.byteLength - 500, 500);
    const windows = cachedWindows(mountFd, inode);
    const contents = await contentsOf(windows);
    const lastPage = Math.floor(large.byteLength / pageSizeBytes);
    for (const page of [...read1, lastPage]) assert.ok(contents.has(page), `page ${page}`);
    assert.ok(!windows.some(({ window }) => window === 20), 'far from all that was read');
    for (const [page, onDisk] of contents) {
      const content = large.subarray(page * pageSizeBytes, (page + 1) * pageSizeBytes);
      assert.ok(content.equals(onDisk.subarray(0, content.byteLength)), `page ${page}`);
    }
    assert.equal(contents.size, await cachedPageCountOf('large'));
    assert.ok(windows.every((window) => window.inode === inode));
    const order = windows.map(({ window }) => window);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
  });

  test('have all pages of a window that was read whole', async () => {
    await read('large', 12 * windowSizeBytes, windowSizeBytes);
    const windows = cachedWindows(mountFd, await inodeOf('large'));
    assert.equal(windows.find(({ window }) => window === 12)?.pages, allPages);
  });

  test('have of a window that lies in two places the pages in one of them', async () => {
    const inode = await inodeOf('gappy');
    const { before: pagesBefore, gap, behind } = gappyPages;
    const whole = await readFile(join(mountPoint, 'gappy')); // reads it all
    assert.equal(whole.byteLength, windowSizeBytes);
    const [told, ...others] = cachedWindows(mountFd, inode);
    assert.ok(told !== undefined);
    assert.deepEqual(others, []);
    assert.equal(told.pages, 2 ** pagesBefore - 1, 'the first place, and nothing of the gap');
    for (const [page, onDisk] of await contentsOf([told])) {
      assert.ok(onDisk.equals(whole.subarray(page * pageSizeBytes, (page + 1) * pageSizeBytes)));
    }
    assert.equal(await cachedPageCountOf('gappy'), pagesBefore + gap + behind);
  });

  test('are found by their inodes if they are regular files, and nothing else is', async () => {
    const small = openFileByInode(mountFd, await inodeOf('small'));
    assert.ok(small !== undefined);
    closeSync(small.fd);
    assert.equal(small.sizeBytes, 5);
    for (const name of ['directory', 'link', 'fifo', 'null']) {
      assert.equal(openFileByInode(mountFd, await inodeOf(name)), undefined, name);
    }
    for (const inode of [diskInode, 1, 3, 7, 8, 100_000, 2 ** 32 - 1]) {
      assert.equal(openFileByInode(mountFd, inode), undefined, `inode ${inode}`);
    }
  });

  test('leave no descriptor open, whatever was asked', async () => {
    const inodes = await Promise.all(
      ['large', 'small', 'empty', 'hole', 'directory', 'link', 'fifo', 'null'].map(inodeOf),
    );
    const openNow = async (): Promise<number> => (await readdir('/proc/self/fd')).length;
    const times = 20;
    const before = await openNow();
    for (let time = 0; time < times; time += 1) {
      for (const inode of [...inodes, diskInode, 100_000]) cachedWindows(mountFd, inode);
    }
    assert.ok((await openNow()) < before + times, 'this process may open a few others');
  });

  test('that hold nothing on the disk have no windows', async () => {
    await read('empty', 0, 1);
    await read('hole', 0, 2 * windowSizeBytes);
    for (const name of ['empty', 'hole', 'directory']) {
      assert.deepEqual(cachedWindows(mountFd, await inodeOf(name)), [], name);
    }
    await read('late', 0, 4 * windowSizeBytes);
    const windows = cachedWindows(mountFd, await inodeOf('late'));
    assert.deepEqual(
      windows.map(({ window, pages }) => [window, pages]),
      [[3, allPages]],
      'behind a hole',
    );
  });

  test('have metadata on the disk, of which the pages are listed that the kernel has read', async () => {
    await readdir(join(mountPoint, 'directory'));
    const windows = cachedDiskWindows({ fd: deviceFd, sizeBytes: diskSizeBytes });
    const blocks = new Set(windows.flatMap(pagesOf));
    assert.ok(blocks.has(0), 'the superblock');
    const { stdout } = await runCommand('debugfs', ['-R', 'blocks /directory', diskPath]);
    const [directoryBlock] = stdout.trim().split(' ').map(Number);
    assert.ok(directoryBlock !== undefined && directoryBlock > 0);
    assert.ok(blocks.has(directoryBlock));
    for (const { inode, window, diskBlock } of windows) {
      assert.equal(inode, diskInode);
      assert.equal(diskBlock, window * pagesPerWindow);
    }
    const found = windows.reduce((sum, { pages }) => sum + pageCount(pages), 0);
    assert.equal(blocks.size, found);
    assert.ok(Math.max(...blocks) < diskSizeBytes / pageSizeBytes);
    assert.ok(found < diskSizeBytes / pageSizeBytes / 2, 'what files hold is read otherwise');
  });

  test('are listed when they are opened, once, in their order, by their inodes, but for those that given threads opened', async () => {
    const opened = OpenedFiles.watch(mountPoint);
    assert.ok(opened !== undefined);
    const thisThread = new Set([threadId()]);
    try {
      assert.deepEqual(opened.inodes(new Set()), []);
      await runCommand(
        'cat',
        ['small', 'large', 'small'].map((name) => join(mountPoint, name)),
      );
      closeSync(openSync(join(mountPoint, 'hole'), 'r'));
      await readFile(join(mountPoint, 'late')); // by another thread of this process
      const others = ['small', 'large', 'late'];
      assert.deepEqual(opened.inodes(thisThread), await Promise.all(others.map(inodeOf)));
      await runCommand('cat', [join(mountPoint, 'empty')]);
      closeSync(openSync(join(mountPoint, 'hole'), 'r'));
      const both = [await inodeOf('empty'), await inodeOf('hole')];
      assert.deepEqual(opened.inodes(new Set()), both);
      assert.deepEqual(opened.inodes(new Set()), [], 'told once');
    } finally {
      opened.close();
    }
  });

  test('cannot be watched where nothing is', () => {
    assert.equal(OpenedFiles.watch(join(dir, 'missing')), undefined);
  });
});

test('bridged() fills gaps of one and of two pages between others, and no larger ones', () => {
  const gap = /(?<=1)0{1,2}(?=1)/g;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: allPages }), (pages) => {
      const expected = pages.toString(2).replaceAll(gap, (zeros) => '1'.repeat(zeros.length));
      assert.equal(bridged(pages).toString(2), expected);
    }),
  );
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
    assert.deepEqual(opened?.inodes(new Set()), []);
    opened?.close();
  } finally {
    await rm(dir, { recursive: true });
  }
});
