/**
 * A way out for sandboxes through the host, over IPv4: a cable (veth pair) between each sandbox and
 * the host, which forwards what comes through it and gives it its own address. What a sandbox must
 * not reach is refused on the host's side, by rules of nftables that are this worker's alone:
 * addresses of the host, other sandboxes, metadata services, and all of IPv6.
 *
 * A worker owns one /22 of 198.18.0.0/15, which is for tests of devices and routed nowhere (RFC
 * 2544). Its table of rules carries the subnet's number in its name, so that only one worker of
 * the machine can have made it, and the worker in the name of a chain, so that it is known whose it
 * was. The cables go with the sandboxes' namespaces.
 */

import { readFileSync, writeFileSync } from 'node:fs';

import {
  CommandFailedError,
  isProcessAlive,
  present,
  processIdentity,
  programPath,
  runCommand,
  type Log,
} from '../../base/index.ts';
import { SandboxNetworkError, SystemCallError } from '../errors.ts';
import { nameServersOfHost, type NameServers } from './name-servers.ts';
import { addAddress, addDefaultRoute, createVethPair, type Ipv4 } from './netlink.ts';
import type { NetworkNamespace } from './network-namespace.ts';
import { interfaceIndex } from '../syscalls.ts';

/** 198.18.0.0/15 in /22s; each holds 512 cables of two addresses. */
const subnetCount = 128;
const cablesPerSubnet = 512;
const tablePrefix = 'thaw_nat_';
const insideName = 'eth0';

/**
 * Where clouds answer questions about the machine, credentials among them: link-local addresses
 * (AWS, Google, Azure, OpenStack), Alibaba's, Oracle's, and Azure's wire server. The rest is not
 * for routers to forward.
 */
const blockedRanges: readonly string[] = [
  '169.254.0.0/16',
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
  '0.0.0.0/8',
  '127.0.0.0/8',
  '224.0.0.0/4',
  '240.0.0.0/4',
];

export interface Nat extends AsyncDisposable {
  readonly resolvConf: string;
  /** Joins a sandbox's network to the host's; the cable goes when the namespace does. */
  attach(network: NetworkNamespace): void;
}

/**
 * Claims a subnet and sets its rules. Removes those of workers that are no more. Throws
 * `ERR_SANDBOX_NETWORK`.
 */
export async function openNat(log: Log): Promise<Nat> {
  const nameServers = nameServersOfHost();
  if (nameServers.addresses.length === 0) {
    log.warn('Sandboxes with a network can look up no names: the host has no name server for them');
  }
  try {
    await sweepNat(log);
    const subnet = await claimSubnet(nameServers);
    enableForwarding(log);
    const cables = new Cables(subnet);
    return {
      resolvConf: nameServers.resolvConf,
      attach: (network) => cables.attach(network),
      [Symbol.asyncDispose]: () => deleteTable(tableOf(subnet)),
    };
  } catch (thrown) {
    throw new SandboxNetworkError('set up the rules for a network', thrown);
  }
}

/** Removes the rules of workers that are no more. */
export async function sweepNat(log: Log): Promise<void> {
  if (programPath('nft') === undefined) return;
  const { stdout } = await runCommand('nft', ['list', 'chains', 'inet']);
  let table = '';
  for (const line of stdout.split('\n')) {
    table = /^table inet (\S+)/.exec(line)?.[1] ?? table;
    const owner = /chain owner_(\d+_\d+)/.exec(line)?.[1];
    if (owner === undefined || !table.startsWith(tablePrefix)) continue;
    if (await isProcessAlive(owner.replace('_', '-'))) continue;
    log.info('Removing the network rules of a worker that is gone', { table });
    await deleteTable(table);
  }
}

function tableOf(subnet: number): string {
  return `${tablePrefix}${subnet}`;
}

async function deleteTable(table: string): Promise<void> {
  await runCommand('nft', ['delete', 'table', 'inet', table]);
}

/** To create a table fails where there is one: that is the claim. */
async function claimSubnet(nameServers: NameServers): Promise<number> {
  const owner = present(await processIdentity(process.pid), 'own identity');
  for (let subnet = 0; subnet < subnetCount; subnet += 1) {
    if (isRouted(subnet)) continue;
    try {
      await runCommand('nft', ['-f', '-'], { input: rulesOf(subnet, owner, nameServers) });
      return subnet;
    } catch (thrown) {
      const isTaken = thrown instanceof CommandFailedError && thrown.stderr.includes('File exists');
      if (!isTaken) throw thrown;
    }
  }
  throw new SandboxNetworkError('find a free subnet in 198.18.0.0/15');
}

/** Addresses `offset` places into the subnet. */
function addressIn(subnet: number, offset: number): Ipv4 {
  const at = subnet * cablesPerSubnet * 2 + offset;
  return [198, 18 + (at >> 16), (at >> 8) & 0xff, at & 0xff];
}

/** True where the machine has a use of its own for the subnet. */
function isRouted(subnet: number): boolean {
  const [first, second, third] = addressIn(subnet, 0);
  const routes = readFileSync('/proc/net/route', 'latin1').trim().split('\n').slice(1);
  return routes.some((line) => {
    const [name = '', destination = ''] = line.split('\t');
    const bytes = Buffer.from(destination, 'hex').toReversed(); // printed as a number of this machine
    return (
      !name.startsWith('thaw') &&
      bytes[0] === first &&
      bytes[1] === second &&
      ((bytes[2] ?? 0) & 0xfc) === third
    );
  });
}

/** `*`: all that begin so. */
function namesOf(subnet: number): string {
  return `thaw${subnet}-*`;
}

function rulesOf(subnet: number, owner: string, { addresses }: NameServers): string {
  const table = tableOf(subnet);
  const ours = namesOf(subnet);
  const network = `${addressIn(subnet, 0).join('.')}/22`;
  const servers = addresses.map((address) => {
    return `ip daddr ${address} meta l4proto { tcp, udp } th dport 53 accept`;
  });
  return `create table inet ${table}
table inet ${table} {
  chain owner_${owner.replace('-', '_')} { }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject
  }
  chain before {
    type filter hook prerouting priority raw; policy accept;
    iifname != "${ours}" return
    meta nfproto ipv6 drop
    fib saddr . iif oif missing drop
    fib daddr type { local, broadcast, multicast, anycast } goto refuse
  }
  chain inwards {
    type filter hook input priority filter; policy accept;
    iifname "${ours}" goto refuse
  }
  chain through {
    type filter hook forward priority filter; policy accept;
    iifname "${ours}" jump out
    oifname "${ours}" ct state established,related accept
    oifname "${ours}" drop
  }
  chain out {
    oifname "thaw*" goto refuse
    ${servers.join('\n    ')}
    ip daddr { ${blockedRanges.join(', ')} } goto refuse
  }
  chain after {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${network} oifname != "${ours}" masquerade
  }
}
`;
}

function enableForwarding(log: Log): void {
  const path = '/proc/sys/net/ipv4/ip_forward';
  if (readFileSync(path, 'utf8').trim() === '1') return;
  writeFileSync(path, '1');
  log.info('Turned on IP forwarding for sandboxes with a network', {
    setting: 'net.ipv4.ip_forward',
  });
}

/** Hands out a subnet's cables, those first that have not been used for the longest time. */
class Cables {
  readonly #subnet: number;
  #next = 0;

  constructor(subnet: number) {
    this.#subnet = subnet;
  }

  attach(network: NetworkNamespace): void {
    try {
      network.within(() => writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1'));
    } catch {
      // A kernel without IPv6.
    }
    const { name, offset } = this.#connect(network);
    const [outside, inside] = [offset, offset + 1].map((at) => addressIn(this.#subnet, at));
    const gateway = present(outside, 'gateway');
    addAddress(present(interfaceIndex(name), 'new interface'), gateway, 31);
    network.within(() => {
      const index = present(interfaceIndex(insideName), 'new interface');
      addAddress(index, present(inside, 'address'), 31);
      addDefaultRoute(index, gateway);
    });
  }

  #connect({ fd }: NetworkNamespace): { readonly name: string; readonly offset: number } {
    for (let tries = 0; tries < cablesPerSubnet; tries += 1) {
      const cable = this.#next;
      this.#next = (cable + 1) % cablesPerSubnet;
      const name = `thaw${this.#subnet}-${cable}`;
      try {
        createVethPair({ name, peerName: insideName, peerNamespaceFd: fd });
        return { name, offset: cable * 2 };
      } catch (thrown) {
        const isTaken = thrown instanceof SystemCallError && thrown.errno === 'EEXIST';
        if (!isTaken) throw thrown;
      }
    }
    throw new SandboxNetworkError('find a free address in a subnet of 512 sandboxes');
  }
}
