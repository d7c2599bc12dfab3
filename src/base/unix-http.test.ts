import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { ThawError } from './errors.ts';
import { callUnixJson, serveUnixJson, streamUnixJson, type UnixRoutes } from './unix-http.ts';

async function serverFor(t: TestContext, routes: UnixRoutes): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-unix-'));
  const server = await serveUnixJson(join(directory, 'test.sock'), routes);
  t.after(async () => {
    await server.close();
    await rm(directory, { recursive: true });
  });
  return server.socketPath;
}

test('a call carries JSON both ways, and undefined as undefined', async (t) => {
  const socket = await serverFor(t, {
    'POST /echo': async (body) => body,
    'POST /nothing': async () => {},
  });
  const body = { text: 'é\n"', list: [1, null, { deep: true }] };
  assert.deepEqual(await callUnixJson(socket, 'POST', '/echo', body), body);
  assert.equal(await callUnixJson(socket, 'POST', '/nothing'), undefined);
});

test('events arrive in order before the result', async (t) => {
  const socket = await serverFor(t, {
    'POST /count': async (_body, { emit }) => {
      for (let i = 0; i < 100; i += 1) emit({ i });
      return 'done';
    },
  });
  const events: unknown[] = [];
  const result = await callUnixJson(
    socket,
    'POST',
    '/count',
    {},
    { onEvent: (e) => events.push(e) },
  );
  assert.equal(result, 'done');
  assert.deepEqual(
    events,
    Array.from({ length: 100 }, (_, i) => ({ i })),
  );
});

test('an error keeps its code, fault and message across the socket', async (t) => {
  const error = new ThawError({
    code: 'ERR_TEST',
    fault: 'data',
    retryable: true,
    message: 'Cannot do it',
  });
  const socket = await serverFor(t, { 'GET /fail': () => Promise.reject(error) });
  await assert.rejects(callUnixJson(socket, 'GET', '/fail'), {
    code: 'ERR_TEST',
    fault: 'data',
    retryable: true,
    message: 'Cannot do it',
  });
});

test('unknown paths and other methods are refused', async (t) => {
  const socket = await serverFor(t, { 'POST /echo': async (body) => body });
  await assert.rejects(callUnixJson(socket, 'POST', '/toString'), { code: 'ERR_UNIX_NO_ROUTE' });
  await assert.rejects(callUnixJson(socket, 'GET', '/echo'), { code: 'ERR_UNIX_NO_ROUTE' });
});

test('a caller that aborts gets its reason, and the route hears of it', async (t) => {
  const started = Promise.withResolvers<void>();
  const heard = Promise.withResolvers<void>();
  const socket = await serverFor(t, {
    'POST /wait': async (_body, { signal }) => {
      signal.addEventListener('abort', () => heard.resolve());
      started.resolve();
      await heard.promise;
    },
  });
  const abort = new AbortController();
  const call = callUnixJson(socket, 'POST', '/wait', {}, { signal: abort.signal });
  await started.promise;
  const reason = new Error('enough');
  abort.abort(reason);
  await assert.rejects(call, reason);
  await heard.promise;
});

test('a caller that aborts while events arrive gets its reason, whenever that is', async (t) => {
  const socket = await serverFor(t, {
    'POST /count': async (_body, { emit, signal }) => {
      while (!signal.aborted) {
        emit({ text: 'é'.repeat(5000) });
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  });
  for (let abortAt = 1; abortAt <= 40; abortAt += 1) {
    const abort = new AbortController();
    const reason = new Error(`after ${abortAt}`);
    let events = 0;
    const onEvent = (event: unknown): void => {
      assert.deepEqual(event, { text: 'é'.repeat(5000) });
      events += 1;
      if (events === abortAt) abort.abort(reason);
    };
    const { signal } = abort;
    await assert.rejects(callUnixJson(socket, 'POST', '/count', {}, { signal, onEvent }), reason);
  }
});

test('a stream flows no faster than it is taken, and leaving it hangs up', async (t) => {
  let emitted = 0;
  const gone = Promise.withResolvers<void>();
  const socket = await serverFor(t, {
    'POST /endless': async (_body, { emit, drained, signal }) => {
      while (!signal.aborted) {
        emit({ text: 'x'.repeat(50_000), emitted });
        emitted += 1;
        await drained();
      }
      gone.resolve();
    },
  });
  let taken = 0;
  for await (const event of streamUnixJson(socket, 'POST', '/endless')) {
    assert.deepEqual(event, { text: 'x'.repeat(50_000), emitted: taken });
    taken += 1;
    // What lies between the two ends are the buffers of the socket and of Node: less than 5 MB.
    assert.ok(emitted - taken < 100, `${emitted} emitted, ${taken} taken`);
    if (taken === 300) break;
  }
  await gone.promise;
});

test('a stream ends with what its route returns or throws, after all it emitted', async (t) => {
  const error = new ThawError({ code: 'ERR_TEST', fault: 'data', message: 'Cannot go on' });
  const socket = await serverFor(t, {
    'POST /two': async (_body, { emit }) => {
      emit(1);
      emit(2);
      return 'done';
    },
    'POST /fail': async (_body, { emit }) => {
      emit(1);
      throw error;
    },
  });
  const two = streamUnixJson(socket, 'POST', '/two');
  const steps = [await two.next(), await two.next(), await two.next()];
  assert.deepEqual(steps, [
    { done: false, value: 1 },
    { done: false, value: 2 },
    { done: true, value: 'done' },
  ]);
  const failing = streamUnixJson(socket, 'POST', '/fail');
  assert.deepEqual(await failing.next(), { done: false, value: 1 });
  await assert.rejects(failing.next(), { code: 'ERR_TEST', fault: 'data' });
});

test('a call that takes too long ends with ERR_UNIX_TIMEOUT', async (t) => {
  const release = Promise.withResolvers<void>();
  const socket = await serverFor(t, { 'POST /wait': () => release.promise });
  const call = callUnixJson(socket, 'POST', '/wait', {}, { timeoutMs: 30 });
  await assert.rejects(call, { code: 'ERR_UNIX_TIMEOUT' });
  release.resolve();
});

test('nobody listening is ERR_UNIX_NOT_RUNNING, and a dead socket is taken over', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-unix-'));
  t.after(() => rm(directory, { recursive: true }));
  const socket = join(directory, 'dead.sock');
  await assert.rejects(callUnixJson(socket, 'GET', '/'), { code: 'ERR_UNIX_NOT_RUNNING' });
  await writeFile(socket, '');
  await using server = await serveUnixJson(socket, { 'GET /': async () => 'alive' });
  assert.equal(await callUnixJson(server.socketPath, 'GET', '/'), 'alive');
  await assert.rejects(serveUnixJson(socket, {}), { code: 'ERR_UNIX_SOCKET_IN_USE' });
  assert.equal((await stat(socket)).mode & 0o777, 0o600);
});

test('closing waits for a route whose caller has hung up', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-unix-'));
  t.after(() => rm(directory, { recursive: true }));
  const begun = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  let isDone = false;
  const server = await serveUnixJson(join(directory, 'test.sock'), {
    'POST /work': async (_body, { signal }) => {
      const hungUp = new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve());
      });
      begun.resolve();
      await hungUp;
      await release.promise;
      isDone = true;
    },
  });
  const caller = new AbortController();
  const call = callUnixJson(server.socketPath, 'POST', '/work', {}, { signal: caller.signal });
  await begun.promise;
  caller.abort(new Error('gone'));
  await assert.rejects(call, { message: 'gone' });
  const closed = server.close().then(() => assert.equal(isDone, true));
  setImmediate(() => release.resolve());
  await closed;
});
