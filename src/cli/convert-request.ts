/** What `image convert` and `function create` ask the worker to publish. */

import { resolve } from 'node:path';

import { Option } from 'commander';

import type { ConvertRequest } from '../api/index.ts';
import { defined } from '../base/index.ts';
import { UsageError } from './errors.ts';
import { absoluteSource } from './source.ts';

/** Options of the command line, as typed. */
export interface ConvertOptions {
  readonly tenant: string;
  readonly name?: string;
  readonly platform?: string;
  readonly compress?: 'zstd';
  readonly prime?: boolean;
  readonly plainHttp?: boolean;
  /** `user:password`. */
  readonly user?: string;
}

export function compressOption(description: string): Option {
  return new Option('--compress <algorithm>', description).choices(['zstd']);
}

/**
 * The request, independent of this process's directory and environment, since a server may carry it out.
 * Throws `ERR_CLI_USAGE`.
 */
export function convertRequest(
  source: string,
  options: ConvertOptions,
  environment: NodeJS.ProcessEnv = process.env,
): ConvertRequest {
  const { tenant, name, platform, compress, prime, plainHttp, user } = options;
  const { DOCKER_CONFIG: dockerConfig } = environment;
  return defined({
    source: absoluteSource(source, process.cwd()),
    tenant,
    name,
    platform,
    compress,
    prime,
    plainHttp,
    credentials: user === undefined ? undefined : parseUser(user),
    dockerConfigPath: dockerConfig === undefined ? undefined : resolve(dockerConfig, 'config.json'),
  });
}

function parseUser(user: string): { username: string; password: string } {
  const colon = user.indexOf(':');
  if (colon < 1) throw new UsageError('Cannot use "--user": give it as user:password');
  return { username: user.slice(0, colon), password: user.slice(colon + 1) };
}
