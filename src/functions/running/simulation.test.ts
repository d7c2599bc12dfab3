/**
 * The whole service through long random days, against a model that a child could keep on paper.
 * Time is virtual; a failure prints the seed and the shortest story that still fails.
 */

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { compareStrings, errorCode, present } from '../../base/index.ts';
import type { Invocation, RuntimeApi } from '../../sandbox/index.ts';
import { wholeBody, type WebRuntime } from './answers.ts';
import { FunctionWebError } from '../errors.ts';
import type { InvokeResult, WebRequest, WebResponse } from '../function-runs.ts';
import {
  manifestIds,
  openServiceFixture,
  parsed,
  type ServiceFixture,
} from '../testing/service-fixture.ts';
import {
  never,
  respond,
  stallMs,
  type Program,
  type SimulatedSandbox,
} from '../testing/simulated-worker.ts';

/** `web` is a web server. */
const names = ['a', 'b', 'web'] as const;
const versions = ['$LATEST', '1'] as const;
const instancesPerFunctionMax = 4;
/** Met before the limit of instances only where most invokes are cold. */
const coldStartsPerTenantMax = 3;
const coldStartsMax = 4;
const idleTimeoutMs = 600_000;
/** How long an extension works on after an answer, where it does. */
const lingerMs = 200;
/** Longer than all tries of an event take, however often they are throttled. */
const eventsDoneMs = 900_000;

/** `linger`: it answers, and works on after that. */
type Behaviour = 'answer' | 'linger' | 'report' | 'crash' | 'hang';
/** How it is invoked; a web server is sent a request instead. */
type Way = 'whole' | 'stream';

/** `fault`: what starting new instances meets meanwhile. */
type Step =
  | {
      readonly do: 'invoke';
      readonly name: string;
      readonly version: string;
      readonly way: Way;
      readonly each: readonly Behaviour[];
      readonly fault?: 'stall' | 'acquire' | 'create' | undefined;
    }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'create' | 'remove' | 'die' | 'update'; readonly name: string }
  | { readonly do: 'reserve'; readonly name: string; readonly count: number | undefined }
  | {
      readonly do: 'later';
      readonly name: string;
      readonly count: number;
      readonly behaviour: Behaviour;
    }
  | { readonly do: 'endIdle' };

const anyName = fc.constantFrom(...names);
const anyBehaviour = fc.constantFrom<Behaviour>(
  ...(['answer', 'answer', 'answer', 'linger', 'report', 'crash', 'hang'] as const),
);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant('invoke' as const),
      name: anyName,
      version: fc.constantFrom(...versions),
      way: fc.constantFrom<Way>('whole', 'whole', 'stream'),
      each: fc.array(anyBehaviour, { minLength: 1, maxLength: 6 }),
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
  fc.record({ do: fc.constantFrom('create', 'remove', 'die', 'update'), name: anyName }),
  fc.record({
    do: fc.constant('reserve' as const),
    name: anyName,
    count: fc.constantFrom(undefined, undefined, 0, 1, 2, 6),
  }),
  fc.record({
    do: fc.constant('later' as const),
    name: anyName,
    count: fc.integer({ min: 1, max: 3 }),
    behaviour: anyBehaviour,
  }),
  fc.record({ do: fc.constant('endIdle' as const) }),
);

/** What a program has been given, and which instance it was. */
interface Handled {
  readonly id: string;
  readonly behaviour: Behaviour;
  readonly atMs: number;
}

/** An event says how the program behaves; it answers with who it is. */
function programIn(fixture: () => ServiceFixture, onHandled: (handled: Handled) => void): Program {
  let hasToLinger = false;
  return {
    handle: async ({ payload, streams }, control) => {
      const behaviour = JSON.parse(Buffer.from(payload).toString()) as Behaviour;
      control.print(`${behaviour}\n`);
      await fixture().time.sleep(10);
      const { id } = control.spec;
      onHandled({ id, behaviour, atMs: fixture().time.monotonicMs() });
      hasToLinger = behaviour === 'linger';
      switch (behaviour) {
        case 'answer':
        case 'linger':
          return streams === true ? { kind: 'stream', body: Readable.from([id]) } : respond(id);
        case 'report':
          return { ...respond(id), kind: 'error', errorType: 'Error' };
        case 'crash':
          control.exit({ status: 1, outOfMemory: false });
          return never();
        case 'hang':
          return never();
      }
    },
    settle: async () => {
      if (hasToLinger) await fixture().time.sleep(lingerMs);
    },
  };
}

/** A program as a web server: the path of a request is what it is told to do. */
class SimulatedWeb implements WebRuntime {
  readonly #runtime: RuntimeApi;
  readonly ready: RuntimeApi['ready'];

  constructor(runtime: RuntimeApi) {
    this.#runtime = runtime;
    this.ready = runtime.ready;
  }

  async invoke(invocation: Invocation, signal: AbortSignal) {
    return await this.#runtime.invoke(invocation, signal);
  }

  async settled(signal?: AbortSignal): Promise<void> {
    await this.#runtime.settled(signal);
  }

  async fetch(
    { name, path }: WebRequest,
    invocation: Invocation,
    signal: AbortSignal,
  ): Promise<WebResponse> {
    const payload = Buffer.from(JSON.stringify(path.slice(1)));
    const outcome = await this.#runtime.invoke({ ...invocation, payload }, signal);
    if (outcome.kind !== 'response') throw new FunctionWebError(name, 'it closed the connection');
    return { status: 200, headers: {}, body: wholeBody(outcome.payload) };
  }
}

interface IdleInstance {
  readonly id: string;
  readonly sinceMs: number;
}

/** What should be, and the comparison with what is. */
class Story {
  readonly #fixture: ServiceFixture;
  readonly #handled: readonly Handled[];
  /** By function and version; absent where there is no such function. */
  readonly #idle = new Map<string, IdleInstance[]>();
  readonly #reserved = new Map<string, number>();
  readonly #servedCount = new Map<string, number>();
  #updates = 0;

  /** `handled` grows while programs run. */
  constructor(fixture: ServiceFixture, handled: readonly Handled[]) {
    this.#fixture = fixture;
    this.#handled = handled;
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
      case 'update':
        await this.#update(step.name);
        return;
      case 'reserve':
        await this.#reserve(step);
        return;
      case 'later':
        await this.#runLater(step);
        return;
      case 'die':
        await this.#die(`${step.name}:$LATEST`);
        return;
      case 'endIdle':
        await time.until(service.endIdle());
        this.#forgetAll();
        return;
    }
  }

  async #invoke(step: Step & { readonly do: 'invoke' }): Promise<void> {
    const { time, worker } = this.#fixture;
    const { name, each, fault } = step;
    if (fault !== undefined) worker.faults.add(fault);
    const handledBefore = this.#handled.length;
    const invokes = each.map((behaviour) => this.#refusalOf(step, behaviour));
    const refusals = await time.until(Promise.all(invokes));
    worker.faults.clear();
    assert.equal(this.#fixture.service.startLimits().inFlight, 0, 'starts in flight');
    const of = `${name}:${step.version}`;
    const idle = this.#idle.get(of);
    if (idle === undefined) {
      assert.ok(refusals.every((refusal) => refusal === 'ERR_FUNCTION_NOT_FOUND'));
      return;
    }
    const concurrencyMax = this.#reserved.get(name) ?? instancesPerFunctionMax;
    const warm = Math.min(each.length, idle.length, concurrencyMax);
    const cold = Math.min(each.length - warm, concurrencyMax - warm, coldStartsPerTenantMax);
    const refusedBy = (code: string) => refusals.filter((refusal) => refusal === code).length;
    assert.equal(refusedBy('ERR_FUNCTION_THROTTLED'), each.length - warm - cold);
    assert.equal(refusedBy('fault'), fault === undefined ? 0 : cold);
    const handled = this.#handled.slice(handledBefore);
    assert.equal(handled.length, warm + (fault === undefined ? cold : 0));
    this.#countServed(name, handled.length);
    this.#idle.set(of, idleAfter(idle, { warm, handled, isWeb: name === 'web' }));
    if (each.includes('linger')) await time.pass(lingerMs + 10);
    this.#forgetExpired();
  }

  /** One invoke and its own outcome checked: who reads the others' answers would see theirs. */
  async #refusalOf(
    step: Step & { readonly do: 'invoke' },
    behaviour: Behaviour,
  ): Promise<string | undefined> {
    try {
      if (step.name === 'web') await this.#fetch(step, behaviour);
      else if (step.way === 'stream') await this.#stream(step, behaviour);
      else {
        const qualifier = { qualifier: step.version };
        checkResult(await this.#fixture.start(behaviour, step.name, qualifier), behaviour);
      }
      return undefined;
    } catch (thrown) {
      if (thrown instanceof assert.AssertionError) throw thrown;
      const isFault = thrown instanceof Error && thrown.message.startsWith('Simulated fault');
      const code = errorCode(thrown) ?? 'unknown';
      return isFault || code === 'ERR_FUNCTION_START_TIMEOUT' ? 'fault' : code;
    }
  }

  async #stream({ name, version }: { name: string; version: string }, behaviour: Behaviour) {
    const payload = Buffer.from(JSON.stringify(behaviour));
    const request = { tenant: 'default', name, qualifier: version, payload };
    const { body, ended } = await this.#fixture.service.invokeStreaming(request);
    const answer = await text(body);
    const { functionError } = await ended;
    const isAnswer = behaviour === 'answer' || behaviour === 'linger';
    assert.equal(functionError, isAnswer ? undefined : 'Unhandled');
    assert.match(answer, isAnswer ? /^fn-/ : /^$/);
  }

  async #fetch({ name, version }: { name: string; version: string }, behaviour: Behaviour) {
    const isAnswer = behaviour === 'answer' || behaviour === 'linger';
    const request = {
      tenant: 'default',
      name,
      qualifier: version,
      method: 'GET',
      path: `/${behaviour}`,
      headers: {},
      body: Readable.from([]),
    };
    try {
      const { body } = await this.#fixture.service.fetch(request);
      assert.match(await text(body), /^"fn-/);
      assert.ok(isAnswer);
    } catch (thrown) {
      if (isAnswer || errorCode(thrown) !== 'ERR_FUNCTION_WEB') throw thrown;
    }
  }

  /** Events run, and again where the function fails, while the day stands still. */
  async #runLater({ name, count, behaviour }: Step & { readonly do: 'later' }): Promise<void> {
    const { catalog, service, time } = this.#fixture;
    const handledBefore = this.#handled.length;
    const payload = Buffer.from(JSON.stringify(behaviour));
    const exists = this.#idle.has(`${name}:$LATEST`);
    for (let n = 0; n < count; n += 1) {
      const accepted = service.invokeLater({ tenant: 'default', name, payload }).then(
        () => undefined,
        (thrown: unknown) => errorCode(thrown),
      );
      assert.equal(await accepted, exists ? undefined : 'ERR_FUNCTION_NOT_FOUND');
    }
    await time.pass(eventsDoneMs);
    const isAnswer = behaviour === 'answer' || behaviour === 'linger';
    const tries = !exists || this.#reserved.get(name) === 0 ? 0 : isAnswer ? count : 3 * count;
    assert.equal(this.#handled.length - handledBefore, tries, 'tries of events');
    assert.equal(await catalog.countEvents('default'), 0, 'events left');
    this.#countServed(name, tries);
    await time.until(service.endIdle());
    this.#forgetAll();
  }

  #countServed(name: string, count: number): void {
    this.#servedCount.set(name, (this.#servedCount.get(name) ?? 0) + count);
  }

  #forgetAll(): void {
    for (const of of this.#idle.keys()) this.#idle.set(of, []);
  }

  #forgetExpired(): void {
    const nowMs = this.#fixture.time.monotonicMs();
    for (const [of, idle] of this.#idle) {
      this.#idle.set(
        of,
        idle.filter(({ sinceMs }) => sinceMs + idleTimeoutMs > nowMs),
      );
    }
  }

  async #create(name: string): Promise<void> {
    const fields = {
      name,
      manifestId: manifestIds[name === 'a' ? 0 : 1],
      publish: true,
      ...(name === 'web' ? { webServer: { port: 8080, readyPath: '/' } } : {}),
    };
    const created = await this.#fixture.create(fields).then(
      () => 'created',
      (thrown: unknown) => errorCode(thrown),
    );
    const exists = this.#idle.has(`${name}:$LATEST`);
    assert.equal(created, exists ? 'ERR_CATALOG_FUNCTION_EXISTS' : 'created');
    if (!exists) for (const version of versions) this.#idle.set(`${name}:${version}`, []);
  }

  async #remove(name: string): Promise<void> {
    const removing = this.#fixture.service.remove({ tenant: 'default', name }).then(
      () => 'removed',
      (thrown: unknown) => errorCode(thrown),
    );
    await this.#fixture.time.pass(100);
    const exists = this.#idle.has(`${name}:$LATEST`);
    for (const version of versions) this.#idle.delete(`${name}:${version}`);
    assert.equal(await removing, exists ? 'removed' : 'ERR_FUNCTION_NOT_FOUND');
    this.#servedCount.delete(name);
    this.#reserved.delete(name);
    this.#forgetExpired();
  }

  /** What ran before is of no use to the next invoke. */
  async #update(name: string): Promise<void> {
    if (!this.#idle.has(`${name}:$LATEST`)) return;
    this.#updates += 1;
    const environment = { UPDATE: String(this.#updates) };
    await this.#fixture.service.updateConfiguration({ tenant: 'default', name }, { environment });
    this.#idle.set(`${name}:$LATEST`, []);
  }

  async #reserve({ name, count }: Step & { readonly do: 'reserve' }): Promise<void> {
    if (!this.#idle.has(`${name}:$LATEST`)) return;
    await this.#fixture.service.setReservedConcurrency({ tenant: 'default', name }, count);
    if (count === undefined) this.#reserved.delete(name);
    else this.#reserved.set(name, count);
  }

  async #die(of: string): Promise<void> {
    const idle = this.#idle.get(of) ?? [];
    const [first] = [...idle].sort((a, b) => compareStrings(a.id, b.id));
    if (first === undefined) return;
    const sandbox = [...this.#fixture.worker.running].find(({ id }) => id === first.id);
    present(sandbox, `sandbox ${first.id}`).exit({ status: 0, outOfMemory: false });
    this.#idle.set(
      of,
      idle.filter((one) => one !== first),
    );
    await this.#fixture.time.pass(0);
  }

  /**
   * Every invoke that was served has its three lines, and nothing else is in the log but what was
   * printed.
   */
  async checkLogs(): Promise<void> {
    for (const name of names) {
      if (!this.#idle.has(`${name}:$LATEST`)) continue;
      const lines = (await this.#fixture.logText(name)).split('\n');
      for (const kind of ['START', 'END', 'REPORT']) {
        const count = lines.filter((line) => line.startsWith(`${kind} RequestId: `)).length;
        assert.equal(count, this.#servedCount.get(name) ?? 0, `${kind} lines of ${name}`);
      }
    }
  }
}

/**
 * The `warm` instances used last have served; those that still can are idle again, the new ones
 * too.
 */
function idleAfter(
  before: readonly IdleInstance[],
  step: { readonly warm: number; readonly handled: readonly Handled[]; readonly isWeb: boolean },
): IdleInstance[] {
  const { warm, handled } = step;
  const byTime = [...before].sort((a, b) => a.sinceMs - b.sinceMs);
  const untouched = byTime.slice(0, byTime.length - warm);
  const oldestUsedMs = byTime.at(-warm)?.sinceMs ?? 0;
  const known = handled.flatMap(({ id }) => before.filter((one) => one.id === id));
  assert.equal(known.length, warm, 'warm starts');
  assert.ok(
    known.every(({ sinceMs }) => sinceMs >= oldestUsedMs),
    'not those used last',
  );
  const usable: readonly Behaviour[] = step.isWeb
    ? ['answer', 'linger']
    : ['answer', 'linger', 'report'];
  const idle = handled
    .filter(({ behaviour }) => usable.includes(behaviour))
    .map(({ id, behaviour, atMs }) => {
      return { id, sinceMs: behaviour === 'linger' ? atMs + lingerMs : atMs };
    });
  return [...untouched.filter(({ id }) => !known.some((used) => used.id === id)), ...idle];
}

function checkResult(result: InvokeResult, behaviour: Behaviour): void {
  const isAnswer = behaviour === 'answer' || behaviour === 'linger';
  assert.equal(result.functionError, isAnswer ? undefined : 'Unhandled');
  const answer = parsed(result);
  switch (behaviour) {
    case 'answer':
    case 'linger':
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
    const handled: Handled[] = [];
    await using fixture = await openServiceFixture({
      program: () =>
        programIn(
          () => fixture,
          (one) => void handled.push(one),
        ),
      service: {
        limits: { instancesPerFunctionMax, coldStartsMax, coldStartsPerTenantMax, idleTimeoutMs },
        webRuntime: ({ sandbox }) => new SimulatedWeb((sandbox as SimulatedSandbox).runtimeApi),
      },
    });
    const story = new Story(fixture, handled);
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
