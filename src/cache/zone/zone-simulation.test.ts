/**
 * The zone under seeded chaos, in virtual time: servers that delay, hang, fail, forget, swap, flip and truncate, stop and go on, go down and
 * come up, restart empty, are added and removed, while chunks are offered, read, primed and forgotten.
 *
 * Invariants: a read gives the right bytes or none; whoever waits for one has its end in time; the queue stays within its bytes; every
 * call is counted once; no rejection goes unhandled and no timer stays behind; and when the servers are well again, so is the zone.
 *
 * A failure names its seed: `THAW_ZONE_SEED=n` before the command repeats that one.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { errorCode } from '../../base/index.ts';
import { namedChunk, type NamedChunk } from '../testing/cache-tier-conformance.ts';
import { SimulatedZone } from '../testing/simulated-zone.ts';
import type { ServerFaults } from '../testing/simulated-zone-server.ts';

const chunks = Array.from({ length: 8 }, (_, seed) => namedChunk(seed, (1 + seed * 3) * 4096));
const fillQueueMaxBytes = 256 * 1024;
const readDeadlineMs = 250;
const faultNames = [
  'hangs',
  'fails',
  'forgets',
  'swaps',
  'flipsBit',
  'truncates',
  'ignoresAbort',
] as const;

class Chaos {
  readonly zone: SimulatedZone;
  readonly #random: () => number;
  readonly #underWay: Promise<void>[] = [];
  #serverCount: number;
  reads = 0;
  rightReads = 0;

  constructor(seed: number) {
    this.#serverCount = 5 + (seed % 4);
    this.zone = new SimulatedZone({
      seed,
      serverCount: this.#serverCount,
      outstandingMax: 16,
      fillQueueMaxBytes,
    });
    this.#random = this.zone.random;
  }

  async run(stepCount: number): Promise<void> {
    for (let step = 0; step < stepCount; step += 1) {
      this.#step();
      await this.zone.time.pass(this.#random() * 30);
      assert.ok(this.zone.cache.status().fill.queueBytes <= fillQueueMaxBytes);
    }
    this.#heal();
    await this.zone.time.until(Promise.all(this.#underWay));
    await this.zone.time.until(this.zone.cache.idle());
  }

  /** All is well again: what is offered now is there, and then nothing is left behind. */
  async end(): Promise<void> {
    const { cache, time } = this.zone;
    await this.zone.fill(...chunks.slice(0, 4));
    for (const chunk of chunks.slice(0, 4)) {
      this.reads += 1;
      assert.equal((await time.until(this.zone.read(chunk))).found, 'right');
    }
    await time.until(cache.idle()); // of repairs
    const { reads, fill } = cache.status();
    const ended = reads.hits + reads.misses + reads.unavailable + reads.timeouts + reads.abandoned;
    assert.deepEqual([ended, reads.inFlight, reads.waiting], [this.reads, 0, 0]);
    assert.equal(fill.written + fill.dropped + fill.failed + fill.repeated, fill.offered);
    assert.equal(fill.queueBytes, 0);
    await time.until(cache.close());
    await time.pass(5000);
    assert.ok(this.zone.all.every(({ isClosed }) => isClosed));
    assert.equal(time.waitingCount, 0);
  }

  #step(): void {
    const draw = this.#random();
    if (draw < 0.25) this.#offer();
    else if (draw < 0.6) for (let count = this.#below(10); count >= 0; count -= 1) this.#read();
    else if (draw < 0.65) this.#underWay.push(this.zone.cache.forget(this.#anyChunk().name));
    else if (draw < 0.7) this.#prime();
    else if (draw < 0.78) this.#changeServers(3 + this.#below(6));
    else this.#trouble();
  }

  #offer(): void {
    for (let count = this.#below(4); count >= 0; count -= 1) {
      const { name, ciphertext } = this.#anyChunk();
      this.zone.cache.offer(name, ciphertext);
    }
  }

  #read(): void {
    const { time } = this.zone;
    const startedMs = time.monotonicMs();
    const abort = new AbortController();
    const priority = this.#random() < 0.7 ? 'foreground' : 'prefetch';
    const reason = new Error('no longer wanted');
    if (this.#random() < 0.2) time.after(this.#random() * 50, () => abort.abort(reason));
    const chunk = this.#anyChunk();
    this.reads += 1;
    const read = async (): Promise<void> => {
      try {
        const bytes = await this.zone.cache.get(chunk.name, { signal: abort.signal, priority });
        if (bytes !== undefined) {
          assert.equal(Buffer.compare(bytes, chunk.ciphertext), 0);
          this.rightReads += 1;
        }
      } catch (thrown) {
        if (thrown !== reason) assert.equal(errorCode(thrown), 'ERR_CACHE_TIER_UNAVAILABLE');
      }
      const tookMs = time.monotonicMs() - startedMs;
      if (priority === 'foreground') assert.ok(tookMs <= 2 * readDeadlineMs, `${tookMs}`);
    };
    this.#underWay.push(read());
  }

  #prime(): void {
    const abort = new AbortController();
    const reason = new Error('enough');
    this.zone.time.after(this.#random() * 2000, () => abort.abort(reason));
    const { name, ciphertext } = this.#anyChunk();
    const prime = async (): Promise<void> => {
      try {
        await this.zone.cache.prime(name, ciphertext, { signal: abort.signal });
      } catch (thrown) {
        assert.equal(thrown, reason);
      }
    };
    this.#underWay.push(prime());
  }

  #changeServers(count: number): void {
    this.#serverCount = count;
    this.zone.cache.setServers(this.zone.members(count, [`server-${this.#below(9)}`]));
  }

  #trouble(): void {
    const server = this.zone.server(this.#below(this.zone.all.length));
    const draw = this.#random();
    if (draw < 0.15) server.values.clear();
    else if (draw < 0.3) server.stop();
    else if (draw < 0.5) server.resume();
    else if (draw < 0.6) server.state = 'down';
    else if (draw < 0.75) server.state = 'up';
    else server.faults = this.#faults();
    const delayMs = this.#random() < 0.2 ? 300 : 5;
    server.delayMs = () => this.#random() * delayMs;
  }

  #faults(): ServerFaults {
    const rate = this.#random() < 0.2 ? 1 : 0.2;
    return Object.fromEntries(
      faultNames.filter(() => this.#random() < 0.3).map((name) => [name, rate]),
    );
  }

  #heal(): void {
    for (const server of this.zone.all) {
      server.resume();
      server.state = 'up';
      server.faults = {};
      server.delayMs = () => 1;
    }
    this.zone.cache.setServers(this.zone.members(6));
  }

  #anyChunk(): NamedChunk {
    return chunks[this.#below(chunks.length)] ?? namedChunk(0, 4096);
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }
}

const repeated = Number(process.env['THAW_ZONE_SEED'] ?? 0);
const seeds = repeated > 0 ? [repeated] : Array.from({ length: 200 }, (_, index) => index + 1);

test('through 200 seeds of chaos a read gives the right bytes or none, and in time', async () => {
  let rightReads = 0;
  for (const seed of seeds) {
    const chaos = new Chaos(seed);
    try {
      await chaos.run(20);
      await chaos.end();
    } catch (thrown) {
      throw new Error(`Seed ${seed} breaks an invariant`, { cause: thrown });
    }
    rightReads += chaos.rightReads;
  }
  // Chaos in which nothing works would show nothing.
  assert.ok(rightReads > seeds.length * 2, `${rightReads}`);
});
