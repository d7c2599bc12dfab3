/** What every `ZoneServer` must do. Run it from the test file of each. */

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';

import { errorCode, release, type Priority } from '../../base/index.ts';
import type { ZoneServer, ZoneServerRequest } from '../zone/zone-server.ts';

export interface ZoneServerSubject extends AsyncDisposable {
  /** Empty and up. */
  readonly server: ZoneServer;
  /** Lets the server's time pass until `work` is done. Default: it passes by itself. */
  readonly until?: <T>(work: Promise<T>) => Promise<T>;
}

export interface ZoneServerConformance {
  readonly name: string;
  /** The reason, which begins with `needs `. */
  readonly skip?: string | false;
  readonly create: () => Promise<ZoneServerSubject>;
}

function request(
  priority: Priority = 'foreground',
  signal: AbortSignal = new AbortController().signal,
): ZoneServerRequest {
  return { priority, signal };
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
const text = (value: Uint8Array | undefined): string | undefined =>
  value && Buffer.from(value).toString('latin1');

/** The code that it rejects with. */
async function codeOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
  } catch (thrown) {
    return errorCode(thrown);
  }
  assert.fail('It did not reject');
}

type Until = <T>(work: Promise<T>) => Promise<T>;

export function zoneServerConformance({ name, skip = false, create }: ZoneServerConformance): void {
  const check = (
    behaviour: string,
    run: (server: ZoneServer, until: Until) => Promise<void>,
  ): void =>
    void test(behaviour, async () => {
      await using subject = await create();
      await run(subject.server, subject.until ?? ((work) => work));
    });

  suite(`ZoneServer: ${name}`, { skip }, () => {
    check('a key without a value gives undefined', async (server, until) => {
      assert.equal(await until(server.get('nothing', request())), undefined);
    });

    check('a value is the parts that it was put in, one after another', async (server, until) => {
      const parts = [bytes('head\r\n'), bytes(''), bytes('VA 5\r\n'), bytes('\0\xff')];
      await until(server.put('key', parts, request()));
      assert.equal(text(await until(server.get('key', request()))), 'head\r\nVA 5\r\n\0\xff');
    });

    check('a value of no bytes is a value', async (server, until) => {
      await until(server.put('key', [], request()));
      assert.equal((await until(server.get('key', request())))?.byteLength, 0);
    });

    check('a large value comes back as it was', async (server, until) => {
      const large = Uint8Array.from({ length: 300_001 }, (_, at) => (at * 31) % 251);
      await until(server.put('key', [large], request()));
      assert.deepEqual(await until(server.get('key', request())), large);
    });

    check('a value is the caller’s, its memory too', async (server, until) => {
      await until(server.put('key', [bytes('value')], request()));
      const first = await until(server.get('key', request()));
      assert.ok(first !== undefined);
      first.fill(0);
      release(first);
      assert.equal(text(await until(server.get('key', request()))), 'value');
    });

    check('the later value replaces the earlier', async (server, until) => {
      await until(server.put('key', [bytes('one')], request()));
      await until(server.put('key', [bytes('other')], request('prefetch')));
      assert.equal(text(await until(server.get('key', request('prefetch')))), 'other');
    });

    check('keys of up to 250 characters are told apart', async (server, until) => {
      const keys = ['a', 'A', 'a:b', 'k'.repeat(249), 'k'.repeat(250)];
      for (const key of keys) await until(server.put(key, [bytes(`of ${key}`)], request()));
      for (const key of keys) {
        assert.equal(text(await until(server.get(key, request()))), `of ${key}`);
      }
    });

    check('requests at one time get each its own answer', async (server, until) => {
      await until(server.put('even', [bytes('0')], request()));
      await until(server.put('odd', [bytes('1')], request()));
      const keys = ['even', 'odd', 'none', 'odd'];
      const values = await until(Promise.all(keys.map((key) => server.get(key, request()))));
      assert.deepEqual(values.map(text), ['0', '1', undefined, '1']);
    });

    check('a deleted value is gone, and may be deleted again', async (server, until) => {
      await until(server.put('key', [bytes('value')], request()));
      await until(server.put('other', [bytes('stays')], request()));
      await until(server.delete('key', request()));
      await until(server.delete('key', request()));
      assert.equal(await until(server.get('key', request())), undefined);
      assert.equal(text(await until(server.get('other', request()))), 'stays');
    });

    check('flush forgets every value', async (server, until) => {
      for (const key of ['a', 'b']) await until(server.put(key, [bytes('value')], request()));
      await until(server.flush(request()));
      for (const key of ['a', 'b']) {
        assert.equal(await until(server.get(key, request())), undefined);
      }
    });

    check(
      'an aborted request rejects with the reason, and later ones are well',
      async (server, until) => {
        await until(server.put('key', [bytes('value')], request()));
        const reason = new Error('nobody wants it');
        const before = server.get('key', request('foreground', AbortSignal.abort(reason)));
        await assert.rejects(until(before), reason);
        const abort = new AbortController();
        const during = [
          server.get('key', request('foreground', abort.signal)),
          server.put('key', [bytes('value')], request('foreground', abort.signal)),
          server.delete('other', request('foreground', abort.signal)),
        ].map((work) => assert.rejects(work, reason));
        abort.abort(reason);
        await until(Promise.all(during));
        assert.equal(text(await until(server.get('key', request()))), 'value');
      },
    );

    check('who asks is called once, and later', async (server, until) => {
      await until(server.put('key', [bytes('value')], request()));
      const heard: string[] = [];
      const asked = ['key', 'nothing', 'key'].map((key) => {
        const over = Promise.withResolvers<void>();
        const hear = (what: string | undefined): void => {
          heard.push(what ?? 'none');
          over.resolve();
        };
        const abandon = server.ask(key, {
          priority: 'foreground',
          found: (value) => hear(text(value)),
          failed: () => hear('failed'),
        });
        return { over: over.promise, abandon };
      });
      assert.deepEqual(heard, []);
      await until(Promise.all(asked.map(({ over }) => over)));
      for (const { abandon } of asked) abandon();
      assert.deepEqual(new Set(heard), new Set(['none', 'value']));
      assert.equal(heard.length, 3);
      assert.equal(server.status().abandoned, 0);
    });

    check('who abandons what he asked for is not called', async (server, until) => {
      await until(server.put('key', [bytes('value')], request()));
      const heard: string[] = [];
      const abandon = server.ask('key', {
        priority: 'foreground',
        found: () => heard.push('found'),
        failed: () => heard.push('failed'),
      });
      abandon();
      abandon();
      assert.equal(text(await until(server.get('key', request()))), 'value');
      assert.deepEqual(heard, []);
    });

    check('status says what happened', async (server, until) => {
      await until(server.put('key', [bytes('value')], request()));
      await until(server.get('key', request()));
      await until(server.get('key', request()));
      await until(server.get('none', request()));
      const { id, state, gets, puts, outstanding, errors, refused } = server.status();
      assert.deepEqual(
        { id, state, gets, puts, outstanding, errors, refused },
        {
          id: server.id,
          state: server.state,
          gets: { hits: 2, misses: 1 },
          puts: 1,
          outstanding: 0,
          errors: 0,
          refused: 0,
        },
      );
      assert.equal(server.state, 'up');
    });

    check(
      'what is under way when it is closed rejects, and so does what follows',
      async (server, until) => {
        await until(server.put('key', [bytes('value')], request()));
        const underWay = codeOf(server.get('key', request()));
        await until(server.close());
        assert.equal(await until(underWay), 'ERR_CACHE_SERVER_UNAVAILABLE');
        const asked = Promise.withResolvers<never>();
        const reader = { priority: 'foreground', found: () => {}, failed: asked.reject } as const;
        server.ask('key', reader);
        assert.equal(await until(codeOf(asked.promise)), 'ERR_CACHE_SERVER_UNAVAILABLE');
        server.ask('key', { ...reader, failed: () => assert.fail('It was abandoned') })();
        const later = [
          server.get('key', request()),
          server.put('key', [], request()),
          server.delete('key', request()),
          server.flush(request()),
        ].map(codeOf);
        for (const code of later) {
          assert.equal(await until(code), 'ERR_CACHE_SERVER_UNAVAILABLE');
        }
        await until(server.close());
      },
    );
  });
}
