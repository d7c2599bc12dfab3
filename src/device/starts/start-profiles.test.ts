import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { silentLog, type Clock } from '../../base/index.ts';
import { openLocalKeyring, type KeyService } from '../../keys/index.ts';
import type { FirstRead } from './first-reads.ts';
import { StartProfiles, type ProfileStore } from './start-profiles.ts';

const image = { tenant: 'tenant-a', rootId: 'root', manifestId: 'ab'.repeat(32) };

function reads(from: number, to: number): FirstRead[] {
  return Array.from({ length: to - from }, (_, at) => ({ index: from + at, atMs: at }));
}

/** A store in memory that can be told to fail. */
class Shelf implements ProfileStore {
  bytes: Uint8Array | undefined;
  writes = 0;
  isBroken = false;

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
    return profiles.learn(image, { chunks: read });
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

  test('are written every 30 s at most, and lose nothing meanwhile', async () => {
    const shelf = new Shelf();
    const one = worker(shelf);
    for (let count = 0; count < 60; count += 1) {
      nowMs += 1000;
      await start(one, reads(count * 10, count * 10 + 50)); // never the same
    }
    assert.ok(shelf.writes <= 3, `${shelf.writes}`);
    nowMs += 30_000;
    assert.ok(await start(one, reads(600, 650)));
    const found = await worker(shelf).load(image);
    assert.equal(found?.starts, 61);
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
    assert.ok(await one.learn(image, { chunks: reads(200, 300) }));
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
    assert.ok(await one.learn(image, { chunks: reads(200, 300) }));
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
});
