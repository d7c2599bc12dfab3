/** What Lambda promises of invokes beyond one function and one answer: versions, concurrency, freezing, streams. */

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { functionRecord, functionSettings } from '../../catalog/testing/records.ts';
import { InvocationBrokenError, type RuntimeApi } from '../../sandbox/index.ts';
import type { WebRequest, WebResponse } from '../function-runs.ts';
import {
  imageOf,
  manifestIds,
  openServiceFixture,
  parsed,
  type ServiceFixture,
} from '../testing/service-fixture.ts';
import { never, respond, type Program } from '../testing/simulated-worker.ts';

async function unused(): Promise<never> {
  throw new Error('Not used here');
}

const noRuntimes = { names: unused, ensure: unused, build: unused, refresh: unused } as const;
const noArchives = {
  check: unused,
  accept: unused,
  read: unused,
  remove: unused,
  dropIdle: unused,
  [Symbol.asyncDispose]: unused,
} as const;

const hello = { tenant: 'default', name: 'hello' } as const;

/** Answers with the version that runs. */
const version: Program = {
  handle: async (_, { spec }) => respond(spec.env['AWS_LAMBDA_FUNCTION_VERSION']),
};

function sleeper(fixture: () => ServiceFixture, ms: number): Program {
  return {
    handle: async () =>
      fixture()
        .time.sleep(ms)
        .then(() => respond('slept')),
  };
}

async function invoked(fixture: ServiceFixture, qualifier?: string) {
  const of = qualifier === undefined ? {} : { qualifier };
  return await fixture.time.until(fixture.start({}, 'hello', of));
}

test('a qualifier chooses the version, and the result, log and ARN say which', async () => {
  let arn = '';
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async (invocation, control) => {
        arn = invocation.functionArn;
        return await version.handle(invocation, control);
      },
    }),
  });
  await fixture.create();
  await fixture.service.publishVersion(hello);
  const latest = await invoked(fixture);
  const first = await invoked(fixture, '1');
  assert.deepEqual([parsed(latest), latest.executedVersion], ['$LATEST', '$LATEST']);
  assert.deepEqual([parsed(first), first.executedVersion], ['1', '1']);
  assert.equal(first.coldStart, true, 'instances are per version');
  assert.equal((await invoked(fixture, '1')).coldStart, false);
  assert.match(arn, /:function:hello:1$/);
  assert.match(await fixture.logText(), /START RequestId: \S+ Version: 1\n/);
  const sandboxes = [...fixture.worker.running];
  const streams = sandboxes.map(({ spec }) => spec.env['AWS_LAMBDA_LOG_STREAM_NAME'] ?? '');
  assert.match(streams.join(), /\[\$LATEST\].*\[1\]/);
  await assert.rejects(invoked(fixture, '2'), { code: 'ERR_FUNCTION_NOT_FOUND' });
});

test("an alias's weights decide which of its versions runs", async () => {
  let random = 0;
  await using fixture = await openServiceFixture({
    program: () => version,
    service: { random: () => random },
  });
  await fixture.create();
  await fixture.service.publishVersion(hello);
  await fixture.service.updateConfiguration(hello, { description: 'changed' });
  await fixture.service.publishVersion(hello);
  await fixture.service.createAlias({
    tenant: 'default',
    functionName: 'hello',
    name: 'live',
    version: '1',
    description: '',
    additionalVersionWeights: { '2': 0.25 },
  });
  const ran: unknown[] = [];
  for (random of [0, 0.24, 0.25, 0.99]) ran.push(parsed(await invoked(fixture, 'live')));
  assert.deepEqual(ran, ['2', '2', '1', '1']);
});

test('a change of the configuration makes the next invoke cold, and that of a version does not', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  await fixture.create();
  await fixture.service.publishVersion(hello);
  await invoked(fixture);
  await invoked(fixture, '1');
  await fixture.service.updateConfiguration(hello, { environment: { SEED: '2' } });
  assert.equal((await invoked(fixture)).coldStart, true);
  assert.equal((await invoked(fixture, '1')).coldStart, false);
});

test('removing a version ends its instances alone', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  await fixture.create();
  await fixture.service.publishVersion(hello);
  await invoked(fixture);
  await invoked(fixture, '1');
  await fixture.time.until(fixture.service.remove({ ...hello, qualifier: '1' }));
  assert.equal(fixture.worker.running.size, 1);
  assert.equal((await invoked(fixture)).coldStart, false);
});

test('reserved concurrency limits a function, and what is reserved is not left to others', async () => {
  await using fixture = await openServiceFixture({
    program: () => sleeper(() => fixture, 100),
    service: { limits: { instancesMax: 20, coldStartsMax: 20, coldStartsPerTenantMax: 20 } },
  });
  await fixture.create();
  await fixture.create({ name: 'free' });
  await fixture.service.setReservedConcurrency(hello, 2);
  const outcomes = async (name: string, count: number): Promise<Record<string, number>> => {
    const starts = Array.from({ length: count }, async () => fixture.start({}, name));
    const ended = await fixture.time.until(Promise.allSettled(starts));
    const words = ended.map((one) =>
      one.status === 'fulfilled'
        ? 'served'
        : String((one.reason as { details?: { reason?: string } }).details?.reason),
    );
    return Object.fromEntries(
      [...new Set(words)].sort().map((word) => [word, words.filter((one) => one === word).length]),
    );
  };
  assert.deepEqual(await outcomes('hello', 3), {
    ReservedFunctionConcurrentInvocationLimitExceeded: 1,
    served: 2,
  });
  assert.deepEqual(await outcomes('free', 19), {
    ConcurrentInvocationLimitExceeded: 1,
    served: 18,
  });
  await fixture.service.setReservedConcurrency(hello, 0);
  assert.deepEqual(await outcomes('hello', 1), {
    ReservedFunctionConcurrentInvocationLimitExceeded: 1,
  });
});

test('an instance is frozen between invokes, and not before its extensions are done', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async () => respond(1),
      settle: () => fixture.time.sleep(500),
    }),
  });
  await fixture.create();
  await fixture.invoke();
  const [sandbox] = fixture.worker.running;
  assert.equal(sandbox?.isFrozen, false);
  await fixture.time.pass(498);
  assert.equal(sandbox?.isFrozen, false);
  await fixture.time.pass(2);
  assert.equal(sandbox?.isFrozen, true);
  assert.equal((await fixture.invoke()).coldStart, false);
  assert.equal((await fixture.invoke()).coldStart, true, 'the other one still settles');
});

test('an invoke waits for an instance that will rest at once, rather than start another', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async () => respond(1), settle: () => fixture.time.sleep(3) }),
  });
  await fixture.create();
  await fixture.invoke();
  for (let count = 0; count < 5; count += 1) {
    assert.equal((await fixture.invoke()).coldStart, false);
  }
});

test('an invoke gives no instance up whose rest only has not been read yet', async () => {
  const resting: { readonly sinceMs: number; readonly tell: () => void }[] = [];
  /** As of a process that was kept busy: nothing is read in the moment in which it came. */
  const deliver = (): void => {
    const nowMs = fixture.time.monotonicMs();
    for (const { sinceMs, tell } of resting) if (sinceMs < nowMs) tell();
  };
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async () => respond(1),
      settle: () =>
        new Promise((tell) => void resting.push({ sinceMs: fixture.time.monotonicMs(), tell })),
    }),
    service: {
      timers: {
        after: (delayMs, run) => fixture.time.after(delayMs, run),
        afterInput: async () => {
          deliver();
          await nextTurn();
        },
      },
    },
  });
  await fixture.create();
  await fixture.invoke();
  for (let count = 0; count < 3; count += 1) {
    assert.equal((await fixture.invoke()).coldStart, false);
  }
});

test('extensions that are not done within the timeout cost the instance, not the answer', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async () => respond(1), settle: () => never() }),
  });
  await fixture.create({ timeoutSeconds: 3 });
  assert.equal(parsed(await fixture.invoke()), 1);
  await fixture.time.pass(3100);
  assert.equal(fixture.worker.running.size, 0);
  assert.deepEqual(fixture.worker.shutDowns, ['timeout']);
});

test('what cannot be frozen serves on, and what cannot be thawed is given up', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  await fixture.create();
  fixture.worker.faults.add('freeze');
  await fixture.invoke();
  await fixture.time.pass(10);
  assert.equal((await fixture.invoke()).coldStart, false);
  assert.match(fixture.warnings.join(''), /Cannot freeze an instance/);
  fixture.worker.faults.clear();
  await fixture.time.pass(10);
  fixture.worker.faults.add('thaw');
  await assert.rejects(fixture.invoke(), /Simulated fault: thaw/);
  fixture.worker.faults.clear();
  assert.equal((await fixture.invoke()).coldStart, true);
});

test('an initialisation that takes longer than ten seconds is tried again within the timeout', async () => {
  let tries = 0;
  await using fixture = await openServiceFixture({
    program: () => ({
      init: () => {
        tries += 1;
        return tries === 1 ? never() : fixture.time.sleep(12_000).then(() => ({}));
      },
      handle: async () => respond('late'),
    }),
  });
  await fixture.create({ timeoutSeconds: 20 });
  assert.equal(parsed(await fixture.invoke()), 'late');
  assert.equal(tries, 2);
  const log = await fixture.logText();
  assert.match(
    log,
    /^INIT_REPORT Init Duration: 10030\.00 ms\tPhase: init\tStatus: timeout\nSTART /,
  );
  assert.match(log, /REPORT .*\tDuration: 120\d\d\.00 ms\tBilled Duration: 120\d\d ms/);
  assert.doesNotMatch(log, /REPORT RequestId.*Init Duration/);
  assert.equal(fixture.worker.running.size, 1);
});

test('a program that is not in the image is the error that Lambda gives for it', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  await fixture.create();
  fixture.worker.faults.add('entrypoint');
  const result = await fixture.invoke();
  const { errorType, errorMessage } = parsed(result) as Record<string, string>;
  assert.equal(result.functionError, 'Unhandled');
  assert.equal(errorType, 'Runtime.InvalidEntrypoint');
  assert.match(errorMessage ?? '', /^RequestId: \S+ Error: Cannot run "\/bin\/runtime"/);
  const lines = (await fixture.logText()).split('\n').map((line) => line.split('\t')[0]);
  assert.equal(lines.filter((line) => line?.startsWith('INIT_REPORT')).length, 2);
  assert.match(await fixture.logText(), /Status: error\tError Type: Runtime\.InvalidEntrypoint\n$/);
});

test('the tail of the log has the last 4 KiB of this invoke and nothing of another', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async ({ payload }, control) => {
        control.print(`${JSON.parse(Buffer.from(payload).toString()) as string}\n`);
        return respond(1);
      },
    }),
  });
  await fixture.create();
  const tailOf = async (payload: string): Promise<string> => {
    const result = await fixture.time.until(fixture.start(payload, 'hello', { tailsLog: true }));
    return Buffer.from(result.logTail ?? []).toString();
  };
  await fixture.invoke('unasked');
  const tail = await tailOf('asked');
  assert.match(tail, /^START RequestId[^\n]*\nasked\nEND [^\n]*\nREPORT [^\n]*\n$/);
  const cut = await tailOf('x'.repeat(5000));
  assert.equal(Buffer.byteLength(cut), 4096);
  assert.match(cut, /^x+\nEND /);
});

test('a stream is handed on while it is written, and its instance is busy until it has ended', async () => {
  const source = new Readable({ read() {} });
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async ({ streams }) =>
        streams === true ? { kind: 'stream', body: source, contentType: 'text/x' } : respond(1),
    }),
  });
  await fixture.create();
  const streaming = fixture.service.invokeStreaming({ ...hello, payload: Buffer.from('{}') });
  const { body, contentType, ended, executedVersion } = await fixture.time.until(streaming);
  assert.deepEqual([contentType, executedVersion], ['text/x', '$LATEST']);
  source.push('one ');
  assert.equal((await fixture.invoke()).coldStart, true, 'the first is busy');
  source.push('two');
  source.push(null);
  assert.equal(await text(body), 'one two');
  assert.deepEqual(await ended, {});
  await fixture.time.pass(10);
  assert.equal([...fixture.worker.running].filter(({ isFrozen }) => isFrozen).length, 2);
});

test('a stream that breaks ends in order and says why', async () => {
  const source = new Readable({ read() {} });
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async () => ({ kind: 'stream', body: source }) }),
  });
  await fixture.create();
  const request = { ...hello, payload: Buffer.from('{}'), tailsLog: true };
  const { body, ended } = await fixture.time.until(fixture.service.invokeStreaming(request));
  source.push('one');
  const told = { errorType: 'Bad', errorMessage: 'broke' };
  const payload = Buffer.from(JSON.stringify(told));
  source.destroy(new InvocationBrokenError({ kind: 'error', errorType: 'Bad', payload }));
  await text(body);
  const { logTail, ...end } = await ended;
  assert.deepEqual(end, { functionError: 'Unhandled', ...told });
  assert.match(Buffer.from(logTail ?? []).toString(), /Status: error\tError Type: Bad\n$/);
});

test('a stream that its reader gives up is given up, and one that takes too long is cut off', async () => {
  const sources = [new Readable({ read() {} }), new Readable({ read() {} })];
  let count = 0;
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async () => ({ kind: 'stream', body: sources[count++] ?? Readable.from([]) }),
    }),
  });
  await fixture.create({ timeoutSeconds: 3 });
  const request = { ...hello, payload: Buffer.from('{}') };
  const first = await fixture.time.until(fixture.service.invokeStreaming(request));
  first.body.destroy();
  assert.deepEqual(await first.ended, {});
  assert.equal(sources[0]?.destroyed, true);
  const second = await fixture.time.until(fixture.service.invokeStreaming(request));
  await fixture.time.pass(3000);
  const { errorType } = await fixture.time.until(second.ended);
  assert.equal(errorType, 'Sandbox.Timedout');
  second.body.destroy();
  await fixture.time.pass(100);
  assert.equal(fixture.worker.running.size, 0);
});

test('a function that fails before its stream begins gives an empty one', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async () => ({ ...respond({ errorType: 'E' }), kind: 'error', errorType: 'E' }),
    }),
  });
  await fixture.create();
  const request = { ...hello, payload: Buffer.from('{}') };
  const { body, ended } = await fixture.time.until(fixture.service.invokeStreaming(request));
  assert.equal(await text(body), '');
  assert.deepEqual(await ended, { functionError: 'Unhandled', errorType: 'E' });
});

/** A web server: answers with a body that ends when told. */
class SimulatedServer implements RuntimeApi {
  readonly ready = Promise.resolve({});
  readonly bodies: Readable[] = [];
  async invoke(): Promise<never> {
    throw new Error('Nobody invokes a web server here');
  }
  async settled(): Promise<void> {}
  async fetch({ path }: WebRequest): Promise<WebResponse> {
    const body = new Readable({ read() {} });
    this.bodies.push(body);
    body.push(path);
    return { status: 200, headers: {}, body };
  }
}

test('a web request has an instance to itself until the body of its answer has ended', async () => {
  const servers: SimulatedServer[] = [];
  await using fixture = await openServiceFixture({
    program: () => version,
    service: {
      webRuntime: () => {
        const server = new SimulatedServer();
        servers.push(server);
        return server;
      },
    },
  });
  await fixture.create({ webServer: { port: 8080, readyPath: '/' } });
  const request = (path: string): WebRequest => ({
    ...hello,
    path,
    method: 'GET',
    headers: {},
    body: Readable.from([]),
  });
  const first = await fixture.time.until(fixture.service.fetch(request('/one')));
  const second = await fixture.time.until(fixture.service.fetch(request('/two')));
  assert.equal(fixture.worker.running.size, 2);
  for (const server of servers) for (const body of server.bodies) body.push(null);
  assert.deepEqual([await text(first.body), await text(second.body)], ['/one', '/two']);
  const third = await fixture.time.until(fixture.service.fetch(request('/three')));
  assert.equal(fixture.worker.running.size, 2, 'one of them again');
  third.body.destroy();
  await fixture.time.pass(10);
  const [sandbox] = fixture.worker.running;
  assert.equal(sandbox?.spec.env['PORT'], '8080');
  assert.match(await fixture.logText(), /START [^\n]*\nEND [^\n]*\nREPORT /);
});

test('a request for the web server of a function that has none is refused', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  await fixture.create();
  const request = { ...hello, path: '/', method: 'GET', headers: {}, body: Readable.from([]) };
  await assert.rejects(fixture.time.until(fixture.service.fetch(request)), {
    code: 'ERR_FUNCTION_WEB',
  });
});

test('a version is initialised without an invoke, and its start told to have ended', async () => {
  await using fixture = await openServiceFixture({ program: () => version });
  const { code } = await fixture.create();
  await fixture.time.until(fixture.service.initialise(hello));
  await fixture.time.pass(100);
  assert.equal(fixture.worker.running.size, 0);
  assert.deepEqual(fixture.worker.startsEnded, ['manifestId' in code ? code.manifestId : '']);
  assert.equal(fixture.service.startLimits().inFlight, 0);
  assert.equal((await fixture.invoke()).coldStart, true);
});

test('a zip function runs in the image of its runtime, with its code at /var/task', async () => {
  const unpacked: string[] = [];
  let leases = 0;
  await using fixture = await openServiceFixture({
    program: () => version,
    service: {
      runtimes: {
        ...noRuntimes,
        find: async (runtime) => (runtime === 'nodejs24.x' ? imageOf(manifestIds[1]) : undefined),
      },
      archives: {
        ...noArchives,
        unpack: async ({ archiveId }) => {
          unpacked.push(archiveId);
          leases += 1;
          await fixture.time.sleep(25);
          return {
            path: '/code',
            [Symbol.asyncDispose]: async () => {
              leases -= 1;
            },
          };
        },
      },
    },
  });
  const code = {
    packageType: 'Zip',
    runtime: 'nodejs24.x',
    handler: 'index.handler',
    archiveId: 'c'.repeat(64),
    rootId: 'r1',
  } as const;
  await fixture.catalog.addFunction(functionRecord({ code }), functionSettings());
  const cold = await fixture.invoke();
  assert.equal(cold.timelineMs.code, 15, 'beyond the ten of the mount');
  assert.equal((await fixture.invoke()).coldStart, false);
  assert.deepEqual(unpacked, [code.archiveId]);
  const [sandbox] = fixture.worker.running;
  const { binds, env, rootPath } = sandbox?.spec ?? {};
  assert.equal(rootPath, `/roots/${manifestIds[1]}`);
  assert.deepEqual(binds, [{ source: '/code', target: '/var/task' }]);
  assert.equal(env?.['_HANDLER'], 'index.handler');
  assert.equal(env?.['AWS_EXECUTION_ENV'], 'AWS_Lambda_nodejs24.x');
  await fixture.time.until(fixture.service.endIdle());
  assert.equal(leases, 0);
});
