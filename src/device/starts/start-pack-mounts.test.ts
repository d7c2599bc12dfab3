/** Start packs over real mounts: starts load copies of the blocks that they read, and every byte is right whatever becomes of the pack. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { present, runCommand } from '../../base/index.ts';
import type { ImageRef } from '../images/block-images.ts';
import { listMounts } from '../mounts/mounts.ts';
import { profilePath } from '../testing/processes.ts';
import { ColdStarts, type Place } from '../testing/cold-starts.ts';
import { chunkSizeBytes, missingHere } from '../testing/worker-fixture.ts';
import { diskInode, pageSizeBytes, pagesPerWindow } from './file-windows.ts';
import { placedRuns } from './start-pack.ts';
import { earlyStarts, type ProfiledWindow, type StartProfile } from './start-profile.ts';

const skip = missingHere();

/** The middle page of files of the sample tree, which lie in chunks of their own. */
const places: readonly Place[] = Array.from({ length: 20 }, (_, at) => 59 - at * 2).map((index) => {
  const sizeBytes = 1 + ((index * 7919) % 900_000);
  const offset = Math.floor(sizeBytes / 2 / pageSizeBytes) * pageSizeBytes;
  return { name: `dir-${index % 7}/file-${index}`, offset, sizeBytes: pageSizeBytes };
});
/** Files of which the starts above read nothing. */
const otherFiles = [10, 22, 34, 46].map((index) => `dir-${index % 7}/file-${index}`);

/** The loop device that is mounted there. */
async function deviceOf(path: string): Promise<string> {
  const mounts = await listMounts();
  return present(
    mounts.find(({ mountPoint }) => mountPoint === path),
    'the mount',
  ).source;
}

function blocksIn(diskBlock: number, pages: number): readonly number[] {
  const all = Array.from({ length: pagesPerWindow }, (_, page) => page);
  return all.filter((page) => (pages >> page) & 1).map((page) => diskBlock + page);
}

/** How much the kernel reads around what is read of the device. */
async function readAheadKib(device: string): Promise<number> {
  const name = device.slice('/dev/'.length);
  return Number(await readFile(`/sys/block/${name}/queue/read_ahead_kb`, 'utf8'));
}

describe('a start with a start pack', { skip }, () => {
  let starts: ColdStarts;

  before(async () => {
    starts = await ColdStarts.create(60, '64M', 160);
  });
  after(async () => starts[Symbol.asyncDispose]());

  const readPlaces = async (root: { readonly path: string }): Promise<void> =>
    starts.readPlaces(root.path, places);

  /** An image that was started so many times. */
  async function startedImage(times = 1): Promise<ImageRef> {
    const image = await starts.newImage();
    for (let time = 0; time < times; time += 1) await starts.start(image, readPlaces);
    return image;
  }

  /** Of chunks of the disk that have pages of files in the pack, and nothing that a mount reads by itself. */
  async function sparedNames(image: ImageRef): Promise<ReadonlySet<string>> {
    const { windows } = await starts.profile(image);
    const names = await starts.diskNames(image);
    const chunkOf = (block: number): number => Math.floor((block * pageSizeBytes) / chunkSizeBytes);
    const ofMetadata = new Set<number>();
    const ofFiles = new Set<number>();
    for (const { inode, diskBlock, pages } of windows) {
      for (let page = 0; page < pagesPerWindow; page += 1) {
        if ((pages & (1 << page)) === 0) continue;
        (inode === diskInode ? ofMetadata : ofFiles).add(chunkOf(diskBlock + page));
      }
    }
    const spared = [...ofFiles].filter((index) => !ofMetadata.has(index));
    return new Set(spared.flatMap((index) => names.get(index) ?? []));
  }

  test('loads copies of what it reads, and none of the chunks of the disk that have it', async () => {
    const image = await starts.newImage();
    const first = await starts.start(image, readPlaces);
    assert.ok(first.end.saved);
    assert.deepEqual(first.mode, { isLookedAt: true, isPacked: false });
    const spared = await sparedNames(image);
    const packed = await starts.packedNames(image);
    assert.ok(spared.size > places.length / 2);
    for (const name of spared) assert.ok(first.fetched.includes(name));

    const second = await starts.start(image, readPlaces);
    assert.deepEqual(second.mode, { isLookedAt: true, isPacked: true });
    assert.equal(
      second.fetched.some((name) => spared.has(name)),
      false,
    );
    for (const name of packed) assert.ok(second.fetched.includes(name));
    assert.ok(second.reads.chunks < first.reads.chunks / 2);
    assert.ok(second.reads.bytes < first.reads.bytes / 4);
    assert.equal(second.reads.failed, 0);
    assert.equal(second.end.chunks, first.end.chunks, 'of the disk, wherever its bytes were');
  });

  test('has a pack in the order in which it first read, wherever on the disk that lies', async () => {
    const names = [59, 55, 51, 47].map((index) => `dir-${index % 7}/file-${index}`);
    /** The profile of an image of which a start read these files, and their inodes. */
    const learn = async (order: readonly string[], keepsMemory: boolean) => {
      const image = await starts.newImage();
      const holder = { image, user: 'holds' };
      if (keepsMemory) await readFile((await starts.agent.open(holder)).path);
      const inodes: number[] = [];
      const readAll = async ({ path }: { readonly path: string }): Promise<void> => {
        for (const name of order) inodes.push((await stat(join(path, name))).ino);
        await starts.readFiles(path, order);
      };
      const { end, fetched } = await starts.start(image, readAll, { keepsMemory });
      assert.ok(end.saved);
      assert.equal(fetched.length === 0, keepsMemory);
      if (keepsMemory) await starts.agent.close(holder);
      return { inodes, ...(await starts.profile(image)) };
    };
    const firstBlock = ({ windows }: StartProfile, inode: number | undefined): number =>
      Math.min(...windows.filter((one) => one.inode === inode).map(({ diskBlock }) => diskBlock));

    const known = await learn(names, false);
    const blockOf = new Map(names.map((name, at) => [name, firstBlock(known, known.inodes[at])]));
    const byDisk = names.toSorted((a, b) => (blockOf.get(a) ?? NaN) - (blockOf.get(b) ?? NaN));
    const [first, second, third, last] = byDisk;
    assert.ok(first && second && third && last);

    /** Parts of 64 KiB of the disk, for which there is one time. */
    const partsOf = ({ diskBlock, pages }: ProfiledWindow): number[] =>
      blocksIn(diskBlock, pages).map((block) => Math.floor(block / 16));
    for (const keepsMemory of [false, true]) {
      const { inodes, windows, pack } = await learn([last, first, third, second], keepsMemory);
      const placed = placedRuns(present(pack, 'the pack'));
      const indexOf = (block: number): number => {
        const run = placed.find(
          ({ diskBlock, blockCount }) => diskBlock <= block && block < diskBlock + blockCount,
        );
        return present(run, 'a packed block').index;
      };
      const spans = inodes.map((inode) => {
        const [own, others] = [true, false].map((isOwn) =>
          windows.filter((window) => (window.inode === inode) === isOwn),
        );
        const shared = new Set(others?.flatMap(partsOf));
        const alone = own?.filter((window) => !partsOf(window).some((part) => shared.has(part)));
        return (
          alone?.flatMap(({ diskBlock, pages }) => blocksIn(diskBlock, pages).map(indexOf)) ?? []
        );
      });
      for (const [at, indexes] of spans.entries()) {
        assert.ok(indexes.length > 40, 'most of its blocks share their time with no other file');
        const next = spans[at + 1] ?? [Infinity];
        assert.ok(Math.max(...indexes) <= Math.min(...next), `${at}, in memory: ${keepsMemory}`);
      }
      assert.ok(Math.max(...(spans[0] ?? [])) < Math.min(...(spans[3] ?? [])));
    }
  });

  test('reads what the pack does not have as well, in the same files and in others', async () => {
    const image = await startedImage();
    const { reads } = await starts.start(image, async ({ path }) => {
      const around = places.map(({ name, offset, sizeBytes }) => {
        const before = Math.min(offset, 3 * pageSizeBytes + 77);
        return { name, offset: offset - before, sizeBytes: sizeBytes + before + 20_000 };
      });
      await starts.readPlaces(path, around);
      await runCommand('diff', ['-r', '--exclude=lost+found', starts.tree, path]);
    });
    assert.equal(reads.failed, 0);
  });

  const damages = {
    missing: async (path) => rm(path),
    'cut short': async (path) => truncate(path, (await stat(path)).size - 1),
    garbage: async (path) => writeFile(path, randomBytes((await stat(path)).size)),
  } satisfies Record<string, (path: string) => Promise<void>>;
  for (const [what, damage] of Object.entries(damages)) {
    test(`reads the disk’s own chunks where one of the pack is ${what}, and the next start has a sound pack`, async () => {
      const image = await startedImage();
      const spared = await sparedNames(image);
      const packed = await starts.packedNames(image);
      const isSpared = (name: string): boolean => spared.has(name);
      for (const at of [0, -1]) {
        await damage(join(starts.worker.originDir, present(packed.at(at), 'a chunk')));
        const hit = await starts.start(image, readPlaces);
        assert.ok(hit.mode.isPacked);
        assert.equal(hit.reads.failed, 0);
        assert.ok(hit.end.saved);
        assert.ok(hit.fetched.some(isSpared));
      }
      assert.deepEqual(await starts.packedNames(image), packed);
      const next = await starts.start(image, readPlaces);
      assert.ok(next.mode.isPacked);
      assert.equal(next.fetched.some(isSpared), false);
    });
  }

  test('does with the next agent what was begun with one that is killed', async () => {
    const image = await startedImage();
    await starts.roots.dropCaches();
    await starts.worker.setOrigin({ delayMs: 20 });
    const root = await starts.roots.acquire(image);
    assert.ok((await starts.mode(image)).isPacked);
    const reading = starts.readPlaces(root.path, places);
    process.kill((await starts.agent.status()).pid, 'SIGKILL');
    await reading;
    await starts.worker.setOrigin({});
    await starts.readFiles(root.path, otherFiles);
    assert.deepEqual(await starts.roots.startEnded(image), { chunks: 0, saved: false });
    await root[Symbol.asyncDispose]();
    const { mode, reads } = await starts.start(image, readPlaces);
    assert.ok(mode.isPacked);
    assert.equal(reads.failed, 0);
  });

  test('can be made beside one of another image', async () => {
    const [one, other] = [await startedImage(), await starts.newImage()];
    const readOthers = async ({ path }: { readonly path: string }): Promise<void> =>
      starts.readFiles(path, otherFiles);
    await starts.start(other, readOthers);
    await starts.roots.dropCaches();
    const both = await Promise.all([
      starts.start(one, readPlaces, { keepsMemory: true }),
      starts.start(other, readOthers, { keepsMemory: true }),
    ]);
    for (const { mode, reads, end } of both) {
      assert.ok(mode.isPacked);
      assert.equal(reads.failed, 0);
      assert.ok(end.chunks > 0);
    }
  });

  test('is not looked at after a few that had all from the pack, until one reads elsewhere', async () => {
    const image = await starts.newImage();
    const isLookedAt = async (names: readonly string[]): Promise<boolean> => {
      const { mode } = await starts.start(image, async (root) => {
        await readPlaces(root);
        await starts.readFiles(root.path, names);
      });
      return mode.isLookedAt;
    };
    for (let count = 0; count < earlyStarts; count += 1) assert.ok(await isLookedAt([]));
    assert.equal(await isLookedAt([]), false);
    assert.equal(await isLookedAt(otherFiles), false);
    assert.ok(await isLookedAt(otherFiles));
    await starts.start(image, async (root) => {
      const ahead = new Set((await starts.pagesAhead(image)).map(({ inode }) => inode));
      for (const name of otherFiles) {
        assert.ok(ahead.has((await stat(join(root.path, name))).ino), name);
      }
    });
  });

  test('makes the kernel read nothing around what is read, and as much as ever when it is over', async () => {
    const image = await starts.newImage();
    const recorded = await starts.start(image, async (root) => {
      assert.equal(await readAheadKib(await deviceOf(root.path)), 4);
      await readPlaces(root);
    });
    assert.ok(recorded.end.saved);
    await starts.roots.dropCaches();
    {
      await using root = await starts.roots.acquire(image);
      const device = await deviceOf(root.path);
      assert.equal(await readAheadKib(device), 4);
      await starts.roots.startEnded(image);
      assert.equal(await readAheadKib(device), 128);
    }
    const root = await starts.roots.acquire(image);
    const device = await deviceOf(root.path);
    const held = openSync(device, 'r'); // it stays attached, and no other test takes it
    try {
      assert.equal(await readAheadKib(device), 4);
      await root[Symbol.asyncDispose]();
      assert.equal(await readAheadKib(device), 128);
    } finally {
      closeSync(held);
    }
  });

  test('is none where the image is writable, and nothing is learned from it', async () => {
    const image = await starts.newImage();
    const before = (await starts.agent.status()).profiles;
    const use = { image, user: 'writes', writable: true, isStart: true };
    const { path } = await starts.agent.open(use);
    assert.ok(starts.disk.subarray(0, 1000).equals((await readFile(path)).subarray(0, 1000)));
    await starts.agent.close(use);
    assert.deepEqual((await starts.agent.status()).profiles, before);
    const profile = profilePath(starts.worker.originDir, image);
    await assert.rejects(stat(profile), { code: 'ENOENT' });
  });
});

/** 26 chunks and a short one. */
const shortDiskKib = 26 * 512 + 5 * 4;

test(
  'reads of any part of a disk are right while its start has a pack of other parts',
  { skip },
  async () => {
    // So few slots that chunks of the pack and of the disk drive each other out all the time.
    await using starts = await ColdStarts.create(8, `${shortDiskKib}k`, 6);
    const disk = Buffer.from(starts.disk);
    const from = 6 * 1024 * 1024;
    assert.ok(!disk.subarray(from).some((byte) => byte !== 0), 'no file lies there');
    for (let at = from; at < disk.byteLength; at += 700_000) randomBytes(300_000).copy(disk, at);
    randomBytes(5 * pageSizeBytes).copy(disk, disk.byteLength - 5 * pageSizeBytes);
    const image = await starts.worker.publish(disk);
    const blockCount = disk.byteLength / pageSizeBytes;

    /** Some blocks of every stretch of random bytes and of zeros, by the device itself; and the last. */
    const readBlocks = async (root: { readonly path: string }): Promise<void> => {
      await using device = await open(await deviceOf(root.path));
      const read = async (block: number): Promise<void> => {
        const bytes = Buffer.alloc(pageSizeBytes);
        await device.read(bytes, 0, pageSizeBytes, block * pageSizeBytes);
        assert.ok(bytes.equals(disk.subarray(block * pageSizeBytes, (block + 1) * pageSizeBytes)));
      };
      for (let block = 7; block < blockCount; block += 1 + ((block * 31) % 13)) await read(block);
      await read(blockCount - 1);
    };
    await starts.start(image, readBlocks);
    const { pack } = await starts.profile(image);
    const runs = placedRuns(present(pack, 'the pack'));
    const packed = new Set(await starts.packedNames(image));
    const lastRun = present(runs.at(-1), 'a run');
    assert.equal(lastRun.diskBlock + lastRun.blockCount, blockCount, 'some of the short chunk');
    const isZero = (block: number): boolean =>
      !disk.subarray(block * pageSizeBytes, (block + 1) * pageSizeBytes).some((byte) => byte !== 0);
    assert.ok(runs.some(({ diskBlock }) => isZero(diskBlock)));

    const borders = fc.constantFrom(
      ...runs.flatMap(({ diskBlock, blockCount: count }) => [diskBlock, diskBlock + count]),
    );
    const nearBorder = fc
      .tuple(borders, fc.integer({ min: -9000, max: 9000 }), fc.integer({ min: 1, max: 16_000 }))
      .map(([block, delta, sizeBytes]) => ({
        offset: Math.max(0, block * pageSizeBytes + delta),
        sizeBytes,
      }));
    const anywhere = fc.record({
      offset: fc.nat(disk.byteLength),
      sizeBytes: fc.integer({ min: 1, max: 1_500_000 }),
    });
    const reads = fc.array(fc.oneof({ weight: 5, arbitrary: nearBorder }, anywhere), {
      minLength: 1,
      maxLength: 8,
    });
    const ended = await starts.start(image, async () => {
      const { path } = await starts.agent.open({ image, user: 'reads' });
      await using file = await open(path, constants.O_RDONLY | constants.O_DIRECT);
      await fc.assert(
        fc.asyncProperty(reads, async (ranges) => {
          await Promise.all(
            ranges.map(async ({ offset, sizeBytes }) => {
              const got = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, offset);
              const expected = disk.subarray(offset, offset + sizeBytes);
              assert.equal(got.bytesRead, expected.byteLength);
              assert.ok(expected.equals(got.buffer.subarray(0, got.bytesRead)));
            }),
          );
        }),
        { numRuns: 150 },
      );
    });
    assert.ok(ended.mode.isPacked);
    assert.equal(ended.reads.failed, 0);
    const fromPack = ended.fetched.filter((name) => packed.has(name)).length;
    assert.ok(fromPack > 2 * packed.size, 'it was in use to the end');
    await starts.agent.close({ image, user: 'reads' });
  },
);
