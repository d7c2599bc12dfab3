/** The way of chunks into a worker, put together in every way that there is. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  present,
  silentLog,
  systemClock,
  systemTimers,
  type Clock,
  type Timers,
} from '../../base/index.ts';
import { createOpenPool } from '../../chunk/index.ts';
import { openDirectoryStore } from '../../store/index.ts';
import { memoryStore } from '../../store/testing/memory-store.ts';
import { seededRandom } from '../../store/testing/seeded-random.ts';
import type { CacheTier } from '../cache-tier.ts';
import type { Tier } from './chunk-loader.ts';
import { openDiskCache, type DiskCache } from '../disk/disk-cache.ts';
import { MemcachedServer } from '../memcached/memcached-server.ts';
import {
  chunkLoaderConformance,
  originPlace,
  WatchedOrigin,
  type LoaderUnderTest,
  type PlaceOfCopies,
} from '../testing/chunk-loader-conformance.ts';
import { tryLock } from '../testing/flock.ts';
import { memcachedMissing, startMemcached } from '../testing/memcached.ts';
import { SimulatedZone } from '../testing/simulated-zone.ts';
import { SimulatedDisk } from '../testing/simulation/simulated-disk.ts';
import { createTieredLoader } from './tiered-loader.ts';
import { openWorkerCaches, openZone, type ZoneSettings } from '../worker-caches.ts';
import type { WorkerReads } from '../worker-reads.ts';

function foreground(): Parameters<CacheTier['get']>[1] {
  return { signal: new AbortController().signal, priority: 'foreground' };
}

function placeIn(tier: Tier, cache: CacheTier, settled: () => Promise<void>): PlaceOfCopies {
  return {
    tier,
    put: async (name, bytes) => {
      cache.offer(name, bytes);
      await settled();
    },
    get: async (name) => cache.get(name, foreground()),
  };
}

chunkLoaderConformance({
  name: 'the origin alone',
  create: async () => {
    const store = memoryStore();
    const origin = new WatchedOrigin(store);
    return {
      loader: createTieredLoader({ store: origin }),
      places: [originPlace(store)],
      origin,
      settled: async () => {},
      [Symbol.asyncDispose]: async () => {},
    };
  },
});

chunkLoaderConformance({
  name: 'a simulated disk, a simulated zone and an origin',
  create: async () => {
    const store = memoryStore();
    const origin = new WatchedOrigin(store);
    const zone = new SimulatedZone();
    const { time, cache } = zone;
    const disk = new SimulatedDisk(1000, time, seededRandom(1));
    return {
      loader: createTieredLoader({
        tiers: [
          { tier: 'l1-disk', cache: disk },
          { tier: 'l2', cache },
        ],
        store: origin,
        time,
      }),
      places: [
        placeIn('l1-disk', disk, async () => {}),
        placeIn('l2', cache, () => cache.idle()),
        originPlace(store),
      ],
      origin,
      settled: () => cache.idle(),
      until: (work) => time.until(work),
      [Symbol.asyncDispose]: () => cache.close(),
    };
  },
});

/** Every millisecond takes twenty: loaded as the machine may be, what hangs is given up here, not what is slow. */
const slowdown = 20;
const slowTime: Clock & Timers = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs() / slowdown,
  after: (delayMs, run) => systemTimers.after(delayMs * slowdown, run),
  afterInput: () => systemTimers.afterInput(),
};

/** As an agent has them; what it does not show of them, the test reaches from the other side. */
async function assembled(): Promise<LoaderUnderTest> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'thaw-loaders-'));
  stack.defer(() => rm(dir, { recursive: true }));
  const servers = await Promise.all([1, 2, 3, 4, 5].map(() => startMemcached()));
  for (const server of servers) stack.use(server);
  const byId = new Map(servers.map((server, index) => [`server-${index}`, server.address]));
  const settings: ZoneSettings = {
    servers: Array.from(byId.keys(), (id) => {
      return { id, weight: 1, fillBytesPerSecond: 1e9, usesTls: false };
    }),
    connect: ({ id }) => new MemcachedServer({ id, address: present(byId.get(id), id) }),
  };
  const store = await openDirectoryStore(join(dir, 'origin'));
  const origin = new WatchedOrigin(store);
  const opener = stack.use(createOpenPool({ threads: 1 }));
  const disks: DiskCache[] = [];
  const openDisk = async (reads: WorkerReads): Promise<DiskCache> => {
    const path = join(dir, 'cache');
    disks.push(await openDiskCache({ path, sizeMaxBytes: 2 ** 26, tryLock, reads }));
    return present(disks[0], 'the disk cache');
  };
  const zoneSettings = async (): Promise<ZoneSettings> => settings;
  const parts = { store: origin, opener, openDisk, zoneSettings };
  const caches = stack.use(await openWorkerCaches({ ...parts, time: slowTime, log: silentLog }));
  const zone = openZone(settings);
  stack.defer(() => zone.close());
  const disk = present(disks[0], 'the disk cache');
  const owned = stack.move();
  return {
    loader: caches.loader,
    places: [
      placeIn('l1-disk', disk, () => disk.settled()),
      placeIn('l2', zone, () => zone.idle()),
      originPlace(store),
    ],
    origin,
    settled: () => caches.settled(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

chunkLoaderConformance({
  name: 'a disk, a zone of five memcached servers and a directory, as an agent has them',
  skip: memcachedMissing,
  create: assembled,
});
