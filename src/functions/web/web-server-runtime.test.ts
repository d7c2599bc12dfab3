import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect as connectTcp, type AddressInfo, type Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';

import fc from 'fast-check';

import { systemClock } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { Invocation } from '../../sandbox/index.ts';
import type { WebRequest } from '../function-runs.ts';
import { urlEventOf } from './url-event.ts';
import { WebServerRuntime } from './web-server-runtime.ts';

const never = new AbortController().signal;
const invocation: Invocation = {
  requestId: '8476a536-e9f4-11e8-9739-2dfe598c3fcd',
  payload: Buffer.from('{}'),
  deadlineMs: 1_542_409_706_888.5,
  functionArn: 'arn:aws:lambda:us-east-1:123456789012:function:site',
  traceId: 'Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700',
};
const record = { name: 'site', memoryMb: 128, version: '7' } as FunctionRecord;

interface Site extends AsyncDisposable {
  readonly server: Server;
  readonly runtime: WebServerRuntime;
  /** Connections made so far, refused ones not counted. */
  readonly connections: Socket[];
  end(): void;
}

interface SiteOptions {
  readonly readyPath?: string;
  /** True to leave it to the test to have the server listen, at the port that it gets. */
  readonly isDown?: boolean;
}

/** A web server of this process, reached as one in a sandbox is. */
async function openSite(answer: RequestListener, options: SiteOptions = {}): Promise<Site> {
  const server = createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  if (options.isDown === true) await new Promise((resolve) => server.close(resolve));
  const connections: Socket[] = [];
  const ended = Promise.withResolvers<{ outOfMemory: false }>();
  const connect = async (): Promise<Socket> => {
    const socket = connectTcp(port, '127.0.0.1');
    await once(socket, 'connect');
    connections.push(socket);
    return socket;
  };
  const runtime = new WebServerRuntime({
    sandbox: { connect, exited: ended.promise },
    record,
    settings: { port, readyPath: options.readyPath ?? '/' },
    logStream: 'stream',
    clock: systemClock,
  });
  if (options.isDown === true) server.listen(port, '127.0.0.1');
  const end = (): void => ended.resolve({ outOfMemory: false });
  return {
    server,
    runtime,
    connections,
    end,
    [Symbol.asyncDispose]: async () => {
      end();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function requestOf(fields: Partial<WebRequest> = {}): WebRequest {
  const body = Readable.from([], { objectMode: false });
  return { tenant: 't', name: 'site', method: 'GET', path: '/', headers: {}, body, ...fields };
}

async function textOf(body: Readable): Promise<string> {
  return Buffer.concat(await body.toArray()).toString();
}

const echo: RequestListener = (request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.once('end', () => {
    const { method, url, headers } = request;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(parts).toString() }));
  });
};

interface Echo {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string | undefined>;
  readonly body: string;
}

async function echoOf(site: Site, fields: Partial<WebRequest>): Promise<Echo> {
  await site.runtime.ready;
  const { body } = await site.runtime.fetch(requestOf(fields), invocation, never);
  return JSON.parse(await textOf(body)) as Echo;
}

test('a server is ready once it listens and answers below 500', async () => {
  let looks = 0;
  await using site = await openSite(
    (request, response) => {
      assert.equal(request.url, '/healthz?deep=1');
      looks += 1;
      response.writeHead([503, 500, 404][looks - 1] ?? 200).end();
    },
    { readyPath: '/healthz?deep=1', isDown: true },
  );
  assert.deepEqual(await site.runtime.ready, {});
  assert.equal(looks, 3);
});

test('a request reaches the server as it is, with the contexts that the web adapter sends', async () => {
  await using site = await openSite(echo);
  const { method, url, headers, body } = await echoOf(site, {
    method: 'PUT',
    path: '/a%20b?c=d&c=e',
    headers: {
      host: 'site.example',
      'x-several': ['1', '2'],
      'content-length': '7',
      connection: 'close, x-hop',
      expect: '100-continue',
      'x-forwarded-for': '203.0.113.9, 198.51.100.4',
    },
    body: Readable.from([Buffer.from('payload')]),
  });
  assert.deepEqual([method, url, body], ['PUT', '/a%20b?c=d&c=e', 'payload']);
  assert.equal(headers['host'], 'site.example');
  assert.equal(headers['x-several'], '1, 2');
  assert.equal(headers['expect'], undefined);
  const context = JSON.parse(headers['x-amzn-request-context'] ?? '') as Record<string, unknown>;
  assert.equal(context['accountId'], '123456789012');
  assert.equal((context['http'] as Record<string, unknown>)['path'], '/a%20b');
  assert.equal((context['http'] as Record<string, unknown>)['sourceIp'], '198.51.100.4');
  assert.deepEqual(JSON.parse(headers['x-amzn-lambda-context'] ?? ''), {
    request_id: invocation.requestId,
    deadline: 1_542_409_706_888,
    invoked_function_arn: invocation.functionArn,
    xray_trace_id: invocation.traceId,
    client_context: null,
    identity: null,
    env_config: {
      function_name: 'site',
      memory: 128,
      version: '7',
      log_stream: 'stream',
      log_group: '/aws/lambda/site',
    },
  });
});

test('bodies of unknown length, and none at all, arrive whole for every method', async () => {
  await using site = await openSite(echo);
  for (const method of ['GET', 'DELETE', 'POST', 'PATCH']) {
    const none = await echoOf(site, { method });
    assert.deepEqual([none.method, none.body], [method, '']);
    const body = Readable.from([Buffer.from('some'), Buffer.from('thing')]);
    const some = await echoOf(site, { method, body });
    assert.deepEqual([some.body, some.headers['transfer-encoding']], ['something', 'chunked']);
  }
});

test('requests one after the other use one connection', async () => {
  await using site = await openSite(echo);
  for (let count = 0; count < 3; count += 1) await echoOf(site, {});
  assert.equal(site.connections.length, 1);
});

test('a connection that the server has closed is replaced', async () => {
  await using site = await openSite((request, response) => {
    response.once('finish', () => request.socket.destroy());
    echo(request, response);
  });
  for (let count = 0; count < 5; count += 1) await echoOf(site, {});
});

test('an answer is handed on while the server writes it, and the runtime is busy until it ends', async () => {
  const written = Promise.withResolvers<NodeJS.WritableStream>();
  await using site = await openSite((request, response) => {
    if (request.url === '/') return void response.end();
    response.writeHead(203, { 'X-One': 'a', 'Set-Cookie': ['b=c', 'd=e'] }).write('begin');
    written.resolve(response);
  });
  await site.runtime.ready;
  const { status, headers, body } = await site.runtime.fetch(
    requestOf({ path: '/stream' }),
    invocation,
    never,
  );
  assert.equal(status, 203);
  assert.equal(headers['x-one'], 'a');
  assert.deepEqual(headers['set-cookie'], ['b=c', 'd=e']);
  assert.equal(headers['transfer-encoding'], undefined);
  assert.equal(String((await once(body, 'data'))[0]), 'begin');
  let isSettled = false;
  const settled = site.runtime.settled().then(() => (isSettled = true));
  await assert.rejects(site.runtime.settled(AbortSignal.abort(new Error('enough'))), /enough/);
  assert.equal(isSettled, false);
  (await written.promise).end('end');
  assert.equal(await textOf(body), 'end');
  await settled;
});

test('a request body is handed on while it comes', async () => {
  const begun = Promise.withResolvers<string>();
  await using site = await openSite((request, response) => {
    request.once('data', (part: Buffer) => begun.resolve(part.toString()));
    request.once('end', () => response.end('done'));
    if (request.url === '/') request.resume();
  });
  await site.runtime.ready;
  const body = new PassThrough();
  const fetched = site.runtime.fetch(
    requestOf({ method: 'POST', path: '/up', body }),
    invocation,
    never,
  );
  body.write('first');
  assert.equal(await begun.promise, 'first');
  body.end('last');
  assert.equal(await textOf((await fetched).body), 'done');
});

test('a server that does not answer is ERR_FUNCTION_WEB, and one that breaks off breaks the body', async () => {
  await using site = await openSite((request, response) => {
    if (request.url === '/') return void response.end();
    if (request.url === '/half') response.writeHead(200, { 'content-length': '9' }).write('half');
    setImmediate(() => request.socket.destroy());
  });
  await site.runtime.ready;
  const fetched = site.runtime.fetch(requestOf({ path: '/none' }), invocation, never);
  await assert.rejects(fetched, { code: 'ERR_FUNCTION_WEB' });
  const { body } = await site.runtime.fetch(requestOf({ path: '/half' }), invocation, never);
  await assert.rejects(body.toArray());
  const event = urlEvent({ path: '/none' });
  const outcome = await site.runtime.invoke({ ...invocation, payload: event }, never);
  assert(outcome.kind === 'error');
  assert.equal(outcome.errorType, 'Runtime.WebServerError');
  const list = `${'['.repeat(500_000)}${']'.repeat(500_000)}`;
  const context = `{"http":{"method":"GET"},"deep":${list}}`;
  const payload = Buffer.from(`{"version":"2.0","requestContext":${context}}`);
  const ofDeep = await site.runtime.invoke({ ...invocation, payload }, never);
  assert.equal(ofDeep.kind, 'error');
});

test('a server that speaks something other than HTTP after all is ERR_FUNCTION_WEB', async () => {
  const answers = {
    '/upgrade': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    '/garbage': '\0\0\0\r\n\r\n',
    '/large': `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`,
  };
  await using site = await openSite((request, response) => {
    const answer = answers[request.url as keyof typeof answers] as string | undefined;
    if (answer === undefined) response.end();
    else request.socket.write(answer);
  });
  await site.runtime.ready;
  for (const path of Object.keys(answers)) {
    const fetched = site.runtime.fetch(requestOf({ path }), invocation, never);
    await assert.rejects(fetched, { code: 'ERR_FUNCTION_WEB' }, path);
  }
  await assert.rejects(
    site.runtime.fetch(requestOf({ method: 'CONNECT', path: '/' }), invocation, never),
    { code: 'ERR_FUNCTION_WEB' },
  );
});

test("fetch ends with its signal's reason, before and after the head", async () => {
  await using site = await openSite((request, response) => {
    if (request.url === '/') return void response.end();
    if (request.url === '/slow') response.write('begin');
  });
  await site.runtime.ready;
  for (const path of ['/silent', '/slow']) {
    const controller = new AbortController();
    const reason = new Error('deadline');
    const fetched = site.runtime.fetch(requestOf({ path }), invocation, controller.signal);
    const read = fetched.then(({ body }) => body.toArray());
    if (path === '/slow') await fetched;
    const rejected = assert.rejects(read, reason);
    controller.abort(reason);
    await rejected;
  }
  const aborted = AbortSignal.abort(new Error('before'));
  await assert.rejects(site.runtime.fetch(requestOf(), invocation, aborted), /before/);
});

function urlEvent(fields: object): Buffer {
  const event = urlEventOf({
    method: 'GET',
    path: '/',
    query: '',
    headers: {},
    body: Buffer.alloc(0),
    requestId: 'id',
    accountId: '123456789012',
    sourceIp: '203.0.113.9',
    timeMs: 0,
    ...fields,
  });
  return Buffer.from(JSON.stringify(event));
}

async function invoked(site: Site, payload: Uint8Array): Promise<unknown> {
  await site.runtime.ready;
  const outcome = await site.runtime.invoke({ ...invocation, payload }, never);
  assert(outcome.kind === 'response');
  return JSON.parse(Buffer.from(outcome.payload).toString());
}

test('invoke sends the request that its event tells of and returns a response object', async () => {
  await using site = await openSite(echo);
  const payload = urlEvent({
    method: 'POST',
    path: '/form',
    query: 'a=b',
    headers: { 'content-type': 'application/x-www-form-urlencoded', cookie: 'c=d; e=f' },
    body: Buffer.from('x=y'),
  });
  const result = (await invoked(site, payload)) as Record<string, unknown>;
  const { body, ...head } = result;
  const { method, url, headers, body: sent } = JSON.parse(String(body)) as Echo;
  assert.deepEqual([method, url, sent], ['POST', '/form?a=b', 'x=y']);
  assert.equal(headers['cookie'], 'c=d; e=f');
  assert.equal(JSON.parse(headers['x-amzn-request-context'] ?? '').requestId, 'id');
  assert.equal(head['statusCode'], 200);
  assert.equal(head['isBase64Encoded'], false);
});

test('a path that was decoded on its way is encoded again', async () => {
  await using site = await openSite(echo);
  const decoded = urlEvent({ path: '/a b/ü', query: 'c=d e' });
  const { body } = (await invoked(site, decoded)) as { body: string };
  assert.equal((JSON.parse(body) as Echo).url, '/a%20b/%C3%BC?c=d%20e');
});

test('no event makes invoke do anything but answer', async () => {
  await using site = await openSite(echo);
  await site.runtime.ready;
  const text = fc.string({ unit: 'binary', maxLength: 20 });
  const fields = fc.record(
    {
      rawPath: fc.oneof(text, fc.jsonValue()),
      rawQueryString: fc.oneof(text, fc.jsonValue()),
      cookies: fc.oneof(fc.array(text), fc.jsonValue()),
      headers: fc.oneof(fc.dictionary(text, text, { noNullPrototype: true }), fc.jsonValue()),
      body: fc.oneof(text, fc.jsonValue()),
      isBase64Encoded: fc.jsonValue(),
      requestContext: fc.record({
        http: fc.record({ method: fc.oneof(fc.constant('POST'), text) }),
      }),
    },
    { requiredKeys: ['requestContext'], noNullPrototype: true },
  );
  await fc.assert(
    fc.asyncProperty(fields, async (event) => {
      const payload = Buffer.from(JSON.stringify({ version: '2.0', ...event }));
      const outcome = await site.runtime.invoke({ ...invocation, payload }, never);
      assert(outcome.kind === 'response' || outcome.kind === 'error');
      JSON.parse(Buffer.from(outcome.payload).toString());
      await site.runtime.settled();
    }),
    { numRuns: 200 },
  );
});

test('invoke returns cookies apart and bytes in base64', async () => {
  await using site = await openSite((_request, response) => {
    response.writeHead(201, { 'Set-Cookie': ['a=b', 'c=d'], 'Content-Type': 'image/png' });
    response.end(Buffer.from([0xff, 0x00]));
  });
  const result = (await invoked(site, urlEvent({}))) as Record<string, unknown>;
  assert.equal(result['statusCode'], 201);
  assert.deepEqual(result['cookies'], ['a=b', 'c=d']);
  assert.deepEqual([result['body'], result['isBase64Encoded']], ['/wA=', true]);
});

test('an event that is no request is posted to /events, and what is answered is the result', async () => {
  await using site = await openSite((request, response) => {
    if (request.url === '/events') echo(request, response);
    else response.end('no JSON');
  });
  const payload = Buffer.from('{"Records":[{"eventSource":"aws:sqs"}]}');
  const { method, url, body } = (await invoked(site, payload)) as Echo;
  assert.deepEqual([method, url, body], ['POST', '/events', payload.toString()]);
});

test('an answer of more than 6 MiB to invoke is Function.ResponseSizeTooLarge', async () => {
  await using site = await openSite((request, response) => {
    response.end(request.url === '/' ? '' : Buffer.alloc(6 * 1024 * 1024 + 101));
  });
  await site.runtime.ready;
  const payload = urlEvent({ path: '/large' });
  const outcome = await site.runtime.invoke({ ...invocation, payload }, never);
  assert(outcome.kind === 'error');
  assert.equal(outcome.errorType, 'Function.ResponseSizeTooLarge');
  await site.runtime.settled();
  const small = { ...invocation, payload: urlEvent({}) };
  assert.equal((await site.runtime.invoke(small, never)).kind, 'response');
});

test('looking for the server ends with the sandbox', async () => {
  await using site = await openSite((_request, response) => void response.writeHead(500).end());
  await once(site.server, 'request');
  site.end();
  assert.equal(site.server.listening, true);
});
