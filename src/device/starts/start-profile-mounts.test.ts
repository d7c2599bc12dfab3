/** Start profiles over real mounts: what one cold start reads, the next one need not wait for. */

import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { runCommand } from '../../base/index.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import type {
  ImageRef,
  MountedRoot,
  ReadCounters,
  RootMounts,
  StartEnd,
} from '../images/block-images.ts';
import { startMaxMs } from './image-starts.ts';
import { cachedWindows, windowSizeBytes } from './file-windows.ts';
import { createRootMounts } from '../index.ts';
import { profilePath } from '../testing/processes.ts';
import { WorkerFixture, chunkSizeBytes, missingHere } from '../testing/worker-fixture.ts';

const skip = missingHere();

/** Files of the sample tree, each with chunks of its own, that a start reads one after the other. */
const files = Array.from({ length: 20 }, (_, at) => 59 - at * 2).map(
  (index) => `dir-${index % 7}/file-${index}`,
);

describe('cold starts of an image', { skip }, () => {
  let worker: WorkerFixture;
  let agent: AgentClient;
  let roots: RootMounts;
  let image: ImageRef;
  let tree: string;
  let disk: Buffer;
  let imageCount = 0;

  before(async () => {
    worker = await WorkerFixture.create({
      keepsProfiles: true,
      memoryBytes: 160 * chunkSizeBytes,
    });
    ({ tree, disk } = await worker.sampleDisk(60, '64M'));
    agent = await worker.agent();
    roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
  });
  after(async () => worker[Symbol.asyncDispose]());
  beforeEach(async () => {
    await worker.setOrigin({});
    image = await newImage();
  });

  /** Of the same tree, with another last chunk. */
  async function newImage(): Promise<ImageRef> {
    imageCount += 1;
    const changed = Buffer.from(disk);
    changed.fill(`${imageCount}`, disk.byteLength - 512);
    return worker.publish(changed);
  }

  /** One after the other, each read whole and compared. */
  async function readFiles(rootPath: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      const got = await readFile(join(rootPath, name));
      assert.ok(got.equals(await readFile(join(tree, name))), name);
    }
  }

  /** `profiled`: begins to read when so many chunks were prefetched, or read by the mount itself. */
  async function coldStart(
    names: readonly string[] = files,
    { keepsMemory = false, profiled = 0 } = {},
  ): Promise<{ reads: ReadCounters; end: StartEnd }> {
    if (!keepsMemory) await roots.dropCaches();
    await using root = await roots.acquire(image);
    for (;;) {
      const { chunks, prefetched } = await roots.counters(image);
      if (chunks + prefetched.unreadChunks >= profiled) break;
    }
    await readFiles(root.path, names);
    const end = await roots.startEnded(image);
    return { reads: await roots.counters(image), end };
  }

  test('wait for each chunk at first, and for hardly any once the profile is there', async () => {
    await worker.setOrigin({ delayMs: 20 });
    const first = await coldStart();
    assert.ok(first.end.saved);
    assert.equal(first.end.chunks, first.reads.chunks);
    assert.equal(first.reads.prefetched.chunks, 0);
    assert.ok(first.reads.waits.stalls >= files.length);

    const second = await coldStart();
    assert.equal(second.reads.chunks, first.reads.chunks);
    assert.equal(second.reads.byTier.origin.chunks, first.reads.chunks);
    assert.ok(second.reads.prefetched.chunks > first.reads.chunks / 2);
    assert.equal(second.reads.prefetched.unreadChunks, 0);
    assert.ok(second.reads.waits.stalls < first.reads.waits.stalls / 2);
    assert.equal(second.end.saved, false, 'it read the same');

    await roots.dropCaches();
    const { starts } = await agent.cacheStatus(); // of images that are closed as well
    assert.deepEqual(starts?.profiles, {
      found: 1,
      absent: 1,
      unusable: 0,
      learned: 2,
      saved: 1,
      unsaved: 0,
    });
    assert.deepEqual(starts?.prefetched, second.reads.prefetched);
    assert.equal(starts?.waits.reads, first.reads.waits.reads + second.reads.waits.reads);
  });

  test('are recorded whole where every chunk was in memory already', async () => {
    await roots.dropCaches();
    const { path } = await agent.open({ image, user: 'keeps-it' });
    await readFile(path);
    const warm = await coldStart(files, { keepsMemory: true });
    assert.equal(warm.reads.waits.stalls, (await agent.status()).images[0]?.reads.waits.stalls);
    await agent.close({ image, user: 'keeps-it' });
    const cold = await coldStart(files, { profiled: warm.end.chunks });
    assert.equal(cold.reads.chunks, warm.end.chunks);
    assert.equal(cold.reads.prefetched.unreadChunks, 0);
    assert.ok(cold.reads.waits.stalls < warm.end.chunks / 2, 'only the mount can have been faster');
  });

  test('prefetch what is no longer read for a few starts, count it, and then leave it', async () => {
    const first = await coldStart();
    const some = files.slice(0, 5);
    const second = await coldStart(some, { profiled: first.end.chunks });
    assert.equal(
      second.reads.prefetched.unreadChunks,
      first.end.chunks - second.end.chunks,
      'the rest of what the first start read',
    );
    for (let start = 0; start < 3; start += 1) await coldStart(some);
    const { reads } = await coldStart(some);
    assert.equal(reads.prefetched.unreadChunks, 0);
  });

  test('do without a profile that is garbage, cut short, or another image’s', async () => {
    await coldStart();
    const path = profilePath(worker.originDir, image);
    const sound = await readFile(path);
    const { unusable = NaN } = (await agent.status()).profiles ?? {};
    const spoilt = Buffer.from(sound);
    spoilt[sound.byteLength - 20] = (spoilt[sound.byteLength - 20] ?? 0) ^ 1;
    const cut = sound.subarray(0, 40);
    // Sound bytes as well: they are of another image.
    for (const bytes of [spoilt, cut, Buffer.alloc(300), Buffer.alloc(0), sound]) {
      image = await newImage();
      await writeFile(profilePath(worker.originDir, image), bytes);
      const { reads, end } = await coldStart();
      assert.deepEqual([reads.prefetched.chunks, reads.failed], [0, 0]);
      assert.ok(end.saved, 'a sound one takes its place');
    }
    assert.equal((await agent.status()).profiles?.unusable, unusable + 5);
  });

  test('are not recorded where they fail, nor where a killed agent had recorded them', async () => {
    await roots.dropCaches();
    const failing = await roots.acquire(image);
    await readFiles(failing.path, files.slice(0, 3));
    await failing[Symbol.asyncDispose]();
    assert.deepEqual(await roots.startEnded(image), { chunks: 0, saved: false });
    await assert.rejects(agent.startEnded(image), { code: 'ERR_DEVICE_IMAGE_NOT_OPEN' });
    await assert.rejects(stat(profilePath(worker.originDir, image)), { code: 'ENOENT' });

    await using root = await roots.acquire(image);
    await readFiles(root.path, files.slice(0, 3));
    const { pid } = await agent.status();
    process.kill(pid, 'SIGKILL');
    await readFiles(root.path, files.slice(3, 6));
    assert.deepEqual(await roots.startEnded(image), { chunks: 0, saved: false });
    await assert.rejects(stat(profilePath(worker.originDir, image)), { code: 'ENOENT' });
  });

  test('of one image at the same time are one start; those of many are prefetched side by side', async () => {
    await coldStart();
    await roots.dropCaches();
    const [one, other] = await Promise.all([roots.acquire(image), roots.acquire(image)]);
    await Promise.all([readFiles(one.path, files), readFiles(other.path, files.toReversed())]);
    const ends = await Promise.all([roots.startEnded(image), roots.startEnded(image)]);
    assert.deepEqual(
      ends.map(({ chunks }) => chunks > 0),
      [true, false],
    );
    for (const root of [one, other]) await root[Symbol.asyncDispose]();
  });

  test('go on when chunks of the profile cannot be had', async () => {
    await coldStart();
    await roots.dropCaches();
    const before = (await worker.fetches()).length;
    await using root = await roots.acquire(image);
    await readFiles(root.path, files.slice(0, 1));
    const [name = ''] = (await worker.fetches()).slice(before).toReversed();
    await roots.startEnded(image);
    await root[Symbol.asyncDispose]();
    const sizeBytes = (await stat(join(worker.originDir, name))).size;
    const sound = await readFile(join(worker.originDir, name));
    await truncate(join(worker.originDir, name), sizeBytes - 1);
    await roots.dropCaches();
    await using again = await roots.acquire(image);
    const reads = await Promise.allSettled(files.map((file) => readFiles(again.path, [file])));
    assert.ok(reads.filter(({ status }) => status === 'fulfilled').length > files.length / 2);
    await writeFile(join(worker.originDir, name), sound);
  });

  describe('by processes', () => {
    /** The inodes of `names` by the windows of them that are in the page cache. */
    async function cachedOf(
      rootPath: string,
      names: readonly string[],
    ): Promise<ReadonlyMap<number, number>> {
      const mountFd = openSync(rootPath, 'r');
      try {
        const cached = new Map<number, number>();
        for (const name of names) {
          const { ino } = await stat(join(rootPath, name));
          cached.set(ino, (await cachedWindows(mountFd, ino)).length);
        }
        return cached;
      } finally {
        closeSync(mountFd);
      }
    }

    /** As a start does: by a process that is not this one. */
    async function readByProcess(rootPath: string, names: readonly string[]): Promise<void> {
      for (const name of names) await runCommand('cmp', [join(rootPath, name), join(tree, name)]);
    }

    async function startOf(names: readonly string[]): Promise<ReadCounters> {
      await roots.dropCaches();
      await using root = await roots.acquire(image);
      await readByProcess(root.path, names);
      await roots.startEnded(image);
      return roots.counters(image);
    }

    /** A mount of which nothing was read, once so many windows of `files` are in the page cache. On a machine that is too busy that may take a few. */
    async function warmedRoot(windows: readonly number[]): Promise<MountedRoot> {
      for (let tries = 0; tries < 5; tries += 1) {
        await roots.dropCaches();
        const root = await roots.acquire(image);
        const endsAtMs = performance.now() + startMaxMs;
        while (performance.now() < endsAtMs) {
          const cached = await cachedOf(root.path, files);
          if (isDeepStrictEqual([...cached.values()], windows)) return root;
        }
        await root[Symbol.asyncDispose]();
      }
      throw new Error('Nothing was read ahead');
    }

    test('find in the page cache what the one before had there, and prefetched chunks count as read only if they open its files', async () => {
      await startOf(files);
      const sizes = await Promise.all(
        files.map(async (name) => (await stat(join(tree, name))).size),
      );
      const windows = sizes.map((size) => Math.ceil(size / windowSizeBytes));
      await using root = await warmedRoot(windows);
      const opened = files.slice(0, 3);
      await readByProcess(root.path, opened);
      await roots.startEnded(image);
      const { prefetched } = await roots.counters(image);
      assert.ok(prefetched.unreadChunks > prefetched.chunks / 2);
      assert.ok(prefetched.unreadChunks < prefetched.chunks);
    });

    test('can be unmounted whatever is being read ahead of them', async () => {
      await startOf(files);
      await worker.setOrigin({ delayMs: 20 });
      for (let start = 0; start < 3; start += 1) {
        await roots.dropCaches();
        const root = await roots.acquire(image);
        if (start > 0) await readByProcess(root.path, files.slice(0, start));
        const ending = start === 2 ? roots.startEnded(image) : undefined;
        await root[Symbol.asyncDispose]();
        await ending;
        await assert.rejects(stat(root.path), { code: 'ENOENT' });
      }
    });
  });
});
