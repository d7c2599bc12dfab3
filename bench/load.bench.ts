/**
 * Ten minutes of mixed load, cold and warm, on one server: do memory and descriptors stay flat, and is any request lost?
 * Functions of three tenants, of which few are called often and most seldom (Zipf), more of them than may have instances; some calls are
 * asynchronous, and now and then a function's configuration changes, so that its next start is cold. Every answer is compared
 * with what was sent, every asynchronous call is looked for in its function's log.
 *
 * Options: `--minutes N` (10), `--functions N` (50), `--callers N` (8). Needs root, cgroups, FUSE and busybox-static. Results:
 * docs/benchmarks.md.
 */

import { parseArgs } from 'node:util';

import {
  CreateFunctionCommand,
  InvokeCommand,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
} from '@aws-sdk/client-lambda';

import { echoScript, writeShellImage } from '../test/support/shell-image.ts';
import type { Report, Table } from './harness.ts';
import { processSizes, type ProcessKind, type ProcessSize } from './load/process-sizes.ts';
import { serveThaw, type ServedTenant, type ServedThaw } from './load/served-thaw.ts';

interface LoadOptions {
  readonly minutes: number;
  readonly functionCount: number;
  readonly callers: number;
}

interface LoadFunction {
  readonly tenant: ServedTenant;
  readonly name: string;
}

interface AcceptedEvent {
  readonly of: LoadFunction;
  readonly requestId: string;
}

/** What became of the calls. */
interface Outcomes {
  cold: number;
  warm: number;
  updates: number;
  /** By what was wrong. */
  readonly lost: Map<string, number>;
  readonly events: AcceptedEvent[];
}

interface Sample {
  readonly atMs: number;
  readonly sizes: ReadonlyMap<ProcessKind, ProcessSize>;
}

const imageCount = 5;
const eventShare = 0.05;
const updateShare = 0.01;
const sampleMs = 5000;
/** Retries of an event come after one and two minutes. */
const drainMaxMs = 200_000;
const logBytes = 20_000_000;

function progress(what: string): void {
  process.stderr.write(`${what}\n`);
}

async function createFunctions(served: ServedThaw, count: number): Promise<LoadFunction[]> {
  const { thaw, tenants } = served;
  for (let number = 0; number < imageCount; number += 1) {
    const files = { 'app/number': Buffer.from(`${number}`) };
    const source = await writeShellImage(`${thaw.root}/images`, `app${number}`, echoScript, files);
    for (const { name } of tenants) {
      await thaw.json('image', 'convert', source, '--tenant', name, '--name', `app${number}`);
    }
  }
  const functions: LoadFunction[] = [];
  for (let number = 0; number < count; number += 1) {
    const tenant = tenants[number % tenants.length] ?? tenants[0];
    if (tenant === undefined) throw new Error('there are no tenants');
    const name = `f${number}`;
    await tenant.client.send(
      new CreateFunctionCommand({
        FunctionName: name,
        PackageType: 'Image',
        Code: { ImageUri: `app${number % imageCount}` },
        Role: 'arn:aws:iam::000000000000:role/any',
        Timeout: 30,
      }),
    );
    await waitUntilFunctionActiveV2(
      { client: tenant.client, maxWaitTime: 60 },
      { FunctionName: name },
    );
    functions.push({ tenant, name });
  }
  return functions;
}

/** Zipf with exponent 1: the first is called most. */
function pick(functions: readonly LoadFunction[]): LoadFunction {
  const weights = functions.map((_, rank) => 1 / (rank + 1));
  let at = Math.random() * weights.reduce((sum, weight) => sum + weight, 0);
  const found = functions.find((_, rank) => (at -= weights[rank] ?? 0) < 0) ?? functions.at(-1);
  if (found === undefined) throw new Error('there are no functions');
  return found;
}

/** One call, whose end is counted. */
async function call(of: LoadFunction, outcomes: Outcomes): Promise<void> {
  const { client } = of.tenant;
  const dice = Math.random();
  if (dice < updateShare) {
    const Environment = { Variables: { CHANGED_AT: String(Date.now()) } };
    await client.send(
      new UpdateFunctionConfigurationCommand({ FunctionName: of.name, Environment }),
    );
    outcomes.updates += 1;
    return;
  }
  const Payload = Buffer.from(JSON.stringify({ number: Math.random(), from: of.name }));
  if (dice < updateShare + eventShare) {
    const accepted = await client.send(
      new InvokeCommand({ FunctionName: of.name, InvocationType: 'Event', Payload }),
    );
    outcomes.events.push({ of, requestId: accepted.$metadata.requestId ?? '' });
    return;
  }
  const answer = await client.send(
    new InvokeCommand({ FunctionName: of.name, LogType: 'Tail', Payload }),
  );
  const log = Buffer.from(answer.LogResult ?? '', 'base64').toString();
  if (answer.FunctionError !== undefined) throw new Error(`function error ${answer.FunctionError}`);
  if (Buffer.compare(Payload, answer.Payload ?? new Uint8Array()) !== 0) {
    throw new Error('another answer than its own');
  }
  if (log.includes('Init Duration')) outcomes.cold += 1;
  else outcomes.warm += 1;
}

async function callUntil(
  endMs: number,
  functions: readonly LoadFunction[],
  outcomes: Outcomes,
): Promise<void> {
  while (performance.now() < endMs) {
    try {
      await call(pick(functions), outcomes);
    } catch (thrown) {
      const why = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
      const told = why.slice(0, 80);
      outcomes.lost.set(told, (outcomes.lost.get(told) ?? 0) + 1);
    }
  }
}

async function sampleUntil(endMs: number, root: string): Promise<Sample[]> {
  const samples: Sample[] = [];
  while (performance.now() < endMs) {
    const atMs = performance.now();
    samples.push({ atMs, sizes: await processSizes(root) });
    await new Promise((resolve) => setTimeout(resolve, sampleMs));
  }
  return samples;
}

/** Those whose end no log tells within the time that retries take. */
async function missingEvents(
  { thaw }: ServedThaw,
  events: readonly AcceptedEvent[],
): Promise<readonly AcceptedEvent[]> {
  let missing = events;
  for (const endMs = performance.now() + drainMaxMs; performance.now() < endMs;) {
    const logs = new Map<LoadFunction, string>();
    for (const { of } of missing) {
      if (logs.has(of)) continue;
      const tenant = ['--tenant', of.tenant.name];
      const run = await thaw.run('function', 'logs', of.name, ...tenant, '--bytes', `${logBytes}`);
      logs.set(of, run.stdout);
    }
    missing = missing.filter(
      ({ of, requestId }) => !(logs.get(of) ?? '').includes(`END RequestId: ${requestId}`),
    );
    if (missing.length === 0) break;
    await new Promise((resolve) => setTimeout(resolve, sampleMs));
  }
  return missing;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** Its second quarter against its last: the first is warming up. */
function sizesTable(samples: readonly Sample[]): Table {
  const quarter = Math.floor(samples.length / 4);
  const parts = [samples.slice(quarter, 2 * quarter), samples.slice(-quarter)];
  const rows = (['serve', 'agent', 'holder'] as const).map((kind) => {
    const of = (part: readonly Sample[], field: keyof ProcessSize): number =>
      median(part.flatMap(({ sizes }) => sizes.get(kind)?.[field] ?? []));
    const [early = [], late = []] = parts;
    const bytes = [of(early, 'residentBytes'), of(late, 'residentBytes')] as const;
    const descriptors = [of(early, 'descriptors'), of(late, 'descriptors')] as const;
    return [
      kind,
      ...bytes.map((value) => (value / 2 ** 20).toFixed(0)),
      (bytes[1] / bytes[0]).toFixed(2),
      ...descriptors.map(String),
      (descriptors[1] / descriptors[0]).toFixed(2),
    ];
  });
  return {
    title: 'Medians of the second quarter of the time and of its last',
    columns: ['process', 'MiB early', 'late', 'ratio', 'descriptors early', 'late', 'ratio'],
    rows,
  };
}

async function measure(options: LoadOptions): Promise<readonly Table[]> {
  await using served = await serveThaw({
    tenants: ['one', 'two', 'three'],
    functions: { idle_timeout_seconds: 5, instances_max: 24 },
  });
  progress('creating the functions');
  const functions = await createFunctions(served, options.functionCount);
  progress(`calling them for ${options.minutes} minutes`);
  const outcomes: Outcomes = { cold: 0, warm: 0, updates: 0, lost: new Map(), events: [] };
  const endMs = performance.now() + options.minutes * 60_000;
  const callers = Array.from({ length: options.callers }, () =>
    callUntil(endMs, functions, outcomes),
  );
  const [samples] = await Promise.all([sampleUntil(endMs, served.thaw.root), ...callers]);
  progress('looking for the asynchronous calls');
  const missing = await missingEvents(served, outcomes.events);
  const lost = [...outcomes.lost].map(([why, count]) => `${count} ${why}`);
  const calls: Table = {
    title: `${options.functionCount} functions, ${options.callers} callers, ${options.minutes} minutes`,
    columns: ['cold', 'warm', 'asynchronous', 'of these missing', 'updates', 'lost'],
    rows: [
      [
        String(outcomes.cold),
        String(outcomes.warm),
        String(outcomes.events.length),
        String(missing.length),
        String(outcomes.updates),
        lost.length === 0 ? '0' : lost.join('; '),
      ],
    ],
  };
  return [calls, sizesTable(samples)];
}

export const report: Report = {
  title: 'Ten minutes of load',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string', default: '10' },
        functions: { type: 'string', default: '50' },
        callers: { type: 'string', default: '8' },
      },
    });
    return await measure({
      minutes: Number(values.minutes),
      functionCount: Number(values.functions),
      callers: Number(values.callers),
    });
  },
};
