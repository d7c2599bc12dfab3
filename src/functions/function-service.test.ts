import assert from 'node:assert/strict';
import { test } from 'node:test';

import { errorCode } from '../base/index.ts';
import { functionRecord, functionSettings } from '../catalog/testing/records.ts';
import { eachTier } from '../device/index.ts';
import type { InvokeResult } from './function-runs.ts';
import { manifestIds, openServiceFixture, parsed } from './testing/service-fixture.ts';
import {
  never,
  respond,
  stallMs,
  type ProcessControl,
  type Program,
  type SimulatedWorker,
} from './testing/simulated-worker.ts';

const echo: Program = {
  handle: async ({ payload }) => ({ kind: 'response', payload }),
};

function hasCode(code: string): (thrown: unknown) => boolean {
  return (thrown) => errorCode(thrown) === code;
}

function assertNothingLeft(worker: SimulatedWorker): void {
  assert.deepEqual(worker.breaches, []);
  assert.equal(worker.running.size, 0, 'sandboxes left');
  assert.equal(worker.heldCount, 0, 'mounts left');
}

function exiting(exit: Parameters<ProcessControl['exit']>[0]): Program {
  return {
    handle: (_, control) => {
      control.exit(exit);
      return never();
    },
  };
}

function assertFailed(result: InvokeResult, errorType: string, words: string): void {
  assert.equal(result.functionError, 'Unhandled');
  assert.deepEqual(parsed(result), {
    errorType,
    errorMessage: `RequestId: ${result.requestId} Error: ${words}`,
  });
}

test('the first invoke is cold with all phases, the second warm with its response alone', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async ({ payload }) => {
        await fixture.time.sleep(7);
        fixture.worker.read(manifestIds[0]);
        return { kind: 'response', payload };
      },
    }),
  });
  await fixture.create();
  const cold = await fixture.invoke({ n: 1 });
  assert.deepEqual(parsed(cold), { n: 1 });
  assert.equal(cold.coldStart, true);
  assert.equal(cold.functionError, undefined);
  assert.deepEqual(cold.timelineMs, {
    place: 0,
    imageOpen: 6,
    mount: 4,
    sandbox: 30,
    runtimeReady: 50,
    response: 7,
    total: 97,
  });
  const nothing = { chunks: 0, bytes: 0 };
  const four = { chunks: 4, bytes: 4000 };
  assert.deepEqual(cold.reads, { ...four, byTier: { ...eachTier(() => nothing), origin: four } });
  const warm = await fixture.invoke({ n: 2 });
  assert.deepEqual(parsed(warm), { n: 2 });
  assert.equal(warm.coldStart, false);
  assert.deepEqual(warm.timelineMs, { place: 0, response: 7, total: 8 }, 'and a thaw');
  assert.equal(warm.reads?.chunks, 2);
  assert.deepEqual(fixture.worker.startsEnded, [manifestIds[0]]);
  assert.notEqual(warm.requestId, cold.requestId);
  await fixture.time.pass(1);
  assert.equal(fixture.time.waitingCount, 1, 'the time for being idle is all that runs');
});

test('the process runs what the image says, in the environment that Lambda gives', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create({ environment: { OWN: 'x', FROM_IMAGE: '2', AWS_ACCESS_KEY_ID: 'id' } });
  await fixture.invoke();
  const [sandbox] = fixture.worker.running;
  assert.ok(sandbox !== undefined);
  const { id, env, ...spec } = sandbox.spec;
  assert.match(id, /^[a-z0-9-]{1,64}$/);
  assert.deepEqual(spec, {
    rootPath: `/roots/${manifestIds[0]}`,
    args: ['/bin/runtime', 'app.handler'],
    workingDir: '/srv',
    user: 'app',
    memoryBytes: 1769 * 1024 * 1024,
    tmpSizeBytes: 512 * 1024 * 1024,
    cpus: 1,
    network: 'none',
    accountId: '000000000000',
  });
  const { AWS_LAMBDA_LOG_STREAM_NAME: logStream, ...variables } = env;
  assert.match(logStream ?? '', /^2026\/11\/23\/\[\$LATEST\][0-9a-f]{32}$/);
  assert.deepEqual(variables, {
    PATH: '/image/bin',
    FROM_IMAGE: '2',
    OWN: 'x',
    AWS_ACCESS_KEY_ID: 'id',
    _HANDLER: 'app.handler',
    AWS_DEFAULT_REGION: 'local',
    AWS_EXECUTION_ENV: 'AWS_Lambda_Image',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '1769',
    AWS_LAMBDA_FUNCTION_NAME: 'hello',
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/hello',
    AWS_REGION: 'local',
    LAMBDA_RUNTIME_DIR: '/var/runtime',
    LAMBDA_TASK_ROOT: '/srv',
  });
});

test('the function overrides entry point, command and working directory one by one', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create({ imageConfig: { command: ['other.handler', 'x'], workingDir: '/opt' } });
  await fixture.invoke();
  const [sandbox] = fixture.worker.running;
  assert.deepEqual(sandbox?.spec.args, ['/bin/runtime', 'other.handler', 'x']);
  assert.equal(sandbox?.spec.workingDir, '/opt');
  assert.equal(sandbox?.spec.env['_HANDLER'], 'other.handler');
});

test('the runtime gets the event, a deadline, the ARN and a trace id', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async ({ payload, ...rest }) =>
        respond({ ...rest, nowMs: fixture.time.nowMs(), payload: Buffer.from(payload).toString() }),
    }),
  });
  await fixture.create();
  const result = await fixture.time.until(
    fixture.service.invoke({
      tenant: 'default',
      name: 'hello',
      payload: new Uint8Array(),
      clientContext: '{"a":1}',
    }),
  );
  const seen = parsed(result) as Record<string, unknown>;
  assert.equal(seen['payload'], '{}', 'an empty payload is an empty object');
  assert.equal(seen['requestId'], result.requestId);
  assert.equal(seen['deadlineMs'], Number(seen['nowMs']) + 3000);
  assert.equal(seen['functionArn'], 'arn:aws:lambda:local:000000000000:function:hello');
  assert.equal(seen['clientContext'], '{"a":1}');
  assert.match(String(seen['traceId']), /^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Sampled=0$/);
});

test('a handler that takes too long is killed, and its caller told as Lambda tells', async () => {
  await using fixture = await openServiceFixture({ program: () => ({ handle: () => never() }) });
  await fixture.create();
  const result = await fixture.invoke();
  assertFailed(result, 'Sandbox.Timedout', 'Task timed out after 3.00 seconds');
  assert.equal(result.timelineMs.response, 3000);
  assert.equal(fixture.worker.abandonedCount, 1);
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
  assert.equal((await fixture.invoke()).coldStart, true);
});

test('a handler that takes too long is killed at once, however slow the agent is', async () => {
  await using fixture = await openServiceFixture({ program: () => ({ handle: () => never() }) });
  await fixture.create();
  fixture.worker.countersMs = 5000;
  const invoke = fixture.start();
  await fixture.time.pass(5000 + 90);
  const [sandbox] = fixture.worker.running;
  let endedBy: string | undefined;
  void sandbox?.exited.then((exit) => (endedBy = exit.signal));
  await fixture.time.pass(2999);
  assert.equal(endedBy, undefined);
  await fixture.time.pass(1);
  assert.equal(endedBy, 'SIGKILL');
  await fixture.time.until(invoke);
});

for (const { title, exit, words, logged } of [
  {
    title: 'that exits with a status',
    exit: { status: 1, outOfMemory: false },
    words: 'Runtime exited with error: exit status 1',
    logged: 'Runtime.ExitError',
  },
  {
    title: 'that exits with status 0',
    exit: { status: 0, outOfMemory: false },
    words: 'Runtime exited without providing a reason',
    logged: 'Runtime.ExitError',
  },
  {
    title: 'that crashes',
    exit: { signal: 'SIGSEGV', outOfMemory: false },
    words: 'Runtime exited with error: signal: segmentation fault',
    logged: 'Runtime.ExitError',
  },
  {
    title: 'that runs out of memory',
    exit: { signal: 'SIGKILL', outOfMemory: true },
    words: 'Runtime exited with error: signal: killed',
    logged: 'Runtime.OutOfMemory',
  },
]) {
  test(`a runtime ${title} in an invoke fails it with Runtime.ExitError, and the next is cold`, async () => {
    await using fixture = await openServiceFixture({ program: () => exiting(exit) });
    await fixture.create();
    assertFailed(await fixture.invoke(), 'Runtime.ExitError', words);
    assert.match(await fixture.logText(), new RegExp(`\tStatus: error\tError Type: ${logged}\n`));
    assert.equal((await fixture.invoke()).coldStart, true);
  });
}

test('an error that the handler reports reaches the caller as it is, and the instance stays', async () => {
  const payload = Buffer.from('{"errorType":"TypeError","errorMessage":"x","stackTrace":["a"]}');
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async () => ({ kind: 'error', errorType: 'TypeError', payload }) }),
  });
  await fixture.create();
  const result = await fixture.invoke();
  assert.equal(result.functionError, 'Unhandled');
  assert.deepEqual(Buffer.from(result.payload), payload);
  assert.equal((await fixture.invoke()).coldStart, false);
});

test('a response that is no JSON is handed on as it is', async () => {
  const payload = Buffer.from('Echoing request: \xff', 'latin1');
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async () => ({ kind: 'response', payload }) }),
  });
  await fixture.create();
  const result = await fixture.invoke();
  assert.equal(result.functionError, undefined);
  assert.deepEqual(Buffer.from(result.payload), payload);
});

test('a runtime that reports a failed initialisation gives its error to the invoke, and is thrown away', async () => {
  const payload = Buffer.from('{"errorType":"Runtime.ImportModuleError","errorMessage":"no app"}');
  await using fixture = await openServiceFixture({
    program: () => ({
      ...echo,
      init: async () => ({
        initError: { kind: 'error', errorType: 'Runtime.ImportModuleError', payload },
      }),
    }),
  });
  await fixture.create();
  const result = await fixture.invoke();
  assert.equal(result.functionError, 'Unhandled');
  assert.deepEqual(Buffer.from(result.payload), payload);
  assert.equal(result.timelineMs.response, undefined);
  assert.match(
    await fixture.logText(),
    /^INIT_REPORT Init Duration: 30\.00 ms\tPhase: init\tStatus: error\tError Type: Runtime\.ImportModuleError\n/,
  );
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
});

test('a runtime that exits while it initialises fails the invoke with Runtime.ExitError', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      ...echo,
      init: (control) => {
        control.exit({ status: 2, outOfMemory: false });
        return never();
      },
    }),
  });
  await fixture.create();
  assertFailed(
    await fixture.invoke(),
    'Runtime.ExitError',
    'Runtime exited with error: exit status 2',
  );
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
});

test('a runtime that never asks for an event is killed after ten seconds', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ ...echo, init: () => never() }),
  });
  await fixture.create();
  const result = await fixture.invoke();
  assertFailed(result, 'Sandbox.Timedout', 'Task timed out after 3.00 seconds');
  assert.equal(result.timelineMs.runtimeReady, 10_000);
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
});

test('a runtime may take as long to initialise as its function may take to answer', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ ...echo, init: () => fixture.time.sleep(25_000).then(() => ({})) }),
  });
  await fixture.create({ timeoutSeconds: 30 });
  assert.deepEqual(parsed(await fixture.invoke({ late: true })), { late: true });
});

test('an instance that exits between invokes is given back at once, and the next invoke is cold', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  await fixture.invoke();
  const [sandbox] = fixture.worker.running;
  sandbox?.exit({ status: 1, outOfMemory: false });
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
  const next = await fixture.invoke({ n: 2 });
  assert.equal(next.coldStart, true);
  assert.deepEqual(parsed(next), { n: 2 });
});

test('invokes at the same time get instances of their own, and the one used last is reused first', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async ({ payload }, { spec }) => {
        await fixture.time.sleep(JSON.parse(Buffer.from(payload).toString()) as number);
        return respond(spec.id);
      },
    }),
  });
  await fixture.create();
  const both = Promise.all([fixture.start(500), fixture.start(900)]);
  const [quick, slow] = await fixture.time.until(both);
  assert.equal(quick.coldStart && slow.coldStart, true);
  assert.notEqual(parsed(quick), parsed(slow));
  const next = await fixture.invoke(1);
  assert.equal(next.coldStart, false);
  assert.equal(parsed(next), parsed(slow));
});

test('an instance that is idle for ten minutes is ended, one that is used is not', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  await fixture.invoke();
  await fixture.time.pass(599_000);
  assert.equal((await fixture.invoke()).coldStart, false);
  await fixture.time.pass(599_000);
  assert.equal(fixture.worker.running.size, 1);
  await fixture.time.pass(2000);
  assertNothingLeft(fixture.worker);
});

test('endIdle() makes the next invoke cold', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  await fixture.invoke();
  await fixture.time.until(fixture.service.endIdle());
  assertNothingLeft(fixture.worker);
  assert.equal((await fixture.invoke()).coldStart, true);
});

test('an invoke beyond the limit of its function is refused and may be tried again', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: () => fixture.time.sleep(100).then(() => respond(1)) }),
    service: { limits: { instancesPerFunctionMax: 2 } },
  });
  await fixture.create();
  const running = [fixture.start(), fixture.start()];
  await assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_THROTTLED'));
  await fixture.time.until(Promise.all(running));
  assert.equal((await fixture.invoke()).coldStart, false);
});

test('a cold start beyond the limit is refused at once, a warm invoke never', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: () => fixture.time.sleep(1000).then(() => respond(1)) }),
    service: { limits: { coldStartsMax: 2, coldStartsPerTenantMax: 2 } },
  });
  for (const name of ['warm', 'one', 'two', 'three']) await fixture.create({ name });
  await fixture.invoke({}, 'warm');
  const running = [fixture.start({}, 'one'), fixture.start({}, 'two')];
  await assert.rejects(fixture.start({}, 'three'), hasCode('ERR_FUNCTION_THROTTLED'));
  assert.equal(fixture.service.startLimits().inFlight, 2);
  const warm = fixture.start({}, 'warm');
  await fixture.time.pass(500);
  assert.equal(fixture.service.startLimits().inFlight, 0, 'both run, neither is starting');
  running.push(fixture.start({}, 'three'));
  const results = await fixture.time.until(Promise.all([...running, warm]));
  assert.deepEqual(
    results.map(({ coldStart }) => coldStart),
    [true, true, true, false],
  );
  const { started, refused } = fixture.service.startLimits();
  assert.deepEqual([started, refused.cold_starts_per_tenant_max], [4, 1]);
});

test('a start that fails or is stopped is in flight no more', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ init: () => never(), handle: () => never() }),
    service: { limits: { coldStartsMax: 1 } },
  });
  await fixture.create();
  fixture.worker.faults.add('acquire');
  await assert.rejects(fixture.invoke(), /Simulated fault/);
  assert.equal(fixture.service.startLimits().inFlight, 0);
  fixture.worker.faults.clear();
  const stopped = assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_STOPPED'));
  await fixture.time.pass(100);
  assert.equal(fixture.service.startLimits().inFlight, 1);
  await fixture.time.until(fixture.service.remove({ tenant: 'default', name: 'hello' }));
  await stopped;
  assert.equal(fixture.service.startLimits().inFlight, 0);
});

test('a root that does not open in time ends the start, and is given back when it comes', async () => {
  await using fixture = await openServiceFixture({
    program: () => echo,
    service: { limits: { initTimeoutMs: 2000, coldStartsMax: 1 } },
  });
  const { worker, time, service } = fixture;
  await fixture.create(); // its timeout is 3 s
  worker.faults.add('stall');
  const failed = assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_START_TIMEOUT'));
  await time.pass(2990);
  assert.equal(service.startLimits().inFlight, 1);
  await time.pass(20);
  await failed;
  assert.equal(service.startLimits().inFlight, 0);
  worker.faults.clear();
  assert.equal((await fixture.invoke({})).coldStart, true, 'its place is free');
  await time.until(service.endIdle());
  await time.pass(stallMs);
  assertNothingLeft(worker);
  assert.deepEqual(fixture.warnings, []);
});

test('remove() does not wait for a root that does not open; it is given back when it comes', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  const { worker, time } = fixture;
  await fixture.create();
  worker.faults.add('stall');
  const stopped = assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_STOPPED'));
  await time.pass(100);
  await fixture.service.remove({ tenant: 'default', name: 'hello' });
  await stopped;
  assert.equal(fixture.service.startLimits().inFlight, 0);
  worker.faults.add('release');
  await time.pass(stallMs);
  assertNothingLeft(worker);
  assert.match(fixture.warnings.join(''), /Cannot give back what came too late for an instance/);
});

test('a full worker ends the instance that is idle longest, and refuses when none is idle', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: () => fixture.time.sleep(100).then(() => respond(1)) }),
    service: { limits: { instancesMax: 2 } },
  });
  for (const name of ['one', 'two', 'three']) await fixture.create({ name });
  await fixture.invoke({}, 'one');
  await fixture.invoke({}, 'two');
  assert.equal((await fixture.invoke({}, 'three')).coldStart, true);
  assert.equal((await fixture.invoke({}, 'two')).coldStart, false, 'two was used after one');
  const running = [fixture.start({}, 'two'), fixture.start({}, 'three')];
  await assert.rejects(fixture.start({}, 'one'), hasCode('ERR_FUNCTION_THROTTLED'));
  await fixture.time.until(Promise.all(running));
  assert.equal(fixture.worker.runningMax, 2);
});

test('remove() ends what runs, gives everything back and deletes the log', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: () => fixture.time.sleep(1000).then(() => respond(1)) }),
  });
  await fixture.create();
  await fixture.invoke();
  const running = assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_STOPPED'));
  await fixture.time.pass(100);
  await fixture.time.until(fixture.service.remove({ tenant: 'default', name: 'hello' }));
  await running;
  assertNothingLeft(fixture.worker);
  await assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_NOT_FOUND'));
  await assert.rejects(
    fixture.service.remove({ tenant: 'default', name: 'hello' }),
    hasCode('ERR_FUNCTION_NOT_FOUND'),
  );
  await fixture.create();
  assert.equal(await fixture.logText(), '', 'a new function of that name has no old log');
});

test('a function that was changed is served by new instances only', async () => {
  await using fixture = await openServiceFixture({
    program: () => ({ handle: async (_, { spec }) => respond(spec.memoryBytes) }),
  });
  await fixture.create({ memoryMb: 128 });
  await fixture.invoke();
  await fixture.service.updateConfiguration(
    { tenant: 'default', name: 'hello' },
    { memoryMb: 256 },
  );
  const result = await fixture.invoke();
  assert.equal(result.coldStart, true);
  assert.equal(parsed(result), 256 * 1024 * 1024);
  await fixture.time.pass(100);
  assert.equal(fixture.worker.running.size, 1);
});

test('close() ends invokes in every phase and leaves nothing', async () => {
  for (const afterMs of [0, 5, 15, 45, 95, 3000]) {
    await using fixture = await openServiceFixture({
      program: () => ({ handle: () => fixture.time.sleep(1000).then(() => respond(1)) }),
    });
    await fixture.create();
    const invoke = fixture.start().then(
      () => 'done',
      (thrown: unknown) => errorCode(thrown),
    );
    await fixture.time.pass(afterMs);
    await fixture.time.until(fixture.service.close());
    assertNothingLeft(fixture.worker);
    assert.equal(await invoke, afterMs < 3000 ? 'ERR_FUNCTION_STOPPED' : 'done');
    await assert.rejects(fixture.start(), hasCode('ERR_FUNCTION_STOPPED'));
  }
});

test('a start that fails is thrown and gives back what it had', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  for (const fault of ['acquire', 'create'] as const) {
    fixture.worker.faults.add(fault);
    await assert.rejects(fixture.invoke(), { message: `Simulated fault: ${fault}` });
    fixture.worker.faults.clear();
    await fixture.time.pass(100);
    assertNothingLeft(fixture.worker);
  }
  assert.deepEqual(parsed(await fixture.invoke({ n: 1 })), { n: 1 });
});

test('an image that cannot be described is thrown and given back', async () => {
  await using fixture = await openServiceFixture({
    program: () => echo,
    service: { imageDocument: () => Promise.reject(new Error('no such key')) },
  });
  await fixture.catalog.addFunction(
    functionRecord({ manifestId: manifestIds[0] }),
    functionSettings(),
  );
  await assert.rejects(fixture.invoke(), { message: 'no such key' });
  await fixture.time.pass(100);
  assertNothingLeft(fixture.worker);
});

test('what goes wrong in taking an instance apart changes no result and is logged', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  await fixture.invoke();
  fixture.worker.faults.add('dispose').add('release').add('counters');
  const warm = await fixture.invoke({ n: 2 });
  assert.deepEqual(parsed(warm), { n: 2 });
  assert.equal(warm.reads?.chunks, 0);
  await fixture.time.until(fixture.service.close());
  assertNothingLeft(fixture.worker);
  assert.match(fixture.warnings.join(''), /Cannot take apart an instance/);
  assert.match(fixture.warnings.join(''), /Cannot count what an invoke reads/);
});

test("the log has Lambda's lines around the whole lines of what the function prints", async () => {
  await using fixture = await openServiceFixture({
    program: () => ({
      handle: async (invocation, control) => {
        control.print('one\ntw');
        await fixture.time.sleep(10);
        control.print('o\nunfinished');
        return { kind: 'response', payload: invocation.payload };
      },
    }),
  });
  await fixture.create();
  const { requestId: id } = await fixture.invoke();
  const { requestId: second } = await fixture.invoke();
  assert.deepEqual((await fixture.logText()).split('\n'), [
    `START RequestId: ${id} Version: $LATEST`,
    'one',
    'two',
    'unfinished',
    `END RequestId: ${id}`,
    `REPORT RequestId: ${id}\tDuration: 10.00 ms\tBilled Duration: 90 ms\tMemory Size: 1769 MB\tMax Memory Used: 34 MB\tInit Duration: 80.00 ms`,
    `START RequestId: ${second} Version: $LATEST`,
    'one',
    'two',
    'unfinished',
    `END RequestId: ${second}`,
    `REPORT RequestId: ${second}\tDuration: 10.00 ms\tBilled Duration: 10 ms\tMemory Size: 1769 MB\tMax Memory Used: 34 MB`,
    '',
  ]);
});

test('the log says when a task timed out', async () => {
  await using fixture = await openServiceFixture({ program: () => ({ handle: () => never() }) });
  await fixture.create();
  const { requestId } = await fixture.invoke();
  const text = await fixture.logText();
  assert.match(text, new RegExp(`Z ${requestId} Task timed out after 3\\.00 seconds\nEND`));
  assert.match(text, /\tDuration: 3000\.00 ms\t.*\tStatus: timeout\n$/);
});

test('create() refuses an image with nothing to run, unless it is told what', async () => {
  await using fixture = await openServiceFixture({
    program: () => echo,
    document: { entrypoint: [], cmd: [] },
  });
  await assert.rejects(fixture.create(), hasCode('ERR_FUNCTION_NO_COMMAND'));
  assert.deepEqual((await fixture.service.list('default', { itemsMax: 10 })).items, []);
  await fixture.create({ imageConfig: { command: ['/bin/app'] } });
  await fixture.invoke();
  const [sandbox] = fixture.worker.running;
  assert.deepEqual(sandbox?.spec.args, ['/bin/app']);
});

test('create() refuses a name that is taken and an image that is not there', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  await assert.rejects(fixture.create(), hasCode('ERR_CATALOG_FUNCTION_EXISTS'));
  await assert.rejects(
    fixture.create({ name: 'b', manifestId: 'c'.repeat(64) }),
    hasCode('ERR_FUNCTION_BAD_CODE'),
  );
});

test('invoke() refuses a payload that is no JSON before anything starts', async () => {
  await using fixture = await openServiceFixture({ program: () => echo });
  await fixture.create();
  const invoke = (payload: Uint8Array) =>
    fixture.service.invoke({ tenant: 'default', name: 'hello', payload });
  await assert.rejects(invoke(Buffer.from('{')), hasCode('ERR_FUNCTION_BAD_PAYLOAD'));
  const tooLarge = Buffer.alloc(6 * 1024 * 1024 + 1, ' ');
  await assert.rejects(invoke(tooLarge), hasCode('ERR_FUNCTION_PAYLOAD_TOO_LARGE'));
  assert.equal(fixture.worker.sandboxesMade, 0);
});
