/** Opens the tiers between a worker's memory and its origin, after the configuration. */

import { readFile } from 'node:fs/promises';

import { defined, errorMessage, type Log } from '../base/index.ts';
import {
  memcachedAuthProblem,
  MemcachedServer,
  openDiskCache,
  openWorkerCaches,
  parseMemcachedAddress,
  type MemcachedAddress,
  type WorkerCaches,
  type ZoneServer,
  type ZoneServerSetting,
  type ZoneSettings,
} from '../cache/index.ts';
import type { OpenPool } from '../chunk/index.ts';
import { tryLockFile } from '../device/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { diskCacheBytes, pathsOf, type Config } from './config.ts';
import { UsageError } from './errors.ts';
import { zoneServerSettings } from './zone-servers.ts';

export interface CacheDependencies {
  readonly store: ObjectStore;
  readonly opener: OpenPool;
  readonly log: Log;
}

/** Does not throw: what cannot be had is logged, and shown by the status. */
export async function openCaches(config: Config, deps: CacheDependencies): Promise<WorkerCaches> {
  const sizeMaxBytes = diskCacheBytes(config);
  const path = pathsOf(config).diskCache;
  return await openWorkerCaches({
    ...deps,
    originConcurrency: config.originConcurrency,
    zoneSettings: async () => zoneSettings(config, deps.log),
    ...(sizeMaxBytes === 0
      ? {}
      : {
          openDisk: async (reads, waiting) => {
            const { log } = deps;
            return openDiskCache({ path, sizeMaxBytes, tryLock: tryLockFile, log, reads, waiting });
          },
        }),
  });
}

/**
 * The servers, and how to connect to them and to those that may be added later. `log` is told of servers that go down. Throws `ERR_CLI_USAGE` if a file that
 * the configuration names cannot be read, or holds no password that memcached could know.
 */
export async function zoneSettings(config: Config, log?: Log): Promise<ZoneSettings> {
  const { zoneServers, zoneFillBytesPerSecond, zoneCaFile } = config;
  const ca = await readSetting('zone.ca_file', zoneCaFile);
  const auth = await zoneAuth(config);
  const connect = ({ id, usesTls }: ZoneServerSetting): ZoneServer => {
    const { host, port } = parseMemcachedAddress(`memcached://${id}`);
    const tls = usesTls ? defined({ ca }) : undefined;
    const onDown = (reason: string): void =>
      log?.warn('a server of the zone is down', { server: id, reason });
    return new MemcachedServer({ address: defined({ host, port, tls, auth }), onDown });
  };
  return { servers: zoneServerSettings(zoneServers, zoneFillBytesPerSecond), connect };
}

async function zoneAuth(config: Config): Promise<MemcachedAddress['auth']> {
  const { zoneUser: user, zonePasswordFile } = config;
  const file = await readSetting('zone.password_file', zonePasswordFile);
  if (user === undefined || file === undefined) return undefined;
  const auth = { user, password: file.replace(/\r?\n$/, '') };
  const problem = memcachedAuthProblem(auth);
  if (problem === undefined) return auth;
  const keys = '"zone.user" and "zone.password_file"';
  throw new UsageError(`Cannot use ${keys} with memcached: ${problem}; choose others`);
}

async function readSetting(key: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    throw new UsageError(`Cannot read "${key}": ${errorMessage(thrown)}`);
  }
}
