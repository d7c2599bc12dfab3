import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';

import fc from 'fast-check';

import { errorCode } from '../../base/index.ts';
import { InvocationBrokenError } from '../errors.ts';
import { RuntimeApiServer } from './runtime-api.ts';
import type { Invocation, InvocationOutcome } from './runtime-api-contract.ts';
import { payloadSizeMaxBytes } from './runtime-api-http.ts';
import { streamSizeMaxBytes } from './runtime-api-response.ts';

const apiPath = '/2018-06-01/runtime';
const never = new AbortController().signal;

const invocation: Invocation = {
  requestId: '8476a536-e9f4-11e8-9739-2dfe598c3fcd',
  payload: Buffer.from('{"key":"värde"}'),
  deadlineMs: 1_542_409_706_888,
  functionArn: 'arn:aws:lambda:us-east-1:123456789012:function:custom-runtime',
  traceId: 'Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1',
};

interface Runtime extends AsyncDisposable {
  readonly api: RuntimeApiServer;
  readonly port: number;
  next(): Promise<Response>;
  post(
    path: string,
    body: string | Uint8Array,
    headers?: Record<string, string>,
  ): Promise<Response>;
}

function textOf(outcome: InvocationOutcome): string {
  assert(outcome.kind !== 'stream');
  return Buffer.from(outcome.payload).toString();
}

/** A server on a loopback port of the host, and a well-behaved runtime's side of it. */
async function startRuntime(): Promise<Runtime> {
  const api = new RuntimeApiServer('test');
  const port = await api.listen({ port: 0 });
  const url = `http://127.0.0.1:${port}${apiPath}`;
  return {
    api,
    port,
    next: () => fetch(`${url}/invocation/next`),
    post: (path, body, headers = {}) => fetch(`${url}${path}`, { method: 'POST', body, headers }),
    [Symbol.asyncDispose]: () => api.close(),
  };
}

test('invoke hands the invocation with its headers to the runtime and returns its response', async () => {
  await using runtime = await startRuntime();
  const asked = runtime.next();
  assert.deepEqual(await runtime.api.ready, {});
  const outcome = runtime.api.invoke(
    { ...invocation, clientContext: '{"a":"é\n"}', cognitoIdentity: '{"id":1}' },
    never,
  );
  const given = await asked;
  assert.equal(given.status, 200);
  assert.equal(given.headers.get('lambda-runtime-aws-request-id'), invocation.requestId);
  assert.equal(given.headers.get('lambda-runtime-deadline-ms'), '1542409706888');
  assert.equal(given.headers.get('lambda-runtime-invoked-function-arn'), invocation.functionArn);
  assert.equal(given.headers.get('lambda-runtime-trace-id'), invocation.traceId);
  assert.equal(given.headers.get('lambda-runtime-cognito-identity'), '{"id":1}');
  const context = Buffer.from(given.headers.get('lambda-runtime-client-context') ?? '', 'latin1');
  assert.equal(context.toString('utf8'), '{"a":"é "}');
  assert.equal(await given.text(), '{"key":"värde"}');
  const answer = await runtime.post(`/invocation/${invocation.requestId}/response`, '"done"');
  assert.equal(answer.status, 202);
  assert.deepEqual(await answer.json(), { status: 'OK' });
  const ended = await outcome;
  assert.deepEqual([ended.kind, textOf(ended)], ['response', '"done"']);
});

test('invoke waits for a runtime that has not asked yet, and serves one invocation after the other', async () => {
  await using runtime = await startRuntime();
  for (const requestId of ['first', 'second', 'third']) {
    const outcome = runtime.api.invoke({ ...invocation, requestId }, never);
    const given = await runtime.next();
    assert.equal(given.headers.get('lambda-runtime-aws-request-id'), requestId);
    assert.equal(given.headers.get('lambda-runtime-client-context'), null);
    await runtime.post(`/invocation/${requestId}/response`, requestId);
    assert.equal(textOf(await outcome), requestId);
  }
});

test('invoke returns what the runtime posts as error, with the type of its header', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  await runtime.next();
  const body = '{"errorMessage":"no","errorType":"Body","stackTrace":[]}';
  const answer = await runtime.post(`/invocation/${invocation.requestId}/error`, body, {
    'Lambda-Runtime-Function-Error-Type': 'Runtime.Header',
  });
  assert.equal(answer.status, 202);
  const ended = await outcome;
  assert(ended.kind === 'error');
  assert.equal(ended.errorType, 'Runtime.Header');
  assert.equal(Buffer.from(ended.payload).toString(), body);
});

test('invoke makes an error object of an error body that is none', async () => {
  for (const body of ['', 'garbage{', '[]', 'null', '"text"']) {
    await using runtime = await startRuntime();
    const outcome = runtime.api.invoke(invocation, never);
    await runtime.next();
    await runtime.post(`/invocation/${invocation.requestId}/error`, body, {
      'Lambda-Runtime-Function-Error-Type': 'not a type <script>',
    });
    const ended = await outcome;
    assert(ended.kind === 'error');
    assert.equal(ended.errorType, 'Runtime.Unknown');
    const told = JSON.parse(Buffer.from(ended.payload).toString()) as { errorType: string };
    assert.equal(told.errorType, 'Runtime.Unknown');
  }
});

test('ready tells of an initialisation that failed, after which nothing else is accepted', async () => {
  await using runtime = await startRuntime();
  const answer = await runtime.post('/init/error', '{"errorType":"Runtime.ImportModuleError"}');
  assert.equal(answer.status, 202);
  const { initError } = await runtime.api.ready;
  assert(initError?.kind === 'error');
  assert.equal(initError.errorType, 'Runtime.ImportModuleError');
  assert.equal((await runtime.next()).status, 403);
  assert.equal((await runtime.post('/init/error', '{}')).status, 403);
});

test('a response of more than 6 MiB is refused with 413 and becomes Function.ResponseSizeTooLarge', async () => {
  for (const chunked of [false, true]) {
    await using runtime = await startRuntime();
    const outcome = runtime.api.invoke(invocation, never);
    await runtime.next();
    const head =
      `POST ${apiPath}/invocation/${invocation.requestId}/response HTTP/1.1\r\nHost: x\r\n` +
      (chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${payloadSizeMaxBytes + 1}`);
    const body = chunked ? `${(payloadSizeMaxBytes + 1).toString(16)}\r\n` : '';
    const socket = await talk(runtime.port, `${head}\r\n\r\n${body}`);
    const rest = chunked ? Buffer.alloc(payloadSizeMaxBytes + 1) : Buffer.alloc(0);
    socket.write(rest);
    assert.match(await firstAnswer(socket), /^HTTP\/1\.1 413 /);
    const ended = await outcome;
    assert(ended.kind === 'error');
    assert.equal(ended.errorType, 'Function.ResponseSizeTooLarge');
    assert.match(
      Buffer.from(ended.payload).toString(),
      /exceeded maximum allowed payload size \(6291556 bytes\)/,
    );
  }
});

test('a response of the largest size is taken', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  await runtime.next();
  const body = Buffer.alloc(payloadSizeMaxBytes, 0x20);
  const answer = await runtime.post(`/invocation/${invocation.requestId}/response`, body);
  assert.equal(answer.status, 202);
  assert.equal(textOf(await outcome).length, payloadSizeMaxBytes);
});

test('a streamed response is gathered, and its trailers tell of an error on the way', async () => {
  const trailers =
    'Lambda-Runtime-Function-Error-Type: Mid.Stream\r\n' +
    `Lambda-Runtime-Function-Error-Body: ${Buffer.from('{"errorMessage":"half"}').toString('base64')}\r\n`;
  for (const end of ['', trailers]) {
    await using runtime = await startRuntime();
    const outcome = runtime.api.invoke(invocation, never);
    await runtime.next();
    const socket = await talk(
      runtime.port,
      `POST ${apiPath}/invocation/${invocation.requestId}/response HTTP/1.1\r\nHost: x\r\n` +
        'Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n' +
        `Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n${end}\r\n`,
    );
    assert.match(await firstAnswer(socket), /^HTTP\/1\.1 202 /);
    const ended = await outcome;
    if (end === '') {
      assert.equal(textOf(ended), 'abcdef');
    } else {
      assert(ended.kind === 'error');
      assert.equal(ended.errorType, 'Mid.Stream');
    }
  }
});

const streaming: Invocation = { ...invocation, streams: true };
const streamHead =
  `POST ${apiPath}/invocation/${invocation.requestId}/response HTTP/1.1\r\nHost: x\r\n` +
  'Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n' +
  'Content-Type: text/x-told\r\n';

/** A runtime that has been given an invocation whose caller takes a stream, and has begun to answer. */
async function startStream(runtime: Runtime, signal: AbortSignal = never) {
  const outcome = runtime.api.invoke(streaming, signal);
  await runtime.next();
  const socket = await talk(runtime.port, `${streamHead}\r\n`);
  socket.write('3\r\nabc\r\n');
  const ended = await outcome;
  assert(ended.kind === 'stream');
  return { socket, body: ended.body, contentType: ended.contentType };
}

test('a stream is handed on while the runtime writes it, and answered when it has been read', async () => {
  await using runtime = await startRuntime();
  const { socket, body, contentType } = await startStream(runtime);
  assert.equal(contentType, 'text/x-told');
  const parts = body[Symbol.asyncIterator]();
  assert.equal(String((await parts.next()).value), 'abc'); // the runtime has not ended yet
  socket.write('3\r\ndef\r\n0\r\n\r\n');
  assert.equal(String((await parts.next()).value), 'def');
  assert.equal((await parts.next()).done, true);
  assert.match(await firstAnswer(socket), /^HTTP\/1\.1 202 /);
  const again = runtime.api.invoke(invocation, never);
  await runtime.next();
  await runtime.post(`/invocation/${invocation.requestId}/response`, '"next"');
  assert.equal(textOf(await again), '"next"');
});

test('an error in the trailers of a stream comes after all that was written before it', async () => {
  await using runtime = await startRuntime();
  const { socket, body } = await startStream(runtime);
  const told = Buffer.from('{"errorMessage":"half"}').toString('base64');
  socket.write(
    `3\r\ndef\r\n0\r\nLambda-Runtime-Function-Error-Type: Mid.Stream\r\nLambda-Runtime-Function-Error-Body: ${told}\r\n\r\n`,
  );
  let text = '';
  const broken = await assert.rejects(
    async () => {
      for await (const part of body) text += String(part);
    },
    (thrown) => {
      assert(thrown instanceof InvocationBrokenError);
      assert.equal(thrown.failure.errorType, 'Mid.Stream');
      assert.equal(textOf(thrown.failure), '{"errorMessage":"half"}');
      return true;
    },
  );
  assert.equal(broken, undefined);
  assert.equal(text, 'abcdef');
});

test('a stream that is cut off ends in Runtime.TruncatedResponse', async () => {
  await using runtime = await startRuntime();
  const { socket, body } = await startStream(runtime);
  socket.destroy();
  await assert.rejects(body.toArray(), (thrown) => {
    assert(thrown instanceof InvocationBrokenError);
    return thrown.failure.errorType === 'Runtime.TruncatedResponse';
  });
});

test('a runtime writes its stream to the end when its reader has left', async () => {
  await using runtime = await startRuntime();
  const { socket, body } = await startStream(runtime);
  body.destroy();
  const large = Buffer.alloc(4 * 1024 * 1024);
  socket.write(`${large.byteLength.toString(16)}\r\n`);
  socket.write(large);
  socket.write('\r\n0\r\n\r\n');
  assert.match(await firstAnswer(socket), /^HTTP\/1\.1 202 /);
});

test('a stream of more than 200 MB ends in Function.ResponseSizeTooLarge and is refused', async () => {
  await using runtime = await startRuntime();
  const { socket, body } = await startStream(runtime);
  const answer = firstAnswer(socket);
  const part = Buffer.alloc(8 * 1024 * 1024);
  let sizeBytes = 3;
  const written = (async () => {
    for (let sent = 0; sent <= streamSizeMaxBytes && !socket.destroyed; sent += part.byteLength) {
      socket.write(`${part.byteLength.toString(16)}\r\n`);
      socket.write(part);
      const drained = new Promise((resolve) => socket.write('\r\n', resolve));
      await Promise.race([drained, answer]);
    }
  })();
  await assert.rejects(
    async () => {
      for await (const bytes of body) sizeBytes += (bytes as Buffer).byteLength;
    },
    (thrown) => {
      assert(thrown instanceof InvocationBrokenError);
      return thrown.failure.errorType === 'Function.ResponseSizeTooLarge';
    },
  );
  assert(sizeBytes > streamSizeMaxBytes - 1024 * 1024);
  assert.match(await answer, /^HTTP\/1\.1 413 /);
  await written;
});

test("a stream ends with the reason of the invocation's signal, and when the server closes", async () => {
  const controller = new AbortController();
  const runtime = await startRuntime();
  const { body } = await startStream(runtime, controller.signal);
  const reason = new Error('deadline');
  const aborted = assert.rejects(body.toArray(), reason);
  controller.abort(reason);
  await aborted;
  const other = await startRuntime();
  const stream = await startStream(other);
  const closed = assert.rejects(stream.body.toArray(), { code: 'ERR_SANDBOX_CLOSED' });
  await other.api.close();
  await closed;
  await runtime.api.close();
});

test('an error is an error also where a stream was asked for', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(streaming, never);
  await runtime.next();
  await runtime.post(`/invocation/${invocation.requestId}/error`, '{"errorType":"Plain"}');
  const ended = await outcome;
  assert(ended.kind === 'error');
  assert.equal(ended.errorType, 'Plain');
});

test('settled resolves once the runtime asks for its next invocation', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  await runtime.next();
  let isSettled = false;
  const settled = runtime.api.settled().then(() => (isSettled = true));
  await runtime.post(`/invocation/${invocation.requestId}/response`, '1');
  await outcome;
  assert.equal(isSettled, false);
  const asking = new AbortController();
  const asked = fetch(`http://127.0.0.1:${runtime.port}${apiPath}/invocation/next`, asking).catch(
    () => {},
  );
  await settled;
  asking.abort();
  await asked;
  const reason = new Error('no longer');
  const waiting = runtime.api.invoke(invocation, never);
  const rejected = assert.rejects(runtime.api.settled(AbortSignal.abort(reason)), reason);
  await rejected;
  waiting.catch(() => {});
});

test("Lambda's APIs that are not there answer as Lambda does where they are switched off", async () => {
  await using runtime = await startRuntime();
  const put = async (path: string) => {
    const url = `http://127.0.0.1:${runtime.port}${path}`;
    const response = await fetch(url, { method: 'PUT', body: '{}' });
    return [response.status, ((await response.json()) as { errorType: string }).errorType];
  };
  assert.deepEqual(await put('/2022-07-01/telemetry'), [202, 'Telemetry.NotSupported']);
  assert.deepEqual(await put('/2020-08-15/logs'), [202, 'Logs.NotSupported']);
  const restore = await fetch(`http://127.0.0.1:${runtime.port}${apiPath}/restore/next`);
  assert.equal(restore.status, 404);
});

test('answers that the state does not allow are refused as Lambda does, and change nothing', async () => {
  await using runtime = await startRuntime();
  const refused = async (answer: Promise<Response>, status: number, errorType: string) => {
    const response = await answer;
    const { errorType: type } = (await response.json()) as { errorType: string };
    assert.deepEqual([response.status, type], [status, errorType]);
  };
  const respond = (id: string, headers?: Record<string, string>) =>
    runtime.post(`/invocation/${id}/response`, '1', headers);
  await refused(respond('any'), 403, 'InvalidStateTransition');
  const poll = runtime.next();
  await runtime.api.ready;
  await refused(runtime.next(), 403, 'InvalidStateTransition');
  await refused(respond('any'), 400, 'InvalidRequestID');
  await refused(runtime.post('/init/error', '{}'), 403, 'InvalidStateTransition');
  const outcome = runtime.api.invoke(invocation, never);
  await poll;
  await refused(respond('another'), 400, 'InvalidRequestID');
  assert.equal((await respond(invocation.requestId)).status, 202);
  await outcome;
  await refused(respond(invocation.requestId), 400, 'InvalidRequestID');
  assert.equal((await fetch(`http://127.0.0.1:${runtime.port}/elsewhere`)).status, 404);
  assert.equal((await runtime.post('/invocation/next', '')).status, 405);
});

test('an unknown response mode ends the invocation with Runtime.InvalidResponseModeHeader', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  await runtime.next();
  const answer = await runtime.post(`/invocation/${invocation.requestId}/response`, '1', {
    'Lambda-Runtime-Function-Response-Mode': 'sideways',
  });
  assert.equal(answer.status, 400);
  const ended = await outcome;
  assert(ended.kind === 'error');
  assert.equal(ended.errorType, 'Runtime.InvalidResponseModeHeader');
});

test('a response that is cut off ends the invocation with Runtime.TruncatedResponse', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  await runtime.next();
  const socket = await talk(
    runtime.port,
    `POST ${apiPath}/invocation/${invocation.requestId}/response HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf`,
  );
  socket.end();
  const ended = await outcome;
  assert(ended.kind === 'error');
  assert.equal(ended.errorType, 'Runtime.TruncatedResponse');
});

test('a runtime that asks again without having answered gets the same invocation again', async () => {
  await using runtime = await startRuntime();
  const outcome = runtime.api.invoke(invocation, never);
  for (let times = 0; times < 2; times += 1) {
    const given = await runtime.next();
    assert.equal(given.headers.get('lambda-runtime-aws-request-id'), invocation.requestId);
  }
  await runtime.post(`/invocation/${invocation.requestId}/response`, '1');
  assert.equal((await outcome).kind, 'response');
});

test('an invocation does not get lost with the connection of a long poll that is gone', async () => {
  await using runtime = await startRuntime();
  const poll = `GET ${apiPath}/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n`;
  const socket = await talk(runtime.port, poll);
  await runtime.api.ready;
  socket.destroy();
  const outcome = runtime.api.invoke(invocation, never);
  assert.equal((await runtime.next()).status, 200);
  await runtime.post(`/invocation/${invocation.requestId}/response`, '1');
  assert.equal((await outcome).kind, 'response');
});

test('invoke rejects with the reason of its signal, and when the server closes', async () => {
  const runtime = await startRuntime();
  const controller = new AbortController();
  const reason = new Error('deadline');
  const aborted = assert.rejects(runtime.api.invoke(invocation, controller.signal), reason);
  controller.abort(reason);
  await aborted;
  const waiting = runtime.api.invoke(invocation, never);
  const rejected = assert.rejects(waiting, (thrown) => errorCode(thrown) === 'ERR_SANDBOX_CLOSED');
  await runtime.api.close();
  await rejected;
  await assert.rejects(runtime.api.invoke(invocation, never), { code: 'ERR_SANDBOX_CLOSED' });
});

/** A raw connection with the text already sent. */
async function talk(port: number, text: string | Buffer): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {}); // being cut off is one of the answers
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(text);
  return socket;
}

/** What the server says first; empty when it closes without a word. */
function firstAnswer(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('data', (data) => {
      resolve(data.toString('latin1'));
      socket.destroy();
    });
    socket.once('close', () => resolve(''));
  });
}

const hostileRequest = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc
    .record({
      method: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'get', ''),
      path: fc.oneof(
        fc.constantFrom(
          `${apiPath}/invocation/${invocation.requestId}/error/..`,
          `${apiPath}/invocation/other/response`,
          `${apiPath}/invocation//response`,
          `${apiPath}/invocation/%00/error`,
          `${apiPath}/../next`,
          '/2020-01-01/extension/register',
          '/2020-01-01/extension/event/next',
          '/2020-01-01/extension/init/error',
          '/2022-07-01/telemetry',
          '*',
          'http://[::1/next',
        ),
        fc.string({ maxLength: 40 }),
      ),
      headers: fc.array(
        fc.constantFrom(
          'Content-Length: 5',
          'Content-Length: 99999999999999999999',
          'Content-Length: -1',
          'Transfer-Encoding: chunked',
          'Transfer-Encoding: identity, chunked',
          'Expect: 100-continue',
          'Connection: upgrade',
          'Upgrade: websocket',
          `X: ${'y'.repeat(70_000)}`,
          'Lambda-Runtime-Function-Error-Type: \u0000',
          'Lambda-Extension-Name: hostile',
          'Lambda-Extension-Identifier: 00000000-0000-4000-8000-000000000000',
        ),
        { maxLength: 4 },
      ),
      body: fc.string({ maxLength: 40 }),
    })
    .map(({ method, path, headers, body }) => {
      const lines = [`${method} ${path} HTTP/1.1`, 'Host: x', ...headers, '', body];
      return Buffer.from(lines.join('\r\n'), 'latin1');
    }),
);

test('no bytes that a sandbox sends keep the server from serving its invocation', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(hostileRequest, { minLength: 1, maxLength: 6 }), async (requests) => {
      await using runtime = await startRuntime();
      const outcome = runtime.api.invoke(invocation, never);
      const sockets = await Promise.all(requests.map((bytes) => talk(runtime.port, bytes)));
      for (const socket of sockets) socket.end();
      await Promise.all(sockets.map((socket) => firstAnswer(socket)));
      const given = await runtime.next();
      assert.equal(given.headers.get('lambda-runtime-aws-request-id'), invocation.requestId);
      await given.arrayBuffer();
      await runtime.post(`/invocation/${invocation.requestId}/response`, '"fine"');
      assert.equal(textOf(await outcome), '"fine"');
    }),
    { numRuns: 60 },
  );
});
