/** Start profiles over real mounts: what one cold start reads, the next one need not wait for. What packs do: start-pack-mounts.test.ts. */

import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { runCommand } from '../../base/index.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import type { ImageRef, ReadCounters, RootMounts } from '../images/block-images.ts';
import { ColdStarts, until, type ColdStart, type StartChoices } from '../testing/cold-starts.ts';
import { profilePath } from '../testing/processes.ts';
import { missingHere } from '../testing/worker-fixture.ts';
import { cachedWindows, windowSizeBytes } from './file-windows.ts';

const skip = missingHere();

/** Files of the sample tree, each with chunks of its own, that a start reads one after the other. */
const files = Array.from({ length: 20 }, (_, at) => 59 - at * 2).map(
  (index) => `dir-${index % 7}/file-${index}`,
);

describe('cold starts of an image', { skip }, () => {
  let starts: ColdStarts;
  let agent: AgentClient;
  let roots: RootMounts;
  let image: ImageRef;

  before(async () => {
    starts = await ColdStarts.create(60, '64M', 160);
    ({ agent, roots } = starts);
  });
  after(async () => starts[Symbol.asyncDispose]());
  beforeEach(async () => {
    await starts.worker.setOrigin({});
    image = await starts.newImage();
  });

  async function readFiles(rootPath: string, names: readonly string[]): Promise<void> {
    await starts.readFiles(rootPath, names);
  }

  async function coldStart(
    names: readonly string[] = files,
    choices: StartChoices = {},
  ): Promise<ColdStart> {
    return starts.start(image, async ({ path }) => readFiles(path, names), choices);
  }

  function profileOf(of: ImageRef): string {
    return profilePath(starts.worker.originDir, of);
  }

  test('wait for each chunk at first, and for hardly any once the profile is there', async () => {
    const before = (await agent.cacheStatus()).starts;
    await starts.worker.setOrigin({ delayMs: 20 });
    const first = await coldStart();
    assert.ok(first.end.saved);
    assert.equal(first.end.chunks, first.reads.chunks);
    assert.equal(first.reads.prefetched.chunks, 0);
    assert.ok(first.reads.waits.stalls >= files.length);

    const second = await coldStart();
    assert.equal(second.end.chunks, first.end.chunks, 'of the disk');
    assert.equal(second.reads.byTier.origin.chunks, second.reads.chunks);
    assert.ok(second.reads.prefetched.chunks > second.reads.chunks / 2);
    assert.equal(second.reads.prefetched.unreadChunks, 0);
    assert.ok(second.reads.waits.stalls < first.reads.waits.stalls / 2);

    await roots.dropCaches();
    const { starts: now } = await agent.cacheStatus(); // of images that are closed as well
    assert.deepEqual([now?.profiles.found, now?.profiles.absent, now?.profiles.learned], [1, 1, 2]);
    assert.deepEqual([now?.profiles.unusable, now?.profiles.unsaved], [0, 0]);
    assert.deepEqual([before?.profiles.learned, before?.prefetched.chunks], [0, 0]);
    assert.deepEqual(now?.prefetched, second.reads.prefetched);
    assert.equal(now?.waits.reads, first.reads.waits.reads + second.reads.waits.reads);
  });

  test('are recorded whole where every chunk was in memory already', async () => {
    await roots.dropCaches();
    const { path } = await agent.open({ image, user: 'keeps-it' });
    await readFile(path);
    const warm = await coldStart(files, { keepsMemory: true });
    assert.equal(warm.reads.waits.stalls, (await agent.status()).images[0]?.reads.waits.stalls);
    await agent.close({ image, user: 'keeps-it' });
    const cold = await coldStart(files, { isPrefetched: true });
    assert.equal(cold.end.chunks, warm.end.chunks);
    assert.equal(cold.reads.prefetched.unreadChunks, 0);
    assert.ok(cold.reads.waits.stalls < cold.reads.chunks / 2, 'only the mount can be faster');
  });

  test('prefetch what is not read this time, and count it', async () => {
    const first = await coldStart();
    const second = await coldStart(files.slice(0, 1), { isPrefetched: true });
    assert.ok(second.end.chunks < first.end.chunks / 2);
    const { chunks, unreadChunks } = second.reads.prefetched;
    assert.ok(unreadChunks > 0 && unreadChunks < chunks);
    assert.ok(chunks - unreadChunks <= second.reads.chunks);
  });

  test('do without a profile that is garbage, cut short, of an older version, or another image’s', async () => {
    await coldStart();
    const sound = await readFile(profileOf(image));
    const { unusable = NaN } = (await agent.status()).profiles ?? {};
    const spoilt = Buffer.from(sound);
    spoilt[sound.byteLength - 20] = (spoilt[sound.byteLength - 20] ?? 0) ^ 1;
    const cut = sound.subarray(0, 40);
    const old = Buffer.from(sound);
    old.writeUInt32LE(3, 8);
    // Sound bytes as well: they are of another image.
    for (const bytes of [spoilt, cut, old, Buffer.alloc(300), Buffer.alloc(0), sound]) {
      image = await starts.newImage();
      await writeFile(profileOf(image), bytes);
      const { mode, reads, end } = await coldStart();
      assert.deepEqual(mode, { isLookedAt: true, isPacked: false });
      assert.deepEqual([reads.prefetched.chunks, reads.failed], [0, 0]);
      assert.ok(end.saved, 'a sound one takes its place');
      assert.equal((await readFile(profileOf(image))).readUInt32LE(8), 4);
    }
    assert.equal((await agent.status()).profiles?.unusable, unusable + 6);
  });

  test('are not recorded where they fail, nor where a killed agent had recorded them', async () => {
    await roots.dropCaches();
    const failing = await roots.acquire(image);
    await readFiles(failing.path, files.slice(0, 3));
    await failing[Symbol.asyncDispose]();
    assert.deepEqual(await roots.startEnded(image), { chunks: 0, saved: false });
    await assert.rejects(agent.startEnded(image), { code: 'ERR_DEVICE_IMAGE_NOT_OPEN' });
    await assert.rejects(stat(profileOf(image)), { code: 'ENOENT' });

    await using root = await roots.acquire(image);
    await readFiles(root.path, files.slice(0, 3));
    const { pid } = await agent.status();
    process.kill(pid, 'SIGKILL');
    await readFiles(root.path, files.slice(3, 6));
    assert.deepEqual(await roots.startEnded(image), { chunks: 0, saved: false });
    await assert.rejects(stat(profileOf(image)), { code: 'ENOENT' });
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

  test('go on when what the profile lists cannot be had, neither from the pack nor from the disk', async () => {
    const first = await coldStart();
    const [ofDisk = ''] = first.fetched.toReversed(); // of the last file
    const sound = new Map<string, Buffer>();
    for (const name of [...(await starts.packedNames(image)), ofDisk]) {
      const path = join(starts.worker.originDir, name);
      sound.set(path, await readFile(path));
      await truncate(path, (await stat(path)).size - 1);
    }
    await roots.dropCaches();
    {
      await using root = await roots.acquire(image);
      const reads = await Promise.allSettled(files.map((file) => readFiles(root.path, [file])));
      const failed = reads.filter(({ status }) => status === 'rejected').length;
      assert.ok(failed > 0 && failed < files.length / 2);
      await roots.startEnded(image);
    }
    for (const [path, bytes] of sound) await writeFile(path, bytes);
    assert.equal((await coldStart()).reads.failed, 0);
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
          cached.set(ino, cachedWindows(mountFd, ino).length);
        }
        return cached;
      } finally {
        closeSync(mountFd);
      }
    }

    /** As a start does: by a process that is not this one. */
    async function readByProcess(rootPath: string, names: readonly string[]): Promise<void> {
      for (const name of names) {
        await runCommand('cmp', [join(rootPath, name), join(starts.tree, name)]);
      }
    }

    async function startOf(names: readonly string[]): Promise<ReadCounters> {
      const { reads } = await starts.start(image, async ({ path }) => readByProcess(path, names));
      return reads;
    }

    test('find in the page cache what the one before had there', async () => {
      await startOf(files);
      const sizes = await Promise.all(
        files.map(async (name) => (await stat(join(starts.tree, name))).size),
      );
      const windows = sizes.map((size) => Math.ceil(size / windowSizeBytes));
      await roots.dropCaches();
      await using root = await roots.acquire(image);
      await until(async () => {
        const cached = await cachedOf(root.path, files);
        return isDeepStrictEqual([...cached.values()], windows);
      }, 'all of it was read ahead');
    });

    test('have read what was read ahead of them only if they open its files', async () => {
      await startOf(files);
      const { reads } = await starts.start(
        image,
        async ({ path }) => {
          await until(async () => {
            const { prefetched } = await roots.counters(image);
            return prefetched.unreadChunks === 0;
          }, 'all of it was read ahead');
          await readByProcess(path, files.slice(0, 1));
        },
        { isPrefetched: true },
      );
      const { chunks, unreadChunks } = reads.prefetched;
      assert.ok(unreadChunks > 0 && unreadChunks < chunks);
    });

    test('can be unmounted whatever is being read ahead of them', async () => {
      await startOf(files);
      await starts.worker.setOrigin({ delayMs: 20 });
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
