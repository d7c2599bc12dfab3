/** Real memcached servers for tests and benchmarks, each with a folder and a free port of its own on loopback. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

import { makeCertificate } from '../../../test/support/certificate.ts';
import { needsPrograms } from '../../../test/support/programs.ts';
import type { MemcachedAddress } from '../memcached/memcached-address.ts';

/** For a test's `skip`. */
export const memcachedMissing = needsPrograms('memcached', 'openssl');

export interface MemcachedOptions {
  /** Default 64. */
  readonly memoryMebibytes?: number;
  /** Of a file for what memory does not hold (extstore). Default: none. */
  readonly extstoreMebibytes?: number;
  /** Speak TLS only, with a certificate for 127.0.0.1. */
  readonly tls?: boolean;
  /** Who may use it. Default: everybody. */
  readonly auth?: { readonly user: string; readonly password: string };
  /** Default `127.0.0.1`. */
  readonly host?: string;
  /** More of memcached's own. */
  readonly args?: readonly string[];
}

export class Memcached implements AsyncDisposable {
  readonly address: MemcachedAddress;
  readonly #dir: string;
  readonly #options: MemcachedOptions;
  #child: ChildProcess;

  constructor(dir: string, options: MemcachedOptions, started: Started) {
    this.#dir = dir;
    this.#options = options;
    this.#child = started.child;
    this.address = started.address;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** SIGSTOP: connections stay, and nothing answers from now on. */
  pause(): void {
    this.#child.kill('SIGSTOP');
    const threads = `/proc/${this.#child.pid}/task`;
    const isStopped = (thread: string): boolean =>
      readFileSync(`${threads}/${thread}/stat`, 'latin1').includes(') T ');
    while (!readdirSync(threads).every(isStopped)) {
      // The signal has been sent, and takes effect when the kernel gets to it.
    }
  }

  /** SIGCONT */
  resume(): void {
    this.#child.kill('SIGCONT');
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  /** Kills it if need be, and starts it empty where it was. */
  async restart(): Promise<void> {
    await this.kill();
    const { child } = await start(this.#dir, this.#options, this.address);
    this.#child = child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A server that answers. It is killed, and its folder removed, when it is disposed of. */
export async function startMemcached(options: MemcachedOptions = {}): Promise<Memcached> {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-memcached-'));
  try {
    return new Memcached(dir, options, await start(dir, options, await describe(dir, options)));
  } catch (thrown) {
    await rm(dir, { recursive: true, force: true });
    throw thrown;
  }
}

/** Port 0: not known yet. */
async function describe(dir: string, options: MemcachedOptions): Promise<MemcachedAddress> {
  const { auth, tls, host = '127.0.0.1' } = options;
  if (auth) await writeFile(join(dir, 'users'), `${auth.user}:${auth.password}\n`);
  if (tls !== true) return { host, port: 0, ...(auth && { auth }) };
  const { certificate } = await makeCertificate(dir);
  return { host, port: 0, tls: { ca: certificate }, ...(auth && { auth }) };
}

/** On a busy machine it takes a second. */
const startMaxMs = 60_000;

interface Started {
  readonly child: ChildProcess;
  readonly address: MemcachedAddress;
}

async function start(
  dir: string,
  options: MemcachedOptions,
  address: MemcachedAddress,
): Promise<Started> {
  const portFile = join(dir, 'port');
  const child = spawn('memcached', argsOf(dir, options, address), {
    stdio: 'ignore',
    env: { ...process.env, MEMCACHED_PORT_FILENAME: portFile },
  });
  const endMs = performance.now() + startMaxMs;
  for (;;) {
    const port = address.port === 0 ? await readPort(portFile) : address.port;
    if (port !== undefined && (await answers({ ...address, port }))) {
      return { child, address: { ...address, port } };
    }
    const ended = child.exitCode ?? child.signalCode;
    if (ended !== null) throw new Error(`memcached ended with ${ended}`);
    if (performance.now() > endMs) {
      child.kill('SIGKILL');
      throw new Error(`memcached does not answer after ${startMaxMs} ms`);
    }
    await delay(5);
  }
}

function argsOf(
  dir: string,
  options: MemcachedOptions,
  { host, port }: MemcachedAddress,
): string[] {
  const { extstoreMebibytes: ext, auth, tls, memoryMebibytes = 64, args: more = [] } = options;
  const extstore = `ext_path=${join(dir, 'ext')}:${ext}M,ext_max_sleep=1000`;
  const certificate = `ssl_chain_cert=${join(dir, 'certificate.pem')},ssl_key=${join(dir, 'key.pem')}`;
  const args = ['-l', host, '-p', port === 0 ? '-1' : `${port}`, '-U', '0', '-I', '1m', '-t', '2'];
  args.push('-m', `${memoryMebibytes}`);
  // Nobody else may enter a folder of temporary files of root's.
  if (process.getuid?.() === 0) args.push('-u', 'root');
  if (ext !== undefined) args.push('-o', extstore);
  if (auth !== undefined) args.push('-Y', join(dir, 'users'));
  if (tls === true) args.push('-Z', '-o', certificate);
  return [...args, ...more];
}

/** What memcached writes once it listens: `TCP INET: 33445`. */
async function readPort(portFile: string): Promise<number | undefined> {
  const text = await readFile(portFile, 'latin1').catch(() => '');
  const port = /^TCP INET6?: (\d+)$/m.exec(text)?.[1];
  return port === undefined ? undefined : Number(port);
}

async function answers({ host, port, tls }: MemcachedAddress): Promise<boolean> {
  const socket: Socket = tls
    ? connectTls({ host, port, ca: tls.ca ?? [] })
    : connect({ host, port });
  try {
    socket.write('mn\r\n');
    await once(socket, 'data');
    return true;
  } catch {
    return false; // refused: it does not listen yet
  } finally {
    socket.destroy();
  }
}
