import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { InvocationBrokenError } from '../errors.ts';
import { createSandboxFactory } from '../factory.ts';
import { nodeRuntimeBootstrapPath } from './node-runtime.ts';
import { probeSandboxRuntimes } from '../launchers/probe.ts';
import { RuntimeApiServer } from './runtime-api.ts';
import type { Invocation, InvocationOutcome } from './runtime-api-contract.ts';
import { buildTestRoot, cannotRunSandboxes, hungMs, nodeInRoot } from '../testing/test-root.ts';

interface Served extends AsyncDisposable {
  readonly api: RuntimeApiServer;
  readonly process: ChildProcess;
  readonly stderr: () => string;
  /** The outcome, its payload parsed. */
  invoke(event?: unknown, more?: Partial<Invocation>): Promise<Answer>;
}

interface Answer {
  readonly kind: 'response' | 'error';
  readonly errorType?: string;
  readonly value: unknown;
}

function answerOf(outcome: InvocationOutcome): Answer {
  assert(outcome.kind !== 'stream');
  const value: unknown = JSON.parse(Buffer.from(outcome.payload).toString());
  return { ...outcome, value };
}

/** A Node from before 24, whose handlers may have callbacks; undefined where this machine has none. */
const olderNode = ['/usr/bin/node', '/usr/local/bin/node'].find((program) => {
  if (!existsSync(program)) return false;
  const version = execFileSync(program, ['--version'], { encoding: 'utf8' });
  return Number(version.slice(1).split('.')[0]) < 24;
});
const skipOlder = olderNode === undefined && 'is for a Node before 24, where there is one at hand';

/** The bootstrap with a function of the given files, run outside of any sandbox, by this Node if by no other. */
async function serve(
  handler: string,
  files: Readonly<Record<string, string>>,
  node = process.execPath,
): Promise<Served> {
  const taskRoot = await mkdtemp(join(tmpdir(), 'thaw-handler-'));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(taskRoot, name)), { recursive: true });
    await writeFile(join(taskRoot, name), text);
  }
  const api = new RuntimeApiServer('handler');
  const port = await api.listen({ port: 0 });
  const child = spawn(node, [nodeRuntimeBootstrapPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      AWS_LAMBDA_FUNCTION_NAME: 'my-function',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      LAMBDA_TASK_ROOT: taskRoot,
      _HANDLER: handler,
    },
  });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  return {
    api,
    process: child,
    stderr: () => stderr,
    invoke: async (event = null, more = {}) => {
      const payload = Buffer.from(JSON.stringify(event));
      const plain = {
        requestId: 'request',
        payload,
        deadlineMs: Date.now() + hungMs,
        functionArn: 'arn',
      };
      return answerOf(await api.invoke({ ...plain, ...more }, AbortSignal.timeout(hungMs)));
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await api.close();
      await rm(taskRoot, { recursive: true });
    },
  };
}

async function answer(
  handler: string,
  files: Readonly<Record<string, string>>,
  event?: unknown,
  node?: string,
): Promise<Answer> {
  await using served = await serve(handler, files, node);
  return await served.invoke(event);
}

const byReturn: Record<string, string> = {
  promise: 'async (event) => ({ got: event })',
  thenable: '(event) => ({ then: (resolve) => resolve({ got: event }) })',
  value: '(event) => ({ got: event })',
};
const byCallback: Record<string, string> = {
  callback: '(event, context, callback) => { setTimeout(() => callback(null, { got: event }), 5) }',
  atOnce: '(event, context, callback) => { callback(null, { got: event }) }',
  succeed: '(event, context) => { context.succeed({ got: event }) }',
  done: '(event, context) => { setTimeout(() => context.done(null, { got: event }), 5) }',
};

async function checkStyles(styles: Record<string, string>, node?: string): Promise<void> {
  const exports = Object.entries(styles).map(([name, body]) => `exports.${name} = ${body};`);
  const files = { 'index.js': exports.join('\n') };
  for (const name of Object.keys(styles)) {
    const got = await answer(`index.${name}`, files, { a: 'ü' }, node);
    assert.deepEqual([name, got.value], [name, { got: { a: 'ü' } }]);
  }
}

test('handlers answer by a promise or a value', async () => {
  await checkStyles(byReturn);
});

test(
  'handlers of a Node before 24 answer by callback and through the context, too',
  { skip: skipOlder },
  async () => {
    await checkStyles({ ...byReturn, ...byCallback }, olderNode);
  },
);

test('handlers with a callback are refused at start from Node 24 on, as in Lambda', async () => {
  await using served = await serve('index.callback', {
    'index.js': `exports.callback = ${byCallback['callback']};`,
  });
  const { initError } = await served.api.ready;
  assert.equal(initError?.errorType, 'Runtime.CallbackHandlerDeprecated');
});

test('handlers are found in CommonJS and ES modules, nested files and nested exports', async () => {
  const esm = 'export const handler = async () => import.meta.url.slice(0, 4);';
  const common =
    'exports.handler = async () => typeof require; exports.a = { b: exports.handler };';
  const cases: [handler: string, files: Record<string, string>, value: unknown][] = [
    ['index.handler', { 'index.mjs': esm }, 'file'],
    ['index.handler', { 'index.cjs': common }, 'function'],
    ['index.handler', { 'index.js': common }, 'function'],
    ['index.handler', { 'index.js': common, 'package.json': '{"type":"commonjs"}' }, 'function'],
    ['index.handler', { 'index.js': esm, 'package.json': '{"type":"module"}' }, 'file'],
    ['index.handler', { 'index.js': esm }, 'file'], // told by its syntax
    ['index.handler', { 'index.mjs': `await null; ${esm}` }, 'file'],
    ['src/app/main.a.b', { 'src/app/main.js': common }, 'function'],
    ['program.handler', { program: common }, 'function'],
    ['index.handler', { 'index.mjs': 'export default { handler: async () => 7 };' }, 7],
    ['pkg/lib.handler', { 'node_modules/pkg/lib.js': common }, 'function'],
  ];
  for (const [handler, files, value] of cases) {
    assert.deepEqual((await answer(handler, files)).value, value, JSON.stringify(files));
  }
});

test('the context says what Lambda says', async () => {
  await using served = await serve('index.handler', {
    'index.js': `exports.handler = async (event, context) => ({
      ...context, remaining: context.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID });`,
  });
  const first = await served.invoke(null, {
    requestId: 'r-1',
    functionArn: 'arn:one',
    traceId: 'Root=1',
    clientContext: '{"client":{"installation_id":"ä"}}',
    cognitoIdentity: '{"cognitoIdentityId":"x"}',
  });
  const { remaining, ...context } = first.value as Record<string, unknown>;
  assert(typeof remaining === 'number' && remaining > 0 && remaining <= hungMs);
  assert.deepEqual(context, {
    awsRequestId: 'r-1',
    invokedFunctionArn: 'arn:one',
    functionName: 'my-function',
    memoryLimitInMB: '128',
    clientContext: { client: { installation_id: 'ä' } },
    identity: { cognitoIdentityId: 'x' },
    trace: 'Root=1',
  });
  const second = await served.invoke(null, { requestId: 'r-2' });
  const value = second.value as Record<string, unknown>;
  assert.deepEqual(
    [value['awsRequestId'], value['trace'], value['identity']],
    ['r-2', undefined, undefined],
  );
});

test('results: undefined is null, and what JSON cannot hold is Runtime.MarshalError', async () => {
  const files = (body: string): Record<string, string> => ({
    'index.js': `exports.handler = ${body};`,
  });
  assert.deepEqual((await answer('index.handler', files('async () => {}'))).value, null);
  assert.deepEqual((await answer('index.handler', files('() => {}'))).value, null);
  const cyclic = await answer(
    'index.handler',
    files('async () => { const a = {}; a.a = a; return a; }'),
  );
  assert.equal(cyclic.errorType, 'Runtime.MarshalError');
  assert.equal(
    (await answer('index.handler', files('async () => 1n'))).errorType,
    'Runtime.MarshalError',
  );
});

test(
  'a callback answers when the event loop is empty, or at once where the context says so',
  { skip: skipOlder },
  async () => {
    const handler = (waits: boolean): Record<string, string> => ({
      'index.js': `let late = false;
      exports.handler = (event, context, callback) => {
        context.callbackWaitsForEmptyEventLoop = ${waits};
        const timer = setTimeout(() => { late = true; }, 100);
        callback(null, { get late() { return late; } });
      };`,
    });
    assert.deepEqual((await answer('index.handler', handler(true), undefined, olderNode)).value, {
      late: true,
    });
    assert.deepEqual((await answer('index.handler', handler(false), undefined, olderNode)).value, {
      late: false,
    });
  },
);

test('an error of the handler is told with type, message and trace, and the next invocation is served', async () => {
  await using served = await serve('index.handler', {
    'index.js': `class Odd extends Error { name = 'Odd' }
      exports.handler = async (event) => { if (event === 'ok') return 1; if (event === 'text') throw 'text'; throw new Odd('so') };`,
  });
  const odd = await served.invoke('odd');
  const { errorType, errorMessage, trace } = odd.value as Record<string, unknown>;
  assert.deepEqual([odd.errorType, errorType, errorMessage], ['Odd', 'Odd', 'so']);
  assert(Array.isArray(trace) && String(trace[1]).includes('index.js'));
  const text = await served.invoke('text');
  assert.deepEqual(text.value, { errorType: 'string', errorMessage: 'text', trace: [] });
  assert.deepEqual((await served.invoke('ok')).value, 1);
  assert.match(served.stderr(), /"errorType":"Odd"/);
});

test('a handler whose promise is never settled is Runtime.NodeJsExit, and the next invocation is served', async () => {
  for (const node of [process.execPath, ...(olderNode === undefined ? [] : [olderNode])]) {
    const files = {
      'index.js':
        'exports.handler = async (event) => { if (event === 1) return 1; await new Promise(() => {}); };',
    };
    await using served = await serve('index.handler', files, node);
    assert.equal((await served.invoke()).errorType, 'Runtime.NodeJsExit');
    assert.equal((await served.invoke(1)).value, 1);
  }
});

/** What a streaming handler wrote, with what its caller is told: one that takes streams, or one that does not. */
async function streamOf(
  body: string,
  streams = true,
): Promise<{ outcome: InvocationOutcome; text: string; error?: string }> {
  await using served = await serve('index.handler', {
    'index.mjs': `import { pipeline } from 'node:stream/promises';
      import { Readable } from 'node:stream';
      export const handler = awslambda.streamifyResponse(${body});`,
  });
  const invocation = {
    requestId: 'r',
    payload: Buffer.from('"event"'),
    deadlineMs: 1,
    functionArn: 'arn',
  };
  const signal = AbortSignal.timeout(hungMs);
  const outcome = await served.api.invoke({ ...invocation, streams }, signal);
  if (outcome.kind !== 'stream') return { outcome, text: Buffer.from(outcome.payload).toString() };
  const parts: Buffer[] = [];
  try {
    for await (const part of outcome.body as AsyncIterable<Buffer>) parts.push(part);
    return { outcome, text: Buffer.concat(parts).toString() };
  } catch (thrown) {
    assert(thrown instanceof InvocationBrokenError);
    return { outcome, text: Buffer.concat(parts).toString(), error: thrown.failure.errorType };
  }
}

test('a streaming handler writes to its caller as it goes', async () => {
  const { outcome, text } = await streamOf(`async (event, stream, context) => {
    stream.setContentType('text/plain');
    stream.write(event);
    stream.write({ id: context.awsRequestId });
    await pipeline(Readable.from(['a', 'b']), stream);
  }`);
  assert(outcome.kind === 'stream');
  assert.equal(outcome.contentType, 'text/plain');
  assert.equal(text, 'event{"id":"r"}ab');
});

test('a streaming handler may end its stream later, or write nothing', async () => {
  const later = `async (event, stream) => { setTimeout(() => stream.end('late'), 20); }`;
  assert.equal((await streamOf(later)).text, 'late');
  assert.equal((await streamOf('async (event, stream) => { stream.end(); }')).text, '');
});

test('HttpResponseStream puts a head before the body', async () => {
  const { outcome, text } = await streamOf(`async (event, stream) => {
    const http = awslambda.HttpResponseStream.from(stream, { statusCode: 201, cookies: ['a=b'] });
    http.write('body');
    http.end();
  }`);
  assert(outcome.kind === 'stream');
  assert.equal(outcome.contentType, 'application/vnd.awslambda.http-integration-response');
  assert.equal(text, `{"statusCode":201,"cookies":["a=b"]}${'\0'.repeat(8)}body`);
});

test('an error of a streaming handler is told after what it wrote, or at once where that is nothing', async () => {
  const half = await streamOf(
    `async (event, stream) => { stream.write('half'); throw new RangeError('no'); }`,
  );
  assert.deepEqual([half.text, half.error], ['half', 'RangeError']);
  const none = await streamOf('async () => { throw new RangeError("no"); }');
  assert(none.outcome.kind === 'error');
  assert.equal(none.outcome.errorType, 'RangeError');
  const piped = await streamOf(`async (event, stream) => {
    const source = async function* () { yield 'half'; await new Promise(setImmediate); throw new RangeError('no'); };
    pipeline(Readable.from(source()), stream).catch(() => {});
  }`);
  assert.deepEqual([piped.text, piped.error], ['half', 'RangeError']);
  const forgotten = await streamOf('async () => {}');
  assert.match(forgotten.text, /Response stream is not finished/);
  const sync = await streamOf('() => {}');
  assert.match(sync.text, /does not support non-async handlers/);
});

test('a stream is gathered for a caller that takes none', async () => {
  const { outcome, text } = await streamOf(
    `async (event, stream) => { stream.end('all'); }`,
    false,
  );
  assert.deepEqual([outcome.kind, text], ['response', 'all']);
  const error = await streamOf(
    `async (event, stream) => { stream.write('a'); throw new RangeError('no'); }`,
    false,
  );
  assert(error.outcome.kind === 'error');
  assert.equal(error.outcome.errorType, 'RangeError');
});

test('errors that nobody catches answer the invocation and end the process as in Lambda', async () => {
  const cases: [body: string, errorType: string, status: number][] = [
    ['Promise.reject(new Error("lost"))', 'Runtime.UnhandledPromiseRejection', 128],
    ['setTimeout(() => { throw new TypeError("thrown") }, 1)', 'TypeError', 129],
  ];
  for (const [body, errorType, status] of cases) {
    await using served = await serve('index.handler', {
      'index.js': `exports.handler = () => new Promise(() => { ${body}; setInterval(() => {}, 1000) });`,
    });
    const exited = new Promise((resolve) => served.process.once('exit', resolve));
    assert.equal((await served.invoke()).errorType, errorType);
    assert.equal(await exited, status);
  }
});

test("what goes wrong at start is an initialisation error with Lambda's type", async () => {
  const cases: [handler: string, source: string, errorType: string][] = [
    ['missing.handler', '', 'Runtime.ImportModuleError'],
    ['index.handler', 'require("no-such-package")', 'Runtime.ImportModuleError'],
    ['index.handler', 'exports.other = 1', 'Runtime.HandlerNotFound'],
    ['index.handler', 'exports.handler = 1', 'Runtime.HandlerNotFound'],
    ['index.handler', 'exports.handler = (', 'Runtime.UserCodeSyntaxError'],
    ['index.handler', 'throw new RangeError("at start")', 'RangeError'],
    ['index', '', 'Runtime.MalformedHandlerName'],
    ['../index.handler', '', 'Runtime.MalformedHandlerName'],
  ];
  for (const [handler, source, errorType] of cases) {
    await using served = await serve(handler, { 'index.js': source });
    const exited = new Promise((resolve) => served.process.once('exit', resolve));
    const { initError } = await served.api.ready;
    assert(initError?.kind === 'error');
    assert.equal(initError.errorType, errorType, source);
    assert.equal(await exited, 1);
  }
});

const usable =
  cannotRunSandboxes === false
    ? (await probeSandboxRuntimes()).filter((probe) => probe.usable)
    : [];

for (const { runtime } of usable) {
  test(`the bootstrap serves a handler in a sandbox of ${runtime}, cold and warm`, async () => {
    await using root = await buildTestRoot({
      node: true,
      files: {
        '/var/task/index.mjs':
          'let count = 0; export const handler = async (event) => ({ event, count: ++count });',
      },
      copies: { '/var/runtime/bootstrap.mjs': nodeRuntimeBootstrapPath },
    });
    const stateDir = await mkdtemp(join(tmpdir(), 'thaw-node-'));
    const factory = await createSandboxFactory({ stateDir, runtime });
    let log = '';
    await using sandbox = await factory.create(
      {
        id: 'node',
        rootPath: root.path,
        args: [nodeInRoot, '/var/runtime/bootstrap.mjs'],
        env: { _HANDLER: 'index.handler' },
        workingDir: '/var/task',
        user: '1000',
        memoryBytes: 256 * 1024 * 1024,
        tmpSizeBytes: 1024 * 1024,
        cpus: 2,
      },
      (data) => (log += Buffer.from(data).toString()),
    );
    const ended = sandbox.exited.then((exit) => assert.fail(`${JSON.stringify(exit)} ${log}`));
    ended.catch(() => {}); // it ends when all is done, too
    assert.deepEqual(await Promise.race([sandbox.runtimeApi.ready, ended]), {});
    for (const count of [1, 2, 3]) {
      const invocation = {
        requestId: `r${count}`,
        payload: Buffer.from('"e"'),
        deadlineMs: 1,
        functionArn: 'arn',
      };
      const outcome = await sandbox.runtimeApi.invoke(invocation, AbortSignal.timeout(hungMs));
      assert.deepEqual(answerOf(outcome).value, { event: 'e', count });
    }
    await sandbox[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  });
}
