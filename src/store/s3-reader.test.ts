import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { createServer as createNetServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';

import { serveLocally } from '../../test/support/local-server.ts';
import { ObjectReader } from './s3-reader.ts';

test('a read that waits for a connection is never made once it is aborted, and the one under way goes on', async () => {
  const arrived = Promise.withResolvers<ServerResponse>();
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    if (asked.length === 1) arrived.resolve(response);
    else response.writeHead(200, { 'content-length': 5 }).end('later');
  });
  await using running = await serveLocally(server);
  const reader = new ObjectReader({
    origin: `http://${running.host}`,
    connectionsMax: 1,
    connectTimeoutMs: 5000,
    idleTimeoutMs: 60_000,
    bodyMaxBytes: 1000,
  });
  const read = async (path: string, signal?: AbortSignal): Promise<string> => {
    const { body } = await reader.get({ path, headers: {}, signal });
    return Buffer.from(body).toString();
  };
  const first = read('/first');
  const response = await arrived.promise;
  const abort = new AbortController();
  const second = assert.rejects(read('/second', abort.signal), { name: 'AbortError' });
  abort.abort();
  await second;
  response.writeHead(200, { 'content-length': 3 }).end('one');
  assert.equal(await first, 'one');
  assert.equal(await read('/third'), 'later');
  assert.deepEqual(asked, ['/first', '/third']);
  await reader.close();
});

for (const status of [200, 503]) {
  test(`an answer of status ${status} that comes a byte now and then is given up`, async () => {
    const closed = Promise.withResolvers<unknown>();
    const server = createServer((_request, response) => {
      closed.resolve(once(response, 'close'));
      response.writeHead(status, { 'content-length': status === 200 ? 100 : 1_000_000 });
      const trickle = setInterval(() => response.write('x'), 20);
      response.once('close', () => clearInterval(trickle));
    });
    await using running = await serveLocally(server);
    const reader = new ObjectReader({
      origin: `http://${running.host}`,
      connectionsMax: 1,
      connectTimeoutMs: 5000,
      idleTimeoutMs: 500,
      bodyMaxBytes: 1000,
    });
    const reading = reader.get({ path: '/', headers: {}, signal: undefined });
    await assert.rejects(reading, { message: /^the answer was not there after \d+ ms$/ });
    await closed.promise;
    await reader.close();
  });
}

/** Answers the first request of each connection, and does with a second one what `second` does. */
async function readTwice(second: (socket: Socket) => void): Promise<string> {
  const firsts = new Set<Socket>();
  const server = createNetServer((socket) => {
    socket.on('data', () => {
      if (firsts.has(socket)) second(socket);
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody');
      firsts.add(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const reader = new ObjectReader({
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connectionsMax: 1,
    connectTimeoutMs: 5000,
    idleTimeoutMs: 60_000,
    bodyMaxBytes: 1000,
  });
  try {
    await reader.get({ path: '/', headers: {}, signal: undefined });
    const { body } = await reader.get({ path: '/', headers: {}, signal: undefined });
    return `${Buffer.from(body).toString()} over ${firsts.size}`;
  } finally {
    await reader.close();
    server.close();
  }
}

test('a request that meets a connection which the server has given up is made again over another one', async () => {
  assert.equal(await readTwice((socket) => socket.destroy()), 'body over 2');
  assert.equal(await readTwice((socket) => socket.resetAndDestroy()), 'body over 2');
});

test('a request that was answered in part is not made again', async () => {
  const inPart = readTwice((socket) =>
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo'),
  );
  await assert.rejects(inPart, { message: 'the server closed the connection' });
});

test('bytes that nobody asked for end a connection, and are part of no answer', async () => {
  const twice = readTwice((socket) =>
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\n\r\n'),
  );
  assert.equal(await twice, 'one over 1');
});

test('a header that would be two is refused, and not told', async () => {
  const reader = new ObjectReader({
    origin: 'http://127.0.0.1:1',
    connectionsMax: 1,
    connectTimeoutMs: 5000,
    idleTimeoutMs: 60_000,
    bodyMaxBytes: 1000,
  });
  const headers = { 'x-token': 'secret\r\nx: y' };
  await assert.rejects(reader.get({ path: '/', headers, signal: undefined }), {
    message: 'the header "x-token" has characters that HTTP has not',
  });
});

test('closing ends the reads under way and those that wait', async () => {
  const asked = Promise.withResolvers<void>();
  await using running = await serveLocally(createServer(() => asked.resolve()));
  const reader = new ObjectReader({
    origin: `http://${running.host}`,
    connectionsMax: 1,
    connectTimeoutMs: 5000,
    idleTimeoutMs: 3_600_000,
    bodyMaxBytes: 1000,
  });
  const reads = [1, 2, 3].map(() =>
    assert.rejects(reader.get({ path: '/', headers: {}, signal: undefined }), /store is closed/),
  );
  await asked.promise;
  await reader.close();
  await Promise.all(reads);
});
