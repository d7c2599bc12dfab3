/** What the client makes of servers that misbehave: scripted ones on loopback, in a time that the test owns. */

import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';

import fc from 'fast-check';

import { errorCode, errorMessage, systemTimers, type Priority } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { MemcachedServer, type MemcachedServerOptions } from './memcached-server.ts';
import { startScriptedMemcached, type ScriptedMemcached } from '../testing/scripted-memcached.ts';
import { eventually, recovers } from '../testing/server-recovery.ts';

const unavailable = 'ERR_CACHE_SERVER_UNAVAILABLE';

interface Subject extends AsyncDisposable {
  readonly scripted: ScriptedMemcached;
  readonly server: MemcachedServer;
  readonly time: VirtualTime;
}

async function start(
  answer?: (line: string) => string | Uint8Array | undefined,
  options: Partial<MemcachedServerOptions> = {},
): Promise<Subject> {
  const scripted = await startScriptedMemcached(answer);
  const time = new VirtualTime();
  const server = new MemcachedServer({
    address: scripted.address,
    clock: time,
    timers: time,
    random: () => 0.5,
    connections: 1,
    ...options,
  });
  return {
    scripted,
    server,
    time,
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await scripted[Symbol.asyncDispose]();
      assert.equal(time.waitingCount, 0, 'no timer is left');
    },
  };
}

function request(signal?: AbortSignal, priority: Priority = 'foreground') {
  return { priority, signal: signal ?? new AbortController().signal };
}

/** The code that it rejects with, or its value as text. */
async function outcome(work: Promise<Uint8Array | undefined | void>): Promise<string | undefined> {
  try {
    const value = await work;
    return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : undefined;
  } catch (thrown) {
    return errorCode(thrown) ?? errorMessage(thrown);
  }
}

/** Lets time pass in steps, with all that sockets do in between, until it is so. */
async function passUntil(time: VirtualTime, condition: () => boolean): Promise<number> {
  const startedMs = time.monotonicMs();
  while (!condition()) {
    await time.pass(10);
    for (let turn = 0; turn < 20 && !condition(); turn += 1) await nextTurn();
  }
  return time.monotonicMs() - startedMs;
}

/** Answers probes and nothing else. */
const onlyProbes = (line: string) => (line === 'mn' ? 'MN\r\n' : undefined);

test('more requests than may be outstanding are refused at once, abandoned ones counted in', async () => {
  await using subject = await start(undefined, { outstandingMax: 4 });
  const { server, scripted } = subject;
  const abort = new AbortController();
  const given = Array.from({ length: 4 }, (_, index) =>
    server.get(`${index}`, request(abort.signal)),
  );
  const rejected = given.map((work) => outcome(work));
  const connection = await scripted.connected(1);
  await connection.heard(4);
  abort.abort(new Error('given up'));
  assert.deepEqual(
    await Promise.all(rejected),
    Array.from({ length: 4 }, () => 'given up'),
  );
  assert.equal(await outcome(server.get('fifth', request())), unavailable);
  const { outstanding, refused, abandoned, state } = server.status();
  assert.deepEqual([outstanding, refused, abandoned, state], [4, 1, 4, 'up']);
  connection.send('EN\r\nEN\r\n');
  await eventually(() => server.status().outstanding === 2);
  const next = server.get('next', request());
  await connection.heard(5);
  connection.send('VA 3\r\nold\r\nEN\r\nVA 3\r\nnew\r\n');
  assert.equal(await outcome(next), 'new');
  assert.deepEqual(server.status().gets, { hits: 1, misses: 0 });
});

test('what nobody waits for gets half of the places', async () => {
  await using subject = await start(undefined, { outstandingMax: 4 });
  const { server, scripted } = subject;
  const abort = new AbortController();
  const get = (priority: Priority) => outcome(server.get('key', request(abort.signal, priority)));
  const given = [get('prefetch'), get('prefetch')];
  assert.equal(await get('prefetch'), unavailable);
  given.push(get('foreground'), get('foreground'));
  assert.equal(await get('foreground'), unavailable);
  await (await scripted.connected(1)).heard(4);
  abort.abort(new Error('given up'));
  assert.deepEqual(
    await Promise.all(given),
    Array.from({ length: 4 }, () => 'given up'),
  );
});

test('requests are spread over the connections', async () => {
  await using subject = await start(undefined, { connections: 2, outstandingMax: 2 });
  const { server, scripted } = subject;
  const given = ['a', 'b', 'c', 'd'].map((key) => outcome(server.get(key, request())));
  assert.equal(await outcome(server.get('e', request())), unavailable);
  for (const number of [1, 2]) {
    const connection = await scripted.connected(number);
    await connection.heard(2);
    connection.send('EN\r\nEN\r\n');
  }
  assert.deepEqual(
    await Promise.all(given),
    Array.from({ length: 4 }, () => undefined),
  );
});

test('a value on its way in does not hold up one on its way out', async () => {
  await using subject = await start((line) =>
    line.startsWith('mg') ? 'VA 2\r\nit\r\n' : undefined,
  );
  const { server } = subject;
  const abort = new AbortController();
  const put = outcome(server.put('key', [Buffer.alloc(1000)], request(abort.signal)));
  assert.equal(await outcome(server.get('key', request())), 'it');
  abort.abort(new Error('given up'));
  assert.equal(await put, 'given up');
});

test('a request that is given up before there is a connection is never sent', async () => {
  await using subject = await start(() => 'EN\r\n');
  const { server, scripted } = subject;
  const abort = new AbortController();
  const given = outcome(server.get('given-up', request(abort.signal)));
  const other = server.get('other', request());
  abort.abort(new Error('given up'));
  assert.equal(await given, 'given up');
  await other;
  assert.deepEqual(scripted.connections[0]?.lines, ['mg other v']);
});

test('an answer that nobody wants and that is over a second late costs the connection', async () => {
  await using subject = await start(onlyProbes, { connections: 2 });
  const { server, scripted, time } = subject;
  const abort = new AbortController();
  const given = outcome(server.get('a', request(abort.signal)));
  const connection = await scripted.connected(1);
  await connection.heard(1);
  await time.pass(500);
  abort.abort(new Error('given up'));
  assert.equal(await given, 'given up');
  await eventually(() => server.status().connections === 2);
  await time.pass(490);
  assert.deepEqual([server.state, server.status().resets], ['up', 0]);
  await time.pass(10);
  assert.deepEqual([server.state, server.status().resets], ['down', 1]);
  assert.equal(await outcome(server.get('b', request())), unavailable);
  await connection.gone();
  const downMs = await recovers(server, time);
  assert.ok(downMs >= 100 && downMs <= 200, `probed after ${downMs} ms`);
  assert.equal(server.status().probes, 1);
  // The other connection never was in the way.
  assert.deepEqual(
    scripted.connections.map(({ isGone }) => isGone),
    [true, false, false],
  );
});

test('a server that is slow stays up, and owes little', async () => {
  await using subject = await start();
  const { server, scripted, time } = subject;
  for (let round = 1; round <= 20; round += 1) {
    const abort = new AbortController();
    const given = outcome(server.get(`${round}`, request(abort.signal)));
    const connection = await scripted.connected(1);
    await connection.heard(round);
    abort.abort(new Error('others were faster'));
    assert.equal(await given, 'others were faster');
    await time.pass(100);
    connection.send('VA 4\r\nlate\r\n');
    await eventually(() => server.status().outstanding === 0);
  }
  const { state, resets, abandoned, gets } = server.status();
  assert.deepEqual([state, resets, abandoned, gets.hits], ['up', 0, 20, 0]);
});

test('a connection on which nothing comes for five seconds is given up', async () => {
  await using subject = await start((line) => (line === 'mg b v' ? 'VA 9\r\nhalf' : undefined));
  const { server, time } = subject;
  const waiting = outcome(server.get('a', request()));
  await eventually(() => server.status().bytesSent > 0 && server.status().connections === 1);
  await time.pass(4_990);
  assert.equal(server.status().outstanding, 1);
  await time.pass(260);
  assert.equal(await waiting, unavailable);
  assert.deepEqual([server.state, server.status().resets], ['down', 1]);
});

test('an answer that came while this process was held up is no reason to give up', async () => {
  await using scripted = await startScriptedMemcached();
  let nowMs = 0;
  const due: (() => void)[] = [];
  const server = new MemcachedServer({
    address: scripted.address,
    connections: 1,
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
    timers: {
      after: (_, run) => {
        due.push(run);
        return () => {};
      },
      afterInput: () => systemTimers.afterInput(),
    },
  });
  const waiting = outcome(server.get('a', request()));
  const connection = await scripted.connected(1);
  await connection.heard(1);
  // Written to the socket, and not read yet when the timers run.
  connection.send('VA 1\r\na\r\n');
  nowMs = 60_000;
  for (const run of due.splice(0)) run();
  assert.equal(await waiting, 'a');
  assert.deepEqual([server.state, server.status().resets], ['up', 0]);
  await server.close();
});

test('a server that does not get ready within a second is down', async () => {
  // It never answers the password.
  const address = { user: 'worker', password: 'secret' };
  await using scripted = await startScriptedMemcached((line) =>
    line === 'mn' ? 'CLIENT_ERROR unauthenticated\r\n' : undefined,
  );
  const time = new VirtualTime();
  const server = new MemcachedServer({
    address: { ...scripted.address, auth: address },
    clock: time,
    timers: time,
  });
  const waiting = outcome(server.get('a', request()));
  await (await scripted.connected(1)).heard(3);
  await time.pass(1_010);
  assert.equal(await waiting, unavailable);
  assert.equal(server.state, 'down');
  assert.deepEqual(scripted.connections[0]?.lines, ['mn', 'set auth 0 -1 13', 'worker secret']);
  await server.close();
});

test('a server that is gone is probed less and less often, at least every five seconds', async () => {
  const scripted = await startScriptedMemcached();
  await scripted[Symbol.asyncDispose]();
  const time = new VirtualTime();
  const server = new MemcachedServer({
    address: scripted.address,
    connections: 1,
    clock: time,
    timers: time,
    random: () => 0.999,
  });
  assert.equal(await outcome(server.get('a', request())), unavailable);
  assert.equal(server.state, 'down');
  const pausesMs: number[] = [];
  for (let probe = 1; probe <= 8; probe += 1) {
    pausesMs.push(await passUntil(time, () => server.status().probes === probe));
    await eventually(() => server.status().errors > probe);
  }
  assert.deepEqual(
    pausesMs.map((pauseMs) => Math.round(pauseMs / 100) * 100),
    [200, 400, 800, 1600, 3200, 5000, 5000, 5000],
  );
  assert.equal(server.status().outstanding, 0);
  await server.close();
  assert.equal(time.waitingCount, 0);
});

test('a server that answers probes and no requests is asked less and less often', async () => {
  await using subject = await start(onlyProbes);
  const { server, time } = subject;
  const pausesMs: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const abort = new AbortController();
    const given = outcome(server.get('a', request(abort.signal)));
    await eventually(() => server.status().connections === 1 && server.status().outstanding === 1);
    abort.abort(new Error('given up'));
    assert.equal(await given, 'given up');
    await passUntil(time, () => server.state === 'down');
    pausesMs.push(await recovers(server, time));
  }
  assert.deepEqual(pausesMs, [150, 300, 600, 1200]);
});

test('a connection that the server closes while it is idle is no failure', async () => {
  await using subject = await start(() => 'EN\r\n');
  const { server, scripted } = subject;
  await server.get('a', request());
  scripted.connections[0]?.socket.end();
  await eventually(() => server.status().connections === 0);
  await server.get('a', request());
  const { state, resets, errors, probes } = server.status();
  assert.deepEqual([state, resets, errors, probes], ['up', 0, 0, 0]);
});

/** What a server may do instead of answering, and where in the answer. */
const breaches: Readonly<Record<string, string | Uint8Array>> = {
  'another kind of answer': 'MN\r\n',
  'an answer of a set': 'HD\r\n',
  'no protocol at all': 'HTTP/1.1 400 Bad Request\r\n\r\n',
  'an unknown command': 'ERROR\r\n',
  'a refusal to say why': 'CLIENT_ERROR bad command line format\r\n',
  'more than was asked for': 'EN\r\nEN\r\n',
  'a value that is too long': 'VA 1048577\r\n',
  'a value that does not end': 'VA 1\r\nab\r\n',
  zeros: new Uint8Array(4096),
};

for (const [what, bytes] of Object.entries(breaches)) {
  test(`${what}: the connection is given up, and the server probed`, async () => {
    await using subject = await start((line) => (line === 'mn' ? 'MN\r\n' : undefined));
    const { server, scripted, time } = subject;
    const waiting = outcome(server.get('a', request()));
    const connection = await scripted.connected(1);
    await connection.heard(1);
    connection.send(bytes);
    // Where an answer came before the breach, it counts.
    assert.equal(await waiting, what === 'more than was asked for' ? undefined : unavailable);
    await connection.gone();
    await eventually(() => server.state === 'down');
    const { resets, errors } = server.status();
    assert.deepEqual([resets, errors], [1, 1]);
    await recovers(server, time);
  });
}

test('a server that closes in the middle of a value fails all that wait, and no more', async () => {
  await using subject = await start(onlyProbes);
  const { server, scripted, time } = subject;
  const waiting = ['a', 'b'].map((key) => outcome(server.get(key, request())));
  const connection = await scripted.connected(1);
  await connection.heard(2);
  connection.send('VA 100000\r\nbeginning');
  connection.socket.end();
  assert.deepEqual(await Promise.all(waiting), [unavailable, unavailable]);
  assert.deepEqual([server.state, server.status().resets], ['down', 1]);
  await recovers(server, time);
  const later = outcome(server.get('c', request()));
  const fresh = await scripted.connected(2);
  await fresh.heard(2);
  fresh.send('VA 1\r\nc\r\n');
  assert.equal(await later, 'c');
});

test('a value that is given up while it arrives does not spoil the next', async () => {
  await using subject = await start();
  const { server, scripted } = subject;
  const abort = new AbortController();
  const given = outcome(server.get('a', request(abort.signal)));
  const next = outcome(server.get('b', request()));
  const connection = await scripted.connected(1);
  await connection.heard(2);
  const value = Buffer.alloc(200_000, 'a');
  connection.send(`VA ${value.byteLength}\r\n`);
  connection.send(value.subarray(0, 100_000));
  await eventually(() => server.status().bytesReceived > 90_000);
  abort.abort(new Error('given up'));
  assert.equal(await given, 'given up');
  connection.send(value.subarray(100_000));
  connection.send('\r\nVA 1\r\nb\r\n');
  assert.equal(await next, 'b');
  assert.deepEqual([server.state, server.status().gets.hits], ['up', 1]);
});

test('a put does not settle before its bytes are sent, refused or given up as it may be', async () => {
  await using subject = await start((line) => {
    return line.startsWith('ms first') ? 'SERVER_ERROR object too large for cache\r\n' : undefined;
  });
  const { server, scripted, time } = subject;
  await outcome(server.delete('nothing', request(AbortSignal.abort(new Error('never sent')))));
  const settled: string[] = [];
  const abort = new AbortController();
  const large = Buffer.alloc(8 * 1024 * 1024); // more than sockets hold
  const puts = ['first', 'second'].map(async (key) => {
    settled.push(`${key}: ${await outcome(server.put(key, [large], request(abort.signal)))}`);
  });
  const { socket } = await scripted.connected(1);
  socket.once('data', () => socket.pause());
  await eventually(() => server.status().errors === 1);
  abort.abort(new Error('given up'));
  await time.pass(500);
  assert.deepEqual(settled, []);
  socket.resume();
  await eventually(() => settled.length === 1);
  assert.deepEqual(settled, [`first: ${unavailable}`]);
  // The server reads no more: the second ends with the connection.
  socket.pause();
  await passUntil(time, () => settled.length === 2);
  await Promise.all(puts);
  assert.deepEqual(settled[1], 'second: given up');
});

test('an error of the server fails its request and leaves the others', async () => {
  await using subject = await start();
  const { server, scripted } = subject;
  const waiting = ['a', 'b'].map((key) => outcome(server.get(key, request())));
  const connection = await scripted.connected(1);
  await connection.heard(2);
  connection.send('SERVER_ERROR out of memory writing get response\r\nVA 1\r\nb\r\n');
  assert.deepEqual(await Promise.all(waiting), [unavailable, 'b']);
  const { state, errors, resets } = server.status();
  assert.deepEqual([state, errors, resets], ['up', 1, 0]);
});

test('whatever a server sends, however it is cut, every request settles and no value is too long', async () => {
  const words = fc.constantFrom(
    'VA 3\r\nabc\r\n',
    'EN\r\n',
    'HD\r\n',
    'VA ',
    '9',
    '\r\n',
    '\0',
    'SERVER_ERROR x\r\n',
  );
  const pieces = fc.array(
    fc.oneof(
      words.map((word) => Buffer.from(word, 'latin1')),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    ),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: 1, max: 4 }), async (sent, requests) => {
      await using subject = await start(undefined, { valueMaxBytes: 10 });
      const { server, scripted } = subject;
      const waiting = Array.from({ length: requests }, (_, at) =>
        outcome(server.get(`${at}`, request())),
      );
      const connection = await scripted.connected(1);
      await connection.heard(requests);
      for (const piece of sent) {
        connection.send(piece);
        await nextTurn();
      }
      connection.socket.end();
      for (const result of await Promise.all(waiting)) {
        assert.ok(
          result === undefined || result === 'abc' || result === unavailable || result.length < 10,
        );
      }
      await eventually(() => server.status().connections === 0);
    }),
    { numRuns: 50 },
  );
});
