/** The zone's servers as the configuration names them: `memcached[s]://HOST[:PORT][?weight=N]`. */

import {
  memcachedServerId,
  parseMemcachedAddress,
  ServerAddressError,
  type MemcachedAddress,
  type ZoneServerSetting,
} from '../cache/index.ts';

const weightMax = 1_000_000;
/** Four of data and their parity. With fewer, the loss of any one loses what it holds. */
const serverCountMin = 5;

type Address = Pick<ZoneServerSetting, 'id' | 'weight' | 'usesTls'>;
interface Problem {
  readonly problem: string;
}

/** A server, or what is wrong with its address. Placement knows it by its id alone: every worker must name it alike. */
export function parseZoneServer(address: string): Address | Problem {
  const [, server = '', query = ''] = /^([^?]*)\??(.*)$/s.exec(address) ?? [];
  const found = memcachedAt(server);
  if ('problem' in found) return found;
  if (found.auth !== undefined) {
    return { problem: 'user and password belong into zone.user and zone.password_file' };
  }
  const options = new URLSearchParams(query);
  const unknown = [...options.keys()].find((key) => key !== 'weight');
  if (unknown !== undefined) return { problem: `there is no option "${unknown}"` };
  const weight = Number(options.get('weight') ?? 1);
  if (!(weight > 0 && weight <= weightMax)) {
    return { problem: `its weight is not above 0 and at most ${weightMax}` };
  }
  return { id: memcachedServerId(found), weight, usesTls: found.tls !== undefined };
}

function memcachedAt(server: string): MemcachedAddress | Problem {
  try {
    return parseMemcachedAddress(server);
  } catch (thrown) {
    if (thrown instanceof ServerAddressError) return { problem: thrown.reason };
    throw thrown;
  }
}

/** What is wrong with a list of addresses; undefined if it will do. */
export function zoneServersProblem(addresses: unknown): string | undefined {
  const rule = 'must be a list of memcached://HOST:PORT';
  if (!Array.isArray(addresses)) return rule;
  const ids = new Set<string>();
  for (const address of addresses as readonly unknown[]) {
    if (typeof address !== 'string') return rule;
    const server = parseZoneServer(address);
    if ('problem' in server)
      return `${rule}; "${withoutSecret(address)}" is not: ${server.problem}`;
    if (ids.has(server.id)) return `${rule}, each once; "${server.id}" is there twice`;
    ids.add(server.id);
  }
  const isTooShort = ids.size > 0 && ids.size < serverCountMin;
  return isTooShort
    ? `must be ${serverCountMin} servers or more, or none: a chunk lies on five`
    : undefined;
}

function withoutSecret(address: string): string {
  return address.replace(/\/\/.*@/s, '//…@');
}

/** What the cache room is told of servers that were checked. */
export function zoneServerSettings(
  addresses: readonly string[],
  fillBytesPerSecond: number,
): readonly ZoneServerSetting[] {
  return addresses.flatMap((address) => {
    const server = parseZoneServer(address);
    return 'problem' in server ? [] : [{ ...server, fillBytesPerSecond }];
  });
}
