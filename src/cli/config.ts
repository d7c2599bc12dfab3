/**
 * Where state lies and how the parts are set up: defaults, then `/etc/thaw/config.toml` (or `--config FILE`), then
 * `THAW_ROOT` and `--root`. A missing default file is fine; a file that was asked for, a key that nobody
 * knows, or a value of the wrong type is an error.
 */

import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

import { parse } from 'smol-toml';

import { errorCode, errorMessage, type LogLevel } from '../base/index.ts';
import type { FunctionNetwork } from '../catalog/index.ts';
import { ConfigError, UsageError } from './errors.ts';
import { zoneServersProblem } from './zone-servers.ts';

export interface Config {
  /** All state that must last. */
  readonly root: string;
  /** Sockets and mount points: gone after a reboot. */
  readonly runDir: string;
  readonly logLevel: LogLevel;
  readonly logFormat: 'text' | 'json';
  /** `s3://BUCKET[/PREFIX]`. Default: a directory below `root`. */
  readonly storeUrl?: string;
  /** Of a server that is not AWS. */
  readonly storeEndpoint?: string;
  /** Default: as the AWS SDK finds it. */
  readonly storeRegion?: string;
  /** Default: true with an endpoint. */
  readonly storePathStyle?: boolean;
  /** PEM, in place of the system's authorities. */
  readonly storeCaFile?: string;
  readonly cacheMemoryBytes: number;
  /** 0: no disk cache. Default: `diskCacheBytes`. */
  readonly cacheDiskBytes?: number;
  /** Default: below `root`. */
  readonly cacheDiskDir?: string;
  /** Requests to the origin at a time. */
  readonly originConcurrency: number;
  /** As `parseZoneServer` takes them. */
  readonly zoneServers: readonly string[];
  readonly zoneUser?: string;
  /** The password itself is read where it is used: a configuration is seen on command lines. */
  readonly zonePasswordFile?: string;
  /** PEM, of who vouches for the zone's servers. Default: no TLS. */
  readonly zoneCaFile?: string;
  /** Of each server. */
  readonly zoneFillBytesPerSecond: number;
  /** `HOST:PORT` where metrics are served. Default: only on the server's socket. */
  readonly metricsListen?: string;
  /** `HOST:PORT` where `thaw serve` speaks Lambda's API, or `off`. */
  readonly apiListen: string;
  /** PEM, both or none of the two; without them plain HTTP. */
  readonly apiCertFile?: string;
  readonly apiKeyFile?: string;
  /** Of requests that the API holds at a time. Default: see `LambdaApiLimits` in the API's room. */
  readonly apiBodiesMaxBytes?: number;
  /** Those that tenants may choose through the API; `thaw function` may choose any. */
  readonly apiNetworks: readonly FunctionNetwork[];
  /** `HOST[:PORT]` of registries without TLS, besides this machine's, for images that come through the API. */
  readonly registryPlainHttp: readonly string[];
  /** A file as docker's, with the logins at registries for tenants other than the default one. Default: none. */
  readonly registryCredentialsFile?: string;
  /** A read that waits longer for a chunk ends with an I/O error. */
  readonly readDeadlineMs: number;
  /** How much may be added to a writable mount. */
  readonly writableSpaceBytes: number;
  readonly sandboxRuntime: 'auto' | 'builtin' | 'runc' | 'crun' | 'util-linux';
  readonly idleTimeoutSeconds: number;
  readonly instancesMax: number;
  /** Of one function without reserved concurrency. Default: see `FunctionLimits` in the functions room. */
  readonly instancesPerFunctionMax?: number;
  /** Of asynchronous invokes. Defaults: see `EventLimits` in the functions room. */
  readonly eventsPerTenantMax?: number;
  readonly eventInvokesMax?: number;
  readonly eventInvokesPerTenantMax?: number;
  /** Cold starts in flight. Default: see `coldStartLimits` in the functions room. */
  readonly coldStartsMax?: number;
  readonly coldStartsPerTenantMax?: number;
  /** Of what is unpacked of zip functions in memory. 0: nothing. Default: `codeMemoryBytes`. */
  readonly codeMemoryBytes?: number;
  /** And on disk, once there is no room in memory. */
  readonly codeDiskBytes: number;
  /** What functions see as `AWS_REGION`. */
  readonly region: string;
  /** 12 digits, in the functions' ARNs. */
  readonly accountId: string;
}

export const defaultConfigPath = '/etc/thaw/config.toml';
const defaultRoot = '/var/lib/thaw';
const defaultRunDir = '/run/thaw';

/** The lasting and the passing files of one Thaw. */
export interface Paths {
  readonly keyring: string;
  readonly catalog: string;
  readonly store: string;
  readonly work: string;
  readonly logs: string;
  readonly serveSocket: string;
  readonly device: string;
  readonly sandboxes: string;
  /** Writes to writable mounts, encrypted under a key that is gone with them. */
  readonly overlays: string;
  /** Chunks of the disk cache. */
  readonly diskCache: string;
  /** Unpacked code of zip functions, with a tmpfs for each process. */
  readonly code: string;
}

export function pathsOf(config: Pick<Config, 'root' | 'runDir' | 'cacheDiskDir'>): Paths {
  return {
    keyring: join(config.root, 'keyring.json'),
    catalog: join(config.root, 'catalog.db'),
    store: join(config.root, 'store'),
    work: join(config.root, 'tmp'),
    logs: join(config.root, 'logs'),
    serveSocket: join(config.runDir, 'serve.sock'),
    device: join(config.runDir, 'device'),
    sandboxes: join(config.runDir, 'sandboxes'),
    overlays: join(config.root, 'overlays'),
    diskCache: config.cacheDiskDir ?? join(config.root, 'cache'),
    code: join(config.root, 'code'),
  };
}

/** Where the origin is another machine. */
const diskCacheDefaultBytes = 10 * 2 ** 30;

/** What the disk cache may take. A second copy of a directory of the same machine would be one for nothing. */
export function diskCacheBytes({ cacheDiskBytes, storeUrl }: Config): number {
  return cacheDiskBytes ?? (storeUrl === undefined ? 0 : diskCacheDefaultBytes);
}

const codeMemoryDefaultMaxBytes = 4 * 2 ** 30;

/** What unpacked zip functions may take of the machine's memory. */
export function codeMemoryBytes(
  { codeMemoryBytes: chosen }: Config,
  machineBytes: number = totalmem(),
): number {
  return chosen ?? Math.min(Math.floor(machineBytes / 4), codeMemoryDefaultMaxBytes);
}

/** Of a Unix socket's path, without the zero byte at its end. Source: unix(7), `sun_path`. */
const socketPathMaxBytes = 107;
const longestSocket = '/device/agent.sock';

/** Throws `ERR_CLI_USAGE` if the sockets in `runDir` could not be made. Publishing needs none. */
export function checkRunDir({ runDir }: Pick<Config, 'runDir'>): void {
  const excess = Buffer.byteLength(runDir + longestSocket) - socketPathMaxBytes;
  if (excess <= 0) return;
  throw new UsageError(
    `Cannot make sockets in "${runDir}": the path is ${excess} bytes too long; ` +
      'choose a shorter --root, or set "root" and "run_dir" in a configuration file',
  );
}

/** Parts of a `HOST:PORT` of the configuration. */
export function parseListenAddress(address: string): {
  readonly host: string;
  readonly port: number;
} {
  const { hostname, port } = new URL(`http://${address}`);
  // A URL leaves out the port that it takes for granted, and has brackets around an IPv6 address.
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port === '' ? 80 : port) };
}

interface Setting {
  readonly field: keyof Config;
  /** What is wrong with a value, or undefined if it will do. */
  readonly check: (value: unknown) => string | undefined;
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? undefined : 'must be a string that is not empty';
const matching =
  (pattern: RegExp, what: string) =>
  (value: unknown): string | undefined =>
    typeof value === 'string' && pattern.test(value) ? undefined : `must be ${what}`;
const flag = (value: unknown): string | undefined =>
  typeof value === 'boolean' ? undefined : 'must be true or false';
const absolutePath = (value: unknown): string | undefined =>
  typeof value === 'string' && isAbsolute(value) ? undefined : 'must be an absolute path';
const oneOf =
  (...allowed: readonly string[]) =>
  (value: unknown): string | undefined =>
    allowed.some((choice) => choice === value) ? undefined : `must be one of ${allowed.join(', ')}`;
const digits =
  (count: number) =>
  (value: unknown): string | undefined =>
    typeof value === 'string' && /^\d+$/.test(value) && value.length === count
      ? undefined
      : `must be a string of ${count} digits`;
const listenAddress = (value: unknown): string | undefined =>
  typeof value === 'string' &&
  /^(\[[0-9a-f:]+\]|[^\s:[\]/\\?#@]+):\d{1,5}$/i.test(value) &&
  URL.canParse(`http://${value}`) // the port's range, and an IPv6 address that is one
    ? undefined
    : 'must be HOST:PORT';
const apiAddress = (value: unknown): string | undefined =>
  value === 'off' || listenAddress(value) === undefined ? undefined : 'must be HOST:PORT, or off';
const registryHosts = (value: unknown): string | undefined =>
  Array.isArray(value) && value.every((host) => typeof host === 'string' && /^[^\s/@]+$/.test(host))
    ? undefined
    : 'must be a list of HOST or HOST:PORT';
const networks = (value: unknown): string | undefined =>
  Array.isArray(value) && value.every((name) => ['none', 'nat', 'host'].includes(String(name)))
    ? undefined
    : 'must be a list of "none", "nat", "host"';
const integer =
  (least: number, most: number) =>
  (value: unknown): string | undefined =>
    Number.isInteger(value) && Number(value) >= least && Number(value) <= most
      ? undefined
      : `must be a whole number from ${least} to ${most}`;

/** Every key of the configuration file, as `section.key`. */
export const settings: Readonly<Record<string, Setting>> = {
  root: { field: 'root', check: text },
  run_dir: { field: 'runDir', check: text },
  region: { field: 'region', check: text },
  account_id: { field: 'accountId', check: digits(12) },
  'log.level': { field: 'logLevel', check: oneOf('debug', 'info', 'warn', 'error') },
  'log.format': { field: 'logFormat', check: oneOf('text', 'json') },
  'store.url': {
    field: 'storeUrl',
    check: matching(/^s3:\/\/./, 's3://BUCKET or s3://BUCKET/PREFIX'),
  },
  'store.endpoint': {
    field: 'storeEndpoint',
    check: matching(/^https?:\/\/./, 'a URL of a server, http[s]://HOST[:PORT]'),
  },
  'store.region': { field: 'storeRegion', check: text },
  'store.path_style': { field: 'storePathStyle', check: flag },
  'store.ca_file': { field: 'storeCaFile', check: matching(/^\//, 'an absolute path') },
  'cache.memory_bytes': { field: 'cacheMemoryBytes', check: integer(2 ** 23, 2 ** 40) },
  'cache.disk_bytes': { field: 'cacheDiskBytes', check: integer(0, 2 ** 50) },
  'cache.disk_dir': { field: 'cacheDiskDir', check: absolutePath },
  'cache.origin_concurrency': { field: 'originConcurrency', check: integer(1, 1024) },
  'cache.read_deadline_ms': { field: 'readDeadlineMs', check: integer(100, 100_000) },
  'zone.servers': { field: 'zoneServers', check: zoneServersProblem },
  'zone.user': { field: 'zoneUser', check: text },
  'zone.password_file': { field: 'zonePasswordFile', check: absolutePath },
  'zone.ca_file': { field: 'zoneCaFile', check: absolutePath },
  'zone.fill_bytes_per_second': {
    field: 'zoneFillBytesPerSecond',
    check: integer(2 ** 20, 2 ** 40),
  },
  'metrics.listen': {
    field: 'metricsListen',
    check: listenAddress,
  },
  'api.listen': { field: 'apiListen', check: apiAddress },
  'api.cert_file': { field: 'apiCertFile', check: absolutePath },
  'api.key_file': { field: 'apiKeyFile', check: absolutePath },
  'api.bodies_max_bytes': { field: 'apiBodiesMaxBytes', check: integer(2 ** 24, 2 ** 40) },
  'api.networks': { field: 'apiNetworks', check: networks },
  'registry.plain_http': { field: 'registryPlainHttp', check: registryHosts },
  'registry.credentials_file': { field: 'registryCredentialsFile', check: absolutePath },
  'mounts.writable_space_bytes': { field: 'writableSpaceBytes', check: integer(0, 2 ** 43) },
  'sandbox.runtime': {
    field: 'sandboxRuntime',
    check: oneOf('auto', 'builtin', 'runc', 'crun', 'util-linux'),
  },
  'functions.idle_timeout_seconds': { field: 'idleTimeoutSeconds', check: integer(1, 86_400) },
  'functions.instances_max': { field: 'instancesMax', check: integer(1, 10_000) },
  'functions.instances_per_function_max': {
    field: 'instancesPerFunctionMax',
    check: integer(1, 10_000),
  },
  'functions.events_per_tenant_max': { field: 'eventsPerTenantMax', check: integer(1, 10_000_000) },
  'functions.event_invokes_max': { field: 'eventInvokesMax', check: integer(1, 10_000) },
  'functions.event_invokes_per_tenant_max': {
    field: 'eventInvokesPerTenantMax',
    check: integer(1, 10_000),
  },
  'functions.code_memory_bytes': { field: 'codeMemoryBytes', check: integer(0, 2 ** 40) },
  'functions.code_disk_bytes': { field: 'codeDiskBytes', check: integer(0, 2 ** 50) },
  'functions.cold_starts_max': { field: 'coldStartsMax', check: integer(1, 10_000) },
  'functions.cold_starts_per_tenant_max': {
    field: 'coldStartsPerTenantMax',
    check: integer(1, 10_000),
  },
};

const defaults: Config = {
  root: defaultRoot,
  runDir: defaultRunDir,
  logLevel: 'info',
  logFormat: 'text',
  cacheMemoryBytes: 256 * 2 ** 20,
  originConcurrency: 16,
  zoneServers: [],
  zoneFillBytesPerSecond: 25_000_000,
  apiListen: '127.0.0.1:9370',
  apiNetworks: ['none', 'nat'],
  registryPlainHttp: [],
  readDeadlineMs: 30_000,
  writableSpaceBytes: 10 * 2 ** 30,
  sandboxRuntime: 'auto',
  idleTimeoutSeconds: 600,
  instancesMax: 100,
  codeDiskBytes: 10 * 2 ** 30,
  region: 'local',
  accountId: '000000000000',
};

export interface ConfigChoices {
  readonly configPath?: string;
  readonly root?: string;
}

/** Throws `ERR_CLI_CONFIG`. */
export async function loadConfig(
  choices: ConfigChoices,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Config> {
  const path = choices.configPath ?? defaultConfigPath;
  const config = { ...defaults, ...settingsIn(path, await readConfig(choices.configPath)) };
  const root = choices.root ?? environment['THAW_ROOT'];
  if (root === undefined || root === '') return config;
  const chosen = resolve(root);
  return { ...config, root: chosen, runDir: join(chosen, 'run') };
}

async function readConfig(asked: string | undefined): Promise<string> {
  try {
    return await readFile(asked ?? defaultConfigPath, 'utf8');
  } catch (thrown) {
    if (asked === undefined && errorCode(thrown) === 'ENOENT') return '';
    throw new ConfigError(asked ?? defaultConfigPath, errorMessage(thrown));
  }
}

function settingsIn(path: string, toml: string): Partial<Config> {
  const found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(flatten(parseToml(path, toml)))) {
    const setting = Object.hasOwn(settings, key) ? settings[key] : undefined;
    if (setting === undefined) {
      const known = Object.keys(settings).join(', ');
      throw new ConfigError(path, `there is no setting "${key}"; there are ${known}`);
    }
    const problem = setting.check(value);
    if (problem !== undefined) throw new ConfigError(path, `"${key}" ${problem}`);
    found[setting.field] = value;
  }
  if ('zoneUser' in found !== 'zonePasswordFile' in found) {
    throw new ConfigError(path, '"zone.user" and "zone.password_file" go together: give both');
  }
  if ('apiCertFile' in found !== 'apiKeyFile' in found) {
    throw new ConfigError(path, '"api.cert_file" and "api.key_file" go together: give both');
  }
  return found;
}

function parseToml(path: string, toml: string): object {
  try {
    return parse(toml);
  } catch (thrown) {
    throw new ConfigError(path, errorMessage(thrown));
  }
}

/** `{ log: { level: 'info' } }` as `{ 'log.level': 'info' }`. */
function flatten(table: object, prefix = ''): Record<string, unknown> {
  const flat: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(table)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      Object.assign(flat, flatten(value, `${prefix}${key}.`));
    } else {
      flat[`${prefix}${key}`] = value;
    }
  }
  return flat;
}
