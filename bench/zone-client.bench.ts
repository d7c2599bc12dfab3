/**
 * Stripes read from one real memcached, all of them in its memory, by our client and by memjs, the best one on npm that gives binary values
 * back as they were. memjs is no dependency: without `npm install --no-save memjs@1.3.2` it is left out. Contenders run in turn; ratios are
 * those of one round, to our client as it is by default. CPU is that of this process. Options: `--rounds N` is 9.
 */

import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

import { errorCode, release } from '../src/base/index.ts';
import { MemcachedServer, type MemcachedServerOptions } from '../src/cache/index.ts';
import { startMemcached } from '../src/cache/testing/memcached.ts';
import { spread, type Report, type Table } from './harness.ts';

/** A data stripe of a whole chunk, with its header. */
const valueSizeBytes = 128 * 1024 + 56;
const keyCount = 500;
const getsPerRun = 2_000;
const inFlightCounts = [1, 8] as const;

const request = { signal: new AbortController().signal, priority: 'foreground' } as const;

interface Client {
  readonly name: string;
  readonly get: (key: string) => Promise<Uint8Array | undefined | null>;
  readonly close: () => Promise<void>;
  /** Whether each value is in memory of its own, which goes back at once. */
  readonly isReleasable: boolean;
}

interface Run {
  readonly p50Ms: number;
  readonly timeMs: number;
  readonly cpuMs: number;
}

/** Of memjs. */
interface MemjsClient {
  get(key: string): Promise<{ value: Uint8Array | null }>;
  close(): void;
}

function ownClient(name: string, options: MemcachedServerOptions): Client {
  const server = new MemcachedServer(options);
  return {
    name,
    get: (key) => server.get(key, request),
    close: () => server.close(),
    isReleasable: true,
  };
}

/** Undefined where memjs is not installed. */
function memjsClient(port: number): Client | undefined {
  try {
    const memjs = createRequire(import.meta.url)('memjs') as {
      Client: { create(address: string): MemjsClient };
    };
    const client = memjs.Client.create(`127.0.0.1:${port}`);
    return {
      name: 'memjs 1.3.2',
      get: async (key) => (await client.get(key)).value,
      close: async () => client.close(),
      isReleasable: false,
    };
  } catch (thrown) {
    if (errorCode(thrown) === 'MODULE_NOT_FOUND') return undefined;
    throw thrown;
  }
}

async function measure({ get, isReleasable }: Client, inFlight: number): Promise<Run> {
  const latenciesMs: number[] = [];
  let serial = 0;
  const worker = async (): Promise<void> => {
    while (serial < getsPerRun) {
      serial += 1;
      const startedMs = performance.now();
      const value = await get(`key-${(serial * 7919) % keyCount}`);
      latenciesMs.push(performance.now() - startedMs);
      if (value?.byteLength !== valueSizeBytes) throw new Error('A value is not what was put');
      if (isReleasable) release(value);
    }
  };
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  const timeMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { p50Ms: spread(latenciesMs).median, timeMs, cpuMs: (user + system) / 1000 };
}

async function compare(
  clients: readonly Client[],
  inFlight: number,
  rounds: number,
): Promise<Table> {
  const runs: Run[][] = clients.map(() => []);
  for (let round = -1; round < rounds; round += 1) {
    for (let turn = 0; turn < clients.length; turn += 1) {
      const index = (turn + round + 1) % clients.length;
      const client = clients[index];
      if (client === undefined) continue;
      const run = await measure(client, inFlight);
      if (round >= 0) runs[index]?.push(run);
    }
  }
  const ratio = (index: number, of: (run: Run) => number): string => {
    const ratios = runs[index]?.map((run, round) => of(run) / of(runs[0]?.[round] ?? run));
    return spread(ratios ?? []).median.toFixed(2);
  };
  const median = (index: number, of: (run: Run) => number): number =>
    spread(runs[index]?.map(of) ?? []).median;
  return {
    title: `${inFlight} in flight, ${valueSizeBytes} bytes a value; ${rounds} rounds of ${getsPerRun} gets`,
    columns: ['client', 'p50', 'throughput', 'CPU', 'p50 ms', 'MB/s', 'CPU us/get'],
    rows: clients.map(({ name }, index) => [
      name,
      ratio(index, ({ p50Ms }) => p50Ms),
      ratio(index, ({ timeMs }) => 1 / timeMs),
      ratio(index, ({ cpuMs }) => cpuMs),
      median(index, ({ p50Ms }) => p50Ms).toFixed(3),
      ((getsPerRun * valueSizeBytes) / 1000 / median(index, ({ timeMs }) => timeMs)).toFixed(0),
      ((median(index, ({ cpuMs }) => cpuMs) / getsPerRun) * 1000).toFixed(0),
    ]),
  };
}

async function run(args: readonly string[]): Promise<readonly Table[]> {
  const { values } = parseArgs({ args: [...args], options: { rounds: { type: 'string' } } });
  await using memcached = await startMemcached({ memoryMebibytes: 256 });
  await using tlsMemcached = await startMemcached({ memoryMebibytes: 256, tls: true });
  const { address } = memcached;
  const memjs = memjsClient(address.port);
  const clients = [
    ownClient('ours, 2 connections', { address }),
    ownClient('ours, 1 connection', { address, connections: 1 }),
    ownClient('ours, 4 connections', { address, connections: 4 }),
    ownClient('ours, 2 connections, TLS', { address: tlsMemcached.address }),
    ...(memjs === undefined ? [] : [memjs]),
  ];
  try {
    for (const filled of [address, tlsMemcached.address]) {
      const server = new MemcachedServer({ address: filled });
      for (let index = 0; index < keyCount; index += 1) {
        await server.put(`key-${index}`, [Buffer.alloc(valueSizeBytes, index)], request);
      }
      await server.close();
    }
    const tables: Table[] = [];
    for (const inFlight of inFlightCounts) {
      tables.push(await compare(clients, inFlight, Number(values.rounds ?? 9)));
    }
    return tables;
  } finally {
    for (const client of clients) await client.close();
  }
}

export const report: Report = { title: 'Reading stripes from a memcached', run };
