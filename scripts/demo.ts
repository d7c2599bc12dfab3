/**
 * `npm start`: the main job, end to end, on this machine and nothing else. Builds two container images, publishes
 * them, starts a function from each cold and warm, and shows what was stored, what was read and from which tier of the cache;
 * with a server of the zone stopped too.
 *
 *     npm start                 everything
 *     npm start -- --keep       leave the state directory behind, to look around with bin/thaw --root
 *
 * Ends with nothing left: no mounts, loop devices or processes, also after Ctrl-C and on failure.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { ConvertResult, InvokeReport, Worker } from '../src/api/index.ts';
import { createLog, errorMessage } from '../src/base/index.ts';
import { createWorker } from '../src/cli/compose.ts';
import { loadConfig } from '../src/cli/config.ts';
import { defaultTenant } from '../src/cli/default-tenant.ts';
import { diagnose, type Diagnosis } from '../src/cli/doctor.ts';
import { formatBytes, formatMs } from '../src/cli/format.ts';
import { ProgressBars } from '../src/cli/progress-bars.ts';
import { addDemoImage, writeDemoLayers } from './demo/demo-image.ts';
import { startDemoZone, type DemoZone } from './demo/demo-zone.ts';

const bars = new ProgressBars(process.stderr);
const interrupted = new AbortController();
const tenant = defaultTenant;

function say(line = ''): void {
  bars.clear();
  process.stdout.write(`${line}\n`);
}

/** Two applications on the same three lower layers. */
const handlers = {
  greeter: `
import { parse } from 'smol-toml';
import { Kysely } from 'kysely';
export const handler = async (event) => ({
  greeting: 'Hello, ' + (event.name ?? 'world'),
  toml: parse('answer = 42').answer,
  kysely: typeof Kysely,
});
`,
  adder: `
import { parse } from 'smol-toml';
import { Kysely } from 'kysely';
export const handler = async ({ numbers = [] }) => ({
  sum: numbers.reduce((sum, number) => sum + number, 0),
  toml: parse('answer = 42').answer,
  kysely: typeof Kysely,
});
`,
};

interface Published {
  readonly name: string;
  readonly result: ConvertResult;
}

async function publish(worker: Worker, layoutDir: string, name: string): Promise<Published> {
  say(`\nPublish "${name}"`);
  const result = await worker.convertImage(
    { source: `oci:${layoutDir}:${name}`, tenant, name },
    { signal: interrupted.signal, progress: bars.report },
  );
  const { image, chunks, uploadedBytes, elapsedMs } = result;
  say(`  content      ${formatBytes(image.contentBytes)} in ${image.fileCount} files`);
  say(
    `  chunks       ${chunks.stored} stored: ${chunks.unique} unique, ${chunks.reused} reused; ` +
      `${chunks.zero} of the disk's ${chunks.total} are all zero`,
  );
  say(`  uploaded     ${formatBytes(uploadedBytes)} in ${formatMs(elapsedMs)}`);
  return { name, result };
}

const tierNames: Readonly<Record<string, string>> = {
  l1: 'memory',
  'l1-disk': "the worker's disk",
  l2: 'the zone',
  origin: 'the origin',
};

function describe(report: InvokeReport, published: Published): void {
  const { timelineMs, reads } = report;
  const labels: Readonly<Record<string, string>> = {
    imageOpen: 'image opened',
    attach: 'block device attached',
    mount: 'filesystem mounted',
    sandbox: 'sandbox created',
    runtimeReady: 'runtime ready',
    response: 'response',
  };
  let atMs = 0;
  for (const [phase, ms] of Object.entries(timelineMs)) {
    if (phase === 'total' || ms === undefined) continue;
    atMs += ms;
    say(`  ${(labels[phase] ?? phase).padEnd(22)} +${formatMs(ms).padEnd(8)} at ${formatMs(atMs)}`);
  }
  const { image, chunks } = published.result;
  const share = ((100 * reads.bytes) / image.contentBytes).toFixed(1);
  say(`  total                  ${formatMs(timelineMs.total)}`);
  say(
    `  read                   ${reads.chunks} of ${chunks.stored} chunks, ` +
      `${formatBytes(reads.bytes)} of ${formatBytes(image.contentBytes)} (${share} %)`,
  );
  const sources = Object.entries(reads.byTier).filter(([, amount]) => amount.chunks > 0);
  if (sources.length === 0) return;
  const parts = sources.map(([tier, amount]) => `${tierNames[tier] ?? tier} ${amount.chunks}`);
  say(`  chunks from            ${parts.join(', ')}`);
}

async function invoke(worker: Worker, published: Published, payload: object): Promise<void> {
  const report = await worker.invokeFunction(
    { tenant, name: published.name, payload: JSON.stringify(payload) },
    { signal: interrupted.signal },
  );
  say(`\nInvoke "${published.name}": ${report.coldStart ? 'cold start' : 'warm'}`);
  describe(report, published);
  say(`  -> ${report.payload}`);
  if (report.functionError !== undefined) {
    throw new Error(`The function "${published.name}" failed: ${report.payload}`);
  }
}

const payloads: Readonly<Record<string, object>> = {
  greeter: { name: 'Thaw' },
  adder: { numbers: [1, 2, 39] },
};

async function runFunctions(
  worker: Worker,
  images: readonly Published[],
  zone: DemoZone | undefined,
): Promise<void> {
  for (const published of images) {
    const { name, result } = published;
    await worker.createFunction({
      name,
      tenant,
      image: result.image.manifestId,
      memoryMb: 1769,
      timeoutSeconds: 60,
      environment: {},
    });
    await worker.dropCaches();
    await invoke(worker, published, payloads[name] ?? {});
    await invoke(worker, published, payloads[name] ?? {});
  }
  const [first] = images;
  if (zone !== undefined && first !== undefined) await showTiers(worker, first, zone);
}

/** The same cold start from nearer and nearer, and with a server of the zone stopped. */
async function showTiers(worker: Worker, published: Published, zone: DemoZone): Promise<void> {
  await untilZoneIsFilled(worker);
  const payload = payloads[published.name] ?? {};
  say("\nWithout what is in this worker's memory:");
  await worker.dropCaches({ caches: ['memory'] });
  await invoke(worker, published, payload);
  say('\nWithout what is on its disk either:');
  await worker.dropCaches();
  await invoke(worker, published, payload);
  say(`\nThe same with a server of the zone stopped, ${zone.stopOne()}:`);
  await worker.dropCaches();
  await invoke(worker, published, payload);
}

/** What was read from the origin is written to the zone in the background, at the pace that its servers bear. */
async function untilZoneIsFilled(worker: Worker): Promise<void> {
  for (;;) {
    interrupted.signal.throwIfAborted();
    const status = await worker.cacheStatus();
    if (status?.zone.state !== 'on' || status.zone.fill.queueBytes === 0) return;
    await delay(50);
  }
}

async function checkOnly(worker: Worker, images: readonly Published[]): Promise<void> {
  for (const { name, result } of images) {
    const id = result.image.manifestId;
    const report = await worker.checkImage({ tenant, id }, { progress: bars.report });
    if (report.problems.length > 0) throw new Error(report.problems.join('; '));
    say(
      `\nCheck "${name}": ${report.chunksChecked} chunks and ${report.filesWalked} files are whole`,
    );
  }
}

function describeMachine(diagnosis: Diagnosis): void {
  const lacking = diagnosis.findings.filter(({ health }) => health === 'missing');
  if (lacking.length === 0) return;
  say('This machine cannot run functions yet, so this demo publishes and checks only. Missing:');
  for (const { name, detail, remedy } of lacking) say(`  ${name}: ${detail}. ${remedy}`);
}

async function startZone({ canRunFunctions }: Diagnosis): Promise<DemoZone | undefined> {
  if (!canRunFunctions) return undefined;
  const zone = await startDemoZone();
  if (zone === undefined) {
    say(
      'Without memcached, which is not installed, this demo has no zone: memory, disk and origin only.',
    );
  } else {
    say(`The zone: ${zone.addresses.length} memcached servers on this machine`);
  }
  return zone;
}

async function demo(root: string): Promise<void> {
  const diagnosis = await diagnose(root);
  describeMachine(diagnosis);
  await using zone = await startZone(diagnosis);
  const config = await loadConfig({ root }, {});
  const tiered = { ...config, zoneServers: zone?.addresses ?? [], cacheDiskBytes: 2 ** 30 };
  await using worker = await createWorker(tiered, createLog({ level: 'warn' }), {
    agentLife: 'own',
  });
  say('Build two container images: base, Node.js, npm packages, and one of two handlers');
  const { signal } = interrupted;
  const layers = await writeDemoLayers(root, { progress: bars.report, signal });
  const layoutDir = join(root, 'images');
  const images: Published[] = [];
  for (const [name, handler] of Object.entries(handlers)) {
    await addDemoImage({ layoutDir, tag: name, layers, handler });
    images.push(await publish(worker, layoutDir, name));
  }
  await (diagnosis.canRunFunctions
    ? runFunctions(worker, images, zone)
    : checkOnly(worker, images));
}

async function main(): Promise<number> {
  const root = await mkdtemp(join(tmpdir(), 'thaw-demo-'));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupted.abort(new DOMException('Interrupted', 'AbortError')));
  }
  try {
    await demo(root);
    return 0;
  } catch (thrown) {
    bars.clear();
    process.stderr.write(`${errorMessage(thrown)}\n`);
    return interrupted.signal.aborted ? 130 : 1;
  } finally {
    if (process.argv.includes('--keep')) say(`\nKept: bin/thaw --root ${root} image ls`);
    else await rm(root, { recursive: true, force: true });
  }
}

process.exit(await main());
