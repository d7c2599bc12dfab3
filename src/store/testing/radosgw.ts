/**
 * A real S3 server on loopback for tests: Debian's Ceph (one monitor, one storage daemon that keeps everything in
 * memory, one RADOS gateway), in a directory and on ports of its own, over HTTP and HTTPS. It takes some seconds to
 * start, so the tests of a process share one. Skip on `radosgwMissing`.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { makeCertificate, type Certificate } from '../../../test/support/certificate.ts';
import { programPath, runCommand } from '../../base/index.ts';
import type { S3Credentials } from '../s3-signature.ts';

const programs = ['ceph', 'ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'openssl', 'setpriv'];

/** For a test's `skip`. */
export const radosgwMissing = programs.every((name) => programPath(name) !== undefined)
  ? false
  : 'needs ceph-mon, ceph-osd and radosgw';

export const radosgwRegion = 'us-east-1';

/** Real ones start in about 15 s, on a busy machine in a minute. */
const startTimeoutMs = 120_000;
const askAgainMs = 50;

/** Ports that nobody listens on; they are taken a moment later. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

function configuration(
  dir: string,
  fsid: string,
  ports: { monitor: number; http: number; https: number },
  { certificatePath }: Certificate,
): string {
  const keyPath = join(dir, 'key.pem');
  const frontends = [
    `beast endpoint=127.0.0.1:${ports.http}`,
    `ssl_endpoint=127.0.0.1:${ports.https}`,
    `ssl_certificate=${certificatePath}`,
    `ssl_private_key=${keyPath}`,
  ];
  return `[global]
fsid = ${fsid}
mon host = v2:127.0.0.1:${ports.monitor}/0
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
run dir = ${dir}
admin socket = ${dir}/$name.asok
log file = ${dir}/$name.log
keyring = ${dir}/keyring
[mon.a]
mon data = ${dir}/mon
mon pg warn min per osd = 0
[osd.0]
osd data = ${dir}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw]
rgw frontends = ${frontends.join(' ')}
rgw dns name = localhost
rgw thread pool size = 32
`;
}

/** Asks until the answer is there, at most `startTimeoutMs`. */
async function untilAnswered(url: string, server: ChildProcess): Promise<void> {
  const deadlineMs = performance.now() + startTimeoutMs;
  while (performance.now() < deadlineMs) {
    if (server.exitCode !== null) throw new Error(`radosgw ended with ${server.exitCode}`);
    const answered = await fetch(url).then(
      (response) => response.body?.cancel().then(() => true),
      () => false,
    );
    if (answered !== false) return;
    await sleep(askAgainMs);
  }
  throw new Error(`radosgw did not answer at ${url} in ${startTimeoutMs} ms`);
}

/** Of everything that was started in a directory. */
class Daemons {
  readonly #children: ChildProcess[] = [];

  /** In the foreground, so that it is ours to end; and it ends with us, however we end. */
  start(program: string, args: readonly string[]): ChildProcess {
    const command = ['--pdeathsig', 'KILL', program, '-f', ...args];
    const child = spawn('setpriv', command, { stdio: 'ignore' });
    this.#children.push(child);
    return child;
  }

  async stop(): Promise<void> {
    const running = this.#children.filter((child) => child.exitCode === null);
    await Promise.all(
      running.toReversed().map(async (child) => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL'); // nothing of it is kept
        await exited;
      }),
    );
  }
}

/** Makes keys and the first state of monitor and storage daemon, and starts both. */
async function startCluster(dir: string, fsid: string, daemons: Daemons, monitorPort: number) {
  const conf = ['-c', join(dir, 'ceph.conf')];
  const keyring = join(dir, 'keyring');
  const key = async (name: string, ...caps: readonly string[]): Promise<void> => {
    const args = caps.flatMap((cap) => ['--cap', ...cap.split('=')]);
    const create = name === 'mon.' ? ['--create-keyring'] : [];
    await runCommand('ceph-authtool', [...create, keyring, '--gen-key', '-n', name, ...args]);
  };
  await key('mon.', 'mon=allow *');
  await key('client.admin', 'mon=allow *', 'osd=allow *', 'mgr=allow *');
  await key('client.rgw', 'mon=allow *', 'osd=allow *');
  await key('osd.0', 'mon=allow profile osd', 'osd=allow *');
  const monmap = join(dir, 'monmap');
  const address = ['--addv', 'a', `[v2:127.0.0.1:${monitorPort}]`];
  await runCommand('monmaptool', ['--create', '--fsid', fsid, ...address, monmap]);
  const monitor = [...conf, '-i', 'a'];
  await runCommand('ceph-mon', [...monitor, '--mkfs', '--monmap', monmap, '--keyring', keyring]);
  daemons.start('ceph-mon', monitor);
  const osd = randomUUID();
  await runCommand('ceph', [...conf, 'osd', 'new', osd]);
  await runCommand('ceph-osd', [...conf, '-i', '0', '--mkfs', '--osd-uuid', osd]);
  daemons.start('ceph-osd', [...conf, '-i', '0']);
}

export class Radosgw {
  /** `http://127.0.0.1:PORT` */
  readonly endpoint: string;
  /** `https://127.0.0.1:PORT`, with a certificate that only `certificate` vouches for. */
  readonly secureEndpoint: string;
  readonly certificate: Certificate;
  /** Of a user who may make buckets. */
  readonly credentials: S3Credentials;
  readonly #dir: string;
  readonly #daemons: Daemons;

  constructor(parts: {
    dir: string;
    ports: { http: number; https: number };
    certificate: Certificate;
    credentials: S3Credentials;
    daemons: Daemons;
  }) {
    this.endpoint = `http://127.0.0.1:${parts.ports.http}`;
    this.secureEndpoint = `https://127.0.0.1:${parts.ports.https}`;
    this.certificate = parts.certificate;
    this.credentials = parts.credentials;
    this.#dir = parts.dir;
    this.#daemons = parts.daemons;
  }

  async stop(): Promise<void> {
    await this.#daemons.stop();
    await rm(this.#dir, { recursive: true });
  }

  /** Adds a user. */
  async addUser(name: string): Promise<S3Credentials> {
    return await addUser(this.#dir, name);
  }
}

async function addUser(dir: string, name: string): Promise<S3Credentials> {
  const accessKeyId = `AK-${name}`;
  const secretAccessKey = `secret/of+${name}`;
  const conf = ['-c', join(dir, 'ceph.conf')];
  const keys = [`--access-key=${accessKeyId}`, `--secret=${secretAccessKey}`];
  const user = [`--uid=${name}`, `--display-name=${name}`, ...keys];
  await runCommand('radosgw-admin', [...conf, 'user', 'create', ...user]);
  return { accessKeyId, secretAccessKey };
}

async function startIn(dir: string, daemons: Daemons): Promise<Radosgw> {
  const fsid = randomUUID();
  const [monitor = 0, http = 0, https = 0] = await freePorts(3);
  const ports = { monitor, http, https };
  const certificate = await makeCertificate(dir);
  await mkdir(join(dir, 'mon'));
  await mkdir(join(dir, 'osd'));
  await writeFile(join(dir, 'ceph.conf'), configuration(dir, fsid, ports, certificate));
  await startCluster(dir, fsid, daemons, monitor);
  const credentials = await addUser(dir, 'owner'); // also makes the pools
  const gateway = daemons.start('radosgw', ['-c', join(dir, 'ceph.conf'), '-n', 'client.rgw']);
  const radosgw = new Radosgw({ dir, ports, certificate, credentials, daemons });
  await untilAnswered(radosgw.endpoint, gateway);
  return radosgw;
}

/** Starts a server with no buckets. `stop` ends it and removes what it kept. */
export async function startRadosgw(): Promise<Radosgw> {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-radosgw-'));
  const daemons = new Daemons();
  try {
    return await startIn(dir, daemons);
  } catch (thrown) {
    await daemons.stop();
    const log = await readFile(join(dir, 'client.rgw.log'), 'utf8').catch(() => '');
    await rm(dir, { recursive: true });
    throw new Error(`Cannot start radosgw: ${log.split('\n').slice(-5).join('; ')}`, {
      cause: thrown,
    });
  }
}

/** The server of this process's tests: started by the first who asks, stopped after the last test. Call it once a file. */
export function sharedRadosgw(): () => Promise<Radosgw> {
  let starting: Promise<Radosgw> | undefined;
  after(async () => {
    const radosgw = await starting?.catch(() => undefined);
    await radosgw?.stop();
  });
  return () => (starting ??= startRadosgw());
}
