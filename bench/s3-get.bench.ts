/**
 * What a read from S3 costs a worker: our own, signed and made over undici, against the AWS SDK's, in processor time of this
 * process and in throughput. The server is a process that does nothing but answer; with `--radosgw` it is Ceph's, whose
 * own work then counts in the throughput.
 */

import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

import {
  CreateBucketCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

import { forEachLimited, present } from '../src/base/index.ts';
import { openS3Store, type S3Credentials } from '../src/store/index.ts';
import { radosgwRegion, startRadosgw } from '../src/store/testing/radosgw.ts';
import { spread, type Report, type Table } from './harness.ts';

const objectSizeBytes = 512 * 1024;
const readsPerRun = 200;
const rounds = 9;
const inFlight = [1, 8, 32] as const;
const place = { bucket: 'bench', key: 'object' } as const;

interface Server extends AsyncDisposable {
  readonly endpoint: string;
  readonly credentials: S3Credentials;
}

async function startPlainServer(): Promise<Server> {
  const program = new URL('s3-get/object-server.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, String(objectSizeBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the server ended at its start')));
    child.stdout.once('data', (line: Buffer) => resolve(line.toString().trim()));
  });
  return {
    endpoint: `http://127.0.0.1:${port}`,
    credentials: { accessKeyId: 'AK', secretAccessKey: 'SK' },
    [Symbol.asyncDispose]: async () => void child.kill(),
  };
}

async function startCeph(): Promise<Server> {
  const radosgw = await startRadosgw();
  const { endpoint, credentials } = radosgw;
  const region = radosgwRegion;
  const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials });
  await client.send(new CreateBucketCommand({ Bucket: place.bucket }));
  const Body = Buffer.alloc(objectSizeBytes, 'object');
  await client.send(new PutObjectCommand({ Bucket: place.bucket, Key: place.key, Body }));
  client.destroy();
  return { endpoint, credentials, [Symbol.asyncDispose]: () => radosgw.stop() };
}

interface Reader extends AsyncDisposable {
  readonly name: string;
  read(): Promise<Uint8Array>;
}

async function ourReader({ endpoint, credentials }: Server): Promise<Reader> {
  const { bucket, key } = place;
  const store = await openS3Store({ bucket, endpoint, credentials: async () => credentials });
  return {
    name: 'Thaw',
    read: async () => present(await store.get(key), 'the object'),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

function sdkReader({ endpoint, credentials }: Server, checksums: 'as by default' | 'off'): Reader {
  const client = new S3Client({
    endpoint,
    credentials,
    region: radosgwRegion,
    forcePathStyle: true,
    ...(checksums === 'off' ? { responseChecksumValidation: 'WHEN_REQUIRED' } : {}),
  });
  return {
    name: `AWS SDK, checksums ${checksums}`,
    read: async () => {
      const { Body } = await client.send(
        new GetObjectCommand({ Bucket: place.bucket, Key: place.key }),
      );
      return await present(Body, 'the body').transformToByteArray();
    },
    [Symbol.asyncDispose]: async () => client.destroy(),
  };
}

interface Cost {
  readonly timeMs: number;
  readonly processorMs: number;
}

async function measure(reader: Reader, atOnce: number): Promise<Cost> {
  const startedMs = performance.now();
  const before = process.cpuUsage();
  const reads = Array.from({ length: readsPerRun }, () => reader);
  await forEachLimited(reads, atOnce, async (each) => {
    const { byteLength } = await each.read();
    if (byteLength !== objectSizeBytes) throw new Error(`Read ${byteLength} bytes`);
  });
  const { user, system } = process.cpuUsage(before);
  return { timeMs: performance.now() - startedMs, processorMs: (user + system) / 1000 };
}

/** Costs by reader, then by round; the readers take turns, each round another one first. */
async function measureAll(readers: readonly Reader[], atOnce: number): Promise<Cost[][]> {
  const costs: Cost[][] = readers.map(() => []);
  for (let round = -1; round < rounds; round += 1) {
    for (let turn = 0; turn < readers.length; turn += 1) {
      const index = (turn + round + 1) % readers.length;
      const cost = await measure(present(readers[index], 'a reader'), atOnce);
      if (round >= 0) costs[index]?.push(cost);
    }
  }
  return costs;
}

function rowsOf(readers: readonly Reader[], atOnce: number, costs: Cost[][]): string[][] {
  const reference = present(costs[0], 'the first reader');
  return readers.map(({ name }, index) => {
    const own = present(costs[index], 'a reader');
    const ratio = (of: (cost: Cost) => number): string =>
      spread(
        own.map((cost, round) => of(cost) / of(present(reference[round], 'a round'))),
      ).median.toFixed(2);
    const perReadMs = spread(own.map(({ processorMs }) => processorMs)).median / readsPerRun;
    const timeMs = spread(own.map((cost) => cost.timeMs)).median;
    const mebibytes = (readsPerRun * objectSizeBytes) / 2 ** 20;
    return [
      name,
      String(atOnce),
      ratio((cost) => cost.processorMs),
      ratio((cost) => 1 / cost.timeMs),
      perReadMs.toFixed(2),
      (mebibytes / (timeMs / 1000)).toFixed(0),
    ];
  });
}

export const report: Report = {
  title: `Reads of ${objectSizeBytes / 1024} KiB from S3`,
  run: async (args): Promise<readonly Table[]> => {
    const { values } = parseArgs({ args: [...args], options: { radosgw: { type: 'boolean' } } });
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await (values.radosgw === true ? startCeph() : startPlainServer()));
    const readers = [
      await ourReader(server),
      sdkReader(server, 'off'),
      sdkReader(server, 'as by default'),
    ].map((reader) => stack.use(reader));
    const rows: string[][] = [];
    for (const atOnce of inFlight) {
      rows.push(...rowsOf(readers, atOnce, await measureAll(readers, atOnce)));
    }
    const title = `${readsPerRun} reads of 512 KiB a run, ${rounds} rounds; ratios to Thaw, medians`;
    const columns = ['reader', 'at once', 'processor', 'throughput', 'ms a read', 'MiB/s'];
    return [{ title, columns, rows }];
  },
};
