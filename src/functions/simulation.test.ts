/**
 * The whole service through long random days, against a model that a child could keep on paper.
 * Time is virtual; a failure prints the seed and the shortest story that still fails.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { compareStrings, errorCode, present } from '../base/index.ts';
import type { InvokeResult } from './function-runs.ts';
import {
  manifestIds,
  openServiceFixture,
  parsed,
  type ServiceFixture,
} from './testing/service-fixture.ts';
import { never, respond, stallMs, type Program } from './testing/simulated-worker.ts';

const names = ['a', 'b'] as const;
const instancesPerFunctionMax = 4;
/** Met before the limit of instances only where most invokes are cold. */
const coldStartsPerTenantMax = 3;
const coldStartsMax = 4;
const idleTimeoutMs = 600_000;
const behaviours = ['answer', 'report', 'crash', 'hang'] as const;
type Behaviour = (typeof behaviours)[number];

/** `fault`: what starting new instances meets meanwhile. */
type Step =
  | {
      readonly do: 'invoke';
      readonly name: string;
      readonly each: readonly Behaviour[];
      readonly fault?: 'stall' | 'acquire' | 'create' | undefined;
    }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'create' | 'remove' | 'die'; readonly name: string }
  | { readonly do: 'endIdle' };

const anyName = fc.constantFrom(...names);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('invoke' as const),
      name: anyName,
      each: fc.array(
        fc.constantFrom<Behaviour>('answer', 'answer', 'answer', 'report', 'crash', 'hang'),
        { minLength: 1, maxLength: 6 },
      ),
      fault: fc.constantFrom(undefined, undefined, undefined, 'stall', 'acquire', 'create'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.constantFrom(0, 10, 30, 1000, 300_000, 599_000, 700_000),
    }),
  },
  fc.record({ do: fc.constantFrom('create', 'remove', 'die'), name: anyName }),
  fc.record({ do: fc.constant('endIdle' as const) }),
);

/** An event says how the program behaves; it answers with who it is. */
function programIn(fixture: () => ServiceFixture): Program {
  return {
    handle: async ({ payload }, control) => {
      const behaviour = JSON.parse(Buffer.from(payload).toString()) as Behaviour;
      control.print(`${behaviour}\n`);
      await fixture().time.sleep(10);
      const answer = respond(control.spec.id);
      switch (behaviour) {
        case 'answer':
          return answer;
        case 'report':
          return { ...answer, kind: 'error', errorType: 'Error' };
        case 'crash':
          control.exit({ status: 1, outOfMemory: false });
          return never();
        case 'hang':
          return never();
      }
    },
  };
}

interface IdleInstance {
  readonly id: string;
  readonly sinceMs: number;
}

interface Ended {
  readonly result?: InvokeResult;
  readonly refusal?: string;
  readonly atMs: number;
}

/** What should be, and the comparison with what is. */
class Story {
  readonly #fixture: ServiceFixture;
  /** By function; absent where there is no such function. */
  readonly #idle = new Map<string, IdleInstance[]>();
  readonly #servedCount = new Map<string, number>();

  constructor(fixture: ServiceFixture) {
    this.#fixture = fixture;
  }

  async take(step: Step): Promise<void> {
    const { time, service } = this.#fixture;
    switch (step.do) {
      case 'invoke':
        await this.#invoke(step);
        return;
      case 'pass':
        await time.pass(step.ms);
        this.#forgetExpired();
        return;
      case 'create':
        await this.#create(step.name);
        return;
      case 'remove':
        await this.#remove(step.name);
        return;
      case 'die':
        await this.#die(step.name);
        return;
      case 'endIdle':
        await time.until(service.endIdle());
        for (const name of this.#idle.keys()) this.#idle.set(name, []);
        return;
    }
  }

  async #invoke(step: Step & { readonly do: 'invoke' }): Promise<void> {
    const { time, worker } = this.#fixture;
    if (step.fault !== undefined) worker.faults.add(step.fault);
    const invokes = step.each.map((behaviour) => this.#ending(step.name, behaviour));
    const ended = await time.until(Promise.all(invokes));
    worker.faults.clear();
    assert.equal(this.#fixture.service.startLimits().inFlight, 0, 'starts in flight');
    const idle = this.#idle.get(step.name);
    if (idle === undefined) {
      assert.ok(ended.every(({ refusal }) => refusal === 'ERR_FUNCTION_NOT_FOUND'));
      return;
    }
    const warm = Math.min(step.each.length, idle.length);
    const cold = Math.min(
      step.each.length - warm,
      instancesPerFunctionMax - idle.length,
      coldStartsPerTenantMax,
    );
    const served = warm + Math.max(cold, 0);
    const refusedBy = (code: string) => ended.filter(({ refusal }) => refusal === code).length;
    assert.equal(refusedBy('ERR_FUNCTION_THROTTLED'), step.each.length - served);
    assert.equal(refusedBy('fault'), step.fault === undefined ? 0 : served - warm);
    const results = ended.filter(({ result }) => result?.coldStart === false);
    assert.equal(results.length, warm, 'warm starts');
    this.#idle.set(step.name, this.#idleAfter(idle, warm, ended));
    this.#forgetExpired();
  }

  /** One invoke and its own outcome checked: who reads the others' answers would see theirs. */
  async #ending(name: string, behaviour: Behaviour): Promise<Ended> {
    const { time } = this.#fixture;
    try {
      const result = await this.#fixture.start(behaviour, name);
      this.#servedCount.set(name, (this.#servedCount.get(name) ?? 0) + 1);
      checkResult(result, behaviour);
      return { result, atMs: time.monotonicMs() };
    } catch (thrown) {
      if (thrown instanceof assert.AssertionError) throw thrown;
      const isFault = thrown instanceof Error && thrown.message.startsWith('Simulated fault');
      const code = errorCode(thrown) ?? 'unknown';
      const isMet = isFault || code === 'ERR_FUNCTION_START_TIMEOUT';
      return { refusal: isMet ? 'fault' : code, atMs: 0 };
    }
  }

  /**
   * The `warm` instances used last have served; those that still can are idle again, the new ones
   * too.
   */
  #idleAfter(
    before: readonly IdleInstance[],
    warm: number,
    ended: readonly Ended[],
  ): IdleInstance[] {
    const byTime = [...before].sort((a, b) => a.sinceMs - b.sinceMs);
    const untouched = byTime.slice(0, byTime.length - warm);
    const oldestUsedMs = byTime.at(-warm)?.sinceMs ?? 0;
    const usable = ended.flatMap(({ result, atMs }) => {
      const answer = result === undefined ? undefined : parsed(result);
      if (result === undefined || typeof answer !== 'string') return [];
      const known = before.find(({ id }) => id === answer);
      assert.equal(known === undefined, result.coldStart);
      if (known !== undefined) assert.ok(known.sinceMs >= oldestUsedMs, 'not the one used last');
      return [{ id: answer, sinceMs: atMs }];
    });
    return [...untouched.filter(({ id }) => !usable.some((used) => used.id === id)), ...usable];
  }

  #forgetExpired(): void {
    const nowMs = this.#fixture.time.monotonicMs();
    for (const [name, idle] of this.#idle) {
      this.#idle.set(
        name,
        idle.filter(({ sinceMs }) => sinceMs + idleTimeoutMs > nowMs),
      );
    }
  }

  async #create(name: string): Promise<void> {
    const manifestId = manifestIds[name === 'a' ? 0 : 1];
    const created = await this.#fixture.create({ name, manifestId }).then(
      () => 'created',
      (thrown: unknown) => errorCode(thrown),
    );
    const expected = this.#idle.has(name) ? 'ERR_CATALOG_FUNCTION_EXISTS' : 'created';
    assert.equal(created, expected);
    if (created === 'created') this.#idle.set(name, []);
  }

  async #remove(name: string): Promise<void> {
    const removing = this.#fixture.service.remove({ tenant: 'default', name }).then(
      () => 'removed',
      (thrown: unknown) => errorCode(thrown),
    );
    await this.#fixture.time.pass(100);
    const expected = this.#idle.delete(name) ? 'removed' : 'ERR_FUNCTION_NOT_FOUND';
    assert.equal(await removing, expected);
    this.#servedCount.delete(name);
    this.#forgetExpired();
  }

  async #die(name: string): Promise<void> {
    const idle = this.#idle.get(name) ?? [];
    const [first] = [...idle].sort((a, b) => compareStrings(a.id, b.id));
    if (first === undefined) return;
    const sandbox = [...this.#fixture.worker.running].find(({ id }) => id === first.id);
    present(sandbox, `sandbox ${first.id}`).exit({ status: 0, outOfMemory: false });
    this.#idle.set(
      name,
      idle.filter((one) => one !== first),
    );
    await this.#fixture.time.pass(0);
  }

  /**
   * Every invoke that was served has its three lines, and nothing else is in the log but what was
   * printed.
   */
  async checkLogs(): Promise<void> {
    for (const name of this.#idle.keys()) {
      const lines = (await this.#fixture.logText(name)).split('\n');
      for (const kind of ['START', 'END', 'REPORT']) {
        const count = lines.filter((line) => line.startsWith(`${kind} RequestId: `)).length;
        assert.equal(count, this.#servedCount.get(name) ?? 0, `${kind} lines of ${name}`);
      }
    }
  }
}

function checkResult(result: InvokeResult, behaviour: Behaviour): void {
  assert.equal(result.functionError, behaviour === 'answer' ? undefined : 'Unhandled');
  const answer = parsed(result);
  switch (behaviour) {
    case 'answer':
    case 'report':
      assert.match(String(answer), /^fn-/);
      return;
    case 'crash':
      assert.equal((answer as { errorType: string }).errorType, 'Runtime.ExitError');
      return;
    case 'hang':
      assert.equal((answer as { errorType: string }).errorType, 'Sandbox.Timedout');
      return;
  }
}

test('whatever happens in a day, every invoke gets its own outcome and nothing is left over', async () => {
  const days = fc.array(anyStep, { maxLength: 25, size: 'max' });
  const property = fc.asyncProperty(days, async (day) => {
    await using fixture = await openServiceFixture({
      program: () => programIn(() => fixture),
      service: {
        limits: { instancesPerFunctionMax, coldStartsMax, coldStartsPerTenantMax, idleTimeoutMs },
      },
    });
    const story = new Story(fixture);
    for (const name of names) await story.take({ do: 'create', name });
    for (const step of day) await story.take(step);
    await story.checkLogs();
    const closing = fixture.service.close();
    await fixture.time.pass(100);
    await closing;
    await fixture.time.pass(stallMs); // roots that come late
    assert.deepEqual(fixture.worker.breaches, []);
    assert.deepEqual(fixture.warnings, []);
    assert.equal(fixture.worker.running.size, 0, 'sandboxes left');
    assert.equal(fixture.worker.heldCount, 0, 'mounts left');
  });
  await fc.assert(property, { numRuns: 60 });
});
