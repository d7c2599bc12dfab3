/**
 * Thaw as a user has it: `thaw serve`, driven through its Lambda API as the seed's benchmark drives Lambda. A new environment variable
 * makes the next invoke a cold start; what only an administrator does, dropping caches, goes by the server's socket.
 */

import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  InvokeCommand,
  LambdaClient,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
  type CreateFunctionCommandInput,
} from '@aws-sdk/client-lambda';

import { workerAt, type Worker } from '../../src/api/index.ts';
import { Daemon, freePort } from './daemon.ts';
import { appArchive, type AppImage } from './make-images.ts';
import { quiet } from './quiet.ts';
import { processorDifference, processorMs, type PartOf } from './processor-time.ts';
import type { Measured } from './systems.ts';
import { bucket, type ThawServers, type ZoneName } from './thaw-servers.ts';

const tenant = 'default';
/** Of each server: filling is not measured. */
const fillBytesPerSecond = 2 ** 30;
/** Two CPUs, all that there is, as other systems' containers have. */
const MemorySize = 3538;
const binary = join(import.meta.dirname, '../../bin/thaw');
/** Starts that make the profile, which later ones are prefetched by; not measured. */
const profiledStarts = 3;
const logWaitMs = 500;
const fillWaitMs = 5000;
/** For the SDK's waiters. */
const maxWaitTime = 120;

/**
 * Where a start finds the image: nowhere but in the origin; in the zone; in the worker's memory; in the page cache of its disk, which is
 * mounted.
 */
export const cacheStates = ['origin', 'zone', 'worker', 'page'] as const;
export type CacheState = (typeof cacheStates)[number];
export type Packaging = 'image' | 'zip';

type PortOf = (target: string) => number;

interface Parts {
  readonly servers: ThawServers;
  readonly zone: ZoneName;
  readonly daemon: Daemon;
  readonly worker: Worker;
  readonly client: LambdaClient;
  readonly directory: string;
  readonly logPath: string;
}

export class ThawUnderTest implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #deployed = new Set<string>();
  #updates = 0;
  #logOffset = 0;

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** `directory`: for its state; a short path. `zone`: the one that it has all the time. */
  static async start(
    directory: string,
    servers: ThawServers,
    portOf: PortOf,
    zone: ZoneName,
  ): Promise<ThawUnderTest> {
    await mkdir(directory, { recursive: true });
    const configPath = join(directory, 'thaw.toml');
    const logPath = join(directory, 'thaw.log');
    const socket = join(directory, 'run/serve.sock');
    const listen = `127.0.0.1:${await freePort()}`;
    const zoneServers = servers.zoneServers(zone, portOf);
    await writeFile(configPath, configuration(directory, zoneServers, portOf));
    const { accessKeyId, secretAccessKey } = servers.radosgw.credentials;
    const store = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
    const daemon = await Daemon.start({
      program: binary,
      args: ['--config', configPath, 'serve', '--insecure-no-auth', '--listen', listen],
      logPath,
      env: { ...process.env, ...store },
      isReady: () =>
        fetch(`http://${listen}/2015-03-31/functions/`).then((answer) => answer.text()),
    });
    const client = new LambdaClient({
      endpoint: `http://${listen}`,
      region: 'us-east-1',
      credentials: { accessKeyId: 'anybody', secretAccessKey: 'anything' },
      maxAttempts: 1,
    });
    return new ThawUnderTest({
      servers,
      zone,
      daemon,
      worker: workerAt(socket),
      client,
      directory,
      logPath,
    });
  }

  /** Publishes the image, or hands the archive in; fills the zone; makes a function of it, and its profile. */
  async deploy(image: AppImage, packaging: Packaging): Promise<void> {
    const FunctionName = nameOf(image.app.id, packaging);
    if (this.#deployed.has(FunctionName)) return;
    if (packaging === 'image') {
      const { source, app } = image;
      await this.#parts.worker.convertImage({ source, tenant, name: app.id, prime: true });
      await this.create(FunctionName, app.id);
    } else {
      const ZipFile = await readFile(await appArchive(image.app));
      const runtime = { Runtime: 'nodejs24.x', Handler: 'index.handler' } as const;
      await this.#create({ FunctionName, ...runtime, Code: { ZipFile } });
    }
    for (let start = 0; start < profiledStarts; start += 1) {
      await this.start(image.app.id, packaging, 'zone');
    }
    this.#deployed.add(FunctionName);
  }

  /**
   * One start, with nothing nearer than the state says; a zip archive itself comes from the origin each time. Origin only is for who has the
   * zone `emptied`, any other state for who has the one that is `primed`.
   */
  async start(id: string, packaging: Packaging, state: CacheState): Promise<Measured> {
    const { servers, zone, worker } = this.#parts;
    const FunctionName = nameOf(id, packaging);
    await this.#forceCold(FunctionName);
    if (zone === 'emptied') await servers.empty(zone);
    if (state !== 'page') {
      await worker.dropCaches({ caches: state === 'worker' ? [] : ['memory', 'disk'] });
    }
    await quiet();
    const before = await this.#hits();
    await this.#readLog();
    const processorBefore = await processorMs(this.#partOf);
    const startedAtMs = performance.now();
    await this.invoke(FunctionName);
    const elapsedMs = performance.now() - startedAtMs;
    const phasesMs = await this.#phases(FunctionName);
    const processor = processorDifference(await processorMs(this.#partOf), processorBefore);
    const reads = difference(await this.#hits(), before);
    if (zone === 'emptied') await this.#filled();
    return { elapsedMs, phasesMs, reads, processorMs: processor };
  }

  readonly #partOf: PartOf = (pid, commandLine) => {
    const { daemon, directory, servers } = this.#parts;
    if (pid === daemon.pid) return 'server';
    if (commandLine.includes(`"root":"${join(directory, 'state')}"`)) return 'agent';
    if (pid === process.pid) return 'client';
    return servers.partOf(pid, commandLine);
  };

  /** A function of a published image. */
  async create(FunctionName: string, image: string): Promise<void> {
    await this.#create({ FunctionName, PackageType: 'Image', Code: { ImageUri: image } });
  }

  async remove(FunctionName: string): Promise<void> {
    await this.#parts.client.send(new DeleteFunctionCommand({ FunctionName }));
  }

  /** Throws also when the function fails. */
  async invoke(FunctionName: string): Promise<void> {
    const { FunctionError, Payload } = await this.#parts.client.send(
      new InvokeCommand({ FunctionName }),
    );
    if (FunctionError === undefined) return;
    throw new Error(`"${FunctionName}" failed: ${Buffer.from(Payload ?? []).toString()}`);
  }

  /** How many there have been since the last call, by the server's log. */
  async countColdStarts(): Promise<number> {
    await delay(logWaitMs);
    return (await this.#readLog()).split('"message":"cold start"').length - 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { client, worker, daemon } = this.#parts;
    client.destroy();
    await worker[Symbol.asyncDispose]();
    await daemon.end();
  }

  async #create(
    input: Pick<CreateFunctionCommandInput, 'FunctionName' | 'Code' | 'PackageType' | 'Runtime'>,
  ): Promise<void> {
    const { client } = this.#parts;
    const Role = 'arn:aws:iam::000000000000:role/bench';
    const { State } = await client.send(
      new CreateFunctionCommand({ ...input, Role, MemorySize, Timeout: 60 }),
    );
    if (State === 'Active') return;
    const { FunctionName } = input;
    await waitUntilFunctionActiveV2({ client, maxWaitTime }, { FunctionName });
  }

  /** As the seed does it. */
  async #forceCold(FunctionName: string): Promise<void> {
    const { client } = this.#parts;
    this.#updates += 1;
    const Environment = { Variables: { BENCH_START: String(this.#updates) } };
    const { LastUpdateStatus } = await client.send(
      new UpdateFunctionConfigurationCommand({ FunctionName, Environment }),
    );
    if (LastUpdateStatus === 'Successful') return;
    await waitUntilFunctionUpdatedV2({ client, maxWaitTime }, { FunctionName });
  }

  /** Until all stripes are written: the other worker's next start is not to have that beside it. */
  async #filled(): Promise<void> {
    for (const untilMs = performance.now() + fillWaitMs; performance.now() < untilMs;) {
      const status = await this.#parts.worker.cacheStatus();
      if (status?.zone.state !== 'on' || status.zone.fill.queueBytes === 0) return;
      await delay(50);
    }
  }

  /** Chunks and bytes that each tier has given so far. */
  async #hits(): Promise<Reads> {
    const status = await this.#parts.worker.cacheStatus();
    const tiers = status?.loader.tiers ?? [];
    return Object.fromEntries(
      tiers.map(({ tier, outcomes, bytes }) => [tier, { chunks: outcomes.hit, bytes }]),
    );
  }

  async #readLog(): Promise<string> {
    await using log = await open(this.#parts.logPath);
    const { size } = await log.stat();
    const unread = Buffer.alloc(size - this.#logOffset);
    const { bytesRead } = await log.read(unread, 0, unread.byteLength, this.#logOffset);
    // A line that is still being written is read with its end.
    const lines = unread.subarray(0, unread.lastIndexOf('\n', bytesRead - 1) + 1);
    this.#logOffset += lines.byteLength;
    return lines.toString('utf8');
  }

  /** What the server's log says of the start that has just been. */
  async #phases(name: string): Promise<Readonly<Record<string, number>>> {
    const untilMs = performance.now() + logWaitMs;
    for (let text = ''; performance.now() < untilMs; await delay(10)) {
      text += await this.#readLog();
      const lines = text.split('\n').filter((line) => line.includes('"cold start"'));
      const line = lines.findLast((one) => one.includes(`"function":"${name}"`));
      if (line === undefined) continue;
      const fields = Object.entries(JSON.parse(line) as Record<string, unknown>);
      return Object.fromEntries(
        fields.filter((field): field is [string, number] => typeof field[1] === 'number'),
      );
    }
    throw new Error(`"${name}" did not start cold`);
  }
}

type Reads = Readonly<Record<string, { readonly chunks: number; readonly bytes: number }>>;

function difference(later: Reads, earlier: Reads): NonNullable<Measured['reads']> {
  const tiers = Object.entries(later).map(([tier, { chunks, bytes }]) => {
    const { chunks: before = 0, bytes: bytesBefore = 0 } = earlier[tier] ?? {};
    return [tier, { chunks: chunks - before, bytes: bytes - bytesBefore }] as const;
  });
  return {
    chunks: tiers.reduce((sum, [, { chunks }]) => sum + chunks, 0),
    bytes: tiers.reduce((sum, [, { bytes }]) => sum + bytes, 0),
    byTier: Object.fromEntries(tiers),
  };
}

function nameOf(id: string, packaging: Packaging): string {
  return packaging === 'image' ? id : `${id}-zip`;
}

function configuration(directory: string, zoneServers: readonly string[], portOf: PortOf): string {
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
servers = ${JSON.stringify(zoneServers)}
fill_bytes_per_second = ${fillBytesPerSecond}
`;
}
