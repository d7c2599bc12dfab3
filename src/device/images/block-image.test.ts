import assert from 'node:assert/strict';
import { open, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { errorCode, runCommand } from '../../base/index.ts';
import { createRootMounts } from '../index.ts';
import {
  WorkerFixture,
  chunkSizeBytes,
  missingHere,
  readDirect,
} from '../testing/worker-fixture.ts';

const missing = missingHere();
const user = 'test';

describe('a block image', { skip: missing }, () => {
  let worker: WorkerFixture;
  let tree: string;
  let disk: Buffer;

  before(async () => {
    worker = await WorkerFixture.create({ memoryBytes: 8 * chunkSizeBytes });
    ({ tree, disk } = await worker.sampleDisk(60, '64M'));
  });
  after(async () => worker[Symbol.asyncDispose]());

  test('is a file whose bytes are the disk, at any offset and length', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const { path, diskSizeBytes } = await agent.open({ image, user });
    assert.equal(diskSizeBytes, disk.byteLength);
    const file = await open(path);
    const offsets = fc.integer({ min: 0, max: disk.byteLength });
    const sizes = fc.integer({ min: 1, max: 3 * 1024 * 1024 });
    try {
      await fc.assert(
        fc.asyncProperty(offsets, sizes, async (offset, sizeBytes) => {
          const { buffer, bytesRead } = await file.read(
            Buffer.alloc(sizeBytes),
            0,
            sizeBytes,
            offset,
          );
          const expected = disk.subarray(offset, offset + sizeBytes);
          assert.equal(bytesRead, expected.byteLength);
          assert.equal(buffer.subarray(0, bytesRead).compare(expected), 0);
        }),
        { numRuns: 60 },
      );
      // Whatever was read by chance: now all of it was, which is more than the slab holds.
      assert.equal((await file.readFile()).compare(disk), 0);
    } finally {
      await file.close();
    }
    const { slab } = await agent.status();
    assert.ok(slab.evictions > 0, 'the slab is smaller than the image');
    assert.equal(slab.bytesMax, 8 * chunkSizeBytes);
    await agent.close({ image, user });
    await assert.rejects(open(path), { code: 'ENOENT' });
  });

  test('mounts as the tree that the disk was made from, cold each time caches are dropped', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
    assert.deepEqual(await roots.dropCaches(), ['memory'], 'its disk is off');
    for (let round = 0; round < 2; round += 1) {
      const fetchedBefore = (await worker.fetches()).length;
      const [root, same] = await Promise.all([roots.acquire(image), roots.acquire(image)]);
      assert.equal(root.path, same.path);
      const diff = runCommand('diff', ['-r', '--exclude=lost+found', tree, root.path]);
      assert.equal((await diff).stdout, '');
      await root[Symbol.asyncDispose]();
      assert.ok((await readdir(root.path)).length > 0, 'the other holder still has it');
      const reads = await roots.counters(image);
      assert.equal(reads.byTier.origin.chunks, reads.chunks);
      assert.ok(reads.chunks > 20);
      const fetched = (await worker.fetches()).slice(fetchedBefore);
      assert.equal(new Set(fetched).size, reads.chunks);
      await same[Symbol.asyncDispose]();
      await roots.dropCaches();
    }
    assert.deepEqual((await agent.status()).images, []);
    await roots.close();
  });

  test('serves many readers at once from a memory that holds a fraction of what they read', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
    await using root = await roots.acquire(image);
    const { path } = await agent.open({ image, user });
    const reads = Array.from({ length: 6 }, async (_, index) => {
      const at = index * 5 * 1024 * 1024;
      const sizeBytes = 8 * 1024 * 1024;
      const got = await readDirect(path, at, sizeBytes);
      assert.equal(got.compare(disk.subarray(at, at + sizeBytes)), 0);
    });
    const diff = runCommand('diff', ['-r', '--exclude=lost+found', tree, root.path]);
    await Promise.all([...reads, diff]);
    await agent.close({ image, user });
  });

  test('fetches a chunk once for many readers at the same time', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    await agent.dropCaches();
    const { path } = await agent.open({ image, user });
    await worker.setOrigin({ delayMs: 100 });
    const before = (await worker.fetches()).length;
    const reads = Array.from({ length: 6 }, (_, index) => readDirect(path, index * 4096, 4096));
    const got = Buffer.concat(await Promise.all(reads));
    assert.equal(got.compare(disk.subarray(0, 6 * 4096)), 0);
    assert.equal((await worker.fetches()).length - before, 1);
    await worker.setOrigin({});
    await agent.close({ image, user });
  });

  test('gives EIO when the origin stalls or fails, and bytes again when it is back', async () => {
    await using brief = await WorkerFixture.create({ readDeadlineMs: 3000 });
    const agent = await brief.agent();
    const image = await brief.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(brief.dir, 'mounts') });
    {
      await using root = await roots.acquire(image);
      const file = join(root.path, 'dir-3', 'file-59');
      await readdir(join(root.path, 'dir-3'));
      for (const broken of [{ isFailing: true }, { isStalled: true }]) {
        await brief.setOrigin(broken);
        await assert.rejects(readFile(file), { code: 'EIO' });
      }
      assert.ok((await roots.counters(image)).failed >= 2);
      await brief.setOrigin({});
      const readable = async (): Promise<Buffer> => readFile(file).catch(async () => readable());
      assert.equal((await readable()).compare(await readFile(join(tree, 'dir-3/file-59'))), 0);
    }
    await roots.close();
  });

  test('gives EIO, never wrong bytes, for a chunk that was changed or cut in the origin', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const { path } = await agent.open({ image, user });
    await agent.dropCaches();
    const before = (await worker.fetches()).length;
    await readDirect(path, 0, 4096);
    const name = (await worker.fetches())[before];
    assert.ok(name !== undefined);
    const objectPath = join(worker.originDir, name);
    const sound = await readFile(objectPath);
    const flipped = Buffer.from(sound);
    flipped[99] = (flipped[99] ?? 0) ^ 1;
    await writeFile(objectPath, flipped);
    await agent.dropCaches();
    await assert.rejects(readDirect(path, 0, 4096), { code: 'EIO' });
    await truncate(objectPath, 100);
    await assert.rejects(readDirect(path, 0, 4096), { code: 'EIO' });
    await writeFile(objectPath, sound);
    assert.equal((await readDirect(path, 0, 4096)).compare(disk.subarray(0, 4096)), 0);
    await agent.close({ image, user });
  });

  test('shares chunks in memory with another image, and counts them as found there', async () => {
    const agent = await worker.agent();
    const changed = Buffer.from(disk);
    changed.fill('changed', 20 * chunkSizeBytes, 21 * chunkSizeBytes);
    const image = await worker.publish(disk);
    const other = await worker.publish(changed);
    await agent.dropCaches();
    const paths = [];
    for (const each of [image, other]) paths.push((await agent.open({ image: each, user })).path);
    const [path = '', otherPath = ''] = paths;
    await readDirect(path, 0, 4096);
    const before = (await worker.fetches()).length;
    await readDirect(otherPath, 0, 4096);
    assert.equal((await worker.fetches()).length, before);
    assert.equal((await agent.counters(other)).byTier.l1.chunks, 1);
    const at = 20 * chunkSizeBytes;
    assert.equal((await readDirect(otherPath, at, 7)).toString(), 'changed');
    assert.equal((await readDirect(path, at, 7)).compare(disk.subarray(at, at + 7)), 0);
    for (const each of [image, other]) await agent.close({ image: each, user });
  });

  test('refuses writes, unknown names and another tenant', async () => {
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const { path } = await agent.open({ image, user });
    await assert.rejects(open(path, 'r+'), { code: 'EROFS' });
    await assert.rejects(open(`${path}x`), { code: 'ENOENT' });
    assert.deepEqual(await readdir(join(worker.runDir, 'images')), [`${image.manifestId}.img`]);
    await assert.rejects(agent.open({ image: { ...image, tenant: 'tenant-b' }, user }), {
      code: 'ERR_DEVICE_WRONG_TENANT',
    });
    const missingImage = { ...image, manifestId: '0'.repeat(64) };
    const failure = await agent.open({ image: missingImage, user }).catch(errorCode);
    assert.equal(failure, 'ERR_DEVICE_IMAGE_UNSUPPORTED');
    const evil = { ...image, manifestId: '../../etc' };
    assert.equal(
      await agent.open({ image: evil, user }).catch(errorCode),
      'ERR_DEVICE_BAD_REQUEST',
    );
    await agent.close({ image, user });
  });
});
