import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { present, toHex } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { encodeStripes } from '../../erasure/index.ts';
import { namedChunk, type NamedChunk } from '../testing/cache-tier-conformance.ts';
import { SimulatedZone, type SimulatedZoneOptions } from '../testing/simulated-zone.ts';
import { WaitingChunks } from '../waiting/waiting-chunks.ts';
import { parseStripe } from './stripe.ts';
import { WorkerReads } from '../worker-reads.ts';

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;

function chunks(count: number, lengthBytes = 128 * 4096): readonly NamedChunk[] {
  return Array.from({ length: count }, (_, seed) => namedChunk(seed, lengthBytes));
}

function offer(zone: SimulatedZone, offered: readonly NamedChunk[]): void {
  for (const { name, ciphertext } of offered) zone.cache.offer(name, ciphertext);
}

/** A zone that writes between the worker's reads. */
function readingZone(options: SimulatedZoneOptions): SimulatedZone & { reads: WorkerReads } {
  const time = new VirtualTime();
  const reads = new WorkerReads(time);
  return Object.assign(new SimulatedZone({ ...options, time, reads }), { reads });
}

function putCount({ all }: SimulatedZone): number {
  return all.reduce((sum, { puts }) => sum + puts.length, 0);
}

async function hits(zone: SimulatedZone, asked: readonly NamedChunk[]): Promise<number> {
  let found = 0;
  for (const chunk of asked) {
    if ((await zone.time.until(zone.read(chunk))).found === 'right') found += 1;
  }
  return found;
}

test('a burst of offers reaches each server at its rate, and as what nobody waits for', async () => {
  const zone = new SimulatedZone({ fillBytesPerSecond: 25e6 });
  const offered = chunks(60);
  offer(zone, offered);
  await zone.time.until(zone.cache.idle());
  assert.deepEqual(zone.cache.status().fill, {
    offered: 60,
    written: 60,
    dropped: 0,
    failed: 0,
    repeated: 0,
    queueBytes: 0,
  });
  for (const { puts } of zone.all) {
    let sentBytes = 0;
    for (const { atMs, sizeBytes, priority } of puts) {
      assert.equal(priority, 'prefetch');
      // At once: what takes 20 ms, and the one that goes beyond.
      assert.ok(sentBytes <= 25e6 * ((atMs + 20) / 1000) + 1);
      sentBytes += sizeBytes;
    }
    assert.equal(puts.length, 60);
  }
  // Not slower than that either: each had 60 stripes of 128 KiB to take.
  const expectedMs = ((60 * (128 * 1024 + 56)) / 25e6) * 1000;
  assert.ok(Math.abs(zone.time.monotonicMs() - expectedMs) < 30);
  assert.equal(await hits(zone, offered), 60);
});

test('what is offered while the worker reads is written in the next pause, and all of it', async () => {
  const zone = readingZone({});
  const offered = chunks(136); // as many as the start of a Node function reads
  for (const chunk of offered) {
    await zone.time.until(zone.read(chunk));
    offer(zone, [chunk]);
    await zone.time.pass(10);
  }
  await zone.time.pass(239);
  assert.equal(putCount(zone), 0);
  await zone.time.pass(2000);
  const { written, dropped, queueBytes } = zone.cache.status().fill;
  assert.deepEqual({ written, dropped, queueBytes }, { written: 136, dropped: 0, queueBytes: 0 });
  assert.equal(await hits(zone, offered), 136);
});

test('reads that begin anew stop the writing, and what is under way then ends', async () => {
  const zone = readingZone({});
  offer(zone, chunks(60));
  await zone.time.pass(300);
  const begun = putCount(zone);
  assert.ok(begun > 0 && begun < 300);
  for (let read = 0; read < 8; read += 1) {
    zone.reads.note();
    await zone.time.pass(200);
  }
  assert.equal(putCount(zone), begun);
  zone.reads.note();
  await zone.time.pass(200); // and these have waited for two seconds
  assert.ok(putCount(zone) > begun);
  await zone.time.until(zone.cache.idle());
  assert.equal(zone.cache.status().fill.written, 60);
});

test('a worker that reads all the time writes what is more than three quarters of the queue', async () => {
  const zone = readingZone({ fillQueueMaxBytes: 32 * mebibyte });
  const offered = chunks(51);
  offer(zone, offered.slice(0, 48));
  const read = async (): Promise<void> => {
    for (let turn = 0; turn < 4; turn += 1) {
      zone.reads.note();
      await zone.time.pass(200);
    }
  };
  await read();
  assert.equal(putCount(zone), 0);
  offer(zone, offered.slice(48));
  await read();
  const { dropped, queueBytes } = zone.cache.status().fill;
  assert.equal(dropped, 0);
  assert.ok(queueBytes > 22 * mebibyte && queueBytes <= 24 * mebibyte);
  await zone.time.pass(2000);
  assert.equal(await hits(zone, offered), 51);
});

test('who primes a chunk, or waits until all is written, waits for no pause', async () => {
  const zone = readingZone({});
  const [first, second, third] = chunks(3) as [NamedChunk, NamedChunk, NamedChunk];
  offer(zone, [first]);
  const primed = zone.cache.prime(second.name, second.ciphertext, { signal: never });
  assert.equal(await zone.time.until(primed), true);
  offer(zone, [third]);
  await zone.time.until(zone.cache.idle());
  assert.equal(zone.cache.status().fill.written, 3);
  assert.ok(zone.time.monotonicMs() < 100);
  offer(zone, [namedChunk(9, 4096)]); // nobody waits any longer
  await zone.time.pass(200);
  assert.equal(zone.cache.status().fill.written, 3);
  await zone.time.until(zone.cache.close());
  assert.equal(zone.cache.status().fill.dropped, 1);
});

test('what does not fit the queue is dropped and counted, and the queue stays within its bytes', async () => {
  const zone = new SimulatedZone({ fillQueueMaxBytes: 8 * mebibyte });
  const offered = chunks(60);
  for (const chunk of offered) {
    offer(zone, [chunk]);
    assert.ok(zone.cache.status().fill.queueBytes <= 8 * mebibyte);
  }
  await zone.time.until(zone.cache.idle());
  const { fill } = zone.cache.status();
  assert.equal(fill.offered, 60);
  assert.equal(fill.written + fill.dropped, 60);
  assert.ok(fill.written >= 8 && fill.dropped > 0);
  assert.equal(await hits(zone, offered), fill.written);
});

test('chunks of every size are held to the queue, also when one is larger than it', async () => {
  const zone = new SimulatedZone({ fillQueueMaxBytes: 64 * 1024 });
  const small = chunks(100, 4096);
  const [large] = chunks(1) as [NamedChunk];
  const primed = zone.cache.prime(large.name, large.ciphertext, { signal: never });
  offer(zone, [...chunks(1, 127 * 4096), ...small]); // of what is offered, what is larger than the memory is dropped, too
  assert.equal(zone.cache.status().fill.dropped, 101);
  assert.equal(await zone.time.until(primed), true);
  offer(zone, small);
  assert.ok(zone.cache.status().fill.queueBytes <= 64 * 1024);
  await zone.time.until(zone.cache.idle());
  assert.ok((await hits(zone, small)) > 0);
});

test('a server is sent no byte but those of the chunk, however late it takes them and whatever the memory is for by then', async () => {
  const lengths = fc.constantFrom(4096, 8 * 4096, 128 * 4096);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ seed: fc.nat(30), lengthBytes: lengths }) },
    { weight: 2, arbitrary: fc.record({ passMs: fc.integer({ min: 1, max: 3000 }) }) },
    { weight: 1, arbitrary: fc.record({ forget: fc.nat(30), lengthBytes: lengths }) },
    { weight: 1, arbitrary: fc.record({ stop: fc.nat(4) }) },
    { weight: 1, arbitrary: fc.record({ resume: fc.nat(4) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.nat(), async (steps, seed) => {
      const waiting = new WaitingChunks({ bytesMax: 3 * 128 * 4096 });
      const zone = new SimulatedZone({ waiting, seed });
      // Memory is read when the server answers: up to a second after its write was given up.
      for (const server of zone.all) server.delayMs = () => zone.random() * 1500;
      const digests = new Map<string, NamedChunk>();
      for (const one of steps) {
        if ('seed' in one) {
          const chunk = namedChunk(one.seed, one.lengthBytes);
          digests.set(toHex(chunk.name.ciphertextDigest), chunk);
          offer(zone, [chunk]);
        }
        if ('passMs' in one) await zone.time.pass(one.passMs);
        if ('forget' in one) void zone.cache.forget(namedChunk(one.forget, one.lengthBytes).name);
        if ('stop' in one) zone.server(one.stop).stop();
        if ('resume' in one) zone.server(one.resume).resume();
      }
      for (const server of zone.all) server.resume();
      await zone.time.until(zone.cache.idle());
      await zone.time.pass(5000);
      for (const { values } of zone.all) {
        for (const [key, value] of values) {
          const chunk = present(digests.get(key.slice(-64)), 'a chunk that was offered');
          const stripe = parseStripe(value, chunk.name);
          assert.equal(stripe.fault, undefined);
          const expected = encodeStripes(chunk.ciphertext);
          const payload = expected.data[stripe.index] ?? expected.parity;
          assert.equal(Buffer.compare(stripe.payload, payload), 0);
        }
      }
      assert.equal(waiting.bytes, 0);
    }),
    { numRuns: 60 },
  );
});

test('a server that stalls loses its own stripes, and keeps no other from its own', async () => {
  const zone = new SimulatedZone({ fillQueueMaxBytes: 32 * mebibyte });
  zone.server(0).stop();
  const offered = chunks(100);
  for (const chunk of offered) {
    offer(zone, [chunk]);
    await zone.time.pass(6); // a little slower than what servers take
  }
  const { fill, servers } = zone.cache.status();
  assert.equal(fill.dropped, 0);
  assert.ok(fill.queueBytes <= 32 * mebibyte);
  assert.ok((servers[0]?.fillQueueBytes ?? 0) <= 6.4 * mebibyte);
  assert.equal(await hits(zone, offered.slice(0, 98)), 98);
  zone.server(0).state = 'down';
  await zone.time.until(zone.cache.idle());
  assert.equal(zone.cache.status().fill.written, 100);
});

test('a chunk that too few servers take has failed, at once where they are down', async () => {
  const zone = new SimulatedZone();
  for (const server of zone.all.slice(0, 2)) server.state = 'down';
  offer(zone, chunks(3));
  await zone.time.until(zone.cache.idle());
  assert.ok(zone.time.monotonicMs() < 100);
  const { written, failed } = zone.cache.status().fill;
  assert.deepEqual({ written, failed }, { written: 0, failed: 3 });
});

test('a chunk is queued once, however often it is offered', async () => {
  const zone = new SimulatedZone();
  const [chunk] = chunks(1);
  offer(zone, Array(5).fill(chunk));
  await zone.time.until(zone.cache.idle());
  assert.ok(zone.all.every(({ puts }) => puts.length === 1));
  assert.equal(zone.cache.status().fill.repeated, 4);
});

test('a put that fails costs its chunk one stripe', async () => {
  const zone = new SimulatedZone();
  zone.server(1).faults = { fails: 1 };
  const offered = chunks(5);
  offer(zone, offered);
  await zone.time.until(zone.cache.idle());
  assert.equal(zone.cache.status().fill.written, 5);
  zone.server(1).values.clear();
  assert.equal(await hits(zone, offered), 5);
});

test('forgetting a chunk that is queued takes it out of the queue', async () => {
  const zone = new SimulatedZone();
  const offered = chunks(20);
  offer(zone, offered);
  await zone.time.pass(3);
  for (const { name } of offered) await zone.time.until(zone.cache.forget(name));
  assert.equal(zone.cache.status().fill.queueBytes, 0);
  await zone.time.pass(1000);
  assert.equal(await hits(zone, offered), 0);
});

test('priming waits for room where offering drops, and until the chunks are written', async () => {
  const zone = new SimulatedZone({ fillQueueMaxBytes: 4 * mebibyte });
  const primed = chunks(60);
  let queuePeakBytes = 0;
  const done = Promise.all(
    primed.map(async ({ name, ciphertext }) => {
      const isThere = await zone.cache.prime(name, ciphertext, { signal: never });
      queuePeakBytes = Math.max(queuePeakBytes, zone.cache.status().fill.queueBytes);
      return isThere;
    }),
  );
  assert.deepEqual(await zone.time.until(done), Array(60).fill(true));
  assert.ok(queuePeakBytes <= 4 * mebibyte);
  const { dropped, written, queueBytes } = zone.cache.status().fill;
  assert.deepEqual({ dropped, written, queueBytes }, { dropped: 0, written: 60, queueBytes: 0 });
  assert.equal(await hits(zone, primed), 60);
});

test('priming says when a chunk could not be stored', async () => {
  const zone = new SimulatedZone();
  const [first, second] = chunks(2) as [NamedChunk, NamedChunk];
  const prime = ({ name, ciphertext }: NamedChunk): Promise<boolean> =>
    zone.time.until(zone.cache.prime(name, ciphertext, { signal: never }));
  zone.server(0).state = 'down';
  assert.equal(await prime(first), true);
  zone.server(1).state = 'down';
  assert.equal(await prime(second), false);
});

test('priming ends when it is aborted, waiting or under way, and leaves nothing queued', async () => {
  const zone = new SimulatedZone({ fillQueueMaxBytes: 2 * mebibyte });
  for (const server of zone.all) server.stop();
  const abort = new AbortController();
  const reason = new Error('enough');
  const primings = Promise.allSettled(
    chunks(20).map(({ name, ciphertext }) =>
      zone.cache.prime(name, ciphertext, { signal: abort.signal }),
    ),
  );
  await zone.time.pass(10);
  abort.abort(reason);
  for (const outcome of await zone.time.until(primings)) {
    assert.equal(outcome.status === 'rejected' && outcome.reason, reason);
  }
  await zone.time.until(zone.cache.idle());
  assert.ok(zone.time.monotonicMs() <= 1010); // a server that hangs lets its memory go after a second
  const { offered, dropped } = zone.cache.status().fill;
  assert.deepEqual({ offered, dropped }, { offered: 20, dropped: 20 });
});

test('when priming has ended nothing of the chunk is sent any longer', async () => {
  const zone = new SimulatedZone();
  for (const server of zone.all) server.delayMs = () => 100;
  for (const chunk of chunks(20)) {
    const memory = Uint8Array.from(chunk.ciphertext);
    const abort = new AbortController();
    const priming = zone.cache.prime(chunk.name, memory, { signal: abort.signal });
    const ended = priming.catch(() => {}).then(() => memory.fill(0));
    await zone.time.pass(5);
    abort.abort();
    await zone.time.until(ended);
    await zone.time.pass(1000);
    await zone.time.until(zone.read(chunk));
  }
  assert.ok(zone.all.some(({ values }) => values.size > 0));
  assert.equal(zone.cache.status().stripes.corrupt, 0);
});

test('closing gives up what is queued and closes the servers', async () => {
  const zone = new SimulatedZone();
  offer(zone, chunks(40));
  await zone.time.pass(3);
  await zone.time.until(zone.cache.close());
  assert.ok(zone.time.monotonicMs() <= 10);
  assert.ok(zone.all.every(({ isClosed, cutOff }) => isClosed && cutOff === 0));
  assert.equal(zone.cache.status().fill.queueBytes, 0);
  offer(zone, chunks(1));
  await zone.time.until(zone.cache.idle());
});
