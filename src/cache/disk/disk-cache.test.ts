import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import type { ChunkName } from '../cache-tier.ts';
import { openDiskCache, type DiskCache, type DiskCacheOptions } from './disk-cache.ts';
import { diskChunkKey, diskChunkPath } from './disk-chunk-name.ts';
import {
  cacheTierConformance,
  namedChunk,
  type NamedChunk,
} from '../testing/cache-tier-conformance.ts';
import { tryLock } from '../testing/flock.ts';
import { WaitingChunks } from '../waiting/waiting-chunks.ts';
import { WorkerReads } from '../worker-reads.ts';

const blockSizeBytes = 4096;
const mebibyte = 2 ** 20;

async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-disk-cache-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function openAt(path: string, options: Partial<DiskCacheOptions> = {}): Promise<DiskCache> {
  return await openDiskCache({ path, sizeMaxBytes: 16 * mebibyte, tryLock, ...options });
}

function get(cache: DiskCache, { name }: NamedChunk): Promise<Uint8Array | undefined> {
  return cache.get(name, { signal: new AbortController().signal, priority: 'foreground' });
}

async function offer(cache: DiskCache, ...chunks: readonly NamedChunk[]): Promise<void> {
  for (const { name, ciphertext } of chunks) cache.offer(name, ciphertext);
  await cache.settled();
}

function assertSame(found: Uint8Array | undefined, { ciphertext }: NamedChunk): void {
  assert.ok(found !== undefined && Buffer.compare(found, ciphertext) === 0);
}

function fileOf(path: string, name: ChunkName): string {
  return join(path, 'chunks', diskChunkPath(diskChunkKey(name)));
}

/** Paths below a directory, of files only. */
async function filesBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

async function occupiedBytes(path: string): Promise<number> {
  const sizes = (await filesBelow(join(path, 'chunks'))).map(
    async (file) => (await stat(file)).blocks,
  );
  return (await Promise.all(sizes)).reduce((sum, blocks) => sum + blocks * 512, 0);
}

cacheTierConformance({
  name: 'the disk cache',
  create: async () => {
    const directory = await makeDirectory();
    const tier = await openAt(directory.path);
    return {
      tier,
      settled: () => tier.settled(),
      damage: async (chunk) => {
        const file = await open(fileOf(directory.path, chunk), 'r+');
        await file.write(Buffer.of(1, 2, 3), 0, 3, 5);
        await file.close();
      },
      breakDown: () => rm(directory.path, { recursive: true }),
      [Symbol.asyncDispose]: async () => {
        await tier.close();
        await directory[Symbol.asyncDispose]();
      },
    };
  },
});

test('a cache opened again has the chunks of before, at once and when it has listed them', async () => {
  await using directory = await makeDirectory();
  const chunks = [1, 2, 3].map((seed) => namedChunk(seed, seed * blockSizeBytes));
  await using before = await openAt(directory.path);
  await offer(before, ...chunks);
  await before.close();
  await using after = await openAt(directory.path);
  assert.equal(after.status().isIndexed, false);
  for (const chunk of chunks) assertSame(await get(after, chunk), chunk);
  await after.settled();
  const { isIndexed, chunks: count, bytes } = after.status();
  assert.deepEqual({ isIndexed, count, bytes }, { isIndexed: true, count: 3, bytes: 6 * 4096 });
  for (const chunk of chunks) assertSame(await get(after, chunk), chunk);
  await after.close();
});

test('files never occupy more than the limit, and the status says what they do', async () => {
  await using directory = await makeDirectory();
  const limit = 64 * blockSizeBytes;
  const lengths = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 5, maxLength: 40 });
  let seed = 0;
  await fc.assert(
    fc.asyncProperty(lengths, async (blockCounts) => {
      await using cache = await openAt(directory.path, { sizeMaxBytes: limit });
      for (const blockCount of blockCounts) {
        await offer(cache, namedChunk((seed += 1), blockCount * blockSizeBytes));
        const occupied = await occupiedBytes(directory.path);
        assert.ok(occupied <= limit);
        assert.equal(cache.status().bytes, occupied);
      }
      await cache.close();
    }),
    { numRuns: 8 },
  );
});

test('a smaller limit than before is kept to as soon as the files are listed', async () => {
  await using directory = await makeDirectory();
  await using before = await openAt(directory.path);
  await offer(before, ...Array.from({ length: 20 }, (_, seed) => namedChunk(seed, 16 * 4096)));
  await before.close();
  await using after = await openAt(directory.path, { sizeMaxBytes: 5 * 16 * 4096 });
  await after.settled();
  assert.equal(after.status().chunks, 5);
  assert.equal(await occupiedBytes(directory.path), 5 * 16 * 4096);
  await after.close();
});

test('a sweep of chunks used once leaves the hot set, also across a restart', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  const options = { sizeMaxBytes: 40 * blockSizeBytes, clock: time, timers: time };
  const hot = Array.from({ length: 20 }, (_, seed) => namedChunk(seed, blockSizeBytes));
  let cache = await openAt(directory.path, options);
  await offer(cache, ...hot);
  await time.pass(60_000);
  for (const chunk of hot) assertSame(await get(cache, chunk), chunk);
  await cache.close();
  cache = await openAt(directory.path, options);
  await cache.settled();
  for (let seed = 1000; seed < 1200; seed += 1) {
    await time.pass(100);
    await offer(cache, namedChunk(seed, blockSizeBytes));
  }
  for (const chunk of hot) assertSame(await get(cache, chunk), chunk);
});

test('a missing or damaged history costs history only', async () => {
  await using directory = await makeDirectory();
  const chunk = namedChunk(1, blockSizeBytes);
  const path = join(directory.path, 'history');
  await using first = await openAt(directory.path);
  await offer(first, chunk);
  await first.close();
  const whole = await readFile(path);
  const flipped = Buffer.from(whole);
  flipped[30] = (flipped[30] ?? 0) ^ 1;
  for (const damaged of [
    undefined,
    flipped,
    whole.subarray(0, 50),
    Buffer.alloc(0),
    Buffer.alloc(99),
  ]) {
    if (damaged === undefined) await rm(path);
    else await writeFile(path, damaged);
    await using cache = await openAt(directory.path);
    await cache.settled();
    assertSame(await get(cache, chunk), chunk);
  }
});

test('the history is saved every five minutes', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  await using cache = await openAt(directory.path, { clock: time, timers: time });
  await offer(cache, namedChunk(1, blockSizeBytes));
  const path = join(directory.path, 'history');
  for (let turn = 0; turn < 2; turn += 1) {
    await time.pass(5 * 60_000 - 1);
    assert.equal(existsSync(path), false);
    await time.pass(1);
    while (!existsSync(path)) await new Promise(setImmediate);
    await rm(path);
  }
});

test('a directory that cannot be listed is served from and not written to, and listed later', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  const chunk = namedChunk(1, blockSizeBytes);
  const before = await openAt(directory.path);
  await offer(before, chunk);
  await before.close();
  const first = diskChunkPath(diskChunkKey(chunk.name)).slice(0, 1);
  const blocked = join(directory.path, 'chunks', first === 'f' ? '0' : 'f');
  await symlink(blocked, blocked); // a loop
  await using cache = await openAt(directory.path, { clock: time, timers: time });
  await offer(cache, namedChunk(2, blockSizeBytes));
  assert.deepEqual([cache.status().suspendedBy, cache.status().isIndexed], ['ELOOP', false]);
  assertSame(await get(cache, chunk), chunk);
  await rm(blocked);
  await time.pass(30_000);
  await offer(cache, namedChunk(2, blockSizeBytes));
  assert.deepEqual([cache.status().chunks, cache.status().isIndexed], [2, true]);
});

test('a file of the wrong length is no hit, is removed, and its chunk can be kept again', async () => {
  await using directory = await makeDirectory();
  const chunk = namedChunk(1, 8 * blockSizeBytes);
  const file = fileOf(directory.path, chunk.name);
  await using cache = await openAt(directory.path);
  for (const length of [0, 1, 8 * blockSizeBytes - 1, 8 * blockSizeBytes + 1]) {
    await offer(cache, chunk);
    await truncate(file, length);
    assert.equal(await get(cache, chunk), undefined);
    await assert.rejects(stat(file), { code: 'ENOENT' });
  }
  assert.equal(cache.status().wrongLengths, 4);
  assert.equal(cache.status().bytes, 0);
  await offer(cache, chunk);
  assertSame(await get(cache, chunk), chunk);
});

test('the directory removed, whole or in part, costs what was in it and nothing else', async () => {
  await using directory = await makeDirectory();
  const path = join(directory.path, 'cache');
  const [one, two] = [namedChunk(1, 4096), namedChunk(2, 8192)];
  await using cache = await openAt(path);
  for (const removed of ['', 'chunks', 'tmp', 'lock', 'history']) {
    await offer(cache, one);
    await rm(join(path, removed), { recursive: true, force: true });
    const found = await get(cache, one);
    if (found !== undefined) assertSame(found, one);
    await offer(cache, two);
    assertSame(await get(cache, two), two);
    await cache.drop();
    assert.equal(cache.status().bytes, 0);
  }
});

test('a directory that was removed and taken by another cache is left to it, until it is closed', async () => {
  await using directory = await makeDirectory();
  const path = join(directory.path, 'cache');
  const time = new VirtualTime();
  const [one, two, three] = [namedChunk(1, 4096), namedChunk(2, 4096), namedChunk(3, 4096)];
  await using cache = await openAt(path, { clock: time, timers: time });
  await offer(cache, one);
  await rm(path, { recursive: true });
  const other = await openAt(path);
  await other.settled();
  for (let turn = 0; turn < 2; turn += 1) {
    await offer(cache, two);
    assert.equal(cache.status().suspendedBy, 'ERR_CACHE_DISK_IN_USE');
    assert.deepEqual(await filesBelow(join(path, 'chunks')), []);
    await time.pass(30_000);
  }
  await offer(other, three);
  await other.close();
  await offer(cache, two);
  for (const chunk of [two, three]) assertSame(await get(cache, chunk), chunk);
  assert.equal(cache.status().chunks, 2);
});

test('what is not of the cache is left alone and counted; leftovers of a killed writer are removed', async () => {
  await using directory = await makeDirectory();
  const foreign = [
    'notes',
    'chunks/a/b/notes',
    `chunks/0/0/${'ab'.repeat(32)}.1`,
    'chunks/a/b/sub/x',
  ];
  const foreignTemporary = ['tmp/notes', 'tmp/12-3.txt', 'tmp/sub/x'];
  for (const name of [...foreign, ...foreignTemporary, 'tmp/12-3']) {
    const file = join(directory.path, name);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, 'x');
  }
  await using cache = await openAt(directory.path, { sizeMaxBytes: 4 * blockSizeBytes });
  await cache.settled();
  assert.equal(cache.status().foreignFiles, 4);
  assert.equal(cache.status().chunks, 0);
  await offer(cache, ...[1, 2, 3, 4, 5, 6, 7].map((seed) => namedChunk(seed, blockSizeBytes)));
  await cache.drop();
  await cache.close();
  for (const name of [...foreign, ...foreignTemporary]) {
    assert.equal(await readFile(join(directory.path, name), 'utf8'), 'x');
  }
  assert.deepEqual((await readdir(join(directory.path, 'tmp'))).sort(), [
    '12-3.txt',
    'notes',
    'sub',
  ]);
});

test('a second cache on the directory is refused, until the first is closed', async () => {
  await using directory = await makeDirectory();
  await using first = await openAt(directory.path);
  await assert.rejects(openAt(directory.path), { code: 'ERR_CACHE_DISK_IN_USE' });
  await first.close();
  await (await openAt(directory.path)).close();
});

test('what is offered is written in the first pause between reads, and before it only what would not fit', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  await using cache = await openAt(directory.path, {
    clock: time,
    timers: time,
    queueMaxBytes: 8 * blockSizeBytes,
  });
  await cache.settled();
  const chunks = Array.from({ length: 7 }, (_, seed) => namedChunk(seed, blockSizeBytes));
  for (const { name, ciphertext } of chunks.slice(0, 6)) cache.offer(name, ciphertext);
  for (let read = 0; read < 8; read += 1) {
    await time.pass(200);
    assert.equal(await get(cache, namedChunk(99, blockSizeBytes)), undefined);
  }
  assert.equal(cache.status().writes, 0);
  const [waiting = namedChunk(0, 0)] = chunks;
  const found = await get(cache, waiting);
  assertSame(found, waiting);
  found?.fill(0); // the reader's, whatever is written
  const [, , , , , , last = namedChunk(0, 0)] = chunks;
  cache.offer(last.name, last.ciphertext); // more than three quarters
  while (cache.status().writes === 0) await new Promise(setImmediate);
  await time.pass(200);
  assert.equal(cache.status().writes, 1);
  await time.pass(50);
  while (cache.status().writes < 7) await new Promise(setImmediate);
  for (const seed of chunks.keys()) {
    const chunk = namedChunk(seed, blockSizeBytes); // made anew: what was offered is not to be compared with itself
    assertSame(await get(cache, chunk), chunk);
  }
});

test('what has waited for two seconds is written, though there be no pause', async () => {
  await using directory = await makeDirectory();
  const time = new VirtualTime();
  await using cache = await openAt(directory.path, { clock: time, timers: time });
  await cache.settled();
  const chunk = namedChunk(1, blockSizeBytes);
  cache.offer(chunk.name, chunk.ciphertext);
  for (let read = 0; read < 9; read += 1) {
    await time.pass(200);
    await get(cache, namedChunk(99, blockSizeBytes));
  }
  assert.equal(cache.status().writes, 0);
  await time.pass(200);
  while (cache.status().writes === 0) await new Promise(setImmediate);
});

test('a directory that cannot be made is told at once', async () => {
  await using directory = await makeDirectory();
  await writeFile(join(directory.path, 'file'), '');
  await assert.rejects(openAt(join(directory.path, 'file')), {
    code: 'ERR_CACHE_DISK_UNAVAILABLE',
  });
});

test('offers beyond the queue are dropped and counted, and so are chunks longer than the cache', async () => {
  await using directory = await makeDirectory();
  await using cache = await openAt(directory.path, {
    sizeMaxBytes: 16 * blockSizeBytes,
    queueMaxBytes: 8 * blockSizeBytes,
  });
  const chunks = [4, 4, 1, 17].map((blocks, seed) => namedChunk(seed, blocks * blockSizeBytes));
  await offer(cache, ...chunks);
  const { dropped, chunks: count, queuedBytes } = cache.status();
  assert.deepEqual(dropped, { queueFull: 1, suspended: 0, tooLong: 1 });
  assert.deepEqual({ count, queuedBytes }, { count: 2, queuedBytes: 0 });
});

test('what is offered while all is dropped is not kept, so that dropping ends under load', async () => {
  await using directory = await makeDirectory();
  await using cache = await openAt(directory.path, {
    sizeMaxBytes: 4 * blockSizeBytes,
    queueMaxBytes: blockSizeBytes,
  });
  const [one, two] = [namedChunk(1, blockSizeBytes), namedChunk(2, blockSizeBytes)];
  await cache.settled();
  cache.offer(one.name, one.ciphertext); // a full queue waits for no pause: the writer is at work, and dropping waits for him
  const dropping = cache.drop();
  cache.offer(two.name, two.ciphertext);
  await dropping;
  assert.deepEqual([cache.status().writes, cache.status().chunks], [1, 0]);
  await offer(cache, two);
  assertSame(await get(cache, two), two);
});

test('a file holds no byte but those of its chunk, though it is forgotten while it is written and its memory wanted again', async () => {
  const lengthBytes = 64 * blockSizeBytes;
  const turnCounts = fc.array(fc.nat(12), { minLength: 8, maxLength: 24 });
  await fc.assert(
    fc.asyncProperty(turnCounts, async (counts) => {
      await using directory = await makeDirectory();
      const waiting = new WaitingChunks({ bytesMax: 3 * lengthBytes });
      let nowMs = 0;
      const reads = new WorkerReads({ monotonicMs: () => (nowMs += 1000) }); // always in a pause
      await using cache = await openAt(directory.path, { waiting, reads });
      await cache.settled();
      const seeds = counts.flatMap((_, at) => [2 * at, 2 * at + 1]);
      const all = seeds.map((seed) => namedChunk(seed, lengthBytes));
      const forgetting: Promise<void>[] = [];
      for (const [at, turns] of counts.entries()) {
        const [first, second] = all.slice(2 * at, 2 * at + 2) as [NamedChunk, NamedChunk];
        cache.offer(first.name, first.ciphertext);
        for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
        forgetting.push(cache.forget(first.name)); // it may be under way
        cache.offer(second.name, second.ciphertext);
        if (at % 2 === 1) await cache.settled();
      }
      await Promise.all(forgetting);
      await cache.settled();
      assert.equal(waiting.bytes, 0);
      for (const chunk of all) {
        const file = fileOf(directory.path, chunk.name);
        if (existsSync(file)) assertSame(await readFile(file), chunk);
      }
    }),
    { numRuns: 40 },
  );
});

test('a closed cache finds and keeps nothing, and closing it again does nothing', async () => {
  await using directory = await makeDirectory();
  const chunk = namedChunk(1, blockSizeBytes);
  await using cache = await openAt(directory.path);
  await offer(cache, chunk);
  await Promise.all([cache.close(), cache.close()]);
  await offer(cache, namedChunk(2, blockSizeBytes));
  assert.equal(await get(cache, chunk), undefined);
  assert.equal((await filesBelow(join(directory.path, 'chunks'))).length, 1);
});

test('against a model: right bytes or none, and what is counted is what is there, whatever happens', async () => {
  const chunks = Array.from({ length: 10 }, (_, seed) => namedChunk(seed, (1 + seed) * 4096));
  const chunk = fc.integer({ min: 0, max: 9 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant('offer'), chunk }, { noNullPrototype: true }),
    fc.record({ kind: fc.constant('get'), chunk }, { noNullPrototype: true }),
    fc.record(
      { kind: fc.constantFrom('forget', 'truncate', 'remove'), chunk },
      { noNullPrototype: true },
    ),
    fc.record({ kind: fc.constantFrom('reopen', 'drop'), chunk }, { noNullPrototype: true }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (program) => {
      await using directory = await makeDirectory();
      const limit = 30 * blockSizeBytes;
      let cache = await openAt(directory.path, { sizeMaxBytes: limit });
      try {
        for (const { kind, chunk: index } of program) {
          const one = chunks[index] ?? namedChunk(0, 4096);
          const file = fileOf(directory.path, one.name);
          if (kind === 'offer') await offer(cache, one);
          else if (kind === 'forget') await cache.forget(one.name);
          else if (kind === 'truncate') await truncate(file, 5).catch(() => {});
          else if (kind === 'remove') await rm(file, { force: true });
          else if (kind === 'drop') await cache.drop();
          else if (kind === 'reopen') {
            await cache.close();
            cache = await openAt(directory.path, { sizeMaxBytes: limit });
          }
          const found = await get(cache, one);
          if (found !== undefined) assertSame(found, one);
          // What was taken from under it, it knows as soon as it has looked.
          if (kind === 'offer') assert.ok(found !== undefined);
          if (kind !== 'offer' && kind !== 'get' && kind !== 'reopen')
            assert.equal(found, undefined);
        }
        await cache.settled();
        for (const each of chunks) await get(cache, each);
        const occupied = await occupiedBytes(directory.path);
        assert.ok(occupied <= limit);
        assert.equal(cache.status().bytes, occupied);
        assert.equal(cache.status().queuedBytes, 0);
      } finally {
        await cache.close();
      }
    }),
    { numRuns: 25 },
  );
});
