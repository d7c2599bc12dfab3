/**
 * What sandboxes can reach, with real packets: another network namespace plays the internet, and a
 * cloud's metadata service beside it.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { programPath, runCommand, silentLog } from '../../base/index.ts';
import { detectCgroups } from '../limits/cgroups.ts';
import { createSandboxFactory } from '../factory.ts';
import { nameServersOfHost } from './name-servers.ts';
import { openNat } from './nat.ts';
import { createNetworkNamespace, type NetworkNamespace } from './network-namespace.ts';
import { addAddress, createVethPair } from './netlink.ts';
import { probeSandboxRuntimes } from '../launchers/probe.ts';
import type { Sandbox, SandboxFactory, SandboxSpec } from '../sandbox.ts';
import { interfaceIndex } from '../syscalls.ts';
import { buildTestRoot, cannotRunSandboxes, hungMs, type TestRoot } from '../testing/test-root.ts';

const MIB = 1024 * 1024;
const usable = (await probeSandboxRuntimes()).filter((probe) => probe.usable);
const skip =
  cannotRunSandboxes === false && programPath('nft') === undefined
    ? 'needs nftables'
    : cannotRunSandboxes;

/** One address of the kind that documentation uses, one of a metadata service, both routed to it. */
const internet = '203.0.113.1';
const metadata = '169.254.169.254';
const cableName = `net-${process.pid % 100_000}`;

/** A namespace with a web server on both addresses, which tells the caller's own. */
interface Internet extends AsyncDisposable {
  readonly port: number;
}

async function openInternet(): Promise<Internet> {
  await using made = new AsyncDisposableStack();
  const namespace: NetworkNamespace = createNetworkNamespace(9001);
  made.defer(() => namespace.close());
  createVethPair({ name: cableName, peerName: 'eth0', peerNamespaceFd: namespace.fd });
  made.defer(async () => void (await runCommand('ip', ['link', 'delete', cableName])));
  const [outside, inside] = [[203, 0, 113, 2] as const, [203, 0, 113, 1] as const];
  addAddress(interfaceIndex(cableName) ?? 0, outside, 24);
  namespace.within(() => addAddress(interfaceIndex('eth0') ?? 0, inside, 24));
  const nsenter = (...command: string[]) =>
    runCommand('nsenter', [`--net=${namespace.path}`, ...command]);
  await nsenter('ip', 'address', 'add', `${metadata}/32`, 'dev', 'lo');
  await nsenter('ip', 'route', 'add', 'default', 'via', '203.0.113.2');
  await runCommand('ip', ['route', 'replace', `${metadata}/32`, 'via', internet]);
  made.defer(
    async () =>
      void (await runCommand('ip', ['route', 'delete', `${metadata}/32`]).catch(() => {})),
  );
  const server = createServer((request, response) => {
    response.end(`you are ${request.socket.remoteAddress?.replace('::ffff:', '')}`);
  });
  const port = await namespace.within(() => listen(server)); // without an address it opens its socket at once
  made.defer(() => close(server));
  const all = made.move();
  return { port, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, resolve));
  return (server.address() as AddressInfo).port;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

async function rules(): Promise<string> {
  return (await runCommand('nft', ['list', 'ruleset'])).stdout;
}

describe('networks of sandboxes', { skip }, () => {
  let root: TestRoot;
  let stateDir: string;
  let outside: Internet;
  let hostServer: Server;
  let hostPort: number;
  let count = 0;
  const forwardingPath = '/proc/sys/net/ipv4/ip_forward';
  const forwarding = readFileSync(forwardingPath, 'utf8');

  before(async () => {
    root = await buildTestRoot({ files: { '/etc/resolv.conf': '' } });
    stateDir = await mkdtemp(join(tmpdir(), 'thaw-network-'));
    outside = await openInternet();
    hostServer = createServer((_, response) => response.end('the host'));
    hostPort = await listen(hostServer);
  });
  after(async () => {
    writeFileSync(forwardingPath, forwarding);
    await close(hostServer);
    await outside[Symbol.asyncDispose]();
    await root[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  });

  const specOf = (script: string, more: Partial<SandboxSpec>): SandboxSpec => {
    count += 1;
    return {
      id: `network-${process.pid}-${count}`,
      rootPath: root.path,
      args: ['/bin/sh', '-c', script],
      env: { PATH: '/bin' },
      workingDir: '/',
      user: '',
      memoryBytes: 64 * MIB,
      tmpSizeBytes: 8 * MIB,
      cpus: 1,
      ...more,
    };
  };
  const said = async (
    factory: SandboxFactory,
    script: string,
    more: Partial<SandboxSpec>,
  ): Promise<string> => {
    const parts: string[] = [];
    await using sandbox = await factory.create(specOf(script, more), (data) =>
      parts.push(String(data)),
    );
    await sandbox.exited;
    return parts.join('').trim();
  };
  const get = (url: string): string =>
    `timeout 3 wget -q -O - http://${url}/ 2>&1 || echo " = $?"; echo;`;
  const hostAddress = (): string => {
    const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
    return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '';
  };

  for (const { runtime } of usable) {
    describe(`of ${runtime}`, () => {
      let factory: SandboxFactory & AsyncDisposable;
      before(async () => {
        factory = await createSandboxFactory({ stateDir, runtime });
      });
      after(() => factory[Symbol.asyncDispose]());

      test('none reaches nothing', async () => {
        const output = await said(factory, get(`${internet}:${outside.port}`), {});
        assert.match(output, /unreachable/);
      });

      test('nat reaches the internet with an address of the host', async () => {
        const output = await said(factory, get(`${internet}:${outside.port}`), { network: 'nat' });
        assert.match(output, /^you are 203\.0\.113\.2$/);
      });

      test("nat reaches no metadata service, no address of the host's, and nobody reaches in", async () => {
        assert.equal(
          await (await fetch(`http://${metadata}:${outside.port}/`)).text(),
          `you are 203.0.113.2`,
        );
        const addresses = [hostAddress(), '203.0.113.2', '198.18.0.0'];
        const script = [
          get(`${metadata}:${outside.port}`),
          ...addresses.map((address) => get(`${address}:${hostPort}`)),
          'gateway=$(ip route | sed -n "s/default via \\([0-9.]*\\).*/\\1/p"); ',
          get(`$gateway:${hostPort}`),
          'ip -6 addr show dev eth0',
        ].join('');
        const output = await said(factory, script, { network: 'nat' });
        assert.doesNotMatch(output, /you are|the host|inet6/);
        assert.equal(output.match(/ = [1-9]/g)?.length, 5, output);
      });

      test('two sandboxes cannot reach one another, nor can the internet reach them', async () => {
        const address = Promise.withResolvers<string>();
        const server = `ip -o -4 addr show dev eth0 | tr -s " " | cut -d" " -f4; while :; do echo hello | nc -l -p 8080; done`;
        await using other: Sandbox = await factory.create(
          specOf(server, { network: 'nat' }),
          (data) => address.resolve(String(data)),
        );
        const ip = (await address.promise).replace(/\/.*/s, '');
        assert.match(ip, /^198\.1[89]\./);
        const listens = async (): Promise<boolean> => {
          const socket = await other.connect(8080).catch(() => undefined);
          socket?.destroy();
          return socket !== undefined;
        };
        while (!(await listens())) await nextTurn();
        const output = await said(factory, `echo | nc -w 2 ${ip} 8080; echo " = $?"`, {
          network: 'nat',
        });
        assert.doesNotMatch(output, /hello/);
      });

      test('nat gives name servers that are not on loopback', async () => {
        const output = await said(factory, 'cat /etc/resolv.conf', { network: 'nat' });
        assert.equal(output, nameServersOfHost().resolvConf.trim());
      });

      test("host has the host's network, and a Runtime API on a port of its own", async () => {
        const script =
          `${get(`127.0.0.1:${hostPort}`)} ${get(`${internet}:${outside.port}`)}` +
          'echo $AWS_LAMBDA_RUNTIME_API; grep CapBnd /proc/self/status;' +
          'wget -q -O - http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next';
        const parts: string[] = [];
        await using sandbox = await factory.create(specOf(script, { network: 'host' }), (data) =>
          parts.push(String(data)),
        );
        const invocation = {
          requestId: 'id',
          payload: Buffer.from('"hi"'),
          deadlineMs: 1,
          functionArn: 'arn',
        };
        const signal = AbortSignal.timeout(hungMs);
        await assert.rejects(
          Promise.race([sandbox.runtimeApi.invoke(invocation, signal), failAt(sandbox.exited)]),
          /ended/,
        );
        const output = parts.join('');
        assert.match(output, /the host[^]*you are 203\.0\.113\.2[^]*127\.0\.0\.1:\d+[^]*"hi"$/);
        const bounding = BigInt(`0x${/CapBnd:\s+(\w+)/.exec(output)?.[1]}`);
        assert.equal(bounding & (1n << 13n), 0n); // CAP_NET_RAW
      });

      test(
        'host reaches no metadata service either',
        {
          skip:
            runtime !== 'builtin'
              ? 'only the built-in launcher promises it'
              : !detectCgroups().hierarchies.some(({ version }) => version === 2) &&
                'needs cgroup2',
        },
        async () => {
          const script = `${get(`${metadata}:${outside.port}`)} ${get(`${internet}:${outside.port}`)}`;
          const output = await said(factory, script, { network: 'host' });
          assert.equal(output.match(/you are/g)?.length, 1, output);
          assert.match(output, / = [1-9]/);
        },
      );
    });
  }

  test('rules go with the factory, and cables with their sandboxes', async () => {
    const factory = await createSandboxFactory({ stateDir });
    assert.equal(
      await said(factory, get(`${internet}:${outside.port}`), { network: 'nat' }).then((text) =>
        text.includes('you are'),
      ),
      true,
    );
    assert.match(await rules(), /thaw_nat_/);
    await factory[Symbol.asyncDispose]();
    assert.doesNotMatch(await rules(), new RegExp(`owner_${process.pid}_`));
    const cables = (): readonly string[] =>
      readdirSync('/sys/class/net').filter((name) => name.startsWith('thaw'));
    while (cables().length > 0) await nextTurn();
  });

  test('two workers get subnets of their own, and rules of dead ones are swept', async () => {
    const [first, second] = [await openNat(silentLog), await openNat(silentLog)];
    assert.equal((await rules()).match(new RegExp(`owner_${process.pid}_`, 'g'))?.length, 2);
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
    const dead =
      'create table inet thaw_nat_127\ntable inet thaw_nat_127 {\nchain owner_1_1 { }\n}\n';
    await runCommand('nft', ['-f', '-'], { input: dead });
    await using factory = await createSandboxFactory({ stateDir }); // other sandboxes had a network here
    assert.doesNotMatch(await rules(), /owner_1_1/);
    assert.equal(factory.canFreeze, true);
  });
});

async function failAt(end: Promise<unknown>): Promise<never> {
  await end;
  throw new Error('ended');
}

test('nameServersOfHost prefers what a sandbox can reach', () => {
  const files: Record<string, string> = {
    '/etc/resolv.conf': 'nameserver 127.0.0.53\nsearch lan\n',
    '/run/systemd/resolve/resolv.conf':
      'nameserver 192.0.2.53\nnameserver 2001:db8::1\nsearch lan\n',
  };
  const read = (path: string): string => files[path] ?? '';
  assert.deepEqual(nameServersOfHost(read), {
    addresses: ['192.0.2.53'],
    resolvConf: 'nameserver 192.0.2.53\nsearch lan\n',
  });
  assert.deepEqual(nameServersOfHost(() => '').addresses, []);
});
