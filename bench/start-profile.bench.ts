/**
 * Cold starts with and without a start profile, from the zone and from the origin alone, over links of known bandwidth and delay (bench/support/shaped-link.ts): from the opening of the
 * image until the program has answered its first request and ended, and what its reads waited for. Two agents of their own, the same but for the profile, take turns, over five memcached and an
 * origin that answers from the page cache, all behind the link. *Warm* is the same program once more in the same mount: what no loading can go below. *In memory* is a start whose chunks
 * are all in the worker's memory: what the device alone costs; with a profile it is read ahead into the page cache.
 *
 * The agent's processor time is user and system, of the same stretch; what follows it (writing a profile, filling the zone) is not in it. A *stall* is a stretch of time in which some read waits for a chunk: reads that wait side by side count once, so stalls are the round trips that a start waits for in a row.
 * Options: `--image TEXT` takes only images with TEXT in their name, `--link TEXT`, `--only zone,origin`, `--rounds N` (7), `--prefetch N` at a time (16), `--threads N` of FUSE
 * (2), `--cpu-prof DIR` profiles the agents. Needs root, memcached and what the corpus needs. Results: docs/benchmarks.md.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../src/base/index.ts';
import {
  connectAgent,
  createRootMounts,
  type AgentClient,
  type ReadCounters,
  type RootMounts,
} from '../src/device/index.ts';
import { openLocalKeyring } from '../src/keys/index.ts';
import { spread, type Report, type Table } from './harness.ts';
import { holderArgs, type AgentSetting } from './start-profile/agent-process.ts';
import { agentTime, pidOf, type AgentTime } from './start-profile/agent-time.ts';
import { publish, type PublishedImage } from './start-profile/published-image.ts';
import { startImageNames } from './starts/images.ts';
import { inRoot } from './starts/in-root.ts';
import { shapes } from './support/shaped-link.ts';
import { BenchZone, type ZoneServerPlace } from './tiers/zone.ts';

const ways = ['no profile', 'profile', 'in memory', 'in memory, profile'] as const;
type Way = (typeof ways)[number];
const tiers = ['zone', 'origin'] as const;
type Tier = (typeof tiers)[number];

interface Setting {
  readonly dir: string;
  readonly objectsDir: string;
  readonly keyringPath: string;
  readonly images: readonly PublishedImage[];
  readonly originPort: number;
  readonly rounds: number;
  readonly tiers: readonly Tier[];
  readonly prefetchAtATime: number;
  readonly threads: number;
  readonly cpuProfileDir: string | undefined;
}

/** An agent and its mounts. */
interface Contender {
  readonly way: Way;
  readonly agent: AgentClient;
  readonly agentPid: number;
  readonly zone: BenchZone;
  readonly roots: RootMounts;
}

interface Start {
  readonly way: Way;
  readonly elapsedMs: number;
  readonly openMs: number;
  readonly warmMs: number;
  readonly reads: ReadCounters;
  /** Until the program had answered and ended. */
  readonly agentTook: AgentTime;
  readonly linkTookMs: number;
}

const memoryBytes = 320 * 2 ** 20;
const fillRoundsMax = 20;

function progress(what: string): void {
  process.stderr.write(`${what}\n`);
}

async function startOrigin(objectsDir: string): Promise<{ process: ChildProcess; port: number }> {
  const script = join(import.meta.dirname, 'start-profile/origin-server.ts');
  const server = spawn(process.execPath, [script, objectsDir], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  return { process: server, port: Number(line) };
}

/** With ids as an agent takes them. Still the same ones in every run, so that chunks lie alike. */
function placesOf({ places }: BenchZone): readonly ZoneServerPlace[] {
  return places.map((place) => ({ ...place, id: `${place.id}:11211` }));
}

async function contender(way: Way, setting: Setting, zone: BenchZone): Promise<Contender> {
  const dir = join(setting.dir, `${way.replace(' ', '-')}-${performance.now()}`);
  await mkdir(dir);
  const agentSetting: AgentSetting = {
    runDir: join(dir, 'run'),
    originPort: zone.portOf({ name: 'origin', port: setting.originPort }),
    objectsDir: setting.objectsDir,
    keyringPath: setting.keyringPath,
    zone: placesOf(zone),
    memoryBytes,
    keepsProfiles: way === 'profile',
    prefetchAtATime: setting.prefetchAtATime,
    threads: setting.threads,
    ...(setting.cpuProfileDir !== undefined && { cpuProfileDir: setting.cpuProfileDir }),
  };
  const settingPath = join(dir, 'setting.json');
  await writeFile(settingPath, JSON.stringify(agentSetting));
  const agent = await connectAgent({
    runDir: agentSetting.runDir,
    spawn: { command: holderArgs(settingPath), mode: 'child', takenStatus: 8 },
    connectTimeoutMs: 60_000,
  });
  const roots = await createRootMounts({ agent, mountsDir: join(dir, 'mounts') });
  return { way, agent, agentPid: await pidOf(['agent', settingPath]), zone, roots };
}

async function coldStart(
  { way, roots, agentPid, zone }: Contender,
  { image, command }: PublishedImage,
): Promise<Start> {
  await roots.dropCaches(way.startsWith('in memory') ? [] : undefined);
  const agentBefore = await agentTime(agentPid);
  const linkBeforeMs = await zone.linkProcessorMs();
  const startedMs = performance.now();
  await using root = await roots.acquire(image);
  const openMs = performance.now() - startedMs;
  await using inside = await inRoot(root.path);
  const run = async (): Promise<number> => {
    const fromMs = performance.now();
    const { stdout, stderr } = await inside.run(command);
    if (!stdout.includes('ready')) throw new Error(`The program failed: ${stdout}${stderr}`);
    return performance.now() - fromMs;
  };
  await run();
  const elapsedMs = performance.now() - startedMs;
  const agentAfter = await agentTime(agentPid);
  const agentTook = {
    mainThreadMs: agentAfter.mainThreadMs - agentBefore.mainThreadMs,
    otherThreadsMs: agentAfter.otherThreadsMs - agentBefore.otherThreadsMs,
  };
  const linkTookMs = (await zone.linkProcessorMs()) - linkBeforeMs;
  await roots.startEnded(image);
  const reads = await roots.counters(image);
  return { way, elapsedMs, openMs, reads, agentTook, linkTookMs, warmMs: await run() };
}

/** Until every chunk of a start comes from the zone. */
async function fillZone(contenders: readonly Contender[], images: readonly PublishedImage[]) {
  const [first] = contenders;
  for (const image of images) {
    for (let round = 0; ; round += 1) {
      const { reads } = await coldStart(present(first, 'a contender'), image);
      if (reads.byTier.origin.chunks === 0) break;
      if (round === fillRoundsMax) throw new Error('The zone does not fill');
      await delay(1000); // what was offered is on its way
    }
  }
}

async function measure(
  link: string,
  setting: Setting,
  zone: BenchZone,
): Promise<readonly (readonly string[])[]> {
  const contenders: Contender[] = [];
  try {
    for (const way of ['no profile', 'profile'] as const) {
      contenders.push(await contender(way, setting, zone));
    }
    // The worker has just started the image: its mount is gone, its memory has every chunk.
    contenders.push({ ...present(contenders[0], 'a contender'), way: 'in memory' });
    contenders.push({ ...present(contenders[1], 'a contender'), way: 'in memory, profile' });
    const rows: (readonly string[])[] = [];
    for (const tier of setting.tiers) {
      const servers = placesOf(zone).map((place) => ({ ...place, usesTls: false }));
      for (const { agent } of contenders.slice(0, 2)) {
        await agent.setZoneServers(tier === 'zone' ? servers : []);
      }
      progress(`${link}, ${tier}`);
      if (tier === 'zone') await fillZone(contenders, setting.images);
      for (const image of setting.images)
        rows.push(...(await rowsOf([link, tier], image, contenders, setting)));
    }
    return rows;
  } finally {
    for (const { agent } of contenders.slice(0, 2)) await agent.shutdown();
  }
}

async function rowsOf(
  titles: readonly string[],
  image: PublishedImage,
  contenders: readonly Contender[],
  { rounds }: Setting,
): Promise<readonly (readonly string[])[]> {
  const starts: Start[] = [];
  // The first round records the profile.
  for (let round = -1; round < rounds; round += 1) {
    const [first, second, third, fourth] = contenders;
    // In memory right after the same worker's cold start.
    const order = [first, third, second, fourth];
    for (const one of round % 2 === 0 ? order : [second, fourth, first, third]) {
      if (one === undefined) continue;
      const start = await coldStart(one, image);
      if (round >= 0) starts.push(start);
    }
  }
  const of = (way: Way, what: (start: Start) => number): readonly number[] =>
    starts.filter((start) => start.way === way).map(what);
  const median = (way: Way, what: (start: Start) => number): number => spread(of(way, what)).median;
  return ways.map((way) => {
    const before = of('no profile', (start) => start.elapsedMs);
    const ratios = of(way, (start) => start.elapsedMs).map(
      (ms, round) => ms / (before[round] ?? NaN),
    );
    const ms = (what: (start: Start) => number): string => median(way, what).toFixed(0);
    return [
      ...titles,
      image.name,
      way,
      ms(({ elapsedMs }) => elapsedMs),
      spread(of(way, ({ elapsedMs }) => elapsedMs)).min.toFixed(0),
      spread(ratios).median.toFixed(2),
      ms(({ warmMs }) => warmMs),
      ms(({ elapsedMs, warmMs }) => elapsedMs - warmMs),
      ms(({ openMs }) => openMs),
      ms(({ reads }) => reads.chunks),
      ms(({ reads }) => reads.prefetched.chunks),
      ms(({ reads }) => reads.prefetched.unreadChunks),
      ms(({ reads }) => reads.byTier.origin.chunks),
      ms(({ reads }) => reads.waits.reads),
      ms(({ reads }) => reads.waits.stalls),
      ms(({ reads }) => reads.waits.stalledMs),
      ms(({ agentTook }) => agentTook.mainThreadMs),
      ms(({ agentTook }) => agentTook.otherThreadsMs),
      ms((start) => start.linkTookMs),
    ];
  });
}

const columns = [
  'link',
  'from',
  'image',
  'way',
  'ms, median',
  'ms, min',
  'ratio',
  'warm',
  'added',
  'of it opening',
  'chunks',
  'prefetched',
  'unread',
  'from the origin',
  'reads that waited',
  'stalls',
  'stalled ms',
  "agent's main thread, processor ms",
  'its other threads',
  "the link's",
];

export const report: Report = {
  title: 'Cold starts with and without a start profile',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        image: { type: 'string', default: '' },
        link: { type: 'string', default: '' },
        only: { type: 'string', default: tiers.join(',') },
        rounds: { type: 'string', default: '7' },
        prefetch: { type: 'string', default: '16' },
        threads: { type: 'string', default: '2' },
        'cpu-prof': { type: 'string' },
      },
    });
    await using made = new AsyncDisposableStack();
    const dir = await mkdtemp(join(tmpdir(), 'thaw-bench-profile-'));
    made.defer(() => rm(dir, { recursive: true, maxRetries: 50, retryDelay: 100 }));
    const objectsDir = join(dir, 'objects');
    const keyringPath = join(dir, 'keyring');
    const keys = await openLocalKeyring(keyringPath);
    const images: PublishedImage[] = [];
    for (const name of startImageNames) {
      if (!name.includes(values.image)) continue;
      progress(`publishing ${name}`);
      images.push(await publish(name, objectsDir, keys));
    }
    const origin = await startOrigin(objectsDir);
    made.defer(async () => void origin.process.kill());
    const setting: Setting = {
      dir,
      objectsDir,
      keyringPath,
      images,
      originPort: origin.port,
      rounds: Number(values.rounds),
      tiers: tiers.filter((tier) => values.only.split(',').includes(tier)),
      prefetchAtATime: Number(values.prefetch),
      threads: Number(values.threads),
      cpuProfileDir: values['cpu-prof'],
    };
    const rows: (readonly string[])[] = [];
    for (const [link, shape] of Object.entries(shapes).toReversed()) {
      if (!link.includes(values.link)) continue;
      await using zone = await BenchZone.start(shape, [{ name: 'origin', port: origin.port }]);
      rows.push(...(await measure(link, setting, zone)));
    }
    const table: Table = { title: 'From opening the image to the first response', columns, rows };
    return [table];
  },
};
