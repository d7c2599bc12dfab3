/**
 * Every order in which starts, answers, ends, stops and deaths can happen, against the pool's
 * promises.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorCode } from '../base/index.ts';
import { InstancePool, type PoolInstance } from './instance-pool.ts';

const functionIds = ['a', 'b'] as const;
const instancesMax = 3;
const instancesPerFunctionMax = 2;

/** An instance that lives by a scheduler, and the books that are kept of it. */
class ScheduledInstance implements PoolInstance {
  readonly functionId: string;
  readonly gone: Promise<void>;
  isServing = false;
  isEnding = false;
  hasEnded = false;
  stopReason: Error | undefined;
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
    await this.#scheduler.schedule(Promise.resolve(), `end ${this.functionId}`);
    this.hasEnded = true;
  }
}

class PoolUnderTest {
  readonly instances: ScheduledInstance[] = [];
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
    });
  }

  /**
   * What came of it: `served` by a new instance, `reused`, or why not. Nothing else may be thrown.
   */
  async use(functionId: string, isReusable: boolean): Promise<string> {
    using ticket = this.pool.enter(functionId);
    await this.#scheduler.schedule(Promise.resolve(), `look up ${functionId}`);
    try {
      return await this.pool.use(ticket, {
        revision: '1',
        create: () => {
          const instance = new ScheduledInstance(functionId, this.#scheduler);
          this.instances.push(instance);
          this.checkLimits();
          return instance;
        },
        serve: async (instance, isNew) => {
          assert.equal(instance.functionId, functionId);
          await instance.serve();
          return { value: isNew ? 'served' : 'reused', isReusable };
        },
      });
    } catch (thrown) {
      if (errorCode(thrown) === 'ERR_FUNCTION_THROTTLED') return 'throttled';
      if (thrown instanceof Error && thrown.message === 'stopped') return 'stopped';
      throw thrown;
    }
  }

  checkLimits(): void {
    const there = this.instances.filter((instance) => !instance.hasEnded);
    assert.ok(there.length <= instancesMax, `${there.length} instances`);
    for (const functionId of functionIds) {
      const own = there.filter((one) => one.functionId === functionId && !one.isEnding);
      assert.ok(own.length <= instancesPerFunctionMax, `${own.length} instances of ${functionId}`);
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
    assert.equal(await scheduler.waitFor(under.use('a', true)), 'stopped');
    assert.ok(under.instances.every((instance) => instance.hasEnded));
  });
  await fc.assert(property, { numRuns: 150 });
  // The property means little if the orders tried never get far.
  for (const outcome of ['served', 'stopped', 'throttled', 'reused']) {
    assert.ok(seen.has(outcome), `never ${outcome}`);
  }
});
