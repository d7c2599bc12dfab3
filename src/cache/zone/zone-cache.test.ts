import assert from 'node:assert/strict';
import { test } from 'node:test';

import { present, type Priority } from '../../base/index.ts';
import { parseStripe } from './stripe.ts';
import { cacheTierConformance, namedChunk } from '../testing/cache-tier-conformance.ts';
import { forgeStripes } from '../testing/forged-stripe.ts';
import { SimulatedZone, type ReadEnd } from '../testing/simulated-zone.ts';
import type { SimulatedZoneServer } from '../testing/simulated-zone-server.ts';

for (const serverCount of [4, 5, 9]) {
  cacheTierConformance({
    name: `the zone of ${serverCount} simulated servers`,
    create: async () => {
      const zone = new SimulatedZone({ serverCount });
      return {
        tier: zone.cache,
        settled: () => zone.cache.idle(),
        until: (work) => zone.time.until(work),
        damage: async () => {
          for (const { values } of zone.all) for (const value of values.values()) value.fill(0, 60);
        },
        breakDown: async () => {
          for (const server of zone.all.slice(0, 3)) server.stop();
        },
        [Symbol.asyncDispose]: async () => zone.cache.close(),
      };
    },
  });
}

const chunk = namedChunk(1, 16 * 4096);

/** How a read of the chunk ends. */
function read(zone: SimulatedZone): Promise<ReadEnd> {
  return zone.time.until(zone.read(chunk));
}

/** The index of the stripe of `chunk` that a server has. */
function indexOn({ values }: SimulatedZoneServer): number | undefined {
  return [...values.values()]
    .map((value) => parseStripe(value, chunk.name))
    .find((stripe) => stripe.fault === undefined)?.index;
}

function indexes(zone: SimulatedZone): readonly (number | undefined)[] {
  return zone.all.map((server) => indexOn(server)).sort((a = -1, b = -1) => a - b);
}

/** With five servers, each of them has a stripe of every chunk. */
async function filledZone(): Promise<SimulatedZone> {
  const zone = new SimulatedZone();
  await zone.fill(chunk);
  assert.deepEqual(indexes(zone), [0, 1, 2, 3, 4]);
  return zone;
}

const unavailable = 'ERR_CACHE_TIER_UNAVAILABLE';

test('a read asks all five at once and is over with the first four', async () => {
  const zone = await filledZone();
  for (const [index, server] of zone.all.entries()) server.delayMs = () => (index + 1) * 10;
  assert.deepEqual(await read(zone), { found: 'right', tookMs: 40 });
  const { stripes, servers } = zone.cache.status();
  assert.equal(stripes.raced, 1);
  assert.deepEqual(
    servers.map(({ used, lost }) => [used, lost]),
    [...Array.from({ length: 4 }, () => [1, 0]), [0, 1]],
  );
});

test('one server that is stopped, down or empty makes no read slower, whichever it is', async () => {
  for (let index = 0; index < 5; index += 1) {
    for (const trouble of ['stop', 'down', 'empty']) {
      const zone = await filledZone();
      const server = zone.server(index);
      if (trouble === 'stop') server.stop();
      if (trouble === 'down') server.state = 'down';
      if (trouble === 'empty') server.values.clear();
      assert.deepEqual(await read(zone), { found: 'right', tookMs: 1 });
    }
  }
});

test('with two servers down a read is refused at once, and with two stopped at its deadline', async () => {
  const zone = await filledZone();
  for (const server of zone.all.slice(1, 3)) server.state = 'down';
  assert.deepEqual(await read(zone), { found: unavailable, tookMs: 0 });
  for (const server of zone.all.slice(1, 3)) {
    server.state = 'up';
    server.stop();
  }
  assert.deepEqual(await read(zone), { found: unavailable, tookMs: 250 });
  const { reads } = zone.cache.status();
  assert.deepEqual([reads.unavailable, reads.timeouts, reads.misses], [1, 1, 0]);
});

test('a miss is known when two servers have nothing, however slow the others are', async () => {
  const zone = await filledZone();
  for (const server of zone.all) server.delayMs = () => 200;
  for (const server of zone.all.slice(2, 4)) {
    server.values.clear();
    server.delayMs = () => 6;
  }
  assert.deepEqual(await read(zone), { found: undefined, tookMs: 3 });
});

test('a server that is down does not turn misses into failures', async () => {
  const zone = new SimulatedZone();
  zone.server(0).state = 'down';
  assert.deepEqual(await read(zone), { found: undefined, tookMs: 0.5 });
  await zone.fill(chunk);
  assert.equal((await read(zone)).found, 'right');
});

for (const fault of ['flipsBit', 'truncates', 'swaps'] as const) {
  test(`a stripe that a server ${fault} is not used, but counted and written anew`, async () => {
    const zone = await filledZone();
    await zone.fill(namedChunk(2, 8192)); // to swap with
    const server = zone.server(3);
    server.faults = { [fault]: 1 };
    const runs = 10; // swapped for itself it is right
    for (let run = 0; run < runs; run += 1) {
      for (const other of zone.all) other.delayMs = () => (other === server ? 1 : 2);
      assert.equal((await read(zone)).found, 'right');
    }
    const { stripes } = zone.cache.status();
    assert.ok(stripes.corrupt > 0 && stripes.corrupt <= runs);
    assert.equal(zone.cache.status().servers[3]?.corrupt, stripes.corrupt);
    server.faults = {};
    await zone.time.until(zone.cache.idle());
    await zone.time.pass(10);
    assert.equal((await read(zone)).found, 'right');
  });
}

test('of a chunk that cannot be read what is corrupt is deleted', async () => {
  const zone = await filledZone();
  for (const { values } of zone.all.slice(0, 2)) for (const value of values.values()) value.fill(9);
  assert.equal((await read(zone)).found, undefined);
  await zone.time.pass(10);
  assert.deepEqual(
    zone.all.map(({ values }) => values.size),
    [0, 0, 1, 1, 1],
  );
});

test('stripes of another version of the format are none, and stay', async () => {
  const zone = await filledZone();
  for (const { values } of zone.all) for (const value of values.values()) value[8] = 99;
  assert.equal((await read(zone)).found, undefined);
  await zone.time.pass(10);
  assert.ok(zone.all.every(({ values }) => values.size === 1));
  assert.equal(zone.cache.status().stripes.corrupt, 0);
});

test('a server that lost its stripe gets it again after a read, and then another may be lost', async () => {
  for (let index = 0; index < 5; index += 1) {
    const zone = await filledZone();
    zone.server(index).values.clear();
    assert.equal((await read(zone)).found, 'right');
    await zone.time.until(zone.cache.idle());
    assert.deepEqual(indexes(zone), [0, 1, 2, 3, 4]);
    assert.equal(zone.cache.status().stripes.repaired, 1);
    zone.server((index + 1) % 5).values.clear();
    assert.equal((await read(zone)).found, 'right');
  }
});

test('what a read did not wait for is heard all the same, after a change always, later of every 16th', async () => {
  const zone = await filledZone();
  const [key, value] = present([...zone.server(0).values][0], 'a stripe');
  const isHealed = async (): Promise<boolean> => {
    // The last to answer has the index of another: nobody can tell who does not wait for it.
    zone.server(4).values.set(key, Uint8Array.from(value));
    zone.server(4).delayMs = () => 5;
    assert.deepEqual(await read(zone), { found: 'right', tookMs: 1 });
    await zone.time.pass(100);
    return indexOn(zone.server(4)) === 4;
  };
  const healedOf = async (count: number): Promise<number> => {
    let healed = 0;
    for (let done = 0; done < count; done += 1) {
      await zone.time.pass(60_000); // until it may be written again
      if (await isHealed()) healed += 1;
    }
    return healed;
  };
  assert.equal(await healedOf(32), 2);
  zone.cache.setServers(zone.members(6));
  zone.cache.setServers(zone.members(5));
  const { repaired } = zone.cache.status().stripes;
  for (let count = 0; count < 3; count += 1) {
    await zone.time.pass(60_000);
    await read(zone); // nothing is wrong, and so nothing is written
  }
  await zone.time.pass(100);
  assert.equal(zone.cache.status().stripes.repaired, repaired);
  assert.equal(await healedOf(6), 6);
  assert.equal(await healedOf(32), 2);
});

test('a stripe is written anew once a minute at most, and never to a server that is down', async () => {
  const zone = await filledZone();
  const server = zone.server(2);
  const lose = async (): Promise<number> => {
    server.values.clear();
    await read(zone);
    await zone.time.until(zone.cache.idle());
    return zone.cache.status().stripes.repaired;
  };
  assert.deepEqual([await lose(), await lose(), await lose()], [1, 1, 1]);
  await zone.time.pass(60_000);
  server.state = 'down';
  assert.equal(await lose(), 1);
  server.state = 'up';
  assert.equal(await lose(), 2);
});

test('two servers with one index make no chunk of it, and one of them gets what is missing', async () => {
  const zone = await filledZone();
  const [first, second] = [zone.server(0), zone.server(1)];
  const [key, value] = present([...first.values][0], 'a stripe');
  second.values.set(key, Uint8Array.from(value));
  assert.equal((await read(zone)).found, 'right');
  await zone.time.until(zone.cache.idle());
  assert.deepEqual(indexes(zone), [0, 1, 2, 3, 4]);
  for (const server of [second, zone.server(2)]) server.values.set(key, Uint8Array.from(value));
  // Five stripes, three indexes.
  assert.deepEqual(await read(zone), { found: undefined, tookMs: 1 });
});

test('who aborts a read gets its reason at once, and the servers are told', async () => {
  const zone = await filledZone();
  for (const server of zone.all) server.stop();
  const abort = new AbortController();
  const reason = new Error('no longer wanted');
  const reading = zone.cache.get(chunk.name, { signal: abort.signal, priority: 'foreground' });
  await zone.time.pass(100);
  abort.abort(reason);
  await assert.rejects(zone.time.until(reading), reason);
  assert.equal(zone.time.monotonicMs() >= 100, true);
  assert.equal(zone.cache.status().reads.abandoned, 1);
  assert.equal(zone.cache.status().reads.inFlight, 0);
  await zone.time.pass(1000);
});

test('more reads than servers let in have their turn one after the other, the foreground first', async () => {
  const zone = await filledZone();
  const order: string[] = [];
  const start = (priority: 'foreground' | 'prefetch'): Promise<void> => {
    const request = { signal: new AbortController().signal, priority };
    return zone.cache.get(chunk.name, request).then(() => void order.push(priority));
  };
  for (const server of zone.all) server.delayMs = () => 100;
  const prefetching = Array.from({ length: 40 }, () => start('prefetch'));
  const reading = Array.from({ length: 12 }, () => start('foreground'));
  await zone.time.until(Promise.all([...prefetching, ...reading]));
  // Four of them were under way when the first reader came, and never more.
  assert.ok(order.lastIndexOf('foreground') < 16 + 4);
  assert.ok(zone.all.every(({ outstandingPeak }) => outstandingPeak <= 16));
  const { reads } = zone.cache.status();
  assert.deepEqual([reads.hits, reads.waiting, reads.inFlight], [52, 0, 0]);
});

test('a reader who has no turn by the deadline asks elsewhere', async () => {
  const zone = await filledZone();
  for (const server of zone.all) server.stop();
  const reads = await zone.time.until(
    Promise.all(Array.from({ length: 17 }, () => zone.read(chunk))),
  );
  // Eight ask at a time. The next eight have their turn when the first end, or a moment before end themselves.
  for (const { found } of reads) assert.equal(found, unavailable);
  assert.ok(reads.every(({ tookMs }) => tookMs === 250 || tookMs === 500));
  assert.equal(reads.at(-1)?.tookMs, 250);
  assert.equal(zone.cache.status().reads.timeouts, 17);
});

test('forgetting gives up what is queued, and ends although servers hang', async () => {
  const zone = await filledZone();
  zone.cache.offer(chunk.name, chunk.ciphertext);
  zone.server(0).stop();
  await zone.time.until(zone.cache.forget(chunk.name));
  assert.ok(zone.all.slice(1).every(({ values }) => values.size === 0));
  assert.equal((await read(zone)).found, undefined);
  await zone.time.until(zone.cache.idle());
  assert.equal(zone.cache.status().fill.queueBytes, 0);
});

test('forgetting a chunk that one stripe spoils deletes that stripe, and counts it for its server', async () => {
  const zone = await filledZone();
  forgeStripes(zone.server(2));
  await zone.time.until(zone.cache.forget(chunk.name));
  assert.deepEqual(
    zone.all.map(({ values }) => values.size),
    [1, 1, 0, 1, 1],
  );
  assert.deepEqual(forgeriesOf(zone), [0, 0, 1, 0, 0]);
  assert.equal((await read(zone)).found, 'right');
});

test('what two stripes spoil, or one stripe and a server that says nothing, is deleted as a whole', async () => {
  const twice = await filledZone();
  for (const index of [1, 2]) forgeStripes(twice.server(index));
  const silent = await filledZone();
  forgeStripes(silent.server(1));
  silent.server(2).stop();
  for (const zone of [twice, silent]) {
    await zone.time.until(zone.cache.forget(chunk.name));
    zone.server(2).resume();
    await zone.time.pass(1000);
    assert.ok(zone.all.every(({ values }) => values.size === 0));
    assert.deepEqual(forgeriesOf(zone), [0, 0, 0, 0, 0]);
  }
});

test('a server that forges again and again is not read from for ten minutes, and chunks do without it', async () => {
  const zone = new SimulatedZone();
  const chunks = Array.from({ length: 10 }, (_, seed) => namedChunk(seed, 4096));
  await zone.fill(...chunks);
  const forger = zone.server(3);
  forgeStripes(forger);
  const forgeries = new Map(forger.values);
  for (const { name } of chunks.slice(0, 3)) await zone.time.until(zone.cache.forget(name));
  assert.deepEqual(forgeriesOf(zone), [0, 0, 0, 3, 0]);
  for (const other of chunks) {
    assert.equal((await zone.time.until(zone.read(other))).found, 'right');
  }
  for (const [key, value] of forgeries) forger.values.set(key, value);
  await zone.time.pass(600_000);
  const before = forger.gets.hits;
  const name = chunks[9]?.name ?? chunk.name;
  await zone.time.until(zone.cache.forget(name));
  assert.ok(forger.gets.hits > before);
});

/** By server, as the status has it. */
function forgeriesOf(zone: SimulatedZone): readonly number[] {
  return zone.cache.status().servers.map(({ forged }) => forged);
}

test('the time to ask elsewhere follows the p99 of late, between 5 and 100 ms', async () => {
  const zone = await filledZone();
  const after = async (delayMs: number): Promise<number> => {
    for (const server of zone.all) server.delayMs = () => delayMs;
    for (let count = 0; count < 100; count += 1) await read(zone);
    return Math.round(zone.cache.hedgeAfterMs());
  };
  assert.equal(zone.cache.hedgeAfterMs(), 20);
  assert.equal(await after(1), 5);
  assert.equal(await after(40), 40);
  assert.equal(await after(200), 100);
  await zone.time.pass(60_000);
  assert.equal(zone.cache.hedgeAfterMs(), 20);
});

test('reads that were given up for being slow count as slow', async () => {
  const zone = await filledZone();
  for (let count = 0; count < 100; count += 1) await read(zone);
  assert.equal(zone.cache.hedgeAfterMs(), 5);
  for (const server of zone.all) server.delayMs = () => 100;
  for (let count = 0; count < 10; count += 1) {
    const abort = new AbortController();
    const reading = zone.cache.get(chunk.name, { signal: abort.signal, priority: 'foreground' });
    const outcome = reading.catch(() => 'aborted');
    await zone.time.pass(25);
    abort.abort();
    assert.equal(await zone.time.until(outcome), 'aborted');
  }
  assert.equal(Math.round(zone.cache.hedgeAfterMs()), 25);
});

test('each server tells how long its answers took, a stripe or none, and not of those given up', async () => {
  const zone = await filledZone();
  for (const [index, server] of zone.all.entries()) server.delayMs = () => 10 * (index + 1);
  assert.equal((await read(zone)).found, 'right');
  const lacking = namedChunk(2, 4 * 4096);
  assert.equal((await zone.time.until(zone.read(lacking))).found, undefined);
  const told = zone.cache.status().servers.map(({ latency: { count, sumMs } }) => [count, sumMs]);
  // That there is none is said in half the time, and two who say so are enough.
  const taken = zone.all.map((_, index) =>
    index < 2 ? [2, 15 * (index + 1)] : [1, 10 * (index + 1)],
  );
  assert.deepEqual(told.slice(0, 4), taken.slice(0, 4));
  assert.deepEqual(told[4], [0, 0]);
});

test('prefetch that is raised while it waits for its turn has it at once, also after the servers have changed', async () => {
  const zone = await filledZone();
  for (const server of zone.all) server.delayMs = () => 100;
  const { signal } = new AbortController();
  const requests = Array.from({ length: 5 }, (): { signal: AbortSignal; priority: Priority } => {
    return { signal, priority: 'prefetch' };
  });
  const reads = requests.map((request) => zone.cache.get(chunk.name, request));
  await zone.time.pass(0);
  zone.cache.setServers(zone.members(6, ['server-0']));
  assert.deepEqual([zone.cache.status().reads.inFlight, zone.cache.status().reads.waiting], [4, 1]);
  const [last] = requests.slice(-1);
  if (last !== undefined) last.priority = 'foreground';
  zone.cache.review();
  await zone.time.pass(0);
  assert.deepEqual([zone.cache.status().reads.inFlight, zone.cache.status().reads.waiting], [5, 0]);
  await zone.time.until(Promise.all(reads));
});
