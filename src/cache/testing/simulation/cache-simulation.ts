/**
 * The tiers of several workers through a bad day, by a seed: caches that lose, delay, damage, swap and forge what they keep, stop
 * and come back empty; disks that rot and stall; an origin in trouble. Time is virtual, so that a day takes seconds, and one
 * seed is always one story.
 *
 * What must hold, whatever happens:
 *   - a read gives the right bytes, or an error that says what is the matter;
 *   - it ends by its deadline; and it succeeds if the origin has been well for a while, however ill the caches are;
 *   - a worker has no more requests to the origin under way than it may, and hedges a twentieth of its reads at most;
 *   - a copy that was found corrupt is replaced, so that after a few rounds none is left;
 *   - afterwards the zone fills again, and a sweep of chunks that are used once does not push out those that are used all the time.
 */

import { toHex, type Priority } from '../../../base/index.ts';
import { VirtualTime } from '../../../base/testing/virtual-time.ts';
import { sealChunk } from '../../../chunk/index.ts';
import { chunkObjectName } from '../../../store/index.ts';
import { seededRandom } from '../../../store/testing/seeded-random.ts';
import type { Tier } from '../../search/chunk-loader.ts';
import { forgeStripes } from '../forged-stripe.ts';
import { SimulatedZoneServer } from '../simulated-zone-server.ts';
import { below, logNormal, oneOf, zipf, type Random } from './randomness.ts';
import { healthyOrigin, SimulatedOrigin } from './simulated-origin.ts';
import { SimulatedWorker, type KnownChunk, type ReadEnd } from './simulated-worker.ts';
import { ZoneConnection } from './zone-connection.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** Told of what happens, in order. */
  readonly onEvent?: (atMs: number, event: string) => void;
}

export interface SimulationResult {
  readonly seed: number;
  readonly virtualMs: number;
  readonly reads: number;
  readonly byTier: Readonly<Record<Tier, number>>;
  /** Reads that ended in an error, by code. */
  readonly errors: Readonly<Record<string, number>>;
  /** Copies that were found corrupt and replaced. */
  readonly corrupt: number;
  /** After the zone was emptied: until its hit ratio was back. */
  readonly refilledMs: number;
  /** What should not have been; empty if all is well. */
  readonly violations: readonly string[];
}

const rootId = 'root';
const chunkUnitBytes = 4096;
const slotSizeBytes = 4 * chunkUnitBytes;
const originConcurrency = 8;
const readDeadlineMs = 3000;
/** Shared by all functions, as a base image is. */
const sharedChunks = 12;
const functionCount = 40;
const chunksPerFunction = 6;
/** Each read once, by functions that run once a day. */
const sweptChunks = 600;
/** The shared chunks and those of a dozen functions. */
const slotCount = 96;
const violationsMax = 20;
const roundsToPurge = 10;
/** Sums of fractions of milliseconds are that exact. */
const timeErrorMs = 1e-6;

const foreseenErrors: ReadonlySet<string> = new Set([
  'ERR_CACHE_DEADLINE',
  'ERR_CACHE_CHUNK_CORRUPT',
  'ERR_STORE_UNAVAILABLE',
]);

interface MadeChunk extends KnownChunk {
  readonly ciphertext: Uint8Array;
}

function makeChunks(random: Random, count: number): MadeChunk[] {
  const salt = Buffer.alloc(32, 7);
  return Array.from({ length: count }, (_, index) => {
    const plaintext = Buffer.alloc(chunkUnitBytes * (1 + below(random, 4)), index % 251);
    plaintext.writeUInt32LE(index + 1, plaintext.byteLength - 4);
    const sealed = sealChunk(plaintext, salt);
    if (sealed === undefined) throw new Error('A chunk that is not all zeros is sealed');
    const { ciphertext, ...ref } = { ...sealed, rootId, lengthMaxBytes: slotSizeBytes };
    return { index, plaintext, ciphertext, ref };
  });
}

class CacheSimulation {
  readonly #options: SimulationOptions;
  readonly #time = new VirtualTime();
  readonly #random: Random;
  readonly #functions: KnownChunk[][];
  readonly #swept: KnownChunk[];
  readonly #origin: SimulatedOrigin;
  readonly #servers: SimulatedZoneServer[];
  readonly #workers: SimulatedWorker[];
  /** Those that placement knows; the others have been taken out. */
  readonly #members: Set<SimulatedZoneServer>;
  readonly #running = new Set<Promise<void>>();
  readonly #byTier: Record<Tier, number> = { l1: 0, 'l1-disk': 0, l2: 0, origin: 0 };
  readonly #errors: Record<string, number> = {};
  readonly #violations: string[] = [];
  #reads = 0;
  #originWellSinceMs = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    const named = sharedChunks + functionCount * chunksPerFunction;
    const chunks = makeChunks(this.#random, named + sweptChunks);
    const shared = chunks.slice(0, sharedChunks);
    this.#functions = Array.from({ length: functionCount }, (_, index) => {
      const first = sharedChunks + index * chunksPerFunction;
      return [...shared, ...chunks.slice(first, first + chunksPerFunction)];
    });
    this.#swept = chunks.slice(named);
    const objects = new Map(
      chunks.map(({ ref, ciphertext }) => [
        chunkObjectName(rootId, toHex(ref.ciphertextDigest)),
        ciphertext,
      ]),
    );
    this.#origin = new SimulatedOrigin(objects, this.#time, this.#random);
    this.#servers = Array.from({ length: 5 + below(this.#random, 4) }, (_, index) => {
      const id = `server-${index}`;
      const delayMs = (): number => logNormal(this.#random, 0.5, 0.6);
      return new SimulatedZoneServer({ id, time: this.#time, random: this.#random, delayMs });
    });
    this.#members = new Set(this.#servers);
    this.#workers = Array.from({ length: 2 + below(this.#random, 3) }, () =>
      this.#makeWorker(chunks),
    );
  }

  async run(): Promise<SimulationResult> {
    await this.#traffic('a quiet start', 20_000);
    await this.#badDay();
    this.#heal();
    await this.#traffic('convalescence', 10_000);
    await this.#readEverything();
    const refilledMs = await this.#emptyZone();
    await this.#sweep();
    this.#checkBounds();
    for (const { zone } of this.#workers) await this.#time.until(zone.close());
    const { seed } = this.#options;
    return {
      seed,
      virtualMs: this.#time.monotonicMs(),
      reads: this.#reads,
      byTier: this.#byTier,
      errors: this.#errors,
      corrupt: this.#corruptCount(),
      refilledMs,
      violations: this.#violations,
    };
  }

  #makeWorker(chunks: readonly KnownChunk[]): SimulatedWorker {
    const byId = new Map(this.#servers.map((server) => [server.id, server]));
    return new SimulatedWorker({
      chunks,
      slotSizeBytes,
      slotCount,
      diskChunksMax: 120,
      servers: this.#memberList(),
      connect: ({ id }) => {
        const server = byId.get(id);
        if (server === undefined) throw new Error(`There is no server "${id}"`);
        return new ZoneConnection(server);
      },
      origin: this.#origin.client(),
      originConcurrency,
      time: this.#time,
      random: this.#random,
    });
  }

  #memberList() {
    return [...this.#members].map(({ id }) => ({ id, weight: 1, fillBytesPerSecond: 25_000_000 }));
  }

  #tell(event: string): void {
    this.#options.onEvent?.(this.#time.monotonicMs(), event);
  }

  #violate(what: string): void {
    this.#tell(`VIOLATION: ${what}`);
    if (this.#violations.length >= violationsMax) return;
    this.#violations.push(`at ${Math.round(this.#time.monotonicMs())} ms: ${what}`);
  }

  // What workers do.

  /** Cold starts of functions, some loved and most not, on all workers for so long. */
  async #traffic(name: string, forMs: number): Promise<void> {
    this.#tell(name);
    const endMs = this.#time.monotonicMs() + forMs;
    while (this.#time.monotonicMs() < endMs) {
      const worker = oneOf(this.#random, this.#workers);
      const started = this.#start(worker, zipf(this.#random, functionCount));
      this.#running.add(started);
      void started.then(() => this.#running.delete(started));
      await this.#time.pass(logNormal(this.#random, 40, 1));
    }
    await this.#time.until(Promise.all(this.#running));
  }

  /** Reads what a function needs in order, as its start comes to it; now and then ahead of it too. */
  async #start(worker: SimulatedWorker, functionIndex: number): Promise<void> {
    const chunks = this.#functions[functionIndex] ?? [];
    const ahead =
      this.#random() < 0.2
        ? chunks.map(async (chunk) => this.#read(worker, chunk, { priority: 'prefetch' }))
        : [];
    for (const chunk of chunks) {
      await this.#time.sleep(1 + below(this.#random, 4));
      await this.#read(worker, chunk);
    }
    await Promise.all(ahead);
  }

  async #read(
    worker: SimulatedWorker,
    chunk: KnownChunk,
    { priority = 'foreground' }: { readonly priority?: Priority } = {},
  ): Promise<ReadEnd> {
    const isHasty = this.#random() < 0.02;
    const deadlineMs = isHasty ? 20 : readDeadlineMs;
    const startedMs = this.#time.monotonicMs();
    const end = await worker.read(chunk, { deadlineMs, priority });
    const tookMs = this.#time.monotonicMs() - startedMs;
    this.#reads += 1;
    if (tookMs > deadlineMs + timeErrorMs)
      this.#violate(`a read of ${deadlineMs} ms took ${tookMs} ms`);
    if (worker.origin.inFlight > originConcurrency) {
      this.#violate(`${worker.origin.inFlight} requests of a worker are at the origin`);
    }
    this.#judge(end, { isHasty, startedMs, priority });
    return end;
  }

  #judge(
    end: ReadEnd,
    read: { readonly isHasty: boolean; readonly startedMs: number; readonly priority: Priority },
  ): void {
    if (end.kind !== 'error') {
      this.#byTier[end.tier] += 1;
      if (end.kind === 'wrong') this.#violate(`a read got wrong bytes from ${end.tier}`);
      return;
    }
    this.#errors[end.code] = (this.#errors[end.code] ?? 0) + 1;
    if (!foreseenErrors.has(end.code)) this.#violate(`a read ended in ${end.code}`);
    const wasWell = this.#originWellSinceMs + readDeadlineMs <= read.startedMs;
    if (wasWell && !read.isHasty && read.priority === 'foreground') {
      this.#violate(`a read ended in ${end.code} although the origin was well`);
    }
  }

  // What befalls them.

  async #badDay(): Promise<void> {
    for (let mishap = 0; mishap < 40; mishap += 1) {
      this.#mishap();
      await this.#traffic('', 200 + below(this.#random, 2500));
    }
  }

  #mishap(): void {
    const server = oneOf(this.#random, this.#servers);
    const worker = oneOf(this.#random, this.#workers);
    const mishaps: readonly (readonly [name: string, happen: () => void])[] = [
      [`${server.id} stops`, () => server.stop()],
      [`${server.id} goes on`, () => server.resume()],
      [`${server.id} restarts empty`, () => server.values.clear()],
      [`${server.id} is down`, () => (server.state = 'down')],
      [`${server.id} is up`, () => (server.state = 'up')],
      [`${server.id} is slow`, () => (server.delayMs = () => logNormal(this.#random, 100, 0.3))],
      [`${server.id} is quick`, () => (server.delayMs = () => logNormal(this.#random, 0.5, 0.6))],
      [`${server.id} misbehaves`, () => (server.faults = this.#serverFaults())],
      [`${server.id} behaves`, () => (server.faults = {})],
      [`${server.id} forges`, () => forgeStripes(server, 20)],
      [`${server.id} comes or goes`, () => this.#changeMembers(server)],
      ['a disk rots', () => worker.disk.rot(20)],
      ['a disk stalls', () => (worker.disk.isStalled = !worker.disk.isStalled)],
      ['a disk breaks', () => (worker.disk.isBroken = !worker.disk.isBroken)],
      ['a disk is full', () => (worker.disk.isFull = !worker.disk.isFull)],
      ['a disk is wiped', () => worker.disk.wipe()],
      ['an agent restarts', () => worker.forgetMemory()],
      ['the origin is in trouble', () => this.#troubleOrigin()],
      ['the origin is well', () => this.#healOrigin()],
    ];
    const [name, happen] = oneOf(this.#random, mishaps);
    this.#tell(name);
    happen();
  }

  #serverFaults() {
    const share = (): number => (this.#random() < 0.4 ? this.#random() * 0.3 : 0);
    return {
      hangs: share() / 4,
      fails: share(),
      forgets: share(),
      swaps: share(),
      flipsBit: share(),
      truncates: share(),
      ignoresAbort: share(),
    };
  }

  #changeMembers(server: SimulatedZoneServer): void {
    if (this.#members.has(server) && this.#members.size > 3) this.#members.delete(server);
    else this.#members.add(server);
    for (const { zone } of this.#workers) zone.setServers(this.#memberList());
  }

  #troubleOrigin(): void {
    this.#originWellSinceMs = Infinity;
    const share = (): number => (this.#random() < 0.5 ? this.#random() : 0);
    const slowness = 1 + share() * 20;
    this.#origin.faults = {
      fails: share(),
      hangs: share() / 2,
      damages: share() / 2,
      slowness,
    };
  }

  #healOrigin(): void {
    this.#origin.faults = healthyOrigin;
    if (this.#originWellSinceMs === Infinity) this.#originWellSinceMs = this.#time.monotonicMs();
  }

  #heal(): void {
    this.#tell('all is well again');
    this.#healOrigin();
    for (const server of this.#servers) {
      server.resume();
      server.faults = {};
      server.state = 'up';
      server.delayMs = () => logNormal(this.#random, 0.5, 0.6);
      this.#members.add(server);
    }
    for (const { zone, disk } of this.#workers) {
      zone.setServers(this.#memberList());
      Object.assign(disk, { isFull: false, isStalled: false, isBroken: false });
    }
  }

  // What must be true afterwards.

  /** Again and again: a corrupt copy is found once, so there must come an end (a fifth stripe may be overlooked for a while). */
  async #readEverything(): Promise<void> {
    this.#tell('every worker reads everything until nothing is corrupt');
    for (let round = 0; round < roundsToPurge; round += 1) {
      const before = this.#corruptCount();
      for (const worker of this.#workers) {
        worker.forgetMemory();
        for (const chunk of new Set(this.#functions.flat())) {
          await this.#time.until(this.#read(worker, chunk));
        }
      }
      if (this.#corruptCount() === before) return;
    }
    this.#violate(`after ${roundsToPurge} rounds copies are still found corrupt`);
  }

  /** Every worker at its busiest while the zone has nothing. Returns how long the zone took to be of use again. */
  async #emptyZone(): Promise<number> {
    this.#tell('the zone is emptied');
    for (const server of this.#servers) server.values.clear();
    for (const worker of this.#workers) {
      worker.forgetMemory();
      worker.disk.wipe();
    }
    const startedMs = this.#time.monotonicMs();
    const starts = this.#workers.flatMap((worker) =>
      Array.from({ length: 16 }, async () =>
        this.#start(worker, zipf(this.#random, functionCount)),
      ),
    );
    await this.#time.until(Promise.all(starts));
    for (let round = 0; round < 60; round += 1) {
      const before = this.#zoneReads();
      for (const worker of this.#workers) {
        worker.forgetMemory();
        worker.disk.wipe();
      }
      await this.#traffic('', 1000);
      const after = this.#zoneReads();
      const hits = after.hits - before.hits;
      if (hits >= 0.9 * (hits + after.others - before.others)) {
        return this.#time.monotonicMs() - startedMs;
      }
    }
    this.#violate('the zone has not filled again within a minute');
    return Infinity;
  }

  #zoneReads(): { readonly hits: number; readonly others: number } {
    const reads = this.#workers.map(({ zone }) => zone.status().reads);
    return {
      hits: reads.reduce((sum, { hits }) => sum + hits, 0),
      others: reads.reduce((sum, { misses, unavailable }) => sum + misses + unavailable, 0),
    };
  }

  /** Of what is read every minute, nearly all must still be in memory after a day's worth of what is read once. */
  async #sweep(): Promise<void> {
    const [worker] = this.#workers;
    if (worker === undefined) return;
    const hot = [...new Set(this.#functions.slice(0, 8).flat())];
    const readHot = async (): Promise<number> => {
      let hits = 0;
      for (const chunk of hot) {
        const end = await this.#time.until(this.#read(worker, chunk));
        if (end.kind === 'right' && end.tier === 'l1') hits += 1;
      }
      return hits;
    };
    for (let minute = 0; minute < 5; minute += 1) {
      await readHot();
      await this.#time.pass(60_000);
    }
    this.#tell('a sweep of chunks that are read once');
    for (const [index, chunk] of this.#swept.entries()) {
      await this.#time.until(this.#read(worker, chunk));
      if (index % 200 === 199) {
        const hits = await readHot();
        if (hits < 0.9 * hot.length) this.#violate(`of ${hot.length} hot chunks ${hits} were left`);
      }
    }
  }

  #checkBounds(): void {
    for (const { loader, origin, zone } of this.#workers) {
      const { loads, hedges, searches } = loader.status();
      const { fill } = zone.status();
      const hedgesMax = 0.05 * (loads.foreground + loads.prefetch) + 10;
      if (hedges.started > hedgesMax) this.#violate(`${hedges.started} reads were hedged`);
      if (origin.inFlightPeak > originConcurrency) {
        this.#violate(`${origin.inFlightPeak} requests of a worker were at the origin`);
      }
      if (searches > 0) this.#violate(`${searches} searches are under way that nobody waits for`);
      if (fill.queueBytes > 64 * 2 ** 20) this.#violate(`${fill.queueBytes} bytes are queued`);
    }
  }

  #corruptCount(): number {
    const tiers = this.#workers.flatMap(({ loader }) => loader.status().tiers);
    const found = tiers.reduce((sum, { outcomes }) => sum + outcomes.corrupt, 0);
    const stripes = this.#workers.map(({ zone }) => zone.status().stripes.corrupt);
    return stripes.reduce((sum, corrupt) => sum + corrupt, found);
  }
}

/** Runs one seed's story to its end. Does not throw for what it finds: see `violations`. */
export async function simulateCaches(options: SimulationOptions): Promise<SimulationResult> {
  return new CacheSimulation(options).run();
}
