/** The server under clients that are slow, large, many, or gone, and around a worker that fails. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';

import { createLog } from '../../base/index.ts';
import { makeCertificate } from '../../../test/support/certificate.ts';
import { needsPrograms } from '../../../test/support/programs.ts';
import { noAuthentication } from '../sigv4/authenticator.ts';
import { serveLambdaApi, type LambdaApiServer } from './http-server.ts';
import type { LambdaApiOptions } from './lambda-api.ts';
import type { LambdaFunctions } from './operation.ts';

interface ServedApi extends LambdaApiServer {
  readonly port: number;
  readonly logged: readonly string[];
}

/** Serves with only those calls of the worker that a test gives. */
async function serve(
  t: TestContext,
  functions: Partial<LambdaFunctions>,
  options: Partial<LambdaApiOptions> = {},
): Promise<ServedApi> {
  const logged: string[] = [];
  const server = await serveLambdaApi({
    host: '127.0.0.1',
    port: 0,
    functions: async () => functions as LambdaFunctions,
    authenticator: noAuthentication('default'),
    region: 'local',
    accountIdOf: () => '000000000000',
    defaultTenant: 'default',
    log: createLog({ level: 'warn', write: (line) => logged.push(line) }),
    ...options,
  });
  t.after(() => server.close());
  return { ...server, logged, port: Number(new URL(server.url).port) };
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

async function call(
  { url }: LambdaApiServer,
  target: string,
  body?: string | Buffer,
  options: { readonly agent?: Agent; readonly headers?: Record<string, string> } = {},
): Promise<Reply> {
  const [method = '', path = ''] = target.split(' ');
  const request = httpRequest(new URL(path, url), { method, ...options });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: await text(response),
  };
}

function errorOf({ status, headers, body }: Reply): unknown {
  assert.match(String(headers['x-amzn-requestid']), /^[0-9a-f-]{36}$/);
  const parsed = JSON.parse(body) as { Message?: string; message?: string; Type: string };
  return [status, headers['x-amzn-errortype'], parsed.Type, parsed.Message ?? parsed.message];
}

const invocations = 'POST /2015-03-31/functions/hello/invocations';
const echo: Partial<LambdaFunctions> = {
  invoke: async ({ payload }) => ({
    requestId: 'the-id',
    executedVersion: '$LATEST',
    payload,
    coldStart: false,
    timelineMs: { total: 1 },
  }),
};

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {}); // it may be cut off
  await once(socket, 'connect');
  return socket;
}

test('an invoke gives the payload with the id of the invoke', async (t) => {
  const reply = await call(await serve(t, echo), invocations, '{"a":1}');
  assert.deepEqual([reply.status, reply.body], [200, '{"a":1}']);
  assert.equal(reply.headers['x-amzn-requestid'], 'the-id');
  assert.equal(reply.headers['x-amz-executed-version'], '$LATEST');
  assert.equal(reply.headers['content-type'], 'application/json');
});

test('health is told to everybody', async (t) => {
  const refusing = { authenticate: () => assert.fail('nobody was to be asked who he is') };
  const reply = await call(await serve(t, {}, { authenticator: refusing }), 'GET /health');
  assert.deepEqual([reply.status, reply.body], [200, 'ok\n']);
});

test('answers are counted by operation and status', async (t) => {
  const server = await serve(t, echo);
  await call(server, invocations, '{}');
  await call(server, invocations, '{}');
  await call(server, 'GET /nothing');
  while (server.requests().inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(server.requests(), {
    inFlight: 0,
    answered: [
      { operation: 'Invoke', status: 200, count: 2 },
      { operation: 'unknown', status: 404, count: 1 },
    ],
  });
});

test('what calls no operation is told so', async (t) => {
  const server = await serve(t, {});
  for (const target of ['GET /', 'PATCH /2015-03-31/functions', 'GET /2015-03-31/functions/%zz']) {
    const told = errorOf(await call(server, target)) as unknown[];
    assert.deepEqual(told.slice(0, 3), [404, 'UnknownOperationException', 'User'], target);
  }
});

test('a failure of ours is told without a word of it, and logged', async (t) => {
  const server = await serve(t, {
    find: async () => {
      throw new Error('cannot open /var/lib/thaw/catalog.db');
    },
  });
  const reply = await call(server, 'GET /2015-03-31/functions/hello');
  const [status, type, whose] = errorOf(reply) as unknown[];
  assert.deepEqual([status, type, whose], [500, 'ServiceException', 'Service']);
  assert.doesNotMatch(reply.body, /catalog|var|Error:|\.ts/);
  assert.match(server.logged.join(''), /catalog\.db/);
  assert.match(server.logged.join(''), new RegExp(String(reply.headers['x-amzn-requestid'])));
});

test('a body that is too long is refused by its announced length, and where it announces none', async (t) => {
  const server = await serve(t, echo);
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const tooLong = Buffer.alloc(6 * 2 ** 20 + 1, 0x20);
  const told = [
    413,
    'RequestTooLargeException',
    'User',
    'Request must be smaller than 6291456 bytes for the InvokeFunction operation',
  ];
  assert.deepEqual(errorOf(await call(server, invocations, tooLong, { agent })), told);
  const chunked = { 'transfer-encoding': 'chunked' };
  assert.deepEqual(
    errorOf(await call(server, invocations, tooLong, { agent, headers: chunked })),
    told,
  );
  const atTheLimit = await call(server, invocations, tooLong.subarray(1), { agent });
  assert.equal(atTheLimit.status, 200);
});

test('a body that is packed, or a form with parts, is refused as what it is', async (t) => {
  const server = await serve(t, echo);
  for (const headers of [
    { 'content-encoding': 'gzip' },
    { 'content-type': 'multipart/form-data; boundary=x' },
  ]) {
    const told = errorOf(await call(server, invocations, '{}', { headers })) as unknown[];
    assert.deepEqual(told.slice(0, 2), [415, 'UnsupportedMediaTypeException']);
  }
  for (const type of ['application/json', 'application/octet-stream', 'text/plain']) {
    const headers = { 'content-type': type };
    assert.equal((await call(server, invocations, '{}', { headers })).status, 200, type);
  }
});

test('bodies that would take more memory than a tenant may have are put off', async (t) => {
  const server = await serve(t, echo, { limits: { bodiesMaxBytes: 2000 } });
  const reply = await call(server, invocations, Buffer.alloc(1001, 0x20));
  assert.deepEqual((errorOf(reply) as unknown[]).slice(0, 2), [429, 'TooManyRequestsException']);
  assert.equal(reply.headers['retry-after'], '1');
  assert.equal((JSON.parse(reply.body) as { Reason: string }).Reason, 'CallerRateLimitExceeded');
  for (let times = 0; times < 3; times += 1) {
    const fits = await call(server, invocations, Buffer.alloc(1000, 0x20));
    assert.equal(fits.status, 200, 'what was held is given back');
  }
});

test('tenants that hold all they may keep no other out', async (t) => {
  const running = Promise.withResolvers<void>();
  let begun = Promise.withResolvers<void>();
  const server = await serve(
    t,
    {
      invoke: async (request) => {
        begun.resolve();
        if (request.tenant !== 'late') await running.promise;
        return await (echo.invoke ?? assert.fail())(request);
      },
    },
    {
      limits: { bodiesMaxBytes: 100_000 },
      authenticator: {
        authenticate: async ({ headers, bodyDigestHex }) => {
          const tenant = String(headers['x-tenant']);
          await bodyDigestHex(tenant);
          return { tenant };
        },
      },
    },
  );
  const send = async (tenant: string, sizeBytes: number): Promise<number> => {
    const body = Buffer.alloc(sizeBytes, 0x20);
    return (await call(server, invocations, body, { headers: { 'x-tenant': tenant } })).status;
  };
  const held: Promise<number>[] = [];
  /** How many bodies of a thousand bytes one tenant can have held at a time. */
  const hold = async (tenant: string): Promise<number> => {
    for (let count = 0; ; count += 1) {
      begun = Promise.withResolvers<void>();
      const status = send(tenant, 1000);
      if ((await Promise.race([status, begun.promise])) === 429) return count;
      held.push(status);
    }
  };
  assert.equal(await hold('greedy'), 50);
  assert.equal(await send('late', 25_000), 200);
  assert.equal(await send('late', 25_001), 429);
  assert.equal(await hold('second'), 25);
  assert.equal(await hold('third'), 12);
  assert.equal(await send('late', 6500), 200);
  running.resolve();
  assert.deepEqual(await Promise.all(held), Array(87).fill(200));
  assert.equal(await send('late', 50_000), 200);
});

test('a client that sends no more of its body is refused, one that hangs up forgotten', async (t) => {
  const server = await serve(t, echo, { limits: { bodyIdleTimeoutMs: 50 } });
  const head =
    'POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n';
  const slow = await connected(server.port);
  slow.write(`${head}{`);
  const [answer] = (await once(slow, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 408 /);
  slow.destroy();
  const gone = await connected(server.port);
  gone.write(`${head}{`);
  gone.destroy();
  assert.equal((await call(server, invocations, '{}')).status, 200);
  assert.deepEqual(server.logged, []);
});

test('a client that was refused and sends on and on without an end has its place for a while only', async (t) => {
  const server = await serve(t, echo, { limits: { refusedBodyTimeoutMs: 50 } });
  const client = await connected(server.port);
  client.write('POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{');
  const [answer] = (await once(client, 'data')) as [Buffer];
  assert.match(answer.toString(), /^HTTP\/1\.1 404 /);
  await once(client, 'close');
  const patient = await serve(t, echo);
  const brief = await connected(patient.port);
  brief.write('POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{');
  await once(brief, 'data');
  brief.write('}GET /health HTTP/1.1\r\nHost: a\r\n\r\n');
  const [healthy] = (await once(brief, 'data')) as [Buffer];
  assert.match(healthy.toString(), /^HTTP\/1\.1 200 /);
  brief.destroy();
});

test('clients that hang up at any moment leave nothing held and nothing under way', async (t) => {
  const running = Promise.withResolvers<void>();
  const server = await serve(
    t,
    {
      invoke: async (request) => {
        await running.promise;
        return await (echo.invoke ?? assert.fail())(request);
      },
    },
    { limits: { bodiesMaxBytes: 100_000 } },
  );
  const body = ' '.repeat(1000);
  const whole = `POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${body}`;
  for (let times = 0; times < 40; times += 1) {
    const socket = await connected(server.port);
    socket.write(whole.slice(0, Math.ceil((whole.length * (times % 20)) / 19)));
    if (times % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
  }
  running.resolve();
  while (server.requests().inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
  const all = await call(server, invocations, Buffer.alloc(50_000, 0x20));
  assert.equal(all.status, 200, 'what the others held is given back');
  assert.deepEqual(server.logged, []);
});

test('headers without end, and requests that are none, are cut off', async (t) => {
  const server = await serve(t, echo);
  const endless = await connected(server.port);
  endless.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(20_000)}`);
  assert.match(String((await once(endless, 'data'))[0]), /^HTTP\/1\.1 431 /);
  const nonsense = await connected(server.port);
  nonsense.write('\u0016\u0003\u0001 what is this\r\n\r\n');
  assert.match(String((await once(nonsense, 'data'))[0]), /^HTTP\/1\.1 400 /);
});

test('a client that does not take its answer is given up', async (t) => {
  const server = await serve(
    t,
    {
      invokeStreaming: async () => ({
        requestId: 'the-id',
        executedVersion: '$LATEST',
        body: Readable.from(
          (function* () {
            for (;;) yield Buffer.alloc(65_536);
          })(),
        ),
        ended: Promise.resolve({}),
      }),
    },
    { limits: { silenceTimeoutMs: 100 } },
  );
  const path = '/2021-11-15/functions/hello/response-streaming-invocations';
  const socket = await connected(server.port);
  socket.pause();
  socket.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
  while (server.requests().answered.length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  socket.destroy();
});

test('no more connections are kept than are allowed', async (t) => {
  const server = await serve(t, echo, { limits: { connectionsMax: 2 } });
  const kept = [await connected(server.port), await connected(server.port)];
  const dropped = await connected(server.port);
  await once(dropped, 'close');
  for (const socket of kept) socket.destroy();
});

test('a client is not let in before its body is read: a stranger sends it for nothing', async (t) => {
  let reads = 0;
  const server = await serve(t, echo, {
    authenticator: {
      authenticate: async ({ bodyDigestHex, headers }) => {
        if (headers['x-known'] === undefined) throw new Error('a stranger');
        reads += 1;
        assert.equal(
          await bodyDigestHex('default'),
          '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a', // sha256sum of {}
        );
        return { tenant: 'default' };
      },
    },
  });
  assert.equal(
    (await call(server, invocations, '{}', { headers: { 'x-known': '1' } })).status,
    200,
  );
  assert.equal(reads, 1);
  const stranger = await connected(server.port);
  stranger.write(
    'POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n',
  );
  assert.match(String((await once(stranger, 'data'))[0]), /^HTTP\/1\.1 500 /); // before a byte of its body
  stranger.destroy();
});

test('a server that stops answers what it has begun and takes no more', async (t) => {
  const begun = Promise.withResolvers<void>();
  const result = Promise.withResolvers<void>();
  const server = await serve(t, {
    invoke: async (request) => {
      begun.resolve();
      await result.promise;
      return await (echo.invoke ?? assert.fail())(request);
    },
  });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  await call(server, 'GET /health', undefined, { agent }); // a connection that then idles
  const underWay = call(server, invocations, '"late"', { agent });
  await begun.promise;
  const closed = server.close();
  await assert.rejects(call(server, 'GET /health'), { code: 'ECONNREFUSED' });
  result.resolve();
  assert.equal((await underWay).body, '"late"');
  await closed;
});

test('a server that stops hands over the whole of a long answer', async (t) => {
  const body = Buffer.alloc(6_000_000, 0x20);
  const server = await serve(t, {
    invoke: async (request) => ({
      ...(await (echo.invoke ?? assert.fail())(request)),
      payload: body,
    }),
  });
  const socket = await connected(server.port);
  socket.pause();
  socket.write(
    'POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
  );
  while (server.requests().inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
  const closed = server.close();
  let sizeBytes = 0;
  socket.on('data', (part: Buffer) => (sizeBytes += part.byteLength)).resume();
  await once(socket, 'close');
  await closed;
  assert.ok(sizeBytes > body.byteLength, `only ${sizeBytes} bytes came`);
});

test('a server that is told to stop at once cuts off what it has begun', async (t) => {
  const begun = Promise.withResolvers<void>();
  const result = Promise.withResolvers<never>();
  const stopNow = new AbortController();
  const options = { stopNow: stopNow.signal };
  const server = await serve(
    t,
    {
      invoke: async () => {
        begun.resolve();
        return await result.promise;
      },
    },
    options,
  );
  const underWay = call(server, invocations, '{}');
  await begun.promise;
  stopNow.abort();
  await assert.rejects(underWay, { code: 'ECONNRESET' });
  result.reject(new Error('the worker ends'));
});

test(
  'with a certificate it speaks TLS, and says so in its URL',
  { skip: needsPrograms('openssl') },
  async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'thaw-api-'));
    t.after(() => rm(dir, { recursive: true }));
    const { certificate, key } = await makeCertificate(dir);
    const server = await serve(t, {}, { tls: { certificate, key } });
    const request = httpsRequest(new URL('/health', server.url), { ca: certificate });
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    assert.equal(await text(response), 'ok\n');
    assert.match(server.url, /^https:/);
  },
);
