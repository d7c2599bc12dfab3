import assert from 'node:assert/strict';
import { test } from 'node:test';

import { namedChunk } from '../testing/cache-tier-conformance.ts';
import { SimulatedZone, type ReadEnd } from '../testing/simulated-zone.ts';

const chunks = Array.from({ length: 40 }, (_, seed) => namedChunk(seed, 4 * 4096));

/** Reads all chunks, lets what that starts come to its end, and a minute pass, so that stripes may be written again. */
async function readAll(zone: SimulatedZone): Promise<readonly ReadEnd[]> {
  const ends: ReadEnd[] = [];
  for (const chunk of chunks) ends.push(await zone.time.until(zone.read(chunk)));
  await zone.time.pass(60_000);
  return ends;
}

function countFound(ends: readonly ReadEnd[]): number {
  return ends.filter(({ found }) => found === 'right').length;
}

test('servers may be replaced one after the other without a miss, as reads repair what is lost', async () => {
  const zone = new SimulatedZone({ serverCount: 6 });
  await zone.fill(...chunks);
  const removed: string[] = [];
  for (let index = 0; index < 6; index += 1) {
    zone.cache.setServers(zone.members(7 + index, removed));
    assert.equal(countFound(await readAll(zone)), chunks.length);
    removed.push(`server-${index}`);
    zone.cache.setServers(zone.members(7 + index, removed));
    assert.equal(countFound(await readAll(zone)), chunks.length);
  }
  const { reads, servers } = zone.cache.status();
  assert.deepEqual(
    servers.map(({ id }) => id),
    ['server-6', 'server-7', 'server-8', 'server-9', 'server-10', 'server-11'],
  );
  assert.equal(reads.misses + reads.unavailable + reads.timeouts, 0);
});

test('a server that is added takes over only its own share', async () => {
  const zone = new SimulatedZone({ serverCount: 9 });
  await zone.fill(...chunks);
  zone.cache.setServers(zone.members(10));
  await readAll(zone);
  const added = zone.server(9);
  assert.ok(added.values.size > 0 && added.values.size <= chunks.length);
  assert.equal(zone.cache.status().stripes.repaired, added.values.size);
});

test('reads under way when their servers are removed end well, and only then are these closed', async () => {
  const zone = new SimulatedZone({ serverCount: 10 });
  await zone.fill(...chunks);
  for (const server of zone.all) server.delayMs = () => 50;
  const asked = chunks.slice(0, 12); // all of which have their turn at once
  const reads = asked.map((chunk) => zone.read(chunk));
  await zone.time.pass(10);
  zone.cache.setServers(zone.members(10, ['server-0', 'server-1', 'server-2']));
  await zone.time.pass(10);
  assert.ok(zone.all.every(({ isClosed }) => !isClosed));
  assert.equal(countFound(await zone.time.until(Promise.all(reads))), asked.length);
  await zone.time.pass(1);
  for (const [index, { isClosed, cutOff }] of zone.all.entries()) {
    assert.deepEqual([isClosed, cutOff], [index < 3, 0], `server ${index}`);
  }
});

test('a server that hangs is closed all the same once it is removed', async () => {
  const zone = new SimulatedZone({ serverCount: 6 });
  zone.server(0).stop();
  for (const { name, ciphertext } of chunks) zone.cache.offer(name, ciphertext);
  const reads = chunks.map((chunk) => zone.read(chunk));
  const forgotten = zone.cache.forget(namedChunk(99, 4096).name);
  zone.cache.setServers(zone.members(6, ['server-0']));
  await zone.time.until(Promise.all([...reads, forgotten, zone.cache.idle()]));
  await zone.time.pass(1000);
  assert.ok(zone.server(0).isClosed);
});

test('a server that stays keeps its connection and counters, and takes its new rate', async () => {
  const zone = new SimulatedZone();
  await zone.fill(...chunks);
  await readAll(zone);
  const used = zone.cache.status().servers.map(({ id, used }) => [id, used]);
  zone.cache.setServers(zone.members(5).map((member) => ({ ...member, fillBytesPerSecond: 1e6 })));
  assert.equal(zone.servers.size, 5);
  assert.deepEqual(
    zone.cache.status().servers.map(({ id, used: now }) => [id, now]),
    used,
  );
  const startedMs = zone.time.monotonicMs();
  await zone.fill(...chunks);
  // 40 stripes of 4 KiB at 1 MB/s, 20 ms of them at once.
  const tookMs = zone.time.monotonicMs() - startedMs;
  assert.ok(tookMs > 120 && tookMs < 200, `${tookMs}`);
});

test('with four servers chunks lie on all of them without parity, and with three nothing does', async () => {
  const zone = new SimulatedZone();
  await zone.fill(...chunks);
  zone.cache.setServers(zone.members(4));
  assert.equal(countFound(await readAll(zone)), chunks.length);
  zone.server(0).values.clear();
  assert.equal(countFound(await readAll(zone)), 0);
  await zone.fill(...chunks);
  assert.equal(countFound(await readAll(zone)), chunks.length);
  zone.cache.setServers(zone.members(3));
  const ends = await readAll(zone);
  assert.ok(ends.every((end) => end.found === 'ERR_CACHE_TIER_UNAVAILABLE' && end.tookMs === 0));
  await zone.fill(...chunks);
  assert.equal(zone.cache.status().fill.dropped, chunks.length);
  zone.cache.setServers(zone.members(5));
  assert.equal(countFound(await readAll(zone)), 0);
  await zone.fill(...chunks);
  assert.equal(countFound(await readAll(zone)), chunks.length);
});
