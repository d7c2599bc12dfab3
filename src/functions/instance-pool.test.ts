/**
 * Every order in which starts, answers, ends, stops and deaths can happen, against the pool's
 * promises.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { VirtualTime } from '../base/testing/virtual-time.ts';
import { FunctionThrottledError, type ThrottleLimit } from './errors.ts';
import { InstancePool, type PoolInstance, type Ticket } from './instance-pool.ts';
import { StartGate } from './start-gate.ts';

const functionIds = ['one/a', 'one/b', 'two/c'] as const;
const instancesMax = 4;
const instancesPerFunctionMax = 2;
const startLimits = { coldStartsMax: 3, coldStartsPerTenantMax: 2 };

function tenantOf(functionId: string): string {
  return functionId.split('/')[0] ?? '';
}

/** An instance that lives by a scheduler, and the books that are kept of it. */
class ScheduledInstance implements PoolInstance {
  readonly functionId: string;
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
  #diedServing = false;
  readonly #scheduler: fc.Scheduler;
  readonly #resolveGone: () => void;

  constructor(functionId: string, scheduler: fc.Scheduler) {
    this.functionId = functionId;
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
    this.isServing = false;
    if (stopReason !== undefined) throw stopReason;
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
  async use(functionId: string, isReusable: boolean): Promise<string> {
    using ticket = this.pool.enter({ tenant: tenantOf(functionId), functionId });
    await this.#scheduler.schedule(Promise.resolve(), `look up ${functionId}`);
    const before = this.starts.snapshot();
    const wasIdle = this.instances.some((one) => one.functionId === functionId && one.isIdle);
    try {
      return await this.#use(ticket, isReusable);
    } catch (thrown) {
      if (thrown instanceof Error && thrown.message === 'stopped') return 'stopped';
      if (!(thrown instanceof FunctionThrottledError)) throw thrown;
      const limit = thrown.details?.['limit'] as ThrottleLimit;
      assert.ok(!wasIdle, `refused by ${limit} while one was idle`);
      const inFlight = {
        cold_starts_max: before.inFlight,
        cold_starts_per_tenant_max: before.inFlightByTenant[ticket.tenant],
      };
      if (limit === 'cold_starts_max') assert.equal(inFlight[limit], 3);
      if (limit === 'cold_starts_per_tenant_max') assert.equal(inFlight[limit], 2);
      return limit;
    }
  }

  async #use(ticket: Ticket, isReusable: boolean): Promise<string> {
    let used: ScheduledInstance | undefined;
    const value = await this.pool.use(ticket, {
      revision: '1',
      create: () => {
        const instance = new ScheduledInstance(ticket.functionId, this.#scheduler);
        this.instances.push(instance);
        this.checkLimits();
        return instance;
      },
      serve: async (instance, coldStart) => {
        assert.equal(instance.functionId, ticket.functionId);
        assert.equal(instance.isStarting, coldStart !== undefined);
        used = instance;
        used.isIdle = false;
        if (coldStart !== undefined) await instance.start();
        coldStart?.[Symbol.dispose]();
        await instance.serve();
        return { value: coldStart === undefined ? 'reused' : 'served', isReusable };
      },
    });
    if (used !== undefined) used.isIdle = isReusable && !used.isEnding && !used.hasDied;
    return value;
  }

  checkLimits(): void {
    const there = this.instances.filter((instance) => !instance.hasEnded);
    assert.ok(there.length <= instancesMax, `${there.length} instances`);
    for (const functionId of functionIds) {
      const own = there.filter((one) => one.functionId === functionId && !one.isEnding);
      assert.ok(own.length <= instancesPerFunctionMax, `${own.length} instances of ${functionId}`);
    }
    const starting = this.instances.filter((instance) => instance.isStarting);
    assert.ok(starting.length <= startLimits.coldStartsMax, `${starting.length} starts`);
    for (const tenant of new Set(functionIds.map(tenantOf))) {
      const own = starting.filter(({ functionId }) => tenantOf(functionId) === tenant);
      assert.ok(own.length <= startLimits.coldStartsPerTenantMax, `${own.length} of ${tenant}`);
    }
  }

  async stop(functionId: string): Promise<void> {
    const before = this.instances.filter((instance) => instance.functionId === functionId);
    await this.pool.stop(functionId, new Error('stopped'));
    assert.ok(before.every((instance) => instance.hasEnded));
  }

  expireOneIdle(): void {
    const [expired] = this.#idleTimeouts;
    if (expired === undefined) return;
    this.#idleTimeouts.delete(expired);
    expired();
  }
}

type Step = readonly [
  action: 'use' | 'use up' | 'stop' | 'expire' | 'die' | 'end idle',
  functionId: string,
];

/** What came of an invoke, or what else was done. */
async function take(under: PoolUnderTest, [action, functionId]: Step): Promise<string> {
  switch (action) {
    case 'use':
    case 'use up':
      return await under.use(functionId, action === 'use');
    case 'stop':
      await under.stop(functionId);
      return action;
    case 'expire':
      under.expireOneIdle();
      return action;
    case 'die':
      under.instances.find((instance) => !instance.isEnding)?.die();
      return action;
    case 'end idle':
      await under.pool.endIdle();
      return action;
  }
}

const steps = fc.array(
  fc.tuple(
    fc.constantFrom('use', 'use', 'use', 'use up', 'stop', 'expire', 'die', 'end idle'),
    fc.constantFrom(...functionIds),
  ),
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
    assert.equal(await scheduler.waitFor(under.use('one/a', true)), 'stopped');
    assert.equal(under.starts.snapshot().inFlight, 0);
    assert.ok(under.instances.every((instance) => instance.hasEnded));
  });
  await fc.assert(property, { numRuns: 150 });
  // The property means little if the orders tried never get far.
  const outcomes = ['served', 'stopped', 'reused', 'instances_max', 'instances_per_function_max'];
  for (const outcome of [...outcomes, 'cold_starts_max', 'cold_starts_per_tenant_max']) {
    assert.ok(seen.has(outcome), `never ${outcome}`);
  }
});
