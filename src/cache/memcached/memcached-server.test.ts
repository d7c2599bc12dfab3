import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { inspect } from 'node:util';

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import type { MemcachedAddress } from './memcached-address.ts';
import { MemcachedServer } from './memcached-server.ts';
import {
  memcachedMissing,
  startMemcached,
  type Memcached,
  type MemcachedOptions,
} from '../testing/memcached.ts';
import { recovers } from '../testing/server-recovery.ts';
import { zoneServerConformance } from '../testing/zone-server-conformance.ts';
import type { ZoneServerRequest } from '../zone/zone-server.ts';

const auth = { user: 'worker', password: 'correct:horse' };

/** Every way of reaching a server. */
const ways: Readonly<Record<string, MemcachedOptions>> = {
  'memcached over TCP': {},
  'memcached over IPv6, on flash': { host: '::1', extstoreMebibytes: 64 },
  'memcached with a password': { auth },
  'memcached over TLS, with a password': { tls: true, auth },
};

for (const [name, options] of Object.entries(ways)) {
  zoneServerConformance({
    name,
    skip: memcachedMissing,
    create: async () => {
      const memcached = await startMemcached(options);
      const server = new MemcachedServer({ address: memcached.address });
      return {
        server,
        [Symbol.asyncDispose]: async () => {
          await server.close();
          await memcached[Symbol.asyncDispose]();
        },
      };
    },
  });
}

interface Subject extends AsyncDisposable {
  readonly memcached: Memcached;
  readonly server: MemcachedServer;
  readonly time: VirtualTime;
}

/** A real server, in a time that the test owns. */
async function start(
  options: MemcachedOptions = {},
  change: (address: MemcachedAddress) => MemcachedAddress = (address) => address,
): Promise<Subject> {
  const memcached = await startMemcached(options);
  const time = new VirtualTime();
  const address = change(memcached.address);
  const server = new MemcachedServer({ address, clock: time, timers: time, random: () => 0 });
  return {
    memcached,
    server,
    time,
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await memcached[Symbol.asyncDispose]();
    },
  };
}

const request = (signal: AbortSignal = new AbortController().signal): ZoneServerRequest => {
  return { signal, priority: 'foreground' };
};

const unavailable = { code: 'ERR_CACHE_SERVER_UNAVAILABLE' };

/** Lets time pass until the server is down. Returns how long that took, in milliseconds. */
async function goesDown({ server, time }: Subject): Promise<number> {
  const startedMs = time.monotonicMs();
  while (server.state === 'up') await time.pass(10);
  return time.monotonicMs() - startedMs;
}

suite('MemcachedServer on a server that fails', { skip: memcachedMissing }, () => {
  test('a stopped server is down about a second after it was asked, and up again when it goes on', async () => {
    await using subject = await start();
    const { memcached, server, time } = subject;
    await server.put('key', [Buffer.from('value')], request());
    await server.get('key', request());
    memcached.pause();
    const abort = new AbortController();
    const given = server.get('key', request(abort.signal));
    const reason = new Error('others were faster');
    const rejected = assert.rejects(given, reason);
    abort.abort(reason);
    await rejected;
    const downMs = await goesDown(subject);
    assert.ok(downMs >= 1000 && downMs <= 1300, `down after ${downMs} ms`);
    await assert.rejects(server.get('key', request()), unavailable);
    await assert.rejects(server.put('key', [], request()), unavailable);
    while (server.status().probes < 3) await time.pass(100);
    assert.equal(server.state, 'down');
    memcached.resume();
    await recovers(server, time);
    assert.equal(Buffer.from((await server.get('key', request())) ?? []).toString(), 'value');
  });

  test('a server that is killed and started again where it was is found again', async () => {
    await using subject = await start();
    const { memcached, server, time } = subject;
    await server.put('key', [Buffer.from('value')], request());
    await memcached.kill();
    await assert.rejects(server.get('key', request()), unavailable);
    assert.equal(server.state, 'down');
    await memcached.restart();
    await recovers(server, time);
    assert.equal(await server.get('key', request()), undefined);
  });

  test('a value that is too large for the server is refused, and the connection is well', async () => {
    await using subject = await start();
    const { server } = subject;
    await assert.rejects(server.put('key', [Buffer.alloc(2 * 1024 * 1024)], request()), {
      ...unavailable,
      message: /too large/,
    });
    await server.put('key', [Buffer.from('small')], request());
    const { state, resets, errors, puts } = server.status();
    assert.deepEqual([state, resets, errors, puts], ['up', 0, 1, 1]);
  });

  test('a wrong password brings the server down, and is in no message', async () => {
    const secret = 'wrong-secret';
    await using subject = await start({ auth }, (address) => {
      return { ...address, auth: { ...auth, password: secret } };
    });
    const { server } = subject;
    for (const message of [/refused the user or the password/, /it is down/]) {
      await assert.rejects(server.get('key', request()), (thrown: Error) => {
        assert.match(thrown.message, message);
        assert.ok(!inspect(thrown, { depth: 9, showHidden: true }).includes(secret));
        return true;
      });
    }
    assert.equal(server.state, 'down');
    assert.ok(!JSON.stringify([server.status(), server.id, server]).includes(secret));
    assert.ok(!inspect(server, { depth: 9 }).includes(secret));
  });

  test('a server that asks for no password is refused where one is configured, and is not told it', async () => {
    await using memcached = await startMemcached();
    const { address } = memcached;
    const time = new VirtualTime();
    const downs: string[] = [];
    const server = new MemcachedServer({
      address: { ...address, auth },
      onDown: (reason) => downs.push(reason),
      clock: time,
      timers: time,
    });
    const refused = { ...unavailable, message: /it asks for no password, but one is configured/ };
    await assert.rejects(server.get('key', request()), refused);
    await assert.rejects(server.get('key', request()), refused);
    assert.equal(server.state, 'down');
    assert.deepEqual(downs, ['it asks for no password, but one is configured; start it with -Y']);
    await server.close();
    const anybody = new MemcachedServer({ address });
    assert.equal(await anybody.get('auth', request()), undefined);
    await anybody.close();
  });

  test('a certificate of another authority is refused before the password is sent', async () => {
    await using subject = await start({ tls: true, auth }, (address) => ({ ...address, tls: {} }));
    await assert.rejects(subject.server.get('key', request()), unavailable);
    assert.equal(subject.server.state, 'down');
    assert.equal(subject.server.status().bytesSent, 0);
  });

  test('a certificate of another name is refused', async () => {
    await using subject = await start({ tls: true }, ({ tls, ...address }) => {
      return { ...address, tls: { ...tls, serverName: 'cache-1.example' } };
    });
    await assert.rejects(subject.server.get('key', request()), unavailable);
  });

  test('TLS to a server that speaks none, and none to one that speaks TLS, is down and not stuck', async () => {
    await using plain = await start({}, (address) => ({ ...address, tls: {} }));
    await using tls = await start({ tls: true }, ({ host, port }) => ({ host, port }));
    for (const subject of [plain, tls]) {
      const waiting = assert.rejects(subject.server.get('key', request()), unavailable);
      await goesDown(subject);
      await waiting;
    }
  });

  test('a key that would end a command is refused before anything is sent', async () => {
    await using subject = await start();
    for (const key of ['', 'a b', 'a\r\nflush_all', 'k'.repeat(251), 'ü']) {
      await assert.rejects(subject.server.get(key, request()), { code: 'ERR_INTERNAL' });
    }
    assert.equal(subject.server.status().bytesSent, 0);
  });
});
