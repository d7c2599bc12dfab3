/** The name servers that sandboxes with a network of their own can use. */

import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

/**
 * What systemd-resolved, which itself listens on loopback, asks in turn; it is there where that
 * runs.
 */
const upstreamPath = '/run/systemd/resolve/resolv.conf';
const hostPath = '/etc/resolv.conf';

export interface NameServers {
  /** IPv4, in the order of asking; none on loopback, which in a sandbox is the sandbox's own. */
  readonly addresses: readonly string[];
  /** For a sandbox's /etc/resolv.conf. */
  readonly resolvConf: string;
}

/** Those of the host that can be reached from elsewhere; none where it has no others. */
export function nameServersOfHost(
  read: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): NameServers {
  for (const path of [hostPath, upstreamPath]) {
    const lines = tryRead(path, read).split('\n');
    const addresses = lines
      .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
      .filter((address) => isIPv4(address) && !address.startsWith('127.'));
    if (addresses.length === 0) continue;
    const rest = lines.filter((line) => /^\s*(search|domain|options)\s/.test(line));
    const servers = addresses.map((address) => `nameserver ${address}`);
    return { addresses, resolvConf: `${[...servers, ...rest].join('\n')}\n` };
  }
  return { addresses: [], resolvConf: '# The host has no name server that a sandbox can reach.\n' };
}

/** As the host has it, for a sandbox in the host's own network. */
export function hostResolvConf(): string {
  return tryRead(hostPath, (path) => readFileSync(path, 'utf8'));
}

function tryRead(path: string, read: (path: string) => string): string {
  try {
    return read(path);
  } catch {
    return '';
  }
}
