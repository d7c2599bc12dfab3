import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { silentLog, toHex, type Clock } from '../../base/index.ts';
import { openLocalKeyring, type KeyService } from '../../keys/index.ts';
import type { ImageRef } from '../images/block-images.ts';
import type { ReadWindow } from './file-windows.ts';
import type { FirstRead } from './first-reads.ts';
import { planPack, type StartPack } from './start-pack.ts';
import { earlyStarts, type StartReads } from './start-profile.ts';
import { StartProfiles, type PackMaker, type ProfileStore } from './start-profiles.ts';

const image = { tenant: 'tenant-a', rootId: 'root', manifestId: 'ab'.repeat(32) };

function reads(from: number, to: number): FirstRead[] {
  return Array.from({ length: to - from }, (_, at) => ({ index: from + at, atMs: at }));
}

/** Whole windows of one file, one after the other on the disk, read in their order. */
function windowsOf(from: number, to: number): ReadWindow[] {
  return Array.from({ length: to - from }, (_, at) => {
    const window = from + at;
    return { inode: 12, window, pages: 0xffff, diskBlock: window * 16, atUs: window * 50 };
  });
}

const noPack: PackMaker = async () => ({ chunks: [] });

/** Names a chunk after its first block, and keeps those that were not in the pack before. */
const packWindows: PackMaker = async ({ windows, pack }, keep) => {
  const before = new Map(pack?.chunks.map((chunk) => [chunk.runs[0]?.diskBlock, chunk]));
  const chunks: StartPack['chunks'][number][] = [];
  for (const runs of planPack(windows)) {
    const first = runs[0]?.diskBlock ?? 0;
    const ciphertextDigest = Buffer.alloc(32);
    ciphertextDigest.writeUInt32LE(first);
    const opening = { key: Buffer.alloc(32, 7), storedLengthBytes: 4096, codec: 'none' } as const;
    chunks.push({ runs, ciphertextDigest, ...opening });
    if (!before.has(first)) await keep(toHex(ciphertextDigest), Buffer.from([first]));
  }
  return { chunks };
};

/** A store in memory that can be told to fail. */
class Shelf implements ProfileStore {
  bytes: Uint8Array | undefined;
  writes = 0;
  isBroken = false;
  /** Names of chunks in the order in which they came. */
  readonly kept: string[] = [];

  async keepChunk(of: ImageRef, digestHex: string): Promise<void> {
    if (this.isBroken) throw new Error('The store is away');
    assert.deepEqual(of, image);
    this.kept.push(digestHex);
  }

  async fetch(): Promise<Uint8Array | undefined> {
    if (this.isBroken) throw new Error('The store is away');
    return this.bytes;
  }

  async replace(_: unknown, sealed: Uint8Array): Promise<void> {
    if (this.isBroken) throw new Error('The store is away');
    this.writes += 1;
    this.bytes = sealed;
  }
}

describe('the start profiles of a worker', () => {
  let dir: string;
  let keys: KeyService;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-profiles-'));
    keys = await openLocalKeyring(join(dir, 'keyring'));
  });
  after(async () => rm(dir, { recursive: true }));

  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };

  function worker(store: ProfileStore): StartProfiles {
    return new StartProfiles({ store, keys, clock, log: silentLog });
  }

  async function start(profiles: StartProfiles, read: readonly FirstRead[]): Promise<boolean> {
    await profiles.load(image);
    return profiles.learn(image, { chunks: read }, noPack);
  }

  /** A start an hour later that has read this, and found these windows. */
  async function packedStart(
    profiles: StartProfiles,
    more: Partial<StartReads> = {},
    makePack = packWindows,
  ): Promise<boolean> {
    nowMs += 3_600_000;
    await profiles.load(image);
    const all = { chunks: reads(0, 50), windows: windowsOf(0, 60), ...more };
    return profiles.learn(image, all, makePack);
  }

  /** The first starts, which are written whenever they tell anything new; all of them read the same. */
  async function beEarly(profiles: StartProfiles, more: Partial<StartReads> = {}): Promise<void> {
    for (let count = 0; count < earlyStarts; count += 1) await packedStart(profiles, more);
  }

  async function packedBlockCount(store: ProfileStore): Promise<number> {
    const { pack } = (await worker(store).load(image)) ?? {};
    const runs = pack?.chunks.flatMap((chunk) => chunk.runs) ?? [];
    return runs.reduce((sum, { blockCount }) => sum + blockCount, 0);
  }

  test('are found by other workers', async () => {
    const shelf = new Shelf();
    assert.equal(await worker(shelf).load(image), undefined);
    assert.ok(await start(worker(shelf), reads(0, 50)));
    const found = await worker(shelf).load(image);
    assert.deepEqual(
      found?.chunks.map(({ index }) => index),
      reads(0, 50).map(({ index }) => index),
    );
  });

  test('are written once for a function that reads the same at every start', async () => {
    const shelf = new Shelf();
    const [one, other] = [worker(shelf), worker(shelf)];
    for (let count = 0; count < 20; count += 1) {
      nowMs += 3_600_000;
      await start(count % 2 === 0 ? one : other, reads(0, 50));
    }
    assert.equal(shelf.writes, 1);
    assert.equal(one.counters.learned + other.counters.learned, 20);
  });

  test('are written every 30 s at most after the first few starts, and lose nothing meanwhile', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    for (let count = 0; count < 60; count += 1) {
      nowMs += 1000;
      await start(one, reads(count * 10, count * 10 + 50)); // never the same
    }
    assert.equal(shelf.writes, earlyStarts + 1);
    nowMs += 30_000;
    assert.ok(await start(one, reads(600, 650)));
    const found = await worker(shelf).load(image);
    assert.equal(found?.starts, 61);
  });

  test('are written one after the other: a later start waits for none, and leaves it to the next', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    const written = Promise.withResolvers<void>();
    const replace = shelf.replace.bind(shelf);
    shelf.replace = async (_, sealed) => {
      await written.promise;
      return replace(_, sealed);
    };
    const first = start(one, reads(0, 50));
    while (one.counters.learned === 0) await one.load(image);
    assert.equal(await start(one, reads(0, 80)), false);
    written.resolve();
    assert.ok(await first);
    assert.ok(await start(one, reads(0, 80)));
    assert.equal((await worker(shelf).load(image))?.chunks.length, 80);
  });

  test('follow a function that reads less, though no start is worth a write', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await start(one, reads(0, 100));
    for (let count = 0; count < 5; count += 1) {
      nowMs += 60_000;
      await start(one, reads(0, 97)); // 3 of 100: a weight of 1.2 at first
    }
    assert.equal((await one.load(image))?.chunks.length, 97);
    assert.ok(shelf.writes <= 2);
    assert.equal((await worker(shelf).load(image))?.chunks.length, 97);
  });

  test('give way to what another worker wrote, and lose what they had not written', async () => {
    const shelf = new Shelf();
    const [one, other] = [worker(shelf), worker(shelf)];
    await start(one, reads(0, 50));
    nowMs += 60_000;
    await one.load(image); // both are in the midst of a start
    assert.ok(await start(other, reads(100, 200)));
    assert.ok(await one.learn(image, { chunks: reads(200, 300) }, noPack));
    other.refetch();
    const found = (await other.load(image))?.chunks.map(({ index }) => index) ?? [];
    assert.ok(found.includes(250) && !found.includes(150));
  });

  test('are at hand where the worker knows them, whatever the store takes to answer', async () => {
    const shelf = new Shelf();
    const [one, other] = [worker(shelf), worker(shelf)];
    await start(other, reads(0, 50));
    const written = shelf.bytes;
    await start(one, reads(50, 100));
    const answer = Promise.withResolvers<Uint8Array | undefined>();
    shelf.fetch = () => answer.promise;
    nowMs += 60_000;
    const indexes = async (): Promise<readonly number[]> =>
      (await one.load(image))?.chunks.map(({ index }) => index) ?? [];
    assert.ok((await indexes()).includes(70));
    assert.ok(await one.learn(image, { chunks: reads(200, 300) }, noPack));
    answer.resolve(written); // from before it was written: no news
    one.refetch();
    shelf.fetch = async () => shelf.bytes;
    assert.ok((await indexes()).includes(250));
    assert.ok((await indexes()).includes(70));
  });

  test('do without the store, and count that', async () => {
    const shelf = new Shelf();
    shelf.isBroken = true;
    const one = worker(shelf);
    assert.equal(await start(one, reads(0, 50)), false);
    await one.settled();
    assert.deepEqual(one.counters, {
      found: 0,
      absent: 0,
      unusable: 1,
      learned: 1,
      saved: 0,
      unsaved: 1,
    });
    nowMs += 60_000;
    shelf.isBroken = false;
    assert.ok(await start(one, reads(0, 50)), 'it has not forgotten, and tries again');
  });

  test('have a pack that other workers find', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    assert.ok(await packedStart(one));
    const found = await worker(shelf).load(image);
    const plan = planPack(windowsOf(0, 60));
    assert.ok(plan.length > 1);
    assert.deepEqual(
      found?.pack?.chunks.map(({ runs }) => runs),
      plan,
    );
    assert.deepEqual(
      shelf.kept,
      found.pack.chunks.map(({ ciphertextDigest }) => toHex(ciphertextDigest)),
    );
    assert.deepEqual((await one.load(image))?.pack, found.pack, 'its own next start, too');
  });

  test('have their pack made once for a function that reads the same at every start', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await packedStart(one);
    const { length } = shelf.kept;
    for (let count = 0; count < 20; count += 1) {
      assert.equal(await packedStart(one, { unpackedChunks: 1 }), false);
    }
    assert.equal(shelf.writes, 1);
    assert.equal(shelf.kept.length, length);
  });

  test('are written anew by each of the first starts that read a page which the pack does not have', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await packedStart(one);
    const { length } = shelf.kept;
    for (let more = 1; more < earlyStarts; more += 1) {
      // One window more is no news by itself.
      assert.ok(await packedStart(one, { windows: windowsOf(0, 60 + more) }));
      assert.equal(await packedBlockCount(shelf), (60 + more) * 16);
    }
    assert.ok(
      shelf.kept.length <= length + 1,
      'but for the last chunk they begin where others did',
    );
    assert.equal(await packedStart(one, { windows: windowsOf(0, 60 + earlyStarts) }), false);
    assert.equal(shelf.writes, earlyStarts);
  });

  test('are written at once by the first starts, and by none of them twice for the same', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await packedStart(one);
    const learn = async (windowCount: number): Promise<boolean> => {
      await one.load(image);
      return one.learn(
        image,
        { chunks: reads(0, 50), windows: windowsOf(0, windowCount) },
        packWindows,
      );
    };
    assert.ok(await learn(61));
    assert.equal(await learn(61), false);
    assert.equal(await learn(90), false, 'it is not one of the first');
    assert.equal(shelf.writes, 2);
  });

  test('are written anew later on when starts read beside the pack, and one has been looked at', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    // 50 chunks: more than two of the disk beside them are too many, though the few windows in them would not be worth a write.
    const windows = windowsOf(0, 400);
    await beEarly(one, { windows });
    assert.equal(shelf.writes, 1);
    const besides = [1000, 1008, 1016].map((window) => windowsOf(window, window + 1));
    assert.equal(await packedStart(one, { windows: undefined, unpackedChunks: 9 }), false);
    const some = [...windows, ...besides.slice(0, 2).flat()];
    assert.equal(await packedStart(one, { windows: some, unpackedChunks: 0 }), false);
    assert.equal(await packedBlockCount(shelf), windows.length * 16);
    const all = [...windows, ...besides.flat()];
    assert.ok(await packedStart(one, { windows: all, unpackedChunks: 0 }));
    assert.equal(shelf.writes, 2);
    assert.equal(await packedBlockCount(shelf), all.length * 16);
    assert.equal(await packedStart(one, { windows: all, unpackedChunks: 0 }), false);
  });

  test('have a new pack, and none of its chunks taken over, after the one before was lost', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await packedStart(one);
    const kept = [...shelf.kept];
    assert.ok(await packedStart(one, { hasLostPack: true }));
    assert.deepEqual(shelf.kept, [...kept, ...kept]);
    assert.ok((await worker(shelf).load(image))?.pack !== undefined);
  });

  test('are without a pack that was lost until there is time to write another', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    await beEarly(one);
    assert.ok(await packedStart(one, { hasLostPack: true }));
    const learned = { chunks: reads(0, 50), windows: windowsOf(0, 60), hasLostPack: true };
    assert.equal(await one.learn(image, learned, packWindows), false, 'too soon');
    assert.equal((await one.load(image))?.pack, undefined);
    await one.settled();
    assert.ok(await packedStart(one));
    assert.ok((await one.load(image))?.pack !== undefined);
  });

  test('have no pack where there is nothing to pack', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    assert.ok(await packedStart(one, { windows: [] }));
    assert.equal((await one.load(image))?.pack, undefined);
    assert.equal((await worker(shelf).load(image))?.pack, undefined);
  });

  test('are not written if their pack cannot be made, and lose nothing by that', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    const failing: PackMaker = async () => {
      throw new Error('The disk cannot be read');
    };
    assert.equal(await packedStart(one, {}, failing), false);
    assert.equal(shelf.writes, 0);
    assert.equal(one.counters.unsaved, 1);
    assert.ok(await packedStart(one), 'it tries again');
    const written = await worker(shelf).load(image);
    assert.equal(written?.starts, 2);
    const windows = windowsOf(0, 100);
    assert.equal(await packedStart(one, { windows }, failing), false);
    const found = await worker(shelf).load(image);
    assert.deepEqual(found, written, 'the one before is there, with its pack');
    assert.deepEqual((await one.load(image))?.pack, written.pack);
    assert.equal((await one.load(image))?.windows.length, 100);
    assert.ok(await packedStart(one, { windows }));
    assert.equal((await worker(shelf).load(image))?.windows.length, 100);
    assert.deepEqual([one.counters.saved, one.counters.unsaved], [2, 2]);
  });

  test('are not written before each chunk of their pack is stored', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    const breaking: PackMaker = async (profile, keep) => {
      shelf.isBroken = true;
      return packWindows(profile, keep);
    };
    assert.equal(await packedStart(one, {}, breaking), false);
    shelf.isBroken = false;
    assert.equal(await worker(shelf).load(image), undefined);
    assert.ok(await packedStart(one));
  });

  test('keep what other starts read while they are written, and get the pack all the same', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    const madePack = Promise.withResolvers<void>();
    const slow: PackMaker = async (profile, keep) => {
      await madePack.promise;
      return packWindows(profile, keep);
    };
    await beEarly(one);
    nowMs += 3_600_000;
    await one.load(image);
    const saving = one.learn(image, { chunks: reads(0, 50), windows: windowsOf(0, 100) }, slow);
    assert.equal(await one.learn(image, { chunks: reads(0, 70) }, packWindows), false);
    madePack.resolve();
    assert.ok(await saving);
    const known = await one.load(image);
    assert.equal(known?.starts, earlyStarts + 2);
    assert.equal(known.chunks.length, 70);
    const stored = await worker(shelf).load(image);
    assert.equal(stored?.starts, earlyStarts + 1);
    assert.deepEqual(known.pack, stored.pack);
    assert.equal(await packedBlockCount(shelf), 100 * 16);
  });

  test('are settled when there were a few starts, and the last one here had all from the pack', async () => {
    const shelf = new Shelf();
    const [one, other] = [worker(shelf), worker(shelf)];
    const isSettled = async (profiles: StartProfiles): Promise<boolean> => {
      const profile = await profiles.load(image);
      assert.ok(profile !== undefined);
      return profiles.isSettled(image, profile);
    };
    await packedStart(one);
    for (let count = 1; count < earlyStarts; count += 1) {
      assert.equal(await isSettled(one), false, 'too few starts');
      await packedStart(one, { unpackedChunks: 0 });
    }
    assert.ok(await isSettled(one));
    assert.equal(await isSettled(other), false);
    await packedStart(one, { unpackedChunks: 9, windows: undefined });
    assert.equal(await isSettled(one), false);
    await packedStart(one, { unpackedChunks: 1 });
    assert.ok(await isSettled(one));
    await packedStart(one, { hasLostPack: true });
    assert.equal(await isSettled(one), false);
  });
});
