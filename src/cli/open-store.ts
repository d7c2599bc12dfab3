/** Opens the origin that the configuration names: the directory below `root`, or a bucket. */

import { readFile } from 'node:fs/promises';

import { defined, errorMessage } from '../base/index.ts';
import {
  openDirectoryStore,
  openS3Store,
  parseS3Url,
  withLimit,
  withRetry,
  type ObjectStore,
  type S3Store,
} from '../store/index.ts';
import { pathsOf, type Config } from './config.ts';
import { UsageError } from './errors.ts';

/** Towards one bucket. At 50 ms a chunk of 512 KiB they bring 5 Gbit/s. */
const requestsMax = 64;

/** A bucket as it is, without retries; undefined where the store is a directory. */
export async function openBucket(config: Config): Promise<S3Store | undefined> {
  const { storeUrl, storeEndpoint, storeRegion, storePathStyle, storeCaFile } = config;
  if (storeUrl === undefined) return undefined;
  return await openS3Store({
    ...parseS3Url(storeUrl),
    ...defined({ endpoint: storeEndpoint, region: storeRegion, pathStyle: storePathStyle }),
    ...defined({ ca: storeCaFile === undefined ? undefined : await readAuthorities(storeCaFile) }),
    connectionsMax: requestsMax,
  });
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    throw new UsageError(`Cannot read "store.ca_file": ${errorMessage(thrown)}`);
  }
}

/** As publishing and the agent use it: few requests at once, tried again where that may help. */
export async function openStore(config: Config): Promise<ObjectStore> {
  const bucket = await openBucket(config);
  if (bucket === undefined) return await openDirectoryStore(pathsOf(config).store);
  const limited = withLimit(bucket, requestsMax); // inside, so that who waits for his next try holds no permit
  return withRetry(limited, { attemptsMax: 5, delayFirstMs: 100, random: Math.random });
}
