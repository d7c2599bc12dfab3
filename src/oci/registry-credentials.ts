/**
 * Finds the credentials for a registry where `docker login` and `podman login` leave them: files of `auths`, and
 * helper programs. Sources: Docker CLI, "docker login" (credential stores, credential helpers); containers-auth.json(5).
 */

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { CommandFailedError, errorCode, errorMessage, runCommand } from '../base/index.ts';
import { OciCredentialsError } from './errors.ts';

/** What a user logs in with. */
export interface RegistryCredentials {
  readonly username: string;
  readonly password: string;
}

export type Login =
  | ({ readonly kind: 'password' } & RegistryCredentials)
  /** An OAuth2 refresh token, exchanged for an access token at the token server. */
  | { readonly kind: 'identity-token'; readonly token: string }
  /** A bearer token, sent as it is. */
  | { readonly kind: 'registry-token'; readonly token: string };

/** Helpers answer with this name where the secret is an identity token. */
const identityTokenUser = '<token>';
const helperName = /^[\w.-]+$/;
const helperTimeoutMs = 30_000;

/** Docker Hub's credentials are filed under an address that nothing else uses any more. */
const hubKeys = ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io'];

interface AuthFile {
  readonly path: string;
  readonly auths: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string | undefined;
}

/**
 * The files to look into, in order: the one named by REGISTRY_AUTH_FILE, podman's and skopeo's, then Docker's.
 * Absent ones are passed over.
 */
export function credentialFilePaths(environment: NodeJS.ProcessEnv = process.env): string[] {
  const home = environment['HOME'] ?? homedir();
  const runtime = environment['XDG_RUNTIME_DIR'];
  const named = environment['REGISTRY_AUTH_FILE'];
  return [
    ...(named === undefined ? [] : [named]),
    ...(runtime === undefined ? [] : [join(runtime, 'containers/auth.json')]),
    join(environment['XDG_CONFIG_HOME'] ?? join(home, '.config'), 'containers/auth.json'),
    join(environment['DOCKER_CONFIG'] ?? join(home, '.docker'), 'config.json'),
  ];
}

function objectEntries(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT' || errorCode(thrown) === 'ENOTDIR') return undefined;
    throw new OciCredentialsError(path, errorMessage(thrown), thrown);
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which holds secrets.
    throw new OciCredentialsError(path, 'it is not JSON; log in again or mend the file');
  }
  const fields = new Map(objectEntries(document));
  const store = fields.get('credsStore');
  const auths = objectEntries(fields.get('auths')).map(
    ([key, auth]) => [key, Object.fromEntries(objectEntries(auth))] as const,
  );
  const helpers = objectEntries(fields.get('credHelpers')).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return {
    path,
    auths: new Map(auths),
    credHelpers: new Map(helpers),
    credsStore: typeof store === 'string' && store !== '' ? store : undefined,
  };
}

/** `https://host/v1/` as well as `host` files under the host; `host/namespace` keeps its path. */
function bareKey(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/(?:v[12]\/?)?$/, '');
}

/** Keys under which a repository's credentials may be filed, the most specific first. */
function lookupKeys(host: string, repository: string): string[] {
  const parts = repository.split('/');
  const scoped = parts.map((_, index) => [host, ...parts.slice(0, parts.length - index)].join('/'));
  return [...scoped, host, ...(host === 'docker.io' ? hubKeys : [])];
}

function loginOf(auth: Readonly<Record<string, unknown>>, path: string): Login | undefined {
  const { identitytoken, registrytoken, username, password } = auth;
  if (typeof registrytoken === 'string' && registrytoken !== '') {
    return { kind: 'registry-token', token: registrytoken };
  }
  if (typeof identitytoken === 'string' && identitytoken !== '') {
    return { kind: 'identity-token', token: identitytoken };
  }
  if (typeof auth['auth'] === 'string' && auth['auth'] !== '') {
    const pair = Buffer.from(auth['auth'], 'base64').toString('utf8');
    const colon = pair.indexOf(':');
    if (colon < 1) {
      throw new OciCredentialsError(path, 'an "auth" in it is not base64 of "user:password"');
    }
    const secret = pair.slice(colon + 1).replace(/\0+$/, '');
    return { kind: 'password', username: pair.slice(0, colon), password: secret };
  }
  if (typeof username === 'string' && typeof password === 'string' && username !== '') {
    return { kind: 'password', username, password };
  }
  return undefined;
}

/** Asks `docker-credential-NAME get`; undefined where it knows nothing of the server. */
async function askHelper(name: string, server: string, path: string): Promise<Login | undefined> {
  if (!helperName.test(name)) {
    throw new OciCredentialsError(path, `"${name}" is not the name of a credential helper`);
  }
  const program = `docker-credential-${name}`;
  const options = { input: `${server}\n`, timeoutMs: helperTimeoutMs };
  let stdout: string;
  try {
    ({ stdout } = await runCommand(program, ['get'], options));
  } catch (thrown) {
    if (thrown instanceof CommandFailedError && /credentials not found/i.test(thrown.message)) {
      return undefined;
    }
    throw new OciCredentialsError(program, errorMessage(thrown), thrown);
  }
  let answer: Map<string, unknown>;
  try {
    answer = new Map(objectEntries(JSON.parse(stdout)));
  } catch {
    throw new OciCredentialsError(program, 'its answer is not JSON');
  }
  const username = answer.get('Username');
  const secret = answer.get('Secret');
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw new OciCredentialsError(program, 'its answer has no "Username" and "Secret"');
  }
  return username === identityTokenUser
    ? { kind: 'identity-token', token: secret }
    : { kind: 'password', username, password: secret };
}

async function loginFrom(file: AuthFile, keys: readonly string[]): Promise<Login | undefined> {
  const [server] = keys.slice(-1);
  for (const key of keys) {
    const helper = file.credHelpers.get(key);
    if (helper !== undefined) return await askHelper(helper, key, file.path);
  }
  if (file.credsStore !== undefined) {
    for (const key of keys.includes(hubKeys[0] ?? '') ? hubKeys : [server ?? '']) {
      const login = await askHelper(file.credsStore, key, file.path);
      if (login !== undefined) return login;
    }
  }
  const byKey = new Map([...file.auths].map(([key, auth]) => [bareKey(key), auth]));
  for (const key of keys) {
    const auth = file.auths.get(key) ?? byKey.get(bareKey(key));
    const login = auth === undefined ? undefined : loginOf(auth, file.path);
    if (login !== undefined) return login;
  }
  return undefined;
}

/**
 * The login filed for a repository, or undefined for none: then the registry is asked as an anonymous user.
 * Throws `ERR_OCI_BAD_CREDENTIALS` where a file or helper is broken; its message has no secret.
 */
export async function findLogin(
  host: string,
  repository: string,
  filePaths: readonly string[],
): Promise<Login | undefined> {
  const keys = lookupKeys(host, repository);
  for (const path of filePaths) {
    const file = await readAuthFile(path);
    const login = file === undefined ? undefined : await loginFrom(file, keys);
    if (login !== undefined) return login;
  }
  return undefined;
}
