import assert from 'node:assert/strict';
import { chmod, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';

import { credentialFilePaths, findLogin, type Login } from './registry-credentials.ts';

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

async function lookUp(document: unknown, host: string, repository = 'a/b') {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  const path = join(dir.path, 'config.json');
  await writeFile(path, typeof document === 'string' ? document : JSON.stringify(document));
  return await findLogin(host, repository, [join(dir.path, 'absent.json'), path]);
}

const login: Login = { kind: 'password', username: 'user', password: 'pass:word' };
const auth = { auth: base64('user:pass:word') };

for (const [key, host] of [
  ['example.com', 'example.com'],
  ['https://example.com', 'example.com'],
  ['http://example.com:5000/', 'example.com:5000'],
  ['https://example.com/v1/', 'example.com'],
  ['https://index.docker.io/v1/', 'docker.io'],
  ['docker.io', 'docker.io'],
  ['example.com/a/b', 'example.com'],
  ['example.com/a', 'example.com'],
] as const) {
  test(`findLogin() finds ${host}/a/b under "${key}"`, async () => {
    assert.deepEqual(await lookUp({ auths: { [key]: auth } }, host), login);
  });
}

for (const [key, host] of [
  ['example.com', 'example.com:5000'],
  ['example.com/a/bb', 'example.com'],
  ['example.com/other', 'example.com'],
  ['notexample.com', 'example.com'],
] as const) {
  test(`findLogin() does not give the credentials of "${key}" to ${host}/a/b`, async () => {
    assert.equal(await lookUp({ auths: { [key]: auth } }, host), undefined);
  });
}

test('findLogin() prefers the credentials of the repository to those of the host', async () => {
  const auths = { 'example.com': { auth: base64('other:x') }, 'example.com/a': auth };
  assert.deepEqual(await lookUp({ auths }, 'example.com'), login);
});

test('findLogin() understands identity tokens, registry tokens and separate fields', async () => {
  const find = (value: object) => lookUp({ auths: { 'example.com': value } }, 'example.com');
  const identity = { kind: 'identity-token', token: 't' };
  assert.deepEqual(await find({ ...auth, identitytoken: 't' }), identity);
  assert.deepEqual(await find({ registrytoken: 't' }), { kind: 'registry-token', token: 't' });
  assert.deepEqual(await find({ username: 'user', password: 'pass:word' }), login);
  assert.equal(await find({}), undefined);
});

test('findLogin() says which file is broken, without any of its contents', async () => {
  for (const broken of ['{"auths": {"example.com": {"auth": "c2VjcmV0', 'secret']) {
    await assert.rejects(lookUp(broken, 'example.com'), (thrown: Error & { code?: string }) => {
      assert.equal(thrown.code, 'ERR_OCI_BAD_CREDENTIALS');
      assert.match(thrown.message, /config\.json/);
      assert.doesNotMatch(thrown.message, /secret|c2Vj/);
      return true;
    });
  }
  const noColon = { auths: { 'example.com': { auth: base64('secret') } } };
  await assert.rejects(lookUp(noColon, 'example.com'), { code: 'ERR_OCI_BAD_CREDENTIALS' });
});

/** Runs `work` while a credential helper `docker-credential-NAME` of this shell text is on PATH. */
async function withHelper<T>(name: string, script: string, work: () => Promise<T>): Promise<T> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  const program = join(dir.path, `docker-credential-${name}`);
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  const path = process.env['PATH'];
  process.env['PATH'] = `${dir.path}${delimiter}${path}`;
  try {
    return await work();
  } finally {
    process.env['PATH'] = path;
  }
}

const answering = [
  'read server',
  '[ "$1" = get ] || exit 2',
  'case "$server" in',
  '  example.com) echo \'{"ServerURL":"x","Username":"user","Secret":"pass:word"}\' ;;',
  '  token.example.com) echo \'{"Username":"<token>","Secret":"t"}\' ;;',
  '  bad.example.com) echo "no json" ;;',
  '  broken.example.com) echo "the keychain is locked" >&2; exit 1 ;;',
  '  *) echo "credentials not found in native keychain"; exit 1 ;;',
  'esac',
].join('\n');

test('findLogin() asks the credential helper of the host, or the store of all hosts', async () => {
  await withHelper('thaw-test', answering, async () => {
    const helpers = { credHelpers: { 'example.com': 'thaw-test' } };
    assert.deepEqual(await lookUp(helpers, 'example.com'), login);
    const store = { credsStore: 'thaw-test', auths: { 'example.com': {} } };
    assert.deepEqual(await lookUp(store, 'example.com'), login);
    const token = { kind: 'identity-token', token: 't' };
    assert.deepEqual(await lookUp(store, 'token.example.com'), token);
    assert.equal(await lookUp(store, 'unknown.example.com'), undefined);
    const refusal = { code: 'ERR_OCI_BAD_CREDENTIALS' };
    await assert.rejects(lookUp(store, 'bad.example.com'), refusal);
    await assert.rejects(lookUp(store, 'broken.example.com'), /keychain is locked/);
  });
});

test('findLogin() refuses a helper whose name is a path, and says when one is missing', async () => {
  const refusal = { code: 'ERR_OCI_BAD_CREDENTIALS' };
  await assert.rejects(lookUp({ credsStore: '../../bin/sh' }, 'example.com'), refusal);
  await assert.rejects(lookUp({ credsStore: 'thaw-absent' }, 'example.com'), refusal);
});

test('credentialFilePaths() follows the environment', () => {
  assert.deepEqual(credentialFilePaths({ HOME: '/h' }), [
    '/h/.config/containers/auth.json',
    '/h/.docker/config.json',
  ]);
  const environment = {
    HOME: '/h',
    REGISTRY_AUTH_FILE: '/r',
    DOCKER_CONFIG: '/d',
    XDG_RUNTIME_DIR: '/run/user/1',
  };
  assert.deepEqual(credentialFilePaths(environment), [
    '/r',
    '/run/user/1/containers/auth.json',
    '/h/.config/containers/auth.json',
    '/d/config.json',
  ]);
});
