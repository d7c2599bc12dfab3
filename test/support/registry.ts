/**
 * A real registry on loopback for tests: Debian's `docker-registry` with a directory and a free port of its own.
 * Fill it with `push`, which runs skopeo. Tests that use it skip on `registryMissing`.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { runCommand } from '../../src/base/index.ts';
import { needsPrograms } from './programs.ts';
import { startTokenServer, type TokenServer } from './token-server.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

export interface RegistryOptions {
  /** The one user who may log in. Default: everybody may read and write. */
  readonly credentials?: Credentials;
  /** How that user logs in: to the registry itself, or to a token server beside it. Default `basic`. */
  readonly login?: 'basic' | 'token';
  /** Of the tokens. Default 300. */
  readonly tokenLifeSeconds?: number;
}

/** For a test's `skip`. */
export const registryMissing = needsPrograms('docker-registry', 'skopeo', 'openssl', 'perl');

/** bcrypt by the system's crypt(3), which is all that the registry takes. */
async function htpasswdLine({ username, password }: Credentials): Promise<string> {
  const salt = createHash('sha256').update(username).digest('hex').slice(0, 22);
  const script = 'chomp(my $p = <STDIN>); print crypt($p, $ARGV[0])';
  const { stdout } = await runCommand('perl', ['-e', script, `$2y$05$${salt}`], {
    input: password,
  });
  return `${username}:${stdout}\n`;
}

async function authSettings(
  dir: string,
  options: RegistryOptions,
): Promise<{ settings: object; tokenServer: TokenServer | undefined }> {
  const { credentials, login = 'basic' } = options;
  if (credentials === undefined) return { settings: {}, tokenServer: undefined };
  if (login === 'basic') {
    const path = join(dir, 'htpasswd');
    await writeFile(path, await htpasswdLine(credentials));
    return { settings: { auth: { htpasswd: { realm: 'thaw', path } } }, tokenServer: undefined };
  }
  const tokenServer = await startTokenServer(dir, credentials, options.tokenLifeSeconds ?? 300);
  const { realm, service, issuer, certificatePath: rootcertbundle } = tokenServer;
  const token = { realm, service, issuer, rootcertbundle };
  return { settings: { auth: { token } }, tokenServer };
}

export class Registry implements AsyncDisposable {
  /** `127.0.0.1:PORT`, as a reference has it. */
  readonly host: string;
  readonly tokenServer: TokenServer | undefined;
  readonly #dir: string;
  readonly #child: ChildProcess;
  readonly #credentials: Credentials | undefined;

  constructor(parts: {
    host: string;
    dir: string;
    child: ChildProcess;
    credentials: Credentials | undefined;
    tokenServer: TokenServer | undefined;
  }) {
    this.host = parts.host;
    this.tokenServer = parts.tokenServer;
    this.#dir = parts.dir;
    this.#child = parts.child;
    this.#credentials = parts.credentials;
  }

  /** Copies an image with all its platforms, byte for byte: `from` as skopeo has it, `to` is `NAME:TAG`. */
  async push(from: string, to: string): Promise<void> {
    const credentials =
      this.#credentials === undefined
        ? ['--dest-no-creds']
        : ['--dest-creds', `${this.#credentials.username}:${this.#credentials.password}`];
    const flags = ['--all', '--preserve-digests', '--insecure-policy', '--dest-tls-verify=false'];
    const places = [from, `docker://${this.host}/${to}`];
    const timeoutMs = 240_000; // of an image of any size, on a machine that does other things
    await runCommand('skopeo', ['copy', '--quiet', ...flags, ...credentials, ...places], {
      timeoutMs,
    });
  }

  /** Where the registry keeps its files, for tests that damage them. */
  get storageDir(): string {
    return join(this.#dir, 'storage');
  }

  async stop(): Promise<void> {
    const isGone = this.#child.exitCode !== null || this.#child.signalCode !== null;
    if (!isGone) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await exited;
    }
    await this.tokenServer?.stop();
    await rm(this.#dir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The port that the registry was given; it says so in its log. */
async function listeningPort(child: ChildProcess): Promise<number> {
  if (child.stderr === null) throw new Error('The registry has no log');
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    const port = /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port !== undefined) {
      child.stderr.resume();
      return Number(port);
    }
    said.push(line);
  }
  throw new Error(`The registry ended at its start: ${said.slice(-3).join('; ')}`);
}

/** Starts an empty registry. It is killed, and its storage removed, when it is disposed of. */
export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-registry-'));
  const { settings, tokenServer } = await authSettings(dir, options);
  const configuration = {
    version: '0.1',
    log: { level: 'info', formatter: 'text' },
    storage: { filesystem: { rootdirectory: join(dir, 'storage') }, delete: { enabled: true } },
    http: { addr: '127.0.0.1:0', secret: 'of no worth' },
    ...settings,
  };
  const configPath = join(dir, 'config.yml');
  await writeFile(configPath, JSON.stringify(configuration)); // JSON is YAML
  const child = spawn('docker-registry', ['serve', configPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  try {
    const host = `127.0.0.1:${await listeningPort(child)}`;
    const { credentials } = options;
    return new Registry({ host, dir, child, credentials, tokenServer });
  } catch (thrown) {
    child.kill('SIGKILL');
    await tokenServer?.stop();
    await rm(dir, { recursive: true, force: true });
    throw thrown;
  }
}
