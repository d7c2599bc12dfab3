import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Invocation } from './runtime-api-contract.ts';
import { RuntimeApiServer, type RuntimeApiServerOptions } from './runtime-api.ts';

const never = new AbortController().signal;
const invocation: Invocation = {
  requestId: '3da1f2dc-3222-475e-9205-e2e6c6318895',
  payload: Buffer.from('{}'),
  deadlineMs: 676_051.5,
  functionArn: 'arn:aws:lambda:us-east-1:123456789012:function:ExtensionTest',
  traceId: 'Root=1-5f35ae12-0c0fec141ab77a00bc047aa2;Parent=2be948a625588e32;Sampled=1',
};

interface Api extends AsyncDisposable {
  readonly api: RuntimeApiServer;
  /** A request as of an extension. */
  readonly call: (
    method: string,
    path: string,
    headers?: Record<string, string>,
    body?: string,
  ) => Promise<Response>;
  /** Registers and gives the identifier. */
  register(name: string, events: readonly string[]): Promise<string>;
  next(id: string, signal?: AbortSignal): Promise<Response>;
  runtimeNext(): Promise<Response>;
  respond(): Promise<Response>;
}

async function startApi(options: RuntimeApiServerOptions = {}): Promise<Api> {
  const api = new RuntimeApiServer('test', {
    info: {
      functionName: 'f',
      functionVersion: '$LATEST',
      handler: 'index.handler',
      accountId: '123456789012',
    },
    ...options,
  });
  const url = `http://127.0.0.1:${await api.listen({ port: 0 })}`;
  const call: Api['call'] = (method, path, headers = {}, body = '') =>
    fetch(`${url}/2020-01-01/extension${path}`, {
      method,
      headers,
      ...(method === 'POST' ? { body } : {}),
    });
  const runtime = `${url}/2018-06-01/runtime/invocation`;
  return {
    api,
    call,
    register: async (name, events) => {
      const response = await registration(call, name, events);
      assert.equal(response.status, 200, await response.text());
      return response.headers.get('lambda-extension-identifier') ?? '';
    },
    next: (id, signal = never) =>
      fetch(`${url}/2020-01-01/extension/event/next`, {
        headers: { 'Lambda-Extension-Identifier': id },
        signal,
      }),
    runtimeNext: () => fetch(`${runtime}/next`),
    respond: () =>
      fetch(`${runtime}/${invocation.requestId}/response`, { method: 'POST', body: '1' }),
    [Symbol.asyncDispose]: () => api.close(),
  };
}

function registration(
  call: Api['call'],
  name: string,
  events: readonly string[],
  more = {},
): Promise<Response> {
  return call(
    'POST',
    '/register',
    { 'Lambda-Extension-Name': name, ...more },
    JSON.stringify({ events }),
  );
}

async function refused(answer: Promise<Response>, status: number, type: string): Promise<void> {
  const response = await answer;
  const { errorType } = (await response.json()) as { errorType: string };
  assert.deepEqual([response.status, errorType], [status, type]);
}

test('an extension registers and is told of the function, of the account where it asks', async () => {
  await using api = await startApi({ extensions: ['outer'] });
  const plain = await registration(api.call, 'inner', ['INVOKE']);
  assert.match(plain.headers.get('lambda-extension-identifier') ?? '', /^[0-9a-f-]{36}$/);
  const info = { functionName: 'f', functionVersion: '$LATEST', handler: 'index.handler' };
  assert.deepEqual(await plain.json(), info);
  const feature = { 'Lambda-Extension-Accept-Feature': 'other, accountId' };
  const asked = await registration(api.call, 'outer', ['INVOKE', 'SHUTDOWN'], feature);
  assert.deepEqual(await asked.json(), { accountId: '123456789012', ...info });
});

test('initialisation is over when the runtime and every extension wait', async () => {
  await using api = await startApi({ extensions: ['outer'] });
  let isReady = false;
  const ready = api.api.ready.then((result) => {
    isReady = true;
    return result;
  });
  const outer = await api.register('outer', []);
  await api.api.externalRegistered();
  const inner = await api.register('inner', ['INVOKE']);
  const polls = [api.runtimeNext(), api.next(outer)];
  await refused(registration(api.call, 'late', []), 403, 'Extension.RegistrationClosed');
  assert.equal(isReady, false);
  polls.push(api.next(inner));
  assert.deepEqual(await ready, {});
  await api.api.close();
  await Promise.allSettled(polls);
});

test('an invocation is announced to those who want it, and over when all wait again', async () => {
  await using api = await startApi({ extensions: ['outer'] });
  const outer = await api.register('outer', ['INVOKE']);
  const silent = await api.register('silent', []);
  const polls = [api.next(silent)];
  const [asked, told] = [api.runtimeNext(), api.next(outer)];
  await api.api.ready;
  const outcome = api.api.invoke(invocation, never);
  const event = await told;
  assert.match(event.headers.get('lambda-extension-event-identifier') ?? '', /^[0-9a-f-]{36}$/);
  assert.deepEqual(await event.json(), {
    eventType: 'INVOKE',
    deadlineMs: 676_051,
    requestId: invocation.requestId,
    invokedFunctionArn: invocation.functionArn,
    tracing: { type: 'X-Amzn-Trace-Id', value: invocation.traceId },
  });
  await asked;
  await api.respond();
  assert.equal((await outcome).kind, 'response');
  let isSettled = false;
  const settled = api.api.settled().then(() => (isSettled = true));
  polls.push(api.runtimeNext());
  await refused(api.next(silent), 403, 'Extension.InvalidExtensionState'); // it waits already
  assert.equal(isSettled, false);
  polls.push(api.next(outer));
  await settled;
  await api.api.close();
  await Promise.allSettled(polls);
});

test('the end is announced to the external extensions that want it and are named', async () => {
  await using api = await startApi({ extensions: ['first', 'second', 'deaf'] });
  const polls: Promise<Response>[] = [];
  for (const name of ['first', 'second']) {
    polls.push(api.next(await api.register(name, ['SHUTDOWN'])));
  }
  polls.push(api.next(await api.register('deaf', [])), api.runtimeNext());
  await api.api.ready;
  const { extensions } = api.api;
  assert.deepEqual(
    ['first', 'deaf'].map((name) => extensions.wantsShutDown(name)),
    [true, false],
  );
  extensions.announceShutDown('timeout', 12.5, ['second', 'deaf']);
  const told = await polls[1]?.then((response) => response.json());
  assert.deepEqual(told, { eventType: 'SHUTDOWN', deadlineMs: 12, shutdownReason: 'timeout' });
  extensions.announceShutDown('spindown', 13, ['first']);
  const last = (await polls[0]?.then((response) => response.json())) as { shutdownReason: string };
  assert.equal(last.shutdownReason, 'spindown');
  await api.api.close();
  assert.equal(
    (await Promise.allSettled(polls.slice(2))).every(({ status }) => status === 'rejected'),
    true,
  );
});

test('an event that comes while an extension has lost its connection is kept for it', async () => {
  await using api = await startApi();
  const id = await api.register('inner', ['INVOKE']);
  const asked = api.runtimeNext();
  const connection = new AbortController();
  const poll = api.next(id, connection.signal);
  await api.api.ready;
  connection.abort();
  await assert.rejects(poll);
  // Whatever reaches the server in the meantime, the end of the connection has come before it.
  for (let count = 0; count < 3; count += 1) await api.call('GET', '/other');
  const outcome = api.api.invoke(invocation, never);
  const event = (await (await api.next(id)).json()) as { requestId: string };
  assert.equal(event.requestId, invocation.requestId);
  await asked;
  await api.respond();
  await outcome;
});

for (const [path, type] of [
  ['/init/error', 'Extension.InitError'],
  ['/exit/error', 'Extension.ExitError'],
] as const) {
  test(`an extension that posts ${path} fails the initialisation with ${type}`, async () => {
    await using api = await startApi();
    const id = await api.register('inner', []);
    const headers = {
      'Lambda-Extension-Identifier': id,
      'Lambda-Extension-Function-Error-Type': 'Extension.UnknownReason',
    };
    const body = '{"errorMessage":"no licence","errorType":"x","stackTrace":[]}';
    const answer = await api.call('POST', path, headers, body);
    assert.deepEqual([answer.status, await answer.json()], [202, { status: 'OK' }]);
    const { initError } = await api.api.ready;
    assert.deepEqual([initError?.errorType, initError?.fatal], [type, true]);
    assert.deepEqual(JSON.parse(Buffer.from(initError?.payload ?? '').toString()), {
      errorType: type,
      errorMessage: 'Extension inner: Extension.UnknownReason: no licence',
    });
    await api.api.settled();
    assert.equal((await api.api.invoke(invocation, never)).kind, 'error');
  });
}

test('an extension that fails during an invocation ends it, and every later one', async () => {
  await using api = await startApi();
  const id = await api.register('inner', ['INVOKE']);
  const [asked, told] = [api.runtimeNext(), api.next(id)];
  await api.api.ready;
  const outcome = api.api.invoke(invocation, never);
  await Promise.all([asked, told]);
  const headers = {
    'Lambda-Extension-Identifier': id,
    'Lambda-Extension-Function-Error-Type': 'x',
  };
  await api.call('POST', '/exit/error', headers);
  for (const ended of [await outcome, await api.api.invoke(invocation, never)]) {
    assert(ended.kind === 'error');
    assert.deepEqual([ended.errorType, ended.fatal], ['Extension.ExitError', true]);
  }
});

test('what the state does not allow is refused in the words of Lambda', async () => {
  await using api = await startApi({ extensions: ['outer'] });
  await refused(api.call('POST', '/register', {}, '{}'), 403, 'Extension.InvalidExtensionName');
  const name = { 'Lambda-Extension-Name': 'inner' };
  for (const body of ['', 'no JSON', '[]', '{"events":"INVOKE"}', '{"events":[7]}']) {
    await refused(api.call('POST', '/register', name, body), 403, 'InvalidRequestFormat');
  }
  await refused(registration(api.call, 'inner', ['OTHER']), 403, 'Extension.InvalidEventType');
  await refused(registration(api.call, 'inner', ['SHUTDOWN']), 403, 'Extension.InvalidEventType');
  const id = await api.register('inner', ['INVOKE']);
  await refused(registration(api.call, 'inner', []), 403, 'Extension.InvalidExtensionState');
  await api.register('outer', ['SHUTDOWN']);
  await refused(registration(api.call, 'outer', []), 403, 'Extension.InvalidExtensionState');
  for (let count = 2; count < 10; count += 1) await api.register(`more-${count}`, []);
  await refused(registration(api.call, 'eleventh', []), 403, 'Extension.TooManyExtensions');
  await refused(api.call('GET', '/event/next'), 403, 'Extension.MissingExtensionIdentifier');
  await refused(api.next('nobody'), 403, 'Extension.InvalidExtensionIdentifier');
  const unknown = '00000000-0000-4000-8000-000000000000';
  await refused(api.next(unknown), 403, 'Extension.UnknownExtensionIdentifier');
  const headers = { 'Lambda-Extension-Identifier': id };
  await refused(api.call('POST', '/exit/error', headers), 403, 'Extension.MissingHeader');
  assert.equal((await api.call('GET', '/register')).status, 405);
  assert.equal((await api.call('GET', '/other')).status, 404);
});
