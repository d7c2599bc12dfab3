/** The zone cache over real memcached servers. */

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';

import { defined, present } from '../../base/index.ts';
import { MemcachedServer } from '../memcached/memcached-server.ts';
import {
  cacheTierConformance,
  namedChunk,
  type NamedChunk,
} from '../testing/cache-tier-conformance.ts';
import { memcachedMissing, startMemcached, type Memcached } from '../testing/memcached.ts';
import { WaitingChunks } from '../waiting/waiting-chunks.ts';
import { ZoneCache } from './zone-cache.ts';
import type { ZoneMember } from './zone-members.ts';

class MemcachedZone implements AsyncDisposable {
  readonly servers: readonly Memcached[];
  readonly cache: ZoneCache;

  constructor(servers: readonly Memcached[], waiting?: WaitingChunks) {
    this.servers = servers;
    const byId = new Map(servers.map((server, index) => [`server-${index}`, server]));
    this.cache = new ZoneCache({
      servers: [...byId.keys()].slice(0, 5).map(memberOf),
      connect: ({ id }) => new MemcachedServer({ id, address: present(byId.get(id), id).address }),
      // Loaded as the machine may be, a deadline here is for what hangs, not for what is slow.
      readDeadlineMs: 5000,
      ...defined({ waiting }),
    });
  }

  server(index: number): Memcached {
    return present(this.servers[index], `server ${index}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cache.close();
    for (const server of this.servers) server.resume();
    await Promise.all(this.servers.map((server) => server[Symbol.asyncDispose]()));
  }
}

function memberOf(id: string): ZoneMember {
  return { id, weight: 1, fillBytesPerSecond: 100e6 };
}

async function startZone(serverCount = 5, waiting?: WaitingChunks): Promise<MemcachedZone> {
  const starting = Array.from({ length: serverCount }, () => startMemcached());
  return new MemcachedZone(await Promise.all(starting), waiting);
}

const chunks = Array.from({ length: 12 }, (_, seed) => namedChunk(seed, 128 * 4096));

async function fill({ cache }: MemcachedZone): Promise<void> {
  for (const { name, ciphertext } of chunks) cache.offer(name, ciphertext);
  await cache.idle();
  assert.equal(cache.status().fill.written, chunks.length);
}

/** How many of the chunks are found; all right, or the test fails. */
async function readAll({ cache }: MemcachedZone, asked = chunks): Promise<number> {
  const found = await Promise.all(asked.map((chunk) => isFound(cache, chunk)));
  return found.filter(Boolean).length;
}

/** Until every server is asked again. */
async function untilUp({ cache }: MemcachedZone): Promise<void> {
  while (cache.status().servers.some(({ state }) => state === 'down')) {
    await new Promise(setImmediate);
  }
}

async function isFound(cache: ZoneCache, { name, ciphertext }: NamedChunk): Promise<boolean> {
  const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
  const bytes = await cache.get(name, request);
  if (bytes !== undefined) assert.equal(Buffer.compare(bytes, ciphertext), 0);
  return bytes !== undefined;
}

cacheTierConformance({
  name: 'the zone of five memcached servers',
  skip: memcachedMissing,
  create: async () => {
    const zone = await startZone();
    return {
      tier: zone.cache,
      settled: () => zone.cache.idle(),
      // Stripes that are what they say, of bytes that are not what the name says: only who verifies the chunk can tell.
      damage: async (name) => {
        const { signal } = new AbortController();
        assert.ok(
          await zone.cache.prime(name, Buffer.alloc(name.storedLengthBytes, 1), { signal }),
        );
      },
      breakDown: async () => {
        await Promise.all(zone.servers.slice(0, 3).map((server) => server.kill()));
      },
      [Symbol.asyncDispose]: () => zone[Symbol.asyncDispose](),
    };
  },
});

suite('a zone of memcached servers', { skip: memcachedMissing }, () => {
  test('one server stopped in the middle of reads fails none, and is asked again when it goes on', async () => {
    await using zone = await startZone();
    await fill(zone);
    const reads = Array.from({ length: 5 }, () => readAll(zone));
    zone.server(2).pause();
    for (const found of await Promise.all(reads)) assert.equal(found, chunks.length);
    assert.equal(await readAll(zone), chunks.length);
    zone.server(2).resume();
    const { reads: counted } = zone.cache.status();
    assert.equal(counted.hits, 6 * chunks.length);
    assert.equal(counted.misses + counted.unavailable + counted.timeouts, 0);
  });

  test('a server killed and restarted empty costs no read, and gets its stripes again', async () => {
    await using zone = await startZone();
    await fill(zone);
    await zone.server(1).kill();
    assert.equal(await readAll(zone), chunks.length);
    await zone.server(1).restart();
    while (zone.cache.status().servers[1]?.state !== 'up') await readAll(zone);
    // Which stripes a read misses it may know too late: several reads, until all is well.
    while (zone.cache.status().stripes.repaired < chunks.length) {
      assert.equal(await readAll(zone), chunks.length);
      await zone.cache.idle();
    }
    await zone.server(0).kill();
    assert.equal(await readAll(zone), chunks.length);
    const { reads } = zone.cache.status();
    assert.equal(reads.misses + reads.unavailable + reads.timeouts, 0);
  });

  test('with two servers killed a chunk is unavailable, not late, and the zone recovers', async () => {
    await using zone = await startZone();
    await fill(zone);
    const [chunk] = chunks as [NamedChunk];
    await Promise.all([zone.server(0).kill(), zone.server(1).kill()]);
    const code = 'ERR_CACHE_TIER_UNAVAILABLE';
    await assert.rejects(isFound(zone.cache, chunk), { code });
    await Promise.all([zone.server(0).restart(), zone.server(1).restart()]);
    await untilUp(zone);
    assert.equal(await isFound(zone.cache, chunk), false);
    zone.cache.offer(chunk.name, chunk.ciphertext);
    await zone.cache.idle();
    assert.equal(await isFound(zone.cache, chunk), true);
    assert.equal(zone.cache.status().reads.timeouts, 0);
  });

  test('memory that is used again and again writes whole stripes only, also to servers that stop and break', async () => {
    const waiting = new WaitingChunks({ bytesMax: 3 * 128 * 4096 });
    await using zone = await startZone(5, waiting);
    const forgetting: Promise<void>[] = [];
    for (let round = 0; round < 6; round += 1) {
      if (round === 2) zone.server(0).pause();
      if (round === 4) {
        zone.server(0).resume();
        await zone.server(1).restart();
      }
      for (let at = 0; at < chunks.length; at += 3) {
        for (const { name, ciphertext } of chunks.slice(at, at + 3)) {
          if (round % 2 === 1) forgetting.push(zone.cache.forget(name));
          zone.cache.offer(name, ciphertext);
        }
        if (round % 3 > 0) await zone.cache.idle();
      }
    }
    await Promise.all(forgetting);
    await zone.cache.idle();
    await untilUp(zone);
    await readAll(zone); // what is found is right
    const corrupt = zone.cache.status().servers.map((server) => server.corrupt);
    assert.deepEqual(corrupt, [0, 0, 0, 0, 0]);
    assert.equal(waiting.bytes, 0);
  });

  test('servers are added and removed while reads run, and none fails', async () => {
    await using zone = await startZone(7);
    await fill(zone);
    const change = async (...indexes: readonly number[]): Promise<void> => {
      const before = readAll(zone);
      zone.cache.setServers(indexes.map((index) => memberOf(`server-${index}`)));
      assert.equal(await before, chunks.length);
      assert.equal(await readAll(zone), chunks.length);
      // Until the fifth servers have been heard too, and what they lacked is written.
      while (zone.cache.status().servers.some(({ outstanding }) => outstanding > 0)) {
        await new Promise(setImmediate);
      }
      await zone.cache.idle();
    };
    await change(0, 1, 2, 3, 4, 5);
    await change(1, 2, 3, 4, 5);
    assert.deepEqual(
      zone.cache.status().servers.map(({ id }) => id),
      ['server-1', 'server-2', 'server-3', 'server-4', 'server-5'],
    );
  });
});
