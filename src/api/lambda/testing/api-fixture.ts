/**
 * Lambda's API as a client meets it: the real server over a socket, on the real service with a real catalog. Only what functions
 * run in is simulated; `test/integration/lambda-api.test.ts` has real sandboxes.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

import { LambdaClient, type LambdaClientConfig } from '@aws-sdk/client-lambda';

import { createLog } from '../../../base/index.ts';
import { VirtualTime } from '../../../base/testing/virtual-time.ts';
import { openCatalog, type Catalog, type ImageRecord } from '../../../catalog/index.ts';
import {
  accountIds,
  createFunctionService,
  type FunctionService,
} from '../../../functions/index.ts';
import {
  SimulatedWorker,
  respond,
  type Program,
} from '../../../functions/testing/simulated-worker.ts';
import { imageRecord } from '../../../catalog/testing/records.ts';
import type { ImageDocument } from '../../../publish/index.ts';
import { noAuthentication } from '../../sigv4/authenticator.ts';
import { serveLambdaApi } from '../http-server.ts';
import type { LambdaApiOptions } from '../lambda-api.ts';
import { checkAnswers } from './model-check.ts';

/** Time that passes by itself. */
class RealTime extends VirtualTime {
  override nowMs(): number {
    return Date.now();
  }

  override monotonicMs(): number {
    return performance.now();
  }

  override after(delayMs: number, run: () => void): () => void {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  }
}

/** Published images of every tenant that a test may have, by name. */
const imageNames = ['first', 'second'] as const;

function imageOf(tenant: string, name: string): ImageRecord {
  const manifestId = Buffer.from(`${tenant}/${name}`).toString('hex').padEnd(64, '0').slice(0, 64);
  return imageRecord({ manifestId, tenant, name, imageDigest: `sha256:${manifestId}` });
}

const imageDocument: ImageDocument = {
  reference: 'docker://registry.test/image',
  imageDigest: 'sha256:0',
  platform: 'linux/amd64',
  fileCount: 1,
  contentBytes: 1,
  config: {
    entrypoint: ['/bin/runtime'],
    cmd: ['app.handler'],
    env: [],
    workingDir: '/srv',
    user: '',
    labels: {},
    stopSignal: 'SIGTERM',
  },
};

/** Answers every event with itself. */
const echo: Program = {
  init: async () => ({}),
  handle: async ({ payload }) => respond(JSON.parse(Buffer.from(payload).toString())),
};

export interface ApiFixtureOptions {
  readonly program?: (functionName: string) => Program;
  readonly tenants?: readonly string[];
  readonly api?: Partial<LambdaApiOptions>;
}

export interface ApiFixture {
  /** Of the server. */
  readonly url: string;
  readonly client: LambdaClient;
  readonly service: FunctionService;
  readonly catalog: Catalog;
  /** What the server logged for its administrator. */
  readonly warnings: readonly string[];
  clientWith(config: Partial<LambdaClientConfig>): LambdaClient;
}

/** All of it ends with the test. */
export async function openApi(
  t: Pick<TestContext, 'after'>,
  options: ApiFixtureOptions = {},
): Promise<ApiFixture> {
  const resources = new AsyncDisposableStack();
  t.after(() => resources.disposeAsync());
  const directory = await mkdtemp(join(tmpdir(), 'thaw-api-'));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const catalog = resources.use(await openCatalog(join(directory, 'catalog.db')));
  for (const tenant of options.tenants ?? ['default']) {
    for (const name of imageNames) await catalog.addImage(imageOf(tenant, name));
  }
  const warnings: string[] = [];
  const log = createLog({ level: 'warn', write: (line) => warnings.push(line) });
  const time = new RealTime();
  const worker = new SimulatedWorker(time, ({ env }) =>
    (options.program ?? (() => echo))(env['AWS_LAMBDA_FUNCTION_NAME'] ?? ''),
  );
  const accountIdOf = accountIds({ accountId: '000000000000', defaultTenant: 'default' });
  const service = createFunctionService({
    catalog,
    mounts: worker.mounts,
    sandboxes: worker.sandboxes,
    imageDocument: async () => imageDocument,
    logsDir: join(directory, 'logs'),
    log,
    host: { region: 'local', accountIdOf },
    clock: time,
    timers: time,
  });
  resources.defer(() => service.close());
  const server = resources.use(
    await serveLambdaApi({
      host: '127.0.0.1',
      port: 0,
      functions: async () => service,
      authenticator: noAuthentication('default'),
      region: 'local',
      accountIdOf,
      defaultTenant: 'default',
      log,
      ...options.api,
    }),
  );
  const clientWith = (config: Partial<LambdaClientConfig>): LambdaClient => {
    const client = new LambdaClient({
      endpoint: server.url,
      region: 'local',
      credentials: { accessKeyId: 'AKIAEXAMPLEEXAMPLE00', secretAccessKey: 'secret' },
      maxAttempts: 1,
      ...config,
    });
    checkAnswers(client);
    resources.defer(async () => client.destroy());
    return client;
  };
  return { url: server.url, client: clientWith({}), service, catalog, warnings, clientWith };
}
