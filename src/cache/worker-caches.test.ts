import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { silentLog, type Log } from '../base/index.ts';
import { VirtualTime } from '../base/testing/virtual-time.ts';
import { sealChunk } from '../chunk/index.ts';
import type { ChunkRef } from './search/chunk-loader.ts';
import { openDiskCache, type DiskCache } from './disk/disk-cache.ts';
import { MemcachedServer } from './memcached/memcached-server.ts';
import { openWorkerCaches, type WorkerCaches, type ZoneServerSetting } from './worker-caches.ts';

const salt = Buffer.alloc(32, 1);
const sealed = sealChunk(Buffer.alloc(8192, 7), salt) ?? assert.fail('A chunk of zeros');
const chunk: ChunkRef = { ...sealed, rootId: 'root', lengthMaxBytes: 8192 };
const store = { get: async () => new Uint8Array(sealed.ciphertext) };

async function diskIn(t: TestContext): Promise<() => Promise<DiskCache>> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-caches-'));
  t.after(() => rm(path, { recursive: true }));
  return async () => openDiskCache({ path, sizeMaxBytes: 1e6, tryLock: () => true });
}

/** Servers that nobody runs. */
function serversOf(...ports: readonly number[]): readonly ZoneServerSetting[] {
  return ports.map((port) => {
    return { id: `127.0.0.1:${port}`, weight: 1, fillBytesPerSecond: 1e6, usesTls: port > 5 };
  });
}

async function load(caches: WorkerCaches): Promise<string> {
  return (await caches.loader.load(chunk, { deadlineMs: 60_000 })).tier;
}

test('without disk and zone every chunk comes from the origin, and the status says what is off', async () => {
  await using caches = await openWorkerCaches({ store, log: silentLog });
  assert.equal(await load(caches), 'origin');
  const { disk, zone, loader } = caches.status();
  assert.deepEqual([disk, zone], [{ state: 'off' }, { state: 'off' }]);
  assert.deepEqual(
    loader.tiers.map(({ tier }) => tier),
    ['origin'],
  );
  assert.equal(await caches.dropDisk(), false);
  assert.throws(() => caches.setZoneServers(serversOf(1)), { code: 'ERR_CACHE_TIER_UNAVAILABLE' });
});

test('a disk that cannot be had is left out with its reason, tried again, and used when it is there', async (t) => {
  const openDisk = await diskIn(t);
  let triesLeft = 2;
  const logged: string[] = [];
  const log: Log = { ...silentLog, error: (message) => void logged.push(message) };
  const time = new VirtualTime();
  await using caches = await openWorkerCaches({
    store,
    log,
    time,
    openDisk: async () => {
      triesLeft -= 1;
      if (triesLeft >= 0) throw new Error('Another process has it');
      return await openDisk();
    },
  });
  assert.deepEqual(caches.status().disk, { state: 'off', reason: 'Another process has it' });
  assert.deepEqual(logged, ['serving without the disk cache']);
  assert.equal(await time.until(load(caches)), 'origin');
  await time.pass(5000);
  assert.equal(caches.status().disk.state, 'off');
  await time.pass(5000);
  while (caches.status().disk.state === 'off') await new Promise(setImmediate); // files take real time
  await load(caches);
  assert.deepEqual(
    caches.status().loader.tiers.map(({ tier }) => tier),
    ['l1-disk', 'origin'],
  );
});

test('closing while a disk is being tried leaves nothing open', async (t) => {
  const openDisk = await diskIn(t);
  const time = new VirtualTime();
  let opened: DiskCache | undefined;
  let tries = 0;
  const caches = await openWorkerCaches({
    store,
    log: silentLog,
    time,
    openDisk: async () => {
      tries += 1;
      if (tries === 1) throw new Error('Not yet');
      opened = await openDisk();
      return opened;
    },
  });
  await time.pass(5000);
  await caches[Symbol.asyncDispose]();
  assert.equal(tries, 2);
  assert.equal(time.waitingCount, 0);
  assert.ok(opened !== undefined);
  const name = { ...chunk, ciphertextDigest: sealed.ciphertextDigest };
  const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
  const found = await opened.get(name, request).catch(() => undefined);
  assert.equal(found, undefined, 'it is closed');
});

test('the zone comes and goes with its servers, each reached as its own setting says', async () => {
  const connected: ZoneServerSetting[] = [];
  await using caches = await openWorkerCaches({
    store,
    log: silentLog,
    zoneSettings: async () => ({
      servers: [],
      connect: (server) => {
        connected.push(server);
        return new MemcachedServer({ address: { host: '127.0.0.1', port: 1 }, id: server.id });
      },
    }),
  });
  assert.deepEqual(caches.status().zone, { state: 'off' });
  const five = serversOf(1, 2, 3, 4, 5);
  caches.setZoneServers(five);
  assert.deepEqual(connected, five);
  assert.equal(await load(caches), 'origin');
  const { zone, loader } = caches.status();
  assert.ok(zone.state === 'on');
  assert.equal(loader.tiers[0]?.tier, 'l2');
  const more = serversOf(2, 3, 4, 5, 6);
  caches.setZoneServers(more);
  assert.deepEqual(connected, [...five, ...more.slice(4)]);
  caches.setZoneServers([]);
  assert.deepEqual(caches.status().zone, { state: 'off' });
  assert.deepEqual(
    caches.status().loader.tiers.map(({ tier }) => tier),
    ['origin'],
  );
});

test('a list of servers that is refused leaves those of before in place', async () => {
  await using caches = await openWorkerCaches({
    store,
    log: silentLog,
    zoneSettings: async () => ({
      servers: [],
      connect: ({ id }) => new MemcachedServer({ address: { host: '127.0.0.1', port: 1 }, id }),
    }),
  });
  assert.throws(() => caches.setZoneServers(serversOf(1, 1)), { code: 'ERR_INTERNAL' });
  assert.deepEqual(caches.status().zone, { state: 'off' });
  caches.setZoneServers(serversOf(1, 2, 3, 4, 5));
  assert.throws(() => caches.setZoneServers(serversOf(6, 6)), { code: 'ERR_INTERNAL' });
  const { zone } = caches.status();
  assert.ok(zone.state === 'on');
  assert.deepEqual(
    zone.servers.map(({ id }) => id),
    serversOf(1, 2, 3, 4, 5).map(({ id }) => id),
  );
});

test('a zone whose settings cannot be read is left out, and nobody is kept from serving', async () => {
  await using caches = await openWorkerCaches({
    store,
    log: silentLog,
    zoneSettings: () => Promise.reject(new Error('Cannot read the password')),
  });
  assert.equal(await load(caches), 'origin');
  assert.deepEqual(caches.status().zone, { state: 'off', reason: 'Cannot read the password' });
});
