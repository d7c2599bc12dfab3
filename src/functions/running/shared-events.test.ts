/** Several servers over one catalog, each with a queue: who runs which events, while some of them are killed or stand still. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import * as fc from 'fast-check';

import { createLog, systemClock, systemTimers, type Timers } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { openCatalog, type Catalog, type QueuedEvent } from '../../catalog/index.ts';
import {
  postgresSkip,
  startPostgres,
  type PostgresServer,
} from '../../catalog/testing/postgres-server.ts';
import { functionRecord, functionSettings } from '../../catalog/testing/records.ts';
import { EventQueue, type EventQueueOptions } from './event-queue.ts';

const never = <T>(): Promise<T> => new Promise(() => {});
const silent = createLog({ level: 'error', write: () => {} });
const limits = { eventsPerTenantMax: 10_000, eventInvokesMax: 4, eventInvokesPerTenantMax: 4 };

function eventOf(id: string, acceptedAtMs: number): QueuedEvent {
  const of = { tenant: 'default', functionName: 'hello', payload: Buffer.from('{}') };
  return { ...of, id, acceptedAtMs, dueAtMs: acceptedAtMs, failedAttempts: 0 };
}

async function addFunction(catalog: Catalog): Promise<void> {
  const code = { packageType: 'Image', imageUri: 'x' } as const;
  await catalog.addFunction(functionRecord({ code }), functionSettings());
}

/** What a process has of the world; after `kill` nothing that it waits for comes, and nothing that it asks for is done. */
class Process {
  readonly catalog: Catalog;
  readonly timers: Timers;
  #isAlive = true;
  /** Set where calls to the catalog fail for now. */
  isCutOff = false;

  constructor(catalog: Catalog, timers: Timers) {
    this.catalog = new Proxy(catalog, {
      get: (target, key) => {
        const method = Reflect.get(target, key) as (
          ...args: readonly unknown[]
        ) => Promise<unknown>;
        return (...args: readonly unknown[]) => this.#guarded(() => method(...args));
      },
    });
    this.timers = {
      afterInput: () => timers.afterInput(),
      after: (delayMs, run) => timers.after(delayMs, () => this.#isAlive && run()),
    };
  }

  kill(): void {
    this.#isAlive = false;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  async #guarded<T>(call: () => Promise<T>): Promise<T> {
    if (!this.#isAlive) return await never();
    if (this.isCutOff) throw new Error('Simulated fault: the catalog cannot be reached');
    const result = await call();
    return this.#isAlive ? result : await never();
  }
}

/** Queues over one catalog in virtual time, with what they run written down. */
class Servers {
  readonly time = new VirtualTime();
  /** Events that ran to their end. */
  readonly done = new Map<string, number>();
  /** Events that two live servers ran at a time. */
  readonly twice: string[] = [];
  readonly #catalog: Catalog;
  readonly #running = new Map<string, Process>();
  readonly #all: { readonly process: Process; readonly queue: EventQueue }[] = [];
  readonly #runMs: number;

  constructor(catalog: Catalog, runMs: number) {
    this.#catalog = catalog;
    this.#runMs = runMs;
  }

  get alive() {
    return this.#all.filter(({ process }) => process.isAlive);
  }

  start(): void {
    const process = new Process(this.#catalog, this.time);
    const queue = new EventQueue({
      catalog: process.catalog,
      runnerId: `server-${this.#all.length}`,
      run: async ({ id }) => await this.#run(process, id),
      refusal: () => new Error('full'),
      limits,
      clock: this.time,
      timers: process.timers,
      log: silent,
    });
    this.#all.push({ process, queue });
    queue.start();
  }

  async close(): Promise<void> {
    await this.time.until(Promise.all(this.alive.map(({ queue }) => queue.close())));
  }

  async #run(process: Process, id: string): Promise<{ isFailed: boolean }> {
    if (this.#running.get(id)?.isAlive === true) this.twice.push(id);
    this.#running.set(id, process);
    await new Promise<void>((resolve) => process.timers.after(this.#runMs, resolve));
    if (this.#running.get(id) === process) this.#running.delete(id);
    this.done.set(id, (this.done.get(id) ?? 0) + 1);
    return { isFailed: false };
  }
}

async function inSqlite(work: (catalog: Catalog) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-shared-events-'));
  try {
    await using catalog = await openCatalog(join(directory, 'catalog.db'));
    await addFunction(catalog);
    await work(catalog);
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('an event that runs for minutes stays with its server while others look for what is left', async () => {
  await inSqlite(async (catalog) => {
    const servers = new Servers(catalog, 600_000);
    for (let n = 0; n < 3; n += 1) servers.start();
    for (let n = 0; n < 6; n += 1) await catalog.addEvent(eventOf(`e${n}`, servers.time.nowMs()));
    await servers.time.pass(1_300_000);
    assert.deepEqual(servers.twice, []);
    assert.deepEqual([...servers.done.values()], [1, 1, 1, 1, 1, 1]);
    await servers.close();
    assert.deepEqual(await catalog.listEventRunners(), []);
  });
});

test('what a killed server was running others run, not before it has been silent for half a minute', async () => {
  await inSqlite(async (catalog) => {
    const servers = new Servers(catalog, 1000);
    await catalog.addEvent(eventOf('e', servers.time.nowMs()));
    servers.start();
    await servers.time.pass(500);
    servers.alive[0]?.process.kill();
    servers.start();
    await servers.time.pass(30_000);
    assert.equal(servers.done.size, 0);
    await servers.time.pass(15_000);
    assert.deepEqual([...servers.done], [['e', 1]]);
    assert.equal(await catalog.countEvents('default'), 0);
    await servers.close();
  });
});

test('what a server left that was stopped in order others run at their next look', async () => {
  await inSqlite(async (catalog) => {
    const servers = new Servers(catalog, 1000);
    await catalog.claimEvents({ id: 'other', beat: 1 }, { ids: [], nowMs: 0 });
    await catalog.addEvent(eventOf('e', servers.time.nowMs()));
    await catalog.claimEvents(
      { id: 'other', beat: 2 },
      { ids: ['e'], nowMs: servers.time.nowMs() },
    );
    servers.start();
    await servers.time.pass(20_000);
    assert.equal(servers.done.size, 0);
    await catalog.removeEventRunner('other');
    await servers.time.pass(7000);
    assert.equal(servers.done.size, 1);
    await servers.close();
  });
});

type Step =
  | { readonly do: 'accept'; readonly count: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'start' }
  | { readonly do: 'kill' | 'cutOff' | 'reach'; readonly which: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('accept' as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(10, 900, 5000, 29_000) }),
  fc.record({ do: fc.constant('start' as const) }),
  fc.record({
    do: fc.constantFrom('kill', 'cutOff', 'reach'),
    which: fc.integer({ min: 0, max: 2 }),
  }),
);

async function take(servers: Servers, catalog: Catalog, step: Step, newId: () => string) {
  switch (step.do) {
    case 'accept':
      for (let n = 0; n < step.count; n += 1) {
        await catalog.addEvent(eventOf(newId(), servers.time.nowMs()));
      }
      return;
    case 'pass':
      await servers.time.pass(step.ms);
      return;
    case 'start':
      if (servers.alive.length < 3) servers.start();
      return;
    case 'kill':
      servers.alive[step.which]?.process.kill();
      return;
    case 'cutOff':
    case 'reach': {
      const process = servers.alive[step.which]?.process;
      if (process !== undefined) process.isCutOff = step.do === 'cutOff';
    }
  }
}

test('whatever becomes of servers, every event is run, and never by two that live and reach the catalog', async () => {
  const story = fc.record({
    steps: fc.array(anyStep, { maxLength: 20, size: 'max' }),
    runMs: fc.constantFrom(50, 4000, 45_000),
  });
  const property = fc.asyncProperty(story, async ({ steps, runMs }) => {
    await inSqlite(async (catalog) => {
      const servers = new Servers(catalog, runMs);
      let accepted = 0;
      const newId = () => `e${(accepted += 1)}`;
      for (const step of steps) await take(servers, catalog, step, newId);
      const wasCutOff = steps.some((step) => step.do === 'cutOff');
      for (const { process } of servers.alive) process.isCutOff = false;
      servers.start();
      for (let minutes = 0; minutes < 60 && servers.done.size < accepted; minutes += 1) {
        await servers.time.pass(60_000);
      }
      assert.equal(servers.done.size, accepted);
      if (!wasCutOff) assert.deepEqual(servers.twice, []);
      await servers.close();
      assert.equal(await catalog.countEvents('default'), 0);
    });
  });
  await fc.assert(property, { numRuns: 30 });
});

/** Two queues on connections of their own, which claim at once, in the time of this machine. */
async function raceOf(open: () => Promise<Catalog>): Promise<void> {
  await using left = await open();
  await using right = await open();
  await addFunction(left);
  const ids = Array.from({ length: 40 }, (_, index) => `e${index}`);
  for (const id of ids) await left.addEvent(eventOf(id, systemClock.nowMs()));
  const runs = new Map<string, number>();
  const all = Promise.withResolvers<void>();
  const options = (catalog: Catalog, runnerId: string): EventQueueOptions => ({
    catalog,
    runnerId,
    run: async ({ id }) => {
      runs.set(id, (runs.get(id) ?? 0) + 1);
      await nextTurn();
      if (runs.size === ids.length) all.resolve();
      return { isFailed: false };
    },
    refusal: () => new Error('full'),
    limits,
    clock: systemClock,
    timers: systemTimers,
    log: silent,
  });
  const queues = [new EventQueue(options(left, 'left')), new EventQueue(options(right, 'right'))];
  for (const queue of queues) queue.start();
  await all.promise;
  await Promise.all(queues.map((queue) => queue.close()));
  assert.deepEqual([...runs.values()], Array(ids.length).fill(1));
  assert.equal(await left.countEvents('default'), 0);
}

describe('two queues that are never out of each other’s way run every event once', () => {
  let postgres: Promise<PostgresServer> | undefined;
  after(async () => await (await postgres)?.[Symbol.asyncDispose]());

  test('over SQLite', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'thaw-shared-events-'));
    const path = join(directory, 'catalog.db');
    await raceOf(() => openCatalog(path, { busyTimeoutMs: Infinity }));
    await rm(directory, { recursive: true });
  });

  test('over PostgreSQL', { skip: postgresSkip }, async () => {
    postgres = startPostgres();
    const database = await (await postgres).createDatabase();
    await raceOf(() => database.open());
  });
});
