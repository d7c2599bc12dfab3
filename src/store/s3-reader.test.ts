import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
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

for (const connection of ['keep-alive', 'close']) {
  test(`long answers arrive whole, side by side and one after another (Connection: ${connection})`, async () => {
    const bodies = Array.from({ length: 24 }, (_, index) => Buffer.alloc(index * 99_991, index));
    const server = createServer(({ url }, response) => {
      const body = bodies[Number(url?.slice(1))];
      response.writeHead(200, { 'content-length': body?.byteLength ?? 0, connection }).end(body);
    });
    await using running = await serveLocally(server);
    const reader = new ObjectReader({
      origin: `http://${running.host}`,
      connectionsMax: 4,
      connectTimeoutMs: 5000,
      idleTimeoutMs: 60_000,
      bodyMaxBytes: 4_000_000,
    });
    const reading = bodies.map((_, index) =>
      reader.get({ path: `/${index}`, headers: {}, signal: undefined }),
    );
    for (const [index, { body }] of (await Promise.all(reading)).entries()) {
      assert.equal(Buffer.compare(body, bodies[index] ?? Buffer.alloc(1)), 0);
    }
    await reader.close();
  });
}

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
