import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { errorMessage } from '../base/index.ts';
import { memcachedMissing, startMemcached } from '../cache/testing/memcached.ts';
import { loadConfig, type Config } from './config.ts';
import { zoneSettings } from './open-caches.ts';

async function configWith(t: TestContext, user: string, password: string): Promise<Config> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-open-caches-'));
  t.after(() => rm(directory, { recursive: true }));
  const configPath = join(directory, 'config.toml');
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, password);
  await writeFile(
    configPath,
    `zone.user = ${JSON.stringify(user)}\nzone.password_file = ${JSON.stringify(passwordFile)}\n`,
  );
  return await loadConfig({ configPath }, {});
}

test('a password that memcached cannot know is refused with the reason, and not repeated', async (t) => {
  const refused: [user: string, password: string, says: RegExp][] = [
    ['worker', 'a secret', /its password has a space/],
    ['worker', 'secret \n', /its password has a space/],
    ['worker', 'secret\nsecret\n', /a line end/],
    ['worker', '\n', /it takes a user and a password/],
    ['wor:ker', 'secret', /its user has a colon/],
  ];
  for (const [user, password, says] of refused) {
    await assert.rejects(zoneSettings(await configWith(t, user, password)), (thrown: Error) => {
      const message = errorMessage(thrown);
      assert.match(message, /"zone\.user" and "zone\.password_file"/);
      assert.match(message, says);
      assert.doesNotMatch(message, /secret/);
      return true;
    });
  }
});

test(
  'servers are spoken to with the password of the file, without its line end',
  { skip: memcachedMissing },
  async (t) => {
    const auth = { user: 'worker', password: 'p:/%ss' };
    await using memcached = await startMemcached({ auth });
    const { connect } = await zoneSettings(await configWith(t, auth.user, `${auth.password}\n`));
    const { host, port } = memcached.address;
    const id = `${host}:${port}`;
    const server = connect({ id, weight: 1, fillBytesPerSecond: 1e6, usesTls: false });
    t.after(() => server.close());
    const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
    await server.put('key', [Buffer.from('value')], request);
    assert.equal(Buffer.from((await server.get('key', request)) ?? []).toString(), 'value');
  },
);
