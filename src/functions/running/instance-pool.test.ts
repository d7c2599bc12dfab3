/**
 * Every order in which starts, answers, ends, stops and deaths can happen, against the pool's
 * promises.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { present } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { FunctionThrottledError, type ThrottleLimit } from '../errors.ts';
import {
  InstancePool,
  type Concurrency,
  type PoolInstance,
  type StopOf,
  type Ticket,
} from './instance-pool.ts';
import { StartGate } from './start-gate.ts';

const instancesMax = 4;
const instancesPerFunctionMax = 2;
/** How many invokes of each may run at a time. */
const concurrencies: Readonly<Record<string, Concurrency>> = {
  'one/a': { unreservedMax: 1 },
  'one/b': { unreservedMax: 1, reserved: 1 },
  'two/c': { unreservedMax: 4 },
  'two/d': { unreservedMax: 4 },
};
const functionIds = Object.keys(concurrencies);
/** Met whether or not an instance is idle. */
const concurrencyLimits: ReadonlySet<ThrottleLimit> = new Set([
  'reserved_concurrency',
  'unreserved_concurrency',
  'instances_per_function_max',
]);

function concurrencyOf(functionId: string): Concurrency {
  return present(concurrencies[functionId], functionId);
}

function busyMax(functionId: string): number {
  const { reserved, unreservedMax } = concurrencyOf(functionId);
  return reserved ?? Math.min(unreservedMax, instancesPerFunctionMax);
}
const startLimits = { coldStartsMax: 3, coldStartsPerTenantMax: 2 };

function tenantOf(functionId: string): string {
  return functionId.split('/')[0] ?? '';
}

/** An instance that lives by a scheduler, and the books that are kept of it. */
class ScheduledInstance implements PoolInstance {
  readonly functionId: string;
  readonly version: string;
  readonly gone: Promise<void>;
  /** Until it is ready, or failed to become so. */
  isStarting = true;
  /** It served and may serve again. */
  isIdle = false;
  isServing = false;
  isEnding = false;
  hasEnded = false;
  stopReason: Error | undefined;
  hasDied = false;
  isSettling = false;
  #diedServing = false;
  readonly #scheduler: fc.Scheduler;
  readonly #resolveGone: () => void;

  constructor(functionId: string, version: string, scheduler: fc.Scheduler) {
    this.functionId = functionId;
    this.version = version;
    this.#scheduler = scheduler;
    const gone = Promise.withResolvers<void>();
    this.gone = gone.promise;
    this.#resolveGone = gone.resolve;
  }

  /** Fails where it was stopped meanwhile. */
  async start(): Promise<void> {
    await this.#scheduler.schedule(Promise.resolve(), `start ${this.functionId}`);
    this.isStarting = false;
    if (this.stopReason !== undefined) throw this.stopReason;
  }

  async serve(): Promise<void> {
    assert.ok(!this.isServing, 'served two at a time');
    assert.ok(!this.isEnding, 'served after its end began');
    assert.ok(!this.#diedServing, 'served after its death');
    this.isServing = true;
    await this.#scheduler.schedule(Promise.resolve(), `serve ${this.functionId}`);
    const stopReason = this.stopReason;
    await this.#scheduler.schedule(Promise.resolve(), `tell ${this.functionId}`);
    if (stopReason !== undefined) {
      this.isServing = false;
      throw stopReason;
    }
  }

  async rest(): Promise<void> {
    this.isSettling = true;
    await this.#scheduler.schedule(Promise.resolve(), `rest ${this.functionId}`);
    this.isSettling = false;
    this.isServing = false;
  }

  die(): void {
    this.hasDied = true;
    this.isIdle = false;
    this.#diedServing = this.isServing;
    this.#resolveGone();
  }

  stop(reason: Error): void {
    this.stopReason = reason;
  }

  async end(): Promise<void> {
    assert.ok(!this.isEnding, 'ended twice');
    assert.ok(!this.isServing, 'ended while serving');
    this.isEnding = true;
    this.isIdle = false;
    await this.#scheduler.schedule(Promise.resolve(), `end ${this.functionId}`);
    this.hasEnded = true;
  }
}

class PoolUnderTest {
  readonly instances: ScheduledInstance[] = [];
  readonly starts = new StartGate(startLimits, new VirtualTime());
  readonly pool: InstancePool<ScheduledInstance>;
  readonly #scheduler: fc.Scheduler;
  readonly #idleTimeouts = new Set<() => void>();

  constructor(scheduler: fc.Scheduler) {
    this.#scheduler = scheduler;
    this.pool = new InstancePool({
      instancesMax,
      instancesPerFunctionMax,
      idleTimeoutMs: 1,
      timers: {
        after: (_, run) => {
          this.#idleTimeouts.add(run);
          return () => void this.#idleTimeouts.delete(run);
        },
        afterInput: async () => {},
      },
      starts: this.starts,
    });
  }

  /**
   * What came of it: `served` by a new instance, `reused`, or why not. Nothing else may be thrown.
   */
  async use({ functionId, version }: Invoked, isReusable: boolean): Promise<string> {
    using ticket = this.pool.enter({ tenant: tenantOf(functionId), functionId });
    await this.#scheduler.schedule(Promise.resolve(), `look up ${functionId}`);
    const before = this.starts.snapshot();
    const own = this.instances.filter(
      (one) => one.functionId === functionId && one.version === version,
    );
    const wasIdle = own.some(({ isIdle }) => isIdle);
    // For one that settled: others may have come in meanwhile.
    const mayHaveWaited = own.some(({ isSettling }) => isSettling);
    try {
      return await this.#use(ticket, version, isReusable);
    } catch (thrown) {
      if (thrown instanceof Error && thrown.message === 'stopped') return 'stopped';
      if (!(thrown instanceof FunctionThrottledError)) throw thrown;
      const limit = thrown.details?.['limit'] as ThrottleLimit;
      assert.ok(!wasIdle || concurrencyLimits.has(limit), `refused by ${limit} while one was idle`);
      const inFlight = {
        cold_starts_max: before.inFlight,
        cold_starts_per_tenant_max: before.inFlightByTenant[ticket.tenant],
      };
      if (mayHaveWaited) return limit;
      if (limit === 'cold_starts_max') assert.equal(inFlight[limit], 3);
      if (limit === 'cold_starts_per_tenant_max') assert.equal(inFlight[limit], 2);
      return limit;
    }
  }

  async #use(ticket: Ticket, version: string, isReusable: boolean): Promise<string> {
    return await this.pool.use(ticket, {
      version,
      revision: '1',
      concurrency: concurrencyOf(ticket.functionId),
      create: () => {
        const instance = new ScheduledInstance(ticket.functionId, version, this.#scheduler);
        this.instances.push(instance);
        this.checkLimits();
        return instance;
      },
      serve: async (instance, coldStart) => {
        using inFlight = coldStart;
        assert.equal(instance.functionId, ticket.functionId);
        assert.equal(instance.version, version);
        assert.equal(instance.isStarting, coldStart !== undefined);
        instance.isIdle = false;
        if (coldStart !== undefined) await instance.start();
        inFlight?.[Symbol.dispose]();
        await instance.serve();
        const rested = instance.rest().then(() => {
          instance.isIdle = isReusable && !instance.isEnding && !instance.hasDied;
          return isReusable;
        });
        return { value: coldStart === undefined ? 'reused' : 'served', rested };
      },
    });
  }

  checkLimits(): void {
    const there = this.instances.filter((instance) => !instance.hasEnded);
    assert.ok(there.length <= instancesMax, `${there.length} instances`);
    for (const functionId of functionIds) {
      const busy = there.filter(
        (one) => one.functionId === functionId && (one.isStarting || one.isServing),
      );
      assert.ok(busy.length <= busyMax(functionId), `${busy.length} busy of ${functionId}`);
    }
    const starting = this.instances.filter((instance) => instance.isStarting);
    assert.ok(starting.length <= startLimits.coldStartsMax, `${starting.length} starts`);
    for (const tenant of new Set(functionIds.map(tenantOf))) {
      const own = starting.filter(({ functionId }) => tenantOf(functionId) === tenant);
      assert.ok(own.length <= startLimits.coldStartsPerTenantMax, `${own.length} of ${tenant}`);
    }
  }

  async stop(of: StopOf): Promise<void> {
    const isOf = (one: ScheduledInstance): boolean =>
      one.functionId === of.functionId && (of.version ?? one.version) === one.version;
    const before = this.instances.filter(isOf);
    await this.pool.stop(of, new Error('stopped'));
    assert.ok(before.every((instance) => instance.hasEnded));
  }

  expireOneIdle(): void {
    const [expired] = this.#idleTimeouts;
    if (expired === undefined) return;
    this.#idleTimeouts.delete(expired);
    expired();
  }
}

interface Invoked {
  readonly functionId: string;
  readonly version: string;
}

interface Step extends Invoked {
  readonly do: 'use' | 'use up' | 'stop' | 'stop version' | 'expire' | 'die' | 'end idle';
}

/** What came of an invoke, or what else was done. */
async function take(under: PoolUnderTest, step: Step): Promise<string> {
  switch (step.do) {
    case 'use':
    case 'use up':
      return await under.use(step, step.do === 'use');
    case 'stop':
      await under.stop({ functionId: step.functionId });
      return step.do;
    case 'stop version':
      await under.stop(step);
      return step.do;
    case 'expire':
      under.expireOneIdle();
      return step.do;
    case 'die':
      under.instances.find((instance) => !instance.isEnding)?.die();
      return step.do;
    case 'end idle':
      await under.pool.endIdle();
      return step.do;
  }
}

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    do: fc.constantFrom(
      ...(['use', 'use', 'use', 'use up', 'stop', 'stop version', 'expire', 'die'] as const),
      'end idle',
    ),
    functionId: fc.constantFrom(...functionIds),
    version: fc.constantFrom('1', '1', '2'),
  }),
  { maxLength: 30, size: 'max' },
);

test('in every order of events, limits hold, no instance serves two, and close() leaves none', async () => {
  const seen = new Set<string>();
  const inputs = [fc.scheduler(), steps, fc.boolean()] as const;
  const property = fc.asyncProperty(...inputs, async (scheduler, sequence, isCutShort) => {
    const under = new PoolUnderTest(scheduler);
    const taken = sequence.map(async (step, index) => {
      await scheduler.schedule(Promise.resolve(), `step ${index}`);
      seen.add(await take(under, step));
      under.checkLimits();
    });
    const closed = (async () => {
      if (!isCutShort) await Promise.all(taken);
      await scheduler.schedule(Promise.resolve(), 'close');
      await under.pool.close(new Error('stopped'));
      assert.ok(under.instances.every((instance) => instance.hasEnded));
    })();
    await scheduler.waitFor(Promise.all([...taken, closed]));
    assert.equal(
      await scheduler.waitFor(under.use({ functionId: 'one/a', version: '1' }, true)),
      'stopped',
    );
    assert.equal(under.starts.snapshot().inFlight, 0);
    assert.ok(under.instances.every((instance) => instance.hasEnded));
  });
  await fc.assert(property, { numRuns: 150 });
  // The property means little if the orders tried never get far.
  const outcomes = ['served', 'stopped', 'reused', 'instances_max', 'instances_per_function_max'];
  const refusals = ['cold_starts_max', 'cold_starts_per_tenant_max', 'reserved_concurrency'];
  for (const outcome of [...outcomes, ...refusals, 'unreserved_concurrency']) {
    assert.ok(seen.has(outcome), `never ${outcome}`);
  }
});
