/**
 * Thaw as a user has it: `thaw serve` with an origin and a zone behind the link, driven through its Lambda API and, for what an
 * administrator does, its socket. Two zones of five servers each, so that starts from a full zone and from an empty one take
 * turns: the first is primed with every image, the second emptied before each start.
 */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import { workerAt, type InvokeReport, type Worker } from '../../src/api/index.ts';
import { MemcachedServer } from '../../src/cache/index.ts';
import { startMemcached, type Memcached } from '../../src/cache/testing/memcached.ts';
import { startRadosgw, type Radosgw } from '../../src/store/testing/radosgw.ts';
import { Daemon } from './daemon.ts';
import type { AppImage } from './make-images.ts';
import type { LinkTarget } from '../support/shaped-link.ts';

const tenant = 'default';
const bucket = 'thaw-bench';
const serversAZone = 5;
const zoneMemoryMebibytes = 768;
/** Of each server: the priming is not measured. */
const fillBytesPerSecond = 2 ** 30;
/** Two CPUs, all that there is, as other systems' containers have. */
const memoryMb = 3538;
const binary = join(import.meta.dirname, '../../bin/thaw');
/** What a start leaves behind (fills of the zone, instances that end) is done by then. */
const settleMs = 400;

/** Where a start finds the image: nowhere but in the origin; in the zone; in the worker's memory; in the mounted disk's page cache. */
export const cacheStates = ['origin', 'zone', 'worker', 'page'] as const;
export type CacheState = (typeof cacheStates)[number];

/** What the link must lead to. */
export class ThawServers implements AsyncDisposable {
  readonly radosgw: Radosgw;
  readonly zones: readonly (readonly Memcached[])[];
  readonly #stack: AsyncDisposableStack;

  private constructor(
    radosgw: Radosgw,
    zones: readonly (readonly Memcached[])[],
    stack: AsyncDisposableStack,
  ) {
    this.radosgw = radosgw;
    this.zones = zones;
    this.#stack = stack;
  }

  static async start(): Promise<ThawServers> {
    await using made = new AsyncDisposableStack();
    const radosgw = await startRadosgw();
    made.defer(() => radosgw.stop());
    const zones: Memcached[][] = [];
    for (let zone = 0; zone < 2; zone += 1) {
      const servers: Memcached[] = [];
      for (let at = 0; at < serversAZone; at += 1) {
        servers.push(made.use(await startMemcached({ memoryMebibytes: zoneMemoryMebibytes })));
      }
      zones.push(servers);
    }
    const { endpoint, credentials } = radosgw;
    const client = new S3Client({
      endpoint,
      credentials,
      region: 'us-east-1',
      forcePathStyle: true,
    });
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    client.destroy();
    return new ThawServers(radosgw, zones, made.move());
  }

  get targets(): readonly LinkTarget[] {
    const origin = { name: 'origin', port: Number(new URL(this.radosgw.endpoint).port) };
    const servers = this.zones.flatMap((zone, number) =>
      zone.map(({ address: { port } }, at) => ({ name: serverName(number, at), port })),
    );
    return [origin, ...servers];
  }

  async emptySecondZone(): Promise<void> {
    const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
    for (const { address } of this.zones[1] ?? []) {
      const server = new MemcachedServer({ address });
      await server.flush(request);
      await server.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function serverName(zone: number, at: number): string {
  return `zone-${zone}-${at}`;
}

export interface ThawStart {
  /** The client's round trip. */
  readonly elapsedMs: number;
  /** By Thaw's own clock. */
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly reads: InvokeReport['reads'];
}

export class ThawUnderTest implements AsyncDisposable {
  readonly #servers: ThawServers;
  readonly #portOf: (target: string) => number;
  readonly #daemon: Daemon;
  readonly #worker: Worker;
  readonly #published = new Set<string>();
  #starts = 0;

  private constructor(parts: {
    servers: ThawServers;
    portOf: (target: string) => number;
    daemon: Daemon;
    worker: Worker;
  }) {
    this.#servers = parts.servers;
    this.#portOf = parts.portOf;
    this.#daemon = parts.daemon;
    this.#worker = parts.worker;
  }

  /** `directory`: for its state; a short path. */
  static async start(
    directory: string,
    servers: ThawServers,
    portOf: (target: string) => number,
  ): Promise<ThawUnderTest> {
    await mkdir(directory, { recursive: true });
    const configPath = join(directory, 'thaw.toml');
    const socket = join(directory, 'run/serve.sock');
    await writeFile(configPath, configuration(directory, portOf));
    const { accessKeyId, secretAccessKey } = servers.radosgw.credentials;
    const daemon = await Daemon.start({
      program: binary,
      args: ['--config', configPath, 'serve'],
      logPath: join(directory, 'thaw.log'),
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
      },
      isReady: async () => {
        await using worker = workerAt(socket);
        await worker.listImages({ tenant });
      },
    });
    return new ThawUnderTest({ servers, portOf, daemon, worker: workerAt(socket) });
  }

  /** Publishes the image, fills the zone with it, and makes a function of it. */
  async deploy({ app, source, digest }: AppImage): Promise<void> {
    if (this.#published.has(app.id)) return;
    await this.#worker.convertImage({ source, tenant, name: app.id, prime: true });
    await this.#create(app.id);
    this.#published.add(app.id);
    void digest;
  }

  /** One start, with nothing nearer than the state says. */
  async start(id: string, state: CacheState): Promise<ThawStart> {
    await this.#force(id);
    if (state === 'origin') {
      await this.#servers.emptySecondZone();
      await this.#useZone(1);
    }
    if (state !== 'page') {
      await this.#worker.dropCaches({ caches: state === 'worker' ? [] : ['memory', 'disk'] });
    }
    await delay(settleMs);
    const startedAtMs = performance.now();
    const report = await this.#worker.invokeFunction({ tenant, name: id, payload: '{}' });
    const elapsedMs = performance.now() - startedAtMs;
    if (!report.coldStart || report.functionError !== undefined) {
      throw new Error(`"${id}" did not start cold: ${report.payload}`);
    }
    if (state === 'origin') await this.#useZone(0);
    return { elapsedMs, phasesMs: report.timelineMs, reads: report.reads };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker[Symbol.asyncDispose]();
    await this.#daemon.end();
  }

  async #create(name: string): Promise<void> {
    const environment = { BENCH_START: String(this.#starts) };
    const limits = { memoryMb, timeoutSeconds: 60, environment };
    await this.#worker.createFunction({ ...limits, tenant, name, image: name });
  }

  /** Makes the next invoke a cold start. */
  async #force(id: string): Promise<void> {
    this.#starts += 1;
    await this.#worker.removeFunction({ tenant, name: id });
    await this.#create(id);
  }

  async #useZone(number: number): Promise<void> {
    const servers = zoneServers(number, this.#portOf);
    await this.#worker.reloadZone({ servers, fillBytesPerSecond });
  }
}

function zoneServers(number: number, portOf: (target: string) => number): readonly string[] {
  return Array.from(
    { length: serversAZone },
    (_, at) => `memcached://127.0.0.1:${portOf(serverName(number, at))}`,
  );
}

function configuration(directory: string, portOf: (target: string) => number): string {
  const zone = JSON.stringify(zoneServers(0, portOf));
  return `root = "${join(directory, 'state')}"
run_dir = "${join(directory, 'run')}"
[log]
level = "debug"
format = "json"
[store]
url = "s3://${bucket}"
endpoint = "http://127.0.0.1:${portOf('origin')}"
region = "us-east-1"
[zone]
servers = ${zone}
fill_bytes_per_second = ${fillBytesPerSecond}
[functions]
cold_starts_max = 64
`;
}
