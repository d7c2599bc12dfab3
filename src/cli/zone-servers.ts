/** The zone's servers as the configuration names them: `memcached[s]://HOST[:PORT][?weight=N]`. */

import type { ZoneServerSetting } from '../cache/index.ts';

const portDefault = '11211';
const weightMax = 1_000_000;
/** Four of data and their parity. With fewer, the loss of any one loses what it holds. */
const serverCountMin = 5;

type Address = Pick<ZoneServerSetting, 'id' | 'weight' | 'usesTls'>;

/** A server, or what is wrong with its address. Placement knows it by its id alone: every worker must name it alike. */
export function parseZoneServer(address: string): Address | { readonly problem: string } {
  const url = URL.parse(address);
  if (url?.protocol !== 'memcached:' && url?.protocol !== 'memcacheds:') {
    return { problem: 'it starts neither with memcached:// nor with memcacheds://' };
  }
  const { username, password, hostname, port, pathname, hash, searchParams } = url;
  if (username + password !== '') {
    return { problem: 'user and password belong into zone.user and zone.password_file' };
  }
  if (hostname === '' || port === '0') return { problem: 'it names no host and port' };
  const unknown = [...searchParams.keys()].find((key) => key !== 'weight');
  if (unknown !== undefined) return { problem: `there is no option "${unknown}"` };
  if (pathname.length > 1 || hash !== '') return { problem: 'nothing but a weight may follow' };
  const weight = Number(searchParams.get('weight') ?? 1);
  if (!(weight > 0 && weight <= weightMax)) {
    return { problem: `its weight is not above 0 and at most ${weightMax}` };
  }
  const id = `${hostname.toLowerCase()}:${port === '' ? portDefault : port}`;
  return { id, weight, usesTls: url.protocol === 'memcacheds:' };
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
