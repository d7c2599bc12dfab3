import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';

import { present } from '../../base/index.ts';
import { mountImageFile } from '../mounts/attach.ts';
import { unmount } from '../mounts/mounts.ts';
import { cachedPageCount, setReadAhead, threadId } from '../system-calls.ts';
import { makeReferenceDisk, missingHere } from '../testing/worker-fixture.ts';
import { diskInode, openFileByInode, pageSizeBytes, pagesPerWindow } from './file-windows.ts';
import type { MountedImage } from './page-cache-thread.ts';
import { PageCacheThreads } from './page-cache-threads.ts';
import type { PageRun } from './start-plan.ts';

const skip = missingHere();
const diskSizeBytes = 16 * 1024 * 1024;
/** 4 MiB: more than is asked for at a time. */
const largePages = 1024;
const threadsMax = 4;

describe('threads for page caches', { skip }, () => {
  let dir: string;
  let mountPoint: string;
  let image: MountedImage;
  let inode: number;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-threads-'));
    mountPoint = join(dir, 'mount');
    await mkdir(join(dir, 'tree'));
    await mkdir(mountPoint);
    await writeFile(join(dir, 'tree', 'large'), randomBytes(largePages * pageSizeBytes));
    await makeReferenceDisk(join(dir, 'tree'), join(dir, 'disk.img'), `${diskSizeBytes / 1024}k`);
  });
  after(async () => {
    close();
    await unmount(mountPoint, { lazily: false });
    await rm(dir, { recursive: true });
  });

  /** A fresh mount: nothing of the file is in the page cache. */
  beforeEach(async () => {
    if (image !== undefined) {
      close();
      await unmount(mountPoint, { lazily: false });
    }
    const { device } = await mountImageFile(join(dir, 'disk.img'), mountPoint);
    const fd = openSync(device, constants.O_RDONLY);
    setReadAhead(fd, pageSizeBytes);
    const mountFd = openSync(mountPoint, constants.O_RDONLY);
    image = { mountFd, disk: { fd, sizeBytes: diskSizeBytes } };
    inode = (await stat(join(mountPoint, 'large'))).ino;
  });

  function close(): void {
    closeSync(image.mountFd);
    closeSync(image.disk.fd);
  }

  async function readAhead(
    threads: PageCacheThreads,
    runs: readonly PageRun[],
    isStopped = false,
  ): Promise<void> {
    const stop = new Int32Array(new SharedArrayBuffer(4)).fill(isStopped ? 1 : 0);
    assert.deepEqual(await threads.run({ kind: 'read-ahead', ...image, runs, stop }), []);
  }

  /** How many pages of the file are in the page cache. */
  function cachedCount(): number {
    const file = present(openFileByInode(image.mountFd, inode), 'the file');
    try {
      return cachedPageCount(file.fd, 0, file.sizeBytes);
    } finally {
      closeSync(file.fd);
    }
  }

  test('read ahead just the pages that they are told, of files and of the disk, and say what is there', async () => {
    const threads = new PageCacheThreads();
    const run = { inode, page: 3 * pagesPerWindow, pageCount: pagesPerWindow };
    const farBlock = diskSizeBytes / pageSizeBytes - 20;
    await readAhead(threads, [run, { inode: diskInode, page: farBlock, pageCount: 2 }]);
    const windows = await threads.run({ kind: 'look', ...image, inodes: [inode] });
    const ofFile = windows.filter((window) => window.inode === inode);
    assert.deepEqual(
      ofFile.map(({ window }) => window),
      [3],
    );
    assert.equal(cachedCount(), pagesPerWindow);
    const ofDisk = windows.filter((window) => window.inode === diskInode);
    const far = ofDisk.find(({ window }) => window === Math.floor(farBlock / pagesPerWindow));
    assert.equal(far?.pages, 0b11 << (farBlock % pagesPerWindow));
  });

  test('read all of a long run, and nothing past the end of the file', async () => {
    const threads = new PageCacheThreads();
    await readAhead(threads, [{ inode, page: 0, pageCount: largePages + 5000 }]);
    assert.equal(cachedCount(), largePages);
  });

  test('read nothing once they are told to stop, nor of what is no file', async () => {
    const threads = new PageCacheThreads();
    await readAhead(threads, [{ inode, page: 0, pageCount: largePages }], true);
    const root = 2;
    for (const other of [root, 7, 100_000]) {
      await readAhead(threads, [{ inode: other, page: 0, pageCount: 10 }]);
    }
    assert.equal(cachedCount(), 0);
  });

  test('are not the one that asks, four at most, and do all that waits for its turn', async () => {
    const threads = new PageCacheThreads();
    const runs = Array.from({ length: largePages / 64 }, (_, at) => ({
      inode,
      page: at * 64,
      pageCount: 64,
    }));
    const jobs = runs.map(async (run) => readAhead(threads, [run]));
    await Promise.all(jobs);
    assert.equal(cachedCount(), largePages);
    assert.equal(threads.threadIds.size, threadsMax);
    assert.ok(!threads.threadIds.has(threadId()));
    const ownThreads = new Set(readdirSync('/proc/self/task').map(Number));
    for (const id of threads.threadIds) assert.ok(ownThreads.has(id), 'as the kernel knows it');
  });

  test('do not begin what was called off while it waited', async () => {
    const threads = new PageCacheThreads();
    const busy = Array.from({ length: threadsMax }, async () => readAhead(threads, []));
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const runs = [{ inode, page: 0, pageCount: largePages }];
    const calledOff = new AbortController();
    const job = { kind: 'read-ahead', ...image, runs, stop } as const;
    const waiting = threads.run(job, calledOff.signal);
    calledOff.abort();
    assert.deepEqual(await waiting, []);
    await Promise.all(busy);
    await readAhead(threads, []);
    assert.equal(cachedCount(), 0);
  });

  test('go on with the next job after one whose descriptors are not open', async () => {
    const threads = new PageCacheThreads();
    const none = 1_000_000;
    const closed = { mountFd: none, disk: { fd: none, sizeBytes: diskSizeBytes } };
    const windows = await threads.run({ kind: 'look', ...closed, inodes: [inode] });
    assert.deepEqual(windows, []);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const runs = [
      { inode: diskInode, page: 0, pageCount: largePages },
      { inode, page: 0, pageCount: largePages },
    ];
    await threads.run({ kind: 'read-ahead', ...closed, runs, stop });
    await readAhead(threads, [{ inode, page: 0, pageCount: 16 }]);
    assert.equal(cachedCount(), 16);
  });

  test('leave no descriptor open', async () => {
    const threads = new PageCacheThreads();
    const run = { inode, page: 0, pageCount: 1 };
    await readAhead(threads, [run]);
    const openOnFile = async (): Promise<number> => {
      const { dev } = await stat(mountPoint);
      const stats = await Promise.all(
        readdirSync('/proc/self/fd').map(async (fd) =>
          stat(join('/proc/self/fd', fd)).catch(() => undefined),
        ),
      );
      return stats.filter((each) => each?.dev === dev).length;
    };
    const ours = await openOnFile();
    for (let time = 0; time < 10; time += 1) await readAhead(threads, [run, run]);
    assert.equal(cachedCount(), 1);
    assert.equal(await openOnFile(), ours);
  });

  test('keep no process alive once their jobs are done, and one until they are', async () => {
    const script = `
      import { openSync } from 'node:fs';
      import { PageCacheThreads } from ${JSON.stringify(import.meta.resolve('./page-cache-threads.ts'))};
      const threads = new PageCacheThreads();
      const mountFd = openSync(${JSON.stringify(mountPoint)}, 'r');
      const disk = { fd: mountFd, sizeBytes: 4096 };
      const stop = new Int32Array(new SharedArrayBuffer(4));
      const runs = [{ inode: ${inode}, page: 0, pageCount: ${largePages} }];
      for (let job = 0; job < 6; job += 1) {
        void threads
          .run({ kind: 'read-ahead', mountFd, disk, runs, stop })
          .then(() => process.stdout.write('done '));
      }
    `;
    await writeFile(join(dir, 'child.mjs'), script);
    const child = spawn(process.execPath, [join(dir, 'child.mjs')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 60_000,
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part));
    const status = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(status, 0);
    assert.equal(output, 'done '.repeat(6));
    assert.equal(cachedCount(), largePages);
  });
});
