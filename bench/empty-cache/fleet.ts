/**
 * A worker with functions, five cache servers and an origin whose answers take their time, all real: what is emptied is the zone,
 * under as many cold starts as are let in.
 */

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import type { Worker } from '../../src/api/index.ts';
import { createLog } from '../../src/base/index.ts';
import { MemcachedServer } from '../../src/cache/index.ts';
import { startMemcached } from '../../src/cache/testing/memcached.ts';
import { createWorker } from '../../src/cli/compose.ts';
import { loadConfig, type Config } from '../../src/cli/config.ts';
import { startRadosgw } from '../../src/store/testing/radosgw.ts';
import { echoScript, writeShellImage } from '../../test/support/shell-image.ts';
import { ShapedLink, shapes } from '../support/shaped-link.ts';

const bucket = 'thaw-bench';
const serverCount = 5;
/** The median of the paper's origin (section 4). */
const originDelayMs = 36;
export const tenants = ['one', 'two', 'three'] as const;

export interface FleetOptions {
  /** Of each tenant. */
  readonly functionCount: number;
  /** Read by each start, and no other function's. */
  readonly ownBytes: number;
  readonly coldStartsMax: number;
  readonly progress: (what: string) => void;
}

export interface BenchFunction {
  readonly tenant: string;
  readonly name: string;
}

export interface Fleet extends AsyncDisposable {
  readonly worker: Worker;
  readonly functions: readonly BenchFunction[];
  /** Empties every cache server. */
  emptyZone(): Promise<void>;
}

/** Reads the function's own file, then answers every event with itself. */
const script = `cat /app/data > /dev/null\n${echoScript}`;

/** All of it; nothing is left when it is disposed of. */
export async function openFleet(options: FleetOptions): Promise<Fleet> {
  const { progress } = options;
  await using made = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), 'thaw-bench-empty-'));
  made.defer(() => rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 }));
  progress('starting the origin and the cache servers');
  const origin = await startRadosgw();
  made.defer(() => origin.stop());
  await makeBucket(origin);
  // The agent is a process of its own, and takes them from where the SDK looks.
  process.env['AWS_ACCESS_KEY_ID'] = origin.credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = origin.credentials.secretAccessKey;
  const targets = [{ name: 'origin', port: Number(new URL(origin.endpoint).port) }];
  for (let at = 0; at < serverCount; at += 1) {
    const server = made.use(await startMemcached({ memoryMebibytes: 64, extstoreMebibytes: 512 }));
    targets.push({ name: `server-${at}`, port: server.address.port });
  }
  const link = made.use(await ShapedLink.open(shapes['10 Gbit/s + 1 ms'], targets));
  const defaults = await loadConfig({ root }, {});
  const config: Config = {
    ...defaults,
    logLevel: 'error',
    storeUrl: `s3://${bucket}`,
    storeEndpoint: `http://127.0.0.1:${link.portOf('origin')}`,
    zoneServers: targets.slice(1).map(({ name }) => `memcached://127.0.0.1:${link.portOf(name)}`),
    cacheMemoryBytes: 2 ** 23, // so that nearly all comes from the zone
    cacheDiskBytes: 0,
    coldStartsMax: options.coldStartsMax,
  };
  const worker = made.use(
    await createWorker(config, createLog({ level: 'error' }), { agentLife: 'own' }),
  );
  const functions = await publishFunctions(worker, root, options);
  await link.fault('origin', { kind: 'slow', extraDelayMs: originDelayMs });
  const servers = targets.slice(1).map(({ port }) => {
    return new MemcachedServer({ address: { host: '127.0.0.1', port } });
  });
  for (const server of servers) made.defer(() => server.close());
  const signal = new AbortController().signal;
  const stack = made.move();
  return {
    worker,
    functions,
    emptyZone: async () => {
      const request = { signal, priority: 'foreground' } as const;
      await Promise.all(servers.map((server) => server.flush(request)));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function makeBucket(origin: Awaited<ReturnType<typeof startRadosgw>>): Promise<void> {
  const { endpoint, credentials } = origin;
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
}

async function publishFunctions(
  worker: Worker,
  root: string,
  { functionCount, ownBytes, progress }: FleetOptions,
): Promise<BenchFunction[]> {
  const functions: BenchFunction[] = [];
  for (const tenant of tenants) {
    for (let at = 0; at < functionCount; at += 1) {
      const name = `f${at}`;
      progress(`publishing ${tenant}/${name}`);
      const source = await writeShellImage(join(root, `layout-${tenant}`), name, script, {
        'app/data': randomBytes(ownBytes),
      });
      await worker.convertImage({ source, tenant, name });
      const limits = { memoryMb: 128, timeoutSeconds: 60, environment: {} };
      await worker.createFunction({ ...limits, tenant, name, image: name });
      functions.push({ tenant, name });
    }
  }
  return functions;
}
