/**
 * Cold starts of functions whose images are stored plain and compressed, over links of about 10 and 1 Gbit/s, in turn; the loading of what
 * such a start fetches by itself, which other work on the machine disturbs less; and what padding the compressed chunks
 * costs and hides. `npm run bench -- compressed-start [ROUNDS]`, by default 7. Needs root, cgroup v1, runc, and
 * mmdebstrap and umoci for the Debian image.
 */

import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { addDemoImage, writeDemoLayers } from '../scripts/demo/demo-image.ts';
import type { Worker } from '../src/api/index.ts';
import { createLog, present } from '../src/base/index.ts';
import type { ChunkRef } from '../src/cache/index.ts';
import { openCatalog } from '../src/catalog/index.ts';
import { createOpenPool, type Manifest } from '../src/chunk/index.ts';
import { createWorker } from '../src/cli/compose.ts';
import { loadConfig, pathsOf, type Config } from '../src/cli/config.ts';
import { openLocalKeyring } from '../src/keys/index.ts';
import { openStoredManifest } from '../src/publish/index.ts';
import { openDirectoryStore } from '../src/store/index.ts';
import { debianImageLayout, debianImageTag } from '../test/support/debian-image.ts';
import { fetchedChunks, loadChunks } from './compressed-start/fetched-chunks.ts';
import { chunkLengths, paddingTable } from './compressed-start/padding.ts';
import { ShapedDisk, shapingObstacle } from './compressed-start/shaped-disk.ts';
import { spread, type Report, type Spread, type Table } from './harness.ts';

const tenant = 'bench';
const links = { '10 Gbit/s': 10e9, '1 Gbit/s': 1e9 } as const;
const codecs = ['plain', 'zstd'] as const;
type Codec = (typeof codecs)[number];

/** One of the images in one of its forms. */
interface Form {
  readonly image: string;
  readonly codec: Codec;
}

interface Run extends Form {
  readonly link: string;
  readonly chunks: number;
  readonly bytes: number;
  readonly elapsedMs: number;
}

/** What is measured once a round for each form. */
type Measure = (form: Form) => Promise<Pick<Run, 'chunks' | 'bytes' | 'elapsedMs'>>;

const images = ['node app', 'debian python'] as const;

export const report: Report = {
  title: 'Cold start to the first response, image stored plain and compressed',
  run: async ([rounds = '7']) => {
    const obstacle = shapingObstacle();
    if (obstacle !== undefined) throw new Error(`This benchmark needs ${obstacle}`);
    await using made = new AsyncDisposableStack();
    const root = await mkdtemp(join(tmpdir(), 'thaw-bench-start-'));
    made.defer(() => rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 }));
    const store = join(root, 'link/store');
    await mkdir(join(root, 'link'));
    const disk = made.use(await ShapedDisk.create(join(root, 'link'), 4 * 2 ** 30));
    await mkdir(store);
    await mkdir(join(root, 'state'));
    await symlink(store, join(root, 'state/store'));
    const config = await loadConfig({ root: join(root, 'state') }, {});
    const bench = { config, disk, store, rounds: Number(rounds) };
    const published = await publishAll(bench, root);
    return [published, ...(await measureStarts(bench)), ...(await measurePadding(bench))];
  },
};

interface Setting {
  readonly config: Config;
  readonly disk: ShapedDisk;
  /** The store's directory, on the disk. */
  readonly store: string;
  readonly rounds: number;
}

function nameOf({ image, codec }: Form): string {
  return `${image.replace(' ', '-')}-${codec}`;
}

function forms(): readonly Form[] {
  return images.flatMap((image) => codecs.map((codec) => ({ image, codec })));
}

async function worker({ config }: Setting): Promise<Worker> {
  return await createWorker(config, createLog({ level: 'warn' }), { agentLife: 'own' });
}

/** Publishes every form, and says once what that took. */
async function publishAll(setting: Setting, root: string): Promise<Table> {
  const layoutDir = join(root, 'layout');
  const layers = await writeDemoLayers(root);
  const handler = 'export const handler = async () => "answer";\n';
  await addDemoImage({ layoutDir, tag: 'x', layers, handler });
  const sources = {
    'node app': `oci:${layoutDir}:x`,
    'debian python': `oci:${await debianImageLayout()}:${debianImageTag}`,
  };
  await using thaw = await worker(setting);
  const rows: string[][] = [];
  for (const image of images) {
    for (const codec of codecs) {
      const name = nameOf({ image, codec });
      const request = { source: sources[image], tenant, name };
      const { image: published, elapsedMs } = await thaw.convertImage(
        codec === 'plain' ? request : { ...request, compress: codec },
      );
      const stored = `${(published.storedBytes / 2 ** 20).toFixed(1)} MiB`;
      rows.push([image, codec, String(published.chunkCount), stored, `${elapsedMs.toFixed(0)} ms`]);
      const limits = { memoryMb: 1024, timeoutSeconds: 60, environment: {} };
      await thaw.createFunction({ ...limits, tenant, name, image: name });
    }
  }
  return { title: 'Publish, once', columns: ['image', 'stored', 'chunks', 'bytes', 'time'], rows };
}

async function measureStarts(setting: Setting): Promise<Table[]> {
  const { disk, store } = setting;
  const chunksOf = new Map<string, readonly ChunkRef[]>();
  await using thaw = await worker(setting);
  const starts = await inTurn(setting, async (form) => {
    await thaw.dropCaches();
    await disk.forget();
    const sinceMs = Date.now();
    const start = await coldStart(thaw, nameOf(form));
    if (!chunksOf.has(nameOf(form))) {
      const manifest = await manifestOf(setting, form);
      chunksOf.set(nameOf(form), await fetchedChunks(store, manifest, sinceMs));
    }
    return start;
  });
  await using opener = createOpenPool();
  const loads = (atATime: number): Promise<Run[]> =>
    inTurn(setting, async (form) => {
      await disk.forget();
      const chunks = present(chunksOf.get(nameOf(form)), 'the chunks of a start');
      const bytes = chunks.reduce((sum, { storedLengthBytes }) => sum + storedLengthBytes, 0);
      const elapsedMs = await loadChunks(store, chunks, { opener, atATime });
      return { chunks: chunks.length, bytes, elapsedMs };
    });
  return [
    runTable('Start until the first response', starts),
    runTable('Only loading the chunks of such a start, one after the other', await loads(1)),
    runTable('Only loading the chunks of such a start, four at a time', await loads(4)),
  ];
}

/** Every form once a round over every link, plain and compressed next to each other; the first round does not count. */
async function inTurn({ disk, rounds }: Setting, measure: Measure): Promise<Run[]> {
  const runs: Run[] = [];
  for (const [link, bitsPerSecond] of Object.entries(links)) {
    await disk.shape(bitsPerSecond);
    for (let round = -1; round < rounds; round += 1) {
      for (const form of round % 2 === 0 ? forms() : forms().toReversed()) {
        const run = { ...form, link, ...(await measure(form)) };
        if (round >= 0) runs.push(run);
      }
    }
  }
  return runs;
}

async function coldStart(thaw: Worker, name: string): ReturnType<Measure> {
  const result = await thaw.invokeFunction({ tenant, name, payload: '{}' });
  if (!result.coldStart || result.functionError !== undefined) {
    throw new Error(`${name} did not start cold: ${result.payload}`);
  }
  const { chunks, bytes } = result.reads;
  return { chunks, bytes, elapsedMs: result.timelineMs.total };
}

async function manifestOf({ config }: Setting, form: Form): Promise<Manifest> {
  const paths = pathsOf(config);
  const store = await openDirectoryStore(paths.store);
  const keys = await openLocalKeyring(paths.keyring);
  await using catalog = await openCatalog(paths.catalog);
  const image = await catalog.findImage(tenant, nameOf(form));
  return await openStoredManifest({ store, keys }, present(image, 'a published image'));
}

function timesOf(runs: readonly Run[]): Spread {
  return spread(runs.map(({ elapsedMs }) => elapsedMs));
}

/** Ratios are to the plain image; the last is the median of those of neighbours in a round. */
function runTable(title: string, runs: readonly Run[]): Table {
  const rows = images.flatMap((image) =>
    Object.keys(links).flatMap((link) => {
      const of = runs.filter((run) => run.image === image && run.link === link);
      const plain = of.filter(({ codec }) => codec === 'plain');
      return codecs.map((codec) => {
        const own = of.filter((run) => run.codec === codec);
        const times = timesOf(own);
        const ratios = own.map(({ elapsedMs }, at) => elapsedMs / (plain[at]?.elapsedMs ?? NaN));
        const bytes = spread(own.map((run) => run.bytes)).median;
        return [
          image,
          link,
          codec,
          String(spread(own.map(({ chunks }) => chunks)).median),
          `${(bytes / 2 ** 20).toFixed(1)} MiB`,
          (bytes / spread(plain.map((run) => run.bytes)).median).toFixed(2),
          `${times.min.toFixed(0)} ms`,
          (times.min / timesOf(plain).min).toFixed(2),
          `${times.median.toFixed(0)} ms`,
          spread(ratios).median.toFixed(2),
        ];
      });
    }),
  );
  const times = ['fastest', 'ratio', 'median', 'ratio'];
  return {
    title,
    columns: ['image', 'link', 'stored', 'chunks', 'bytes', 'ratio', ...times],
    rows,
  };
}

async function measurePadding(setting: Setting): Promise<Table[]> {
  const store = await openDirectoryStore(setting.store);
  const tables: Table[] = [];
  for (const image of images) {
    const manifest = await manifestOf(setting, { image, codec: 'zstd' });
    tables.push(paddingTable(image, await chunkLengths(store, manifest)));
  }
  return tables;
}
