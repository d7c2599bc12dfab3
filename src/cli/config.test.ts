import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import fc from 'fast-check';

import { diskCacheBytes, loadConfig, settings } from './config.ts';

async function configFile(t: TestContext, toml: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-config-'));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, 'config.toml');
  await writeFile(path, toml);
  return path;
}

test('--root wins over THAW_ROOT, which wins over the file; sockets follow', async (t) => {
  const configPath = await configFile(t, 'root = "/from/file"\nrun_dir = "/run/elsewhere"\n');
  const fromFile = await loadConfig({ configPath }, {});
  assert.deepEqual([fromFile.root, fromFile.runDir], ['/from/file', '/run/elsewhere']);
  const fromEnvironment = await loadConfig({ configPath }, { THAW_ROOT: '/from/env' });
  assert.deepEqual([fromEnvironment.root, fromEnvironment.runDir], ['/from/env', '/from/env/run']);
  const asked = await loadConfig({ configPath, root: '/asked' }, { THAW_ROOT: '/from/env' });
  assert.deepEqual([asked.root, asked.runDir], ['/asked', '/asked/run']);
});

test('every setting of the file arrives', async (t) => {
  const configPath = await configFile(
    t,
    `region = "eu-1"
     account_id = "123456789012"
     [log]
     level = "debug"
     format = "json"
     [store]
     url = "s3://bucket/prefix"
     endpoint = "https://127.0.0.1:9000"
     region = "eu-1"
     path_style = false
     ca_file = "/etc/ca.pem"
     [cache]
     memory_bytes = 16777216
     read_deadline_ms = 5000
     [sandbox]
     runtime = "runc"
     [api]
     bodies_max_bytes = 16777216
     [functions]
     idle_timeout_seconds = 7
     instances_max = 3
     instances_per_function_max = 2
     events_per_tenant_max = 9
     event_invokes_max = 4
     event_invokes_per_tenant_max = 1`,
  );
  const config = await loadConfig({ configPath }, {});
  assert.partialDeepStrictEqual(config, {
    region: 'eu-1',
    accountId: '123456789012',
    logLevel: 'debug',
    logFormat: 'json',
    storeUrl: 's3://bucket/prefix',
    storeEndpoint: 'https://127.0.0.1:9000',
    storeRegion: 'eu-1',
    storePathStyle: false,
    storeCaFile: '/etc/ca.pem',
    cacheMemoryBytes: 16_777_216,
    readDeadlineMs: 5000,
    sandboxRuntime: 'runc',
    apiBodiesMaxBytes: 16_777_216,
    idleTimeoutSeconds: 7,
    instancesMax: 3,
    instancesPerFunctionMax: 2,
    eventsPerTenantMax: 9,
    eventInvokesMax: 4,
    eventInvokesPerTenantMax: 1,
  });
});

const refused: Readonly<Record<string, readonly [toml: string, says: RegExp]>> = {
  'an unknown key': [
    '[cache]\nmemory_byte = 5',
    /no setting "cache\.memory_byte"; there are .*cache/,
  ],
  'an unknown section': ['[cash]\nx = 1', /no setting "cash\.x"/],
  'a key that every object has': ['constructor = 1', /no setting "constructor"/],
  'a port that there is not': [
    '[metrics]\nlisten = "h:65536"',
    /"metrics\.listen" must be HOST:PORT/,
  ],
  'an address with a path': ['[metrics]\nlisten = "h/x:80"', /"metrics\.listen" must be HOST:PORT/],
  'a value of the wrong type': ['[log]\nlevel = 3', /"log\.level" must be one of/],
  'a number out of range': ['[functions]\ninstances_max = 0', /must be a whole number from 1/],
  'a store that is no bucket': ['[store]\nurl = "/srv/store"', /must be s3:\/\/BUCKET/],
  'a list where a value belongs': ['root = ["a"]', /"root" must be a string/],
  'text that is not TOML': ['root = = ', /config\.toml/],
};
for (const [what, [toml, says]] of Object.entries(refused)) {
  test(`${what} is refused with the file and the key`, async (t) => {
    const configPath = await configFile(t, toml);
    await assert.rejects(loadConfig({ configPath }, {}), { code: 'ERR_CLI_CONFIG', message: says });
  });
}

test('user and password of the zone go together', async (t) => {
  for (const half of ['user = "u"', 'password_file = "/p"']) {
    const configPath = await configFile(t, `[zone]\n${half}\n`);
    await assert.rejects(loadConfig({ configPath }, {}), { message: /give both/ });
  }
});

test('the disk cache is on where the origin is another machine, unless the file says otherwise', async (t) => {
  const bytesOf = async (toml: string): Promise<number> =>
    diskCacheBytes(await loadConfig({ configPath: await configFile(t, toml) }, {}));
  assert.equal(await bytesOf(''), 0);
  assert.equal(await bytesOf('[store]\nurl = "s3://bucket"'), 10 * 2 ** 30);
  assert.equal(await bytesOf('[store]\nurl = "s3://bucket"\n[cache]\ndisk_bytes = 0'), 0);
  assert.equal(await bytesOf('[cache]\ndisk_bytes = 7'), 7);
});

test('a file that was asked for must be there', async () => {
  await assert.rejects(loadConfig({ configPath: '/nonexistent/thaw.toml' }, {}), {
    code: 'ERR_CLI_CONFIG',
  });
});

test('whatever a value is, a setting takes it or says what it must be', () => {
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(settings)), fc.anything(), (setting, value) => {
      const problem = setting.check(value);
      assert.ok(problem === undefined || problem.startsWith('must be '));
    }),
  );
});

test('docs/cli.md lists every setting', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
  const documented = [...document.matchAll(/^\| `([a-z_.]+)` \| /gm)].map(([, key]) => key);
  assert.deepEqual(new Set(documented), new Set(Object.keys(settings)));
});
