/** External extensions in real sandboxes: small programs for Node, and a runtime that is one, too. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createSandboxFactory } from './factory.ts';
import { probeSandboxRuntimes } from './launchers/probe.ts';
import type { Invocation, ShutDownReason } from './runtime-api/runtime-api-contract.ts';
import type { Sandbox, SandboxFactory, SandboxSpec } from './sandbox.ts';
import {
  buildTestRoot,
  cannotRunSandboxes,
  nodeInRoot,
  type TestRoot,
} from './testing/test-root.ts';

/** Says what happens to it; what `FAULT` names happens when its time has come. */
const extension = `#!${nodeInRoot}
const name = require('node:path').basename(process.argv[1]);
const api = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2020-01-01/extension';
const fault = (process.env.FAULT ?? '').split(' ');
const say = (...words) => console.log(String(process.hrtime.bigint()), name, ...words);
process.on('SIGTERM', () => {});
if (fault[0] === name && fault[1] === 'idle') {
  setInterval(() => require('node:fs').existsSync('/tmp/go') && process.exit(5), 20);
}
const main = async () => {
  say('starts', process.cwd(), process.env._HANDLER, process.env.LAMBDA_TASK_ROOT);
  const { headers } = await fetch(api + '/register', {
    method: 'POST', headers: { 'Lambda-Extension-Name': name },
    body: JSON.stringify({ events: ['INVOKE', 'SHUTDOWN'] }),
  });
  const own = { 'Lambda-Extension-Identifier': headers.get('lambda-extension-identifier') };
  if (fault[0] === name && fault[1] === 'init') process.exit(3);
  for (;;) {
    const event = await (await fetch(api + '/event/next', { headers: own })).json();
    say(event.eventType, event.requestId ?? event.shutdownReason);
    if (event.eventType === 'SHUTDOWN' && !(fault[0] === name && fault[1] === 'stay')) process.exit(0);
    if (fault[0] === name && fault[1] === 'invoke') process.exit(4);
  }
};
main();
`;

const runtimeProgram = `
const api = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2018-06-01/runtime';
const say = (...words) => console.log(String(process.hrtime.bigint()), 'runtime', ...words);
say('starts', process.env._HANDLER);
process.on('SIGTERM', () => { say('SIGTERM'); process.exit(0); });
const main = async () => {
  for (;;) {
    const { headers } = await fetch(api + '/invocation/next');
    const id = headers.get('lambda-runtime-aws-request-id');
    if (process.env.EXIT) process.exit(Number(process.env.EXIT));
    await fetch(api + '/invocation/' + id + '/response', { method: 'POST', body: '"' + id + '"' });
  }
};
main();
`;

const never = new AbortController().signal;
const invocation: Invocation = {
  requestId: 'r-1',
  payload: Buffer.from('{}'),
  deadlineMs: 1,
  functionArn: 'arn',
};

const runtimes =
  cannotRunSandboxes === false
    ? (await probeSandboxRuntimes()).filter(({ usable }) => usable).map(({ runtime }) => runtime)
    : [];
const skip = cannotRunSandboxes;

interface Started {
  readonly sandbox: Sandbox;
  readonly output: () => string;
}

/** Lines of several processes by the time that each begins with, without it. */
function inOrder(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines
    .toSorted()
    .map((line) => `${line.slice(line.indexOf(' ') + 1)}\n`)
    .join('');
}

function specOf(rootPath: string): SandboxSpec {
  return {
    id: `extended-${process.pid}`,
    rootPath,
    args: [nodeInRoot, '/var/task/runtime.js'],
    env: { _HANDLER: 'h', LAMBDA_TASK_ROOT: '/var/task' },
    workingDir: '/var/task',
    user: 'app',
    memoryBytes: 512 * 1024 * 1024,
    tmpSizeBytes: 1024 * 1024,
    cpus: 2,
  };
}

for (const runtime of runtimes) {
  let root: TestRoot;
  let factory: SandboxFactory;
  let stateDir: string;
  before(async () => {
    stateDir = await mkdtemp(join(tmpdir(), 'thaw-extended-'));
    const shutDownMs = 20_000; // this machine may be busy
    factory = await createSandboxFactory({ stateDir, runtime, shutDownMs });
    root = await buildTestRoot({
      node: true,
      files: {
        '/opt/extensions/alpha': extension,
        '/opt/extensions/beta': extension,
        '/opt/extensions/directory/gamma': 'is left alone',
        '/var/task/runtime.js': runtimeProgram,
      },
    });
  });
  after(async () => {
    await root[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  });
  let count = 0;
  const start = async (
    env: SandboxSpec['env'] = {},
    more: Partial<SandboxSpec> = {},
    by = factory,
  ): Promise<Started> => {
    let text = '';
    count += 1;
    const id = `extended-${process.pid}-${runtime}-${count}`;
    const base = specOf(root.path);
    const spec = { ...base, id, env: { ...base.env, ...env }, ...more };
    const sandbox = await by.create(spec, (data) => (text += Buffer.from(data).toString()));
    return { sandbox, output: () => inOrder(text) };
  };
  const endOf = async ({ sandbox, output }: Started, reason: ShutDownReason): Promise<string> => {
    await sandbox.shutDown(reason);
    await sandbox[Symbol.asyncDispose]();
    await sandbox.exited;
    return output();
  };

  test(`extensions start before the runtime, hear of each invocation and of the end (${runtime})`, async () => {
    const started = await start();
    const { runtimeApi } = started.sandbox;
    assert.deepEqual(await runtimeApi.ready, {});
    for (const requestId of ['r-1', 'r-2']) {
      assert.equal((await runtimeApi.invoke({ ...invocation, requestId }, never)).kind, 'response');
      await runtimeApi.settled();
    }
    const lines = (await endOf(started, 'spindown')).trim().split('\n');
    const at = (line: string): number => lines.indexOf(line);
    for (const name of ['alpha', 'beta']) {
      assert(at(`${name} starts / undefined undefined`) >= 0, lines.join('\n'));
      assert(at(`${name} starts / undefined undefined`) < at('runtime starts h'));
      assert(at(`${name} INVOKE r-1`) < at(`${name} INVOKE r-2`));
      assert(at('runtime SIGTERM') < at(`${name} SHUTDOWN spindown`), lines.join('\n'));
    }
    assert(at('beta SHUTDOWN spindown') < at('alpha SHUTDOWN spindown')); // the end of alpha is the end of all
  });

  // What follows is the same code for every runtime, and takes its time.
  if (runtime !== runtimes[0]) continue;

  for (const name of ['alpha', 'beta']) {
    test(`an extension that ends fails what is under way with Extension.Crash (${name}, ${runtime})`, async () => {
      const init = await start({ FAULT: `${name} init` });
      const { initError } = await init.sandbox.runtimeApi.ready;
      assert.equal(initError?.errorType, 'Extension.Crash');
      assert.match(Buffer.from(initError.payload).toString(), /exited with error: exit status 3/);
      await init.sandbox[Symbol.asyncDispose]();
      const invoke = await start({ FAULT: `${name} invoke` });
      await invoke.sandbox.runtimeApi.ready;
      await invoke.sandbox.runtimeApi.invoke(invocation, never);
      await invoke.sandbox.runtimeApi.settled();
      const outcome = await invoke.sandbox.runtimeApi.invoke(invocation, never);
      assert(outcome.kind === 'error');
      assert.deepEqual([outcome.errorType, outcome.fatal], ['Extension.Crash', true]);
      await invoke.sandbox[Symbol.asyncDispose]();
    });
  }

  test(`an extension that ends while nothing is under way ends the sandbox (${runtime})`, async () => {
    const { sandbox } = await start({ FAULT: 'beta idle' });
    await sandbox.runtimeApi.ready;
    await sandbox.runtimeApi.invoke(invocation, never);
    await sandbox.spawn({ args: ['/bin/touch', '/tmp/go'], env: {} });
    await sandbox.exited;
    await sandbox[Symbol.asyncDispose]();
  });

  test(`the runtime's end is the sandbox's, and extensions can still be told of it (${runtime})`, async () => {
    const started = await start({ EXIT: '7' });
    await started.sandbox.runtimeApi.ready;
    const abort = new AbortController();
    const outcome = started.sandbox.runtimeApi.invoke(invocation, abort.signal);
    const rejected = assert.rejects(outcome, /over/);
    assert.deepEqual(await started.sandbox.exited, { status: 7, outOfMemory: false });
    abort.abort(new Error('over'));
    await rejected;
    await started.sandbox.shutDown('failure');
    await started.sandbox[Symbol.asyncDispose]();
    assert.match(started.output(), /beta SHUTDOWN failure\n(.*\n)*alpha SHUTDOWN failure\n/);
  });

  test(`an extension that does not end is killed (${runtime})`, async () => {
    const impatient = await createSandboxFactory({ stateDir, runtime, shutDownMs: 1000 });
    const started = await start({ FAULT: 'alpha stay' }, {}, impatient);
    await started.sandbox.runtimeApi.ready;
    await endOf(started, 'timeout');
    assert.equal((await started.sandbox.exited).outOfMemory, false);
  });

  test(`extensions are left alone where nobody wants them (${runtime})`, async () => {
    const started = await start({}, { startsExtensions: false });
    await started.sandbox.runtimeApi.ready;
    assert.equal(await endOf(started, 'spindown'), 'runtime starts h\n');
  });
}

test(
  'a file in /opt/extensions that cannot be run is ERR_SANDBOX_EXTENSION',
  { skip },
  async () => {
    await using root = await buildTestRoot({
      copies: { '/opt/extensions/unexecutable': fileURLToPath(import.meta.url) },
    });
    const stateDir = await mkdtemp(join(tmpdir(), 'thaw-extended-'));
    const factory = await createSandboxFactory({ stateDir });
    const spec = { ...specOf(root.path), args: ['/bin/true'], workingDir: '/' };
    await assert.rejects(
      factory.create(spec, () => {}),
      { code: 'ERR_SANDBOX_EXTENSION' },
    );
    await rm(stateDir, { recursive: true });
  },
);
