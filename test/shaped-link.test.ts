/** The link that the benchmarks measure over hands on what it is given, and its faults are what they are called. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, suite, test } from 'node:test';

import { ShapedLink } from '../bench/support/shaped-link.ts';
import { needsPrograms } from './support/programs.ts';

const fast = { bitsPerSecond: 1e10, delayMs: 0.5 };

interface Answering extends AsyncDisposable {
  readonly link: ShapedLink;
  /** How often it was pinged. */
  readonly pings: () => number;
  /** A connection through the link. */
  readonly dial: (name?: string) => Promise<Socket>;
}

/** A server behind a link that answers each connection with a digest of all that it was sent, and `ping` with `pong`. */
async function answering(directory: string): Promise<Answering> {
  await using made = new AsyncDisposableStack();
  let pings = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    const digest = createHash('sha256');
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => {
      if (bytes.toString() === 'ping') {
        pings += 1;
        socket.write('pong');
      } else digest.update(bytes);
    });
    socket.on('end', () => socket.end(digest.digest('hex')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  made.defer(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const { port } = server.address() as AddressInfo;
  const targets = ['server', 'beside'].map((name) => ({ name, port }));
  const link = made.use(await ShapedLink.open(fast, targets, directory));
  const stack = made.move();
  return {
    link,
    pings: () => pings,
    dial: async (name = 'server') => {
      const socket = connect({ port: link.portOf(name), host: '127.0.0.1', noDelay: true });
      await once(socket, 'connect');
      return socket;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function ping(socket: Socket): Promise<string> {
  const answered = once(socket, 'data') as Promise<[Buffer]>;
  socket.write('ping');
  return (await answered)[0].toString();
}

suite('a shaped link', { skip: needsPrograms('gcc') }, () => {
  let directory = '';
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'thaw-link-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  test('hands on every byte of several connections, and the end of each direction by itself', async () => {
    await using it = await answering(directory);
    const sent = Array.from({ length: 4 }, (_, at) => Buffer.alloc(3_000_000 + at, `bytes ${at}`));
    const answers = await Promise.all(
      sent.map(async (bytes) => {
        const socket = await it.dial();
        socket.end(bytes);
        return await text(socket);
      }),
    );
    assert.deepEqual(
      answers,
      sent.map((bytes) => createHash('sha256').update(bytes).digest('hex')),
    );
  });

  test('holds back what is sent while its target is stopped, and loses none of it', async () => {
    await using it = await answering(directory);
    const socket = await it.dial();
    assert.equal(await ping(socket), 'pong');
    await it.link.fault('server', { kind: 'stopped' });
    const answered = ping(socket);
    const beside = await it.dial('beside');
    for (let time = 0; time < 3; time += 1) assert.equal(await ping(beside), 'pong');
    assert.equal(it.pings(), 1 + 3);
    await it.link.fault('server', { kind: 'none' });
    assert.equal(await answered, 'pong');
    for (const one of [socket, beside]) one.destroy();
  });

  test('delays what a slow target answers', async () => {
    await using it = await answering(directory);
    const socket = await it.dial();
    await it.link.fault('server', { kind: 'slow', extraDelayMs: 50 });
    const startedMs = performance.now();
    assert.equal(await ping(socket), 'pong');
    assert.ok(performance.now() - startedMs >= 50);
    socket.destroy();
  });

  test('resets connections to a target that is killed, and new ones', async () => {
    await using it = await answering(directory);
    const socket = await it.dial();
    assert.equal(await ping(socket), 'pong');
    const failed = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
    await it.link.fault('server', { kind: 'killed' });
    assert.equal((await failed)[0].code, 'ECONNRESET');
    const next = connect({ port: it.link.portOf('server'), host: '127.0.0.1' });
    const [nextFailed] = (await once(next, 'error')) as [NodeJS.ErrnoException];
    assert.equal(nextFailed.code, 'ECONNRESET');
    await it.link.fault('server', { kind: 'none' });
    const healed = await it.dial();
    assert.equal(await ping(healed), 'pong');
    healed.destroy();
  });

  test('says what its process takes of the processors', async () => {
    await using it = await answering(directory);
    const socket = await it.dial();
    const beforeMs = await it.link.processorMs();
    await ping(socket);
    assert.ok((await it.link.processorMs()) > beforeMs);
    socket.destroy();
  });
});
