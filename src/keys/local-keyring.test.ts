import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { openLocalKeyring } from './local-keyring.ts';
import { keyServiceConformance } from './testing/key-service-conformance.ts';

const context = { purpose: 'test' };

async function makeDirectory(): Promise<
  { readonly path: string; readonly file: string } & AsyncDisposable
> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-keys-'));
  return {
    path,
    file: join(path, 'keyring.json'),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}

keyServiceConformance({
  name: 'local keyring',
  create: async () => {
    const directory = await makeDirectory();
    const service = await openLocalKeyring(directory.file);
    return { service, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
  },
});

test('the file is made with the first key, for its owner alone', async () => {
  await using directory = await makeDirectory();
  const file = join(directory.path, 'new', 'keyring.json');
  const service = await openLocalKeyring(file);
  await assert.rejects(stat(file), { code: 'ENOENT' });
  await service.salt('root-1');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await stat(join(directory.path, 'new'))).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(join(directory.path, 'new')), [
    'keyring.json',
    'keyring.json.lock',
  ]);
});

test('unwrapping for a tenant who has no key makes none', async () => {
  await using directory = await makeDirectory();
  const service = await openLocalKeyring(directory.file);
  await assert.rejects(service.unwrapDataKey('nobody', new Uint8Array(61), context), {
    code: 'ERR_KEYS_UNWRAP_REFUSED',
  });
  assert.deepEqual(await readdir(directory.path), []);
});

test('a key that something is sealed under is not made anew', async () => {
  await using directory = await makeDirectory();
  const { file } = directory;
  await (await openLocalKeyring(file)).salt('root-1');
  const asked: unknown[] = [];
  const service = await openLocalKeyring(file, {
    isInUse: async (user) => asked.push(user) > 0,
  });
  await service.salt('root-1');
  assert.deepEqual(asked, [], 'it is there');
  await rm(file);
  const lost = { code: 'ERR_KEYS_LOST', message: /root "root-1" in the keyring .* restore/ };
  await assert.rejects(service.salt('root-1'), lost);
  await assert.rejects(service.generateDataKey('acme', context), {
    code: 'ERR_KEYS_LOST',
    message: /tenant "acme"/,
  });
  assert.deepEqual(asked, [{ rootId: 'root-1' }, { tenant: 'acme' }]);
  await assert.rejects(stat(file), { code: 'ENOENT' });
});

test('a keyring opened again has the same keys', async () => {
  await using directory = await makeDirectory();
  const before = await openLocalKeyring(directory.file);
  const { plaintext, wrapped } = await before.generateDataKey('tenant', context);
  const salt = await before.salt('root-1');
  const after = await openLocalKeyring(directory.file);
  assert.deepEqual(await after.unwrapDataKey('tenant', wrapped, context), plaintext);
  assert.deepEqual(await after.salt('root-1'), salt);
});

test('a key made by another process is seen, also once the file was read', async () => {
  await using directory = await makeDirectory();
  const one = await openLocalKeyring(directory.file);
  const other = await openLocalKeyring(directory.file);
  await one.salt('root-1');
  await other.salt('root-1');
  const { plaintext, wrapped } = await other.generateDataKey('tenant', context);
  assert.deepEqual(await one.unwrapDataKey('tenant', wrapped, context), plaintext);
});

test('a file put in the place of the old one is read', async () => {
  await using directory = await makeDirectory();
  await using backup = await makeDirectory();
  const restored = await openLocalKeyring(backup.file);
  const salt = await restored.salt('root-1');
  const service = await openLocalKeyring(directory.file);
  assert.notDeepEqual(await service.salt('root-1'), salt);
  await rename(backup.file, directory.file);
  assert.deepEqual(await service.salt('root-1'), salt);
});

test('a file that others may use is refused, with the command that mends it', async () => {
  await using directory = await makeDirectory();
  await (await openLocalKeyring(directory.file)).salt('root-1');
  for (const mode of [0o640, 0o604, 0o620, 0o601]) {
    await chmod(directory.file, mode);
    await assert.rejects(openLocalKeyring(directory.file), {
      code: 'ERR_KEYS_INSECURE_FILE',
      message: /chmod 600 .*keyring\.json/,
    });
  }
  await chmod(directory.file, 0o600);
  await openLocalKeyring(directory.file);
});

test('a malformed file is refused, left as it is and not quoted', async () => {
  await using directory = await makeDirectory();
  const secret = 'c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I=';
  const whole = { format: 'thaw-keyring', version: 1, tenants: { t: secret }, salts: {} };
  for (const text of [
    '',
    secret,
    `{"tenants":{"t":"${secret}"`,
    JSON.stringify([whole]),
    JSON.stringify({ ...whole, format: secret }),
    JSON.stringify({ ...whole, version: 2 }),
    JSON.stringify({ ...whole, salts: undefined }),
    JSON.stringify({ ...whole, tenants: { t: `${secret}AAAA` } }),
    JSON.stringify({ ...whole, tenants: { t: ` ${secret}` } }),
    JSON.stringify({ ...whole, tenants: { t: 5 } }),
  ]) {
    await writeFile(directory.file, text, { mode: 0o600 });
    await assert.rejects(openLocalKeyring(directory.file), (thrown: Error) => {
      assert.equal('code' in thrown && thrown.code, 'ERR_KEYS_MALFORMED_FILE');
      assert.ok(!inspect(thrown).includes(secret.slice(0, 16)), 'the error quotes a key');
      return true;
    });
    assert.equal(await readFile(directory.file, 'utf8'), text);
  }
});

test('a file that became malformed stops new keys and is left as it is', async () => {
  await using directory = await makeDirectory();
  const service = await openLocalKeyring(directory.file);
  await service.salt('root-1');
  await writeFile(directory.file, '{');
  await assert.rejects(service.salt('root-2'), { code: 'ERR_KEYS_MALFORMED_FILE' });
  await assert.rejects(service.generateDataKey('t', context), { code: 'ERR_KEYS_MALFORMED_FILE' });
  assert.equal(await readFile(directory.file, 'utf8'), '{');
});

test('the leftover of a writer that died is no hindrance', async () => {
  await using directory = await makeDirectory();
  await writeFile(`${directory.file}.new`, 'half a key', { mode: 0o644 });
  const service = await openLocalKeyring(directory.file);
  const salt = await service.salt('root-1');
  assert.equal((await stat(directory.file)).mode & 0o777, 0o600);
  assert.deepEqual(await (await openLocalKeyring(directory.file)).salt('root-1'), salt);
});

test('a path that cannot be a keyring is told as such', async () => {
  await using directory = await makeDirectory();
  await assert.rejects(openLocalKeyring(directory.path), { code: 'ERR_KEYS_MALFORMED_FILE' });
  const service = await openLocalKeyring(join(directory.path, 'none', 'keyring.json'));
  await writeFile(join(directory.path, 'none'), '');
  await assert.rejects(service.salt('root-1'), { code: 'ERR_KEYS_UNAVAILABLE' });
});

interface MadeKey {
  readonly tenant: string;
  readonly plaintext: string;
  readonly wrapped: string;
  readonly salt: string;
}

/** A child that stands ready; `go` lets it make keys for its tenants. */
async function startKeyringProcess(file: string, tenants: readonly string[]) {
  const entry = join(import.meta.dirname, 'testing', 'keyring-process.ts');
  const child = spawn(process.execPath, [entry, file, ...tenants], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  const go = async (): Promise<readonly MadeKey[]> => {
    child.stdin.end('\n');
    const made: MadeKey[] = [];
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
      made.push(JSON.parse(line.value) as MadeKey);
    }
    return made;
  };
  return { go, kill: () => child.kill('SIGKILL'), closed };
}

async function assertKeysAreThere(file: string, made: readonly MadeKey[]): Promise<void> {
  const service = await openLocalKeyring(file);
  for (const { tenant, plaintext, wrapped, salt } of made) {
    const unwrapped = await service.unwrapDataKey(tenant, Buffer.from(wrapped, 'hex'), { tenant });
    assert.equal(Buffer.from(unwrapped).toString('hex'), plaintext);
    assert.equal(Buffer.from(await service.salt(tenant)).toString('hex'), salt);
  }
}

test('processes that make keys at once lose none and agree on all', async () => {
  await using directory = await makeDirectory();
  const tenants = ['a', 'b', 'c', 'd'];
  const processes = await Promise.all(
    [0, 1, 2, 3].map((turn) =>
      startKeyringProcess(directory.file, [...tenants.slice(turn), ...tenants.slice(0, turn)]),
    ),
  );
  const made = (await Promise.all(processes.map(({ go }) => go()))).flat();
  await Promise.all(processes.map(({ closed }) => closed));
  assert.equal(made.length, 16);
  await assertKeysAreThere(directory.file, made);
});

test('a process killed while it makes keys takes none with it and blocks nobody', async () => {
  await using directory = await makeDirectory();
  const victims = await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      startKeyringProcess(
        directory.file,
        Array.from({ length: 200 }, (_, number) => `${name}${number}`),
      ),
    ),
  );
  const survivor = await startKeyringProcess(directory.file, ['x', 'y', 'z']);
  const running = victims.map(({ go }) => go());
  const survived = await survivor.go();
  for (const victim of victims) victim.kill();
  const made = (await Promise.all(running)).flat();
  await Promise.all([...victims, survivor].map(({ closed }) => closed));
  assert.equal(survived.length, 3);
  await assertKeysAreThere(directory.file, [...survived, ...made]);
  const service = await openLocalKeyring(directory.file);
  assert.equal((await service.salt('after')).byteLength, 32);
});
