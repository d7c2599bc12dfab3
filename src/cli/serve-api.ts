/** Lambda's API as `thaw serve` is configured to speak it. */

import { readFile } from 'node:fs/promises';

import {
  isLoopback,
  noAuthentication,
  serveLambdaApi,
  signatureAuthenticator,
  withoutBrowsers,
  type Authenticator,
  type LambdaApiServer,
} from '../api/index.ts';
import { defined, errorMessage, systemClock, type Log } from '../base/index.ts';
import { accountIdsOf, type ServedWorker } from './compose.ts';
import { parseListenAddress, settings, type Config } from './config.ts';
import { defaultTenant } from './default-tenant.ts';
import { EnvironmentError, UsageError } from './errors.ts';

export interface ApiFlags {
  /** `HOST:PORT` or `off`, in place of the configuration's. */
  readonly listen?: string;
  readonly insecureNoAuth?: boolean;
}

export interface ServeApiOptions extends ApiFlags {
  readonly worker: ServedWorker;
  readonly config: Config;
  readonly log: Log;
  /** When it is aborted, requests under way are cut off. */
  readonly stopNow: AbortSignal;
}

/** Undefined where it is off. Throws `ERR_CLI_USAGE`, and `ERR_CLI_ENVIRONMENT` where nobody can listen there. */
export async function serveApi(options: ServeApiOptions): Promise<LambdaApiServer | undefined> {
  const { worker, config, log, stopNow, listen = config.apiListen } = options;
  const problem = settings['api.listen']?.check(listen);
  if (problem !== undefined) throw new UsageError(`Cannot listen on "${listen}": it ${problem}`);
  if (listen === 'off') return undefined;
  const { host, port } = parseListenAddress(listen);
  const authenticator = authenticatorOf(options, host);
  const tls = await readCertificate(config);
  try {
    return await serveLambdaApi({
      host,
      port,
      functions: async () => await worker.functions(),
      authenticator,
      region: config.region,
      accountIdOf: accountIdsOf(config),
      defaultTenant,
      networks: config.apiNetworks,
      limits: defined({ bodiesMaxBytes: config.apiBodiesMaxBytes }),
      log,
      stopNow,
      ...defined({ tls }),
    });
  } catch (thrown) {
    throw new EnvironmentError(
      `Cannot serve the API on "${listen}": ${errorMessage(thrown)}; change "api.listen", or give --listen`,
    );
  }
}

function authenticatorOf(
  { worker, config, log, insecureNoAuth = false }: ServeApiOptions,
  host: string,
): Authenticator {
  if (!insecureNoAuth) {
    const { accessKeys } = worker;
    return signatureAuthenticator({ accessKeys, region: config.region, clock: systemClock });
  }
  if (!isLoopback(host)) {
    throw new UsageError(
      `Cannot serve without authentication on "${host}": --insecure-no-auth needs an address of this machine alone, such as 127.0.0.1`,
    );
  }
  log.warn('Whoever can reach the API on this machine is the default tenant: --insecure-no-auth');
  return withoutBrowsers(noAuthentication(defaultTenant));
}

async function readCertificate({
  apiCertFile,
  apiKeyFile,
}: Config): Promise<{ readonly certificate: string; readonly key: string } | undefined> {
  if (apiCertFile === undefined || apiKeyFile === undefined) return undefined;
  try {
    return {
      certificate: await readFile(apiCertFile, 'utf8'),
      key: await readFile(apiKeyFile, 'utf8'),
    };
  } catch (thrown) {
    throw new EnvironmentError(`Cannot read the certificate of the API: ${errorMessage(thrown)}`);
  }
}
