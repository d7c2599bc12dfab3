/** `thaw serve` with its API, on a state directory of a test's own. */

import { createInterface } from 'node:readline';

import { LambdaClient, type LambdaClientConfig } from '@aws-sdk/client-lambda';

import { endOf, type Thaw, type ThawRun } from './thaw.ts';

export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Stop it before the state directory goes: `await using`. */
export interface ServedApi extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Tells it to stop, and at once where that takes long; what came of it. */
  readonly stop: () => Promise<ThawRun>;
  /** As a crash would: nothing of it is told to end. */
  readonly kill: () => Promise<ThawRun>;
  clientOf(key: AccessKey, config?: Partial<LambdaClientConfig>): LambdaClient;
}

/** What is under way when a test ends need not be waited for longer. */
const patienceMs = 10_000;

/** Listens on a port of its own. */
export async function serveApiOf(thaw: Thaw, ...flags: readonly string[]): Promise<ServedApi> {
  const server = thaw.start('serve', ...flags);
  const ended = endOf(server);
  const { promise: url, resolve, reject } = Promise.withResolvers<string>();
  createInterface({ input: server.stderr ?? process.stdin }).on('line', (line) => {
    const found = / serving .*api="([^"]+)"/.exec(line)?.[1];
    if (found !== undefined) resolve(found);
  });
  void ended.then(({ stderr }) => reject(new Error(`thaw serve ended: ${stderr}`)));
  const clients: LambdaClient[] = [];
  const stop = async (): Promise<ThawRun> => {
    for (const client of clients) client.destroy();
    server.kill('SIGTERM');
    const impatience = setTimeout(() => server.kill('SIGTERM'), patienceMs);
    return await ended.finally(() => clearTimeout(impatience));
  };
  const endpoint = await url;
  return {
    url: endpoint,
    stop,
    kill: async () => {
      server.kill('SIGKILL');
      return await ended;
    },
    clientOf: (credentials, config = {}) => {
      const client = new LambdaClient({
        endpoint,
        region: 'local',
        credentials,
        maxAttempts: 1,
        ...config,
      });
      clients.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

/** A new key of a tenant, who is made where there is none of that name. */
export async function accessKeyOf(thaw: Thaw, tenant: string): Promise<AccessKey> {
  const tenants = await thaw.json<readonly { readonly name: string }[]>('tenant', 'ls');
  if (!tenants.some(({ name }) => name === tenant)) await thaw.json('tenant', 'create', tenant);
  return await thaw.json<AccessKey>('tenant', 'key', 'create', tenant);
}
