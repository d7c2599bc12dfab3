import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { present } from '../../base/index.ts';
import type { CacheStatus, ReadOutcome, Tier } from '../../cache/index.ts';
import { memcachedMissing, startMemcached, type Memcached } from '../../cache/testing/memcached.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import { runPaths } from '../agent/run-paths.ts';
import { zoneServerAt } from '../testing/processes.ts';
import { WorkerFixture, missingHere, readDirect } from '../testing/worker-fixture.ts';

const skip = missingHere() || memcachedMissing;

/** How asking a tier ended. On a slow machine any tier may be hedged, and is then abandoned in favour of the next. */
type Outcomes = Readonly<Record<ReadOutcome, number>>;

function outcomesOf({ loader }: CacheStatus, tier: Tier): Outcomes {
  return present(
    loader.tiers.find((each) => each.tier === tier),
    tier,
  ).outcomes;
}

function less(now: Outcomes, before: Outcomes): Outcomes {
  const entries = Object.entries(now) as [ReadOutcome, number][];
  return Object.fromEntries(
    entries.map(([outcome, count]) => [outcome, count - before[outcome]]),
  ) as Outcomes;
}

describe('an agent with a disk and a zone of five servers', { skip }, () => {
  const servers: Memcached[] = [];
  let worker: WorkerFixture;
  let agent: AgentClient;
  let disk: Buffer;
  let diskDir: string;
  let path: string;
  let chunkCount: number;

  before(async () => {
    for (let count = 0; count < 6; count += 1) servers.push(await startMemcached());
    worker = await WorkerFixture.create();
    diskDir = join(worker.dir, 'cache');
    await worker.setAgents({ diskDir, zonePorts: portsOf(servers.slice(0, 5)) });
    ({ disk } = await worker.sampleDisk(40, '32M'));
    agent = await worker.agent();
    const image = await worker.publish(disk);
    ({ path } = await agent.open({ image, user: 'test' }));
    chunkCount = (await readdir(worker.originDir, { recursive: true })).filter((name) =>
      name.includes('/chunks/'),
    ).length;
  });
  after(async () => {
    await worker[Symbol.asyncDispose]();
    for (const server of servers) await server[Symbol.asyncDispose]();
  });

  /** Reads the whole image past the page cache; what that changed at a tier. */
  async function readAll(): Promise<(tier: Tier) => Outcomes> {
    const earlier = await agent.cacheStatus();
    assert.ok(disk.equals(await readDirect(path, 0, disk.byteLength)));
    const later = await agent.cacheStatus();
    return (tier) => less(outcomesOf(later, tier), outcomesOf(earlier, tier));
  }

  /** That the tier had every chunk. */
  function assertHadAll({ hit, abandoned, ...others }: Outcomes): void {
    assert.equal(hit + abandoned, chunkCount);
    assert.ok(hit > 0);
    assert.deepEqual(Object.values(others), [0, 0, 0, 0, 0]);
  }

  /** Until nothing waits to be written to disk or zone. */
  async function untilFilled(): Promise<void> {
    for (;;) {
      const { disk: onDisk, zone } = await agent.cacheStatus();
      assert.ok(onDisk.state === 'on' && zone.state === 'on');
      if (onDisk.queuedBytes + zone.fill.queueBytes === 0) return;
    }
  }

  test('fetches a chunk from the origin once; then memory has it, then disk, then the zone', async () => {
    assert.equal((await readAll())('origin').hit, chunkCount);
    await untilFilled();
    const { memory } = await agent.cacheStatus();
    await readAll();
    const { memory: later } = await agent.cacheStatus();
    assert.equal(later.misses, memory.misses);
    assert.ok(later.hits >= memory.hits + chunkCount);

    assert.deepEqual(await agent.dropCaches(['memory']), ['memory']);
    assertHadAll((await readAll())('l1-disk'));
    assert.deepEqual(await agent.dropCaches(), ['memory', 'disk']);
    // memcached loses values of a burst now and then, and says nothing: the origin has those.
    const { hit, abandoned, miss, ...others } = (await readAll())('l2');
    assert.equal(hit + abandoned + miss, chunkCount);
    assert.ok(hit > chunkCount / 2);
    assert.deepEqual(Object.values(others), [0, 0, 0, 0]);
  });

  test('replaces what was spoilt on disk, and never serves it', async () => {
    await untilFilled();
    for (const entry of await readdir(join(diskDir, 'chunks'), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (!entry.isFile()) continue;
      const file = join(entry.parentPath, entry.name);
      const bytes = await readFile(file);
      bytes[4000] = (bytes[4000] ?? 0) ^ 1;
      await writeFile(file, bytes);
    }
    await agent.dropCaches(['memory']);
    const spoilt = await readAll();
    const { hit, corrupt, abandoned } = spoilt('l1-disk');
    assert.deepEqual([hit, corrupt + abandoned], [0, chunkCount]);
    assert.ok(corrupt > 0);
    await untilFilled();
    await agent.dropCaches(['memory']);
    assert.ok((await readAll())('l1-disk').hit > 0);
  });

  test('reads on with a server of the zone that stalls, and with all of them gone', async () => {
    servers[1]?.pause();
    await agent.dropCaches();
    const stalled = await readAll();
    assert.ok(stalled('l2').hit > 0);
    assert.equal(stalled('l2').miss, 0);
    servers[1]?.resume();
    for (const server of servers) await server.kill();
    await agent.dropCaches();
    assert.equal((await readAll())('origin').hit, chunkCount);
    for (const server of servers) await server.restart();
  });

  test('has another set of servers when told so, and so has the agent that takes its place', async () => {
    const idsOf = ({ zone }: CacheStatus): readonly string[] =>
      zone.state === 'on' ? zone.servers.map(({ id }) => id) : [];
    const wanted = portsOf(servers.slice(1)).map(zoneServerAt);
    await agent.setZoneServers(wanted);
    const ids = wanted.map(({ id }) => id);
    assert.deepEqual(idsOf(await agent.cacheStatus()), ids);
    await readAll();
    const { pid } = await agent.status();
    process.kill(pid, 'SIGKILL');
    while ((await agent.status()).pid === pid);
    assert.deepEqual(idsOf(await agent.cacheStatus()), ids);
    await readAll();
    await agent.setZoneServers([]);
    assert.equal((await agent.cacheStatus()).zone.state, 'off');
  });

  test('keeps no servers that it refused, and serves if those that it was given cannot be had', async () => {
    const wanted = portsOf(servers.slice(1)).map(zoneServerAt);
    await agent.setZoneServers(wanted);
    const twice = [zoneServerAt(1), zoneServerAt(1)];
    await assert.rejects(agent.setZoneServers(twice), { code: 'ERR_INTERNAL' });
    const kept = join(runPaths(worker.runDir).stateDir, 'zone-servers.json');
    assert.deepEqual(JSON.parse(await readFile(kept, 'utf8')), wanted);
    await writeFile(kept, JSON.stringify(twice));
    const { pid } = await agent.status();
    process.kill(pid, 'SIGKILL');
    while ((await agent.status()).pid === pid);
    await readAll();
  });
});

function portsOf(servers: readonly Memcached[]): readonly number[] {
  return servers.map(({ address }) => address.port);
}
