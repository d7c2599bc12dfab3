/** A `thaw serve` of its own, with tenants who have access keys, reached as users reach it: over HTTP, signed. */

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';

import { LambdaClient } from '@aws-sdk/client-lambda';

import { Thaw } from '../../test/support/thaw.ts';

export interface ServedTenant {
  readonly name: string;
  readonly client: LambdaClient;
}

export interface ServedThaw extends AsyncDisposable {
  readonly thaw: Thaw;
  readonly tenants: readonly ServedTenant[];
}

export interface ServedThawOptions {
  readonly tenants: readonly string[];
  /** Of the configuration's section `functions`. */
  readonly functions: Readonly<Record<string, number>>;
}

/** Where its API is, as it says once it serves; the rest of its log goes to ours. */
async function endpointOf(server: ChildProcess): Promise<string> {
  server.stdout?.resume();
  return await new Promise<string>((resolve, reject) => {
    server.once('exit', (status) => reject(new Error(`thaw serve ended with ${status}`)));
    server.stderr?.on('data', (data: Buffer) => {
      const endpoint = / info serving .*api="([^"]+)"/.exec(data.toString())?.[1];
      if (endpoint === undefined) process.stderr.write(data);
      else resolve(endpoint);
    });
  });
}

export async function serveThaw(options: ServedThawOptions): Promise<ServedThaw> {
  await using made = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), 'thaw-bench-load-'));
  made.defer(() => rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 }));
  const config = join(root, 'config.toml');
  const settings = Object.entries(options.functions).map(([key, value]) => `${key} = ${value}\n`);
  await writeFile(config, `[functions]\n${settings.join('')}`);
  const thaw = new Thaw(root);
  const server = thaw.start('--config', config, 'serve');
  const ended = once(server, 'exit');
  made.defer(async () => {
    server.kill('SIGTERM');
    await ended;
  });
  const endpoint = await endpointOf(server);
  const tenants: ServedTenant[] = [];
  for (const name of options.tenants) {
    await thaw.json('tenant', 'create', name);
    const credentials = await thaw.json<{ accessKeyId: string; secretAccessKey: string }>(
      'tenant',
      'key',
      'create',
      name,
    );
    // Whoever is told to come back does, for a while.
    const client = new LambdaClient({ endpoint, region: 'local', credentials, maxAttempts: 20 });
    made.defer(() => client.destroy());
    tenants.push({ name, client });
  }
  const stack = made.move();
  return { thaw, tenants, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
