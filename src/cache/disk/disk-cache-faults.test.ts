/** A disk cache on a disk that is full, read-only, bad or stuck, beside another process, and killed. */

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import {
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { mountSmallFilesystem } from '../../../test/support/small-filesystem.ts';
import { neighbourModule, runCommand, toHex, type Priority } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { openDiskCache, type DiskCache, type DiskCacheOptions } from './disk-cache.ts';
import { diskChunkKey, diskChunkPath } from './disk-chunk-name.ts';
import { namedChunk, type NamedChunk } from '../testing/cache-tier-conformance.ts';
import { tryLock } from '../testing/flock.ts';

const needsRoot = process.geteuid?.() === 0 ? false : 'needs root';
const needsLoop = existsSync('/dev/loop-control') ? needsRoot : 'needs /dev/loop-control';
const mebibyte = 2 ** 20;

async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-disk-cache-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Mounted in a directory of its own; `prepare` gets that directory, still empty, and a place for files. */
async function mountFrom(
  mountArguments: (place: string) => Promise<readonly string[]>,
): Promise<{ readonly path: string; readonly place: string } & AsyncDisposable> {
  const place = await mkdtemp(join(tmpdir(), 'thaw-disk-cache-mount-'));
  const path = join(place, 'mount');
  await runCommand('mkdir', [path]);
  await runCommand('mount', [...(await mountArguments(place)), path]);
  return {
    path,
    place,
    [Symbol.asyncDispose]: async () => {
      await runCommand('umount', [path]);
      await rm(place, { recursive: true });
    },
  };
}

async function openAt(path: string, options: Partial<DiskCacheOptions> = {}): Promise<DiskCache> {
  return await openDiskCache({ path, sizeMaxBytes: 16 * mebibyte, tryLock, ...options });
}

function get(
  cache: DiskCache,
  { name }: NamedChunk,
  signal = new AbortController().signal,
): Promise<Uint8Array | undefined> {
  return cache.get(name, { signal, priority: 'foreground' });
}

async function offer(cache: DiskCache, ...chunks: readonly NamedChunk[]): Promise<void> {
  for (const { name, ciphertext } of chunks) cache.offer(name, ciphertext);
  await cache.settled();
}

function fileOf(path: string, { name }: NamedChunk): string {
  return join(path, 'chunks', diskChunkPath(diskChunkKey(name)));
}

function isSame(found: Uint8Array | undefined, { ciphertext }: NamedChunk): boolean {
  return found !== undefined && Buffer.compare(found, ciphertext) === 0;
}

test(
  'a full disk stops writing for a while, keeps what is there, and is written again when there is room',
  { skip: needsRoot },
  async () => {
    await using disk = await mountSmallFilesystem(2 * mebibyte);
    const time = new VirtualTime();
    const ballast = join(disk.path, 'ballast');
    await writeFile(ballast, Buffer.alloc(mebibyte, 1));
    await using cache = await openAt(join(disk.path, 'cache'), { clock: time, timers: time });
    const chunks = Array.from({ length: 8 }, (_, seed) => namedChunk(seed, 64 * 4096));
    await offer(cache, ...chunks);
    const { suspendedBy, dropped, writes, writeErrors, chunks: count } = cache.status();
    assert.equal(suspendedBy, 'ENOSPC');
    assert.ok(count > 0 && count < 8);
    assert.deepEqual({ writes, writeErrors }, { writes: count, writeErrors: 1 });
    assert.equal(dropped.suspended, 8 - count);
    assert.deepEqual(await readdir(join(disk.path, 'cache', 'tmp')), []);
    for (const [seed, chunk] of chunks.entries()) {
      assert.equal(isSame(await get(cache, chunk), chunk), seed < count);
    }
    await unlink(ballast);
    await offer(cache, ...chunks);
    assert.equal(cache.status().chunks, count, 'it is not tried at once');
    await time.pass(30_000);
    await offer(cache, ...chunks);
    assert.ok(cache.status().chunks > count);
    assert.deepEqual(
      cache.status().suspendedBy,
      cache.status().chunks === 8 ? undefined : 'ENOSPC',
    );
  },
);

test('a read-only disk serves reads, and forgets what is wrong', { skip: needsRoot }, async () => {
  await using disk = await mountSmallFilesystem(2 * mebibyte);
  await using cache = await openAt(disk.path);
  const [one, two, three] = [namedChunk(1, 4096), namedChunk(2, 4096), namedChunk(3, 4096)];
  await offer(cache, one, two);
  await runCommand('mount', ['-o', 'remount,ro', disk.path]);
  await offer(cache, three);
  assert.equal(cache.status().suspendedBy, 'EROFS');
  assert.ok(isSame(await get(cache, one), one));
  await cache.forget(two.name);
  assert.equal(await get(cache, two), undefined);
  await runCommand('mount', ['-o', 'remount,rw', disk.path]);
});

test(
  'a chunk on a bad part of the disk is unavailable once, then a miss, and others are served',
  { skip: needsLoop },
  async () => {
    await using disk = await mountFrom(async (place) => {
      const image = join(place, 'image');
      await writeFile(image, '');
      await truncate(image, 16 * mebibyte);
      await runCommand('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', image]);
      return ['-o', 'loop,errors=continue', image];
    });
    await using cache = await openAt(disk.path);
    const chunks = Array.from({ length: 16 }, (_, seed) => namedChunk(seed, 128 * 4096));
    await offer(cache, ...chunks);
    await runCommand('sync', ['-f', disk.path]);
    // What lies behind the end of the image cannot be read any longer.
    await truncate(join(disk.place, 'image'), 6 * mebibyte);
    for (const chunk of chunks) {
      const file = fileOf(disk.path, chunk);
      await runCommand('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
    }
    let bad = 0;
    for (const chunk of chunks) {
      const found = await get(cache, chunk).catch((thrown: { code: string }) => thrown.code);
      if (found === 'ERR_CACHE_TIER_UNAVAILABLE') {
        bad += 1;
        assert.equal(await get(cache, chunk), undefined);
      } else if (typeof found !== 'string') assert.ok(isSame(found, chunk));
      else assert.fail(found);
    }
    assert.ok(bad > 0 && bad < 16, `${bad} of 16 are bad`);
    assert.equal(cache.status().readErrors, bad);
    await truncate(join(disk.place, 'image'), 16 * mebibyte);
  },
);

/** Whoever opens its file now waits until `unstick`. */
async function makeStuck(path: string, chunk: NamedChunk): Promise<void> {
  await unlink(fileOf(path, chunk));
  await runCommand('mkfifo', [fileOf(path, chunk)]); // waits for a writer when opened
}

async function unstick(
  cache: DiskCache,
  path: string,
  stuck: readonly NamedChunk[],
): Promise<void> {
  const { O_RDWR, O_NONBLOCK } = constants;
  const writers = stuck.map((chunk) => openSync(fileOf(path, chunk), O_RDWR | O_NONBLOCK));
  while (cache.status().readErrors < stuck.length) await new Promise(setImmediate);
  for (const writer of writers) closeSync(writer);
}

test('where reads hang, the disk is not asked, and is asked again when they end', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  await using cache = await openAt(directory.path, { clock: time, timers: time });
  const [good, ...stuck] = [0, 1, 2, 3].map((seed) => namedChunk(seed, 4096)) as [
    NamedChunk,
    ...NamedChunk[],
  ];
  await offer(cache, good, ...stuck);
  for (const chunk of stuck) await makeStuck(directory.path, chunk);
  const abort = new AbortController();
  const hanging = stuck.map((chunk) => get(cache, chunk, abort.signal));
  const waiting = get(cache, good, abort.signal);
  await time.pass(1001);
  await assert.rejects(get(cache, good), { code: 'ERR_CACHE_TIER_UNAVAILABLE' });
  assert.equal(cache.status().refused, 1);
  abort.abort(new Error('enough'));
  for (const read of [...hanging, waiting]) await assert.rejects(read, /enough/);
  await unstick(cache, directory.path, stuck);
  assert.ok(isSame(await get(cache, good), good));
});

test('prefetch leaves a file for readers, and what is raised while it waits takes it at once', async () => {
  await using directory = await makeDirectory();
  await using cache = await openAt(directory.path);
  const [good, other, ...stuck] = [0, 1, 2, 3].map((seed) => namedChunk(seed, 4096)) as [
    NamedChunk,
    NamedChunk,
    ...NamedChunk[],
  ];
  await offer(cache, good, other, ...stuck);
  for (const chunk of stuck) await makeStuck(directory.path, chunk);
  const { signal } = new AbortController();
  const ahead = Promise.allSettled(
    stuck.map(({ name }) => cache.get(name, { signal, priority: 'prefetch' })),
  );
  const request: { signal: AbortSignal; priority: Priority } = { signal, priority: 'prefetch' };
  const waiting = cache.get(good.name, request);
  assert.ok(isSame(await get(cache, other), other));
  assert.equal(cache.status().hits, 1, 'prefetch still waits');
  request.priority = 'foreground';
  cache.review();
  assert.ok(isSame(await waiting, good));
  await unstick(cache, directory.path, stuck);
  assert.ok((await ahead).every(({ status }) => status === 'rejected'));
});

interface Writer {
  /** Resolves when it has offered so many chunks more. */
  offered(count: number): Promise<void>;
  kill(): Promise<void>;
}

function startWriter(path: string, sizeMaxBytes: number, firstSeed: number): Writer {
  const program = fileURLToPath(neighbourModule(import.meta.url, '../testing/disk-cache-process'));
  const child = spawn(process.execPath, [program, path, String(sizeMaxBytes), String(firstSeed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    offered: async (count) => {
      for (let line = 0; line < count; line += 1) assert.equal((await lines.next()).done, false);
    },
    kill: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

test('a writer killed at any moment leaves whole chunks, no lock, and nothing that is not cleaned up', async () => {
  await using directory = await makeDirectory();
  const { path } = directory;
  const sizeMaxBytes = mebibyte;
  for (let round = 0; round < 8; round += 1) {
    const writer = startWriter(path, sizeMaxBytes, 1000 * round);
    await writer.offered(1);
    await assert.rejects(openAt(path), { code: 'ERR_CACHE_DISK_IN_USE' });
    await writer.offered(29 + 17 * round);
    await writer.kill();
    await using cache = await openAt(path, { sizeMaxBytes });
    await cache.settled();
    assert.deepEqual(await readdir(join(path, 'tmp')), []);
    let occupiedBytes = 0;
    const entries = await readdir(join(path, 'chunks'), { withFileTypes: true, recursive: true });
    for (const entry of entries.filter((each) => each.isFile())) {
      const file = join(entry.parentPath, entry.name);
      occupiedBytes += (await stat(file)).blocks * 512;
      assert.equal(toHex(hash('sha256', await readFile(file), 'buffer')), entry.name.split('.')[0]);
    }
    assert.ok(occupiedBytes > 0 && occupiedBytes <= sizeMaxBytes);
    assert.equal(cache.status().bytes, occupiedBytes);
  }
});
