/** Where a memcached server is and how to talk to it. */

import { ServerAddressError } from '../errors.ts';

/** A server of the zone. Holds a secret: not for logs. */
export interface MemcachedAddress {
  /** A name in lower case, or an IPv4 or IPv6 address, the latter without brackets. */
  readonly host: string;
  readonly port: number;
  /** Speak TLS (memcached's `-Z`). The server's certificate MUST be valid for its host. */
  readonly tls?: MemcachedTls;
  /** Memcached's ASCII authentication (`-Y`). Without TLS the password crosses the network as it is. */
  readonly auth?: { readonly user: string; readonly password: string };
}

export interface MemcachedTls {
  /** PEM of the authorities to believe. Default: those of Node. */
  readonly ca?: string;
  /** The name that the certificate must have, where it is not the host. */
  readonly serverName?: string;
}

const defaultPort = 11_211;
const portMax = 65_535;

/**
 * Reads `memcached://USER:PASSWORD@HOST:PORT`, or `memcacheds://` for TLS. User and password may be left out, and are percent-encoded;
 * the port is 11211 by default. Throws `ERR_CACHE_SERVER_ADDRESS`, whose message has no password in it.
 */
export function parseMemcachedAddress(text: string): MemcachedAddress {
  const shown = text.replace(/\/\/.*@/s, '//…@');
  const portDigits = /:(\d+)\/?$/.exec(text)?.[1];
  if (portDigits !== undefined && Number(portDigits) > portMax) {
    throw new ServerAddressError(shown, `its port is above ${portMax}`);
  }
  if (!URL.canParse(text)) throw new ServerAddressError(shown, 'it is no URL');
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text);
  if (protocol !== 'memcached:' && protocol !== 'memcacheds:') {
    throw new ServerAddressError(
      shown,
      'it starts neither with memcached:// nor with memcacheds://',
    );
  }
  if (hostname === '') throw new ServerAddressError(shown, 'it names no host');
  if (port === '0') throw new ServerAddressError(shown, 'there is no port 0');
  if (/[^/]/.test(pathname) || search !== '' || hash !== '') {
    throw new ServerAddressError(shown, 'nothing may follow the port');
  }
  return {
    host: hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? defaultPort : Number(port),
    ...(protocol === 'memcacheds:' && { tls: {} }),
    ...((username !== '' || password !== '') && { auth: readAuth(shown, username, password) }),
  };
}

function readAuth(
  shown: string,
  username: string,
  password: string,
): NonNullable<MemcachedAddress['auth']> {
  const user = percentDecoded(username);
  const secret = percentDecoded(password);
  if (user === undefined || secret === undefined) {
    throw new ServerAddressError(shown, 'its user or password is not percent-encoded text');
  }
  const auth = { user, password: secret };
  const problem = memcachedAuthProblem(auth);
  if (problem !== undefined) throw new ServerAddressError(shown, problem);
  return auth;
}

/**
 * Why memcached could not know somebody as that, in words without the password; undefined if it could. It keeps them as `USER:PASSWORD` in
 * a file and is told them as `USER PASSWORD` on a line.
 */
export function memcachedAuthProblem(
  auth: NonNullable<MemcachedAddress['auth']>,
): string | undefined {
  const { user, password } = auth;
  if (user === '' || password === '') return 'it takes a user and a password';
  if (user.includes(':')) return 'its user has a colon';
  if (/[\s\p{Cc}]/u.test(user)) return 'its user has a space or a control character';
  return /[\s\p{Cc}]/u.test(password)
    ? 'its password has a space, a line end or another control character'
    : undefined;
}

function percentDecoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** `host:port`, with brackets around an IPv6 address: what placement knows a server by. */
export function memcachedServerId({ host, port }: MemcachedAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
