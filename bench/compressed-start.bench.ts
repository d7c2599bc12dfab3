/**
 * Cold starts of functions whose images are stored plain and compressed, over links of about 10 and 1 Gbit/s, in turn; and what padding
 * the compressed chunks costs and hides. `npm run bench -- compressed-start [ROUNDS]`, by default 7. Needs root,
 * cgroup v1, runc, and mmdebstrap and umoci for the Debian image.
 */

import { createDecipheriv } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { addDemoImage, writeDemoLayers } from '../scripts/demo/demo-image.ts';
import type { Worker } from '../src/api/index.ts';
import { createLog, toHex } from '../src/base/index.ts';
import { openCatalog } from '../src/catalog/index.ts';
import type { Manifest } from '../src/chunk/index.ts';
import { createWorker } from '../src/cli/compose.ts';
import { loadConfig, pathsOf, type Config } from '../src/cli/config.ts';
import { openLocalKeyring } from '../src/keys/index.ts';
import { openStoredManifest } from '../src/publish/index.ts';
import { chunkObjectName, openDirectoryStore, type ObjectStore } from '../src/store/index.ts';
import { debianImageLayout, debianImageTag } from '../test/support/debian-image.ts';
import { ShapedDisk, shapingObstacle } from './compressed-start/shaped-disk.ts';
import { spread, type Report, type Spread, type Table } from './harness.ts';

const tenant = 'bench';
const links = { '10 Gbit/s': 10e9, '1 Gbit/s': 1e9 } as const;
const codecs = ['plain', 'zstd'] as const;
type Codec = (typeof codecs)[number];

interface Start {
  readonly image: string;
  readonly link: string;
  readonly codec: Codec;
  readonly chunks: number;
  readonly bytes: number;
  readonly elapsedMs: number;
}

export const report: Report = {
  title: 'Cold start to the first response, image stored plain and compressed',
  run: async ([roundsText = '7']) => {
    const obstacle = shapingObstacle();
    if (obstacle !== undefined) throw new Error(`This benchmark needs ${obstacle}`);
    const root = await mkdtemp(join(tmpdir(), 'thaw-bench-start-'));
    await using made = new AsyncDisposableStack();
    made.defer(() => rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 }));
    const sources = await imageSources(root);
    await mkdir(join(root, 'link'));
    const disk = made.use(await ShapedDisk.create(join(root, 'link'), 4 * 2 ** 30));
    await mkdir(join(root, 'link/store'));
    await mkdir(join(root, 'state'));
    await symlink(join(root, 'link/store'), join(root, 'state/store'));
    const config = await loadConfig({ root: join(root, 'state') }, {});
    const names = Object.keys(sources);
    const starts: Start[] = [];
    {
      await using worker = await createWorker(config, createLog({ level: 'warn' }), {
        agentLife: 'own',
      });
      for (const name of names) await publish(worker, name, sources[name] ?? '');
      for (const [link, bitsPerSecond] of Object.entries(links)) {
        await disk.shape(bitsPerSecond);
        for (let round = -1; round < Number(roundsText); round += 1) {
          for (const image of names) {
            const order = round % 2 === 0 ? codecs : codecs.toReversed();
            for (const codec of order) {
              const start = await coldStart(worker, disk, { image, link, codec });
              if (round >= 0) starts.push(start);
            }
          }
        }
      }
    }
    return [startTable(names, starts), ...(await paddingTables(config, names))];
  },
};

async function imageSources(root: string): Promise<Readonly<Record<string, string>>> {
  const layoutDir = join(root, 'layout');
  const layers = await writeDemoLayers(root);
  const handler = 'export const handler = async () => "answer";\n';
  await addDemoImage({ layoutDir, tag: 'x', layers, handler });
  const debian = await debianImageLayout();
  return { 'node app': `oci:${layoutDir}:x`, 'debian python': `oci:${debian}:${debianImageTag}` };
}

function nameOf(image: string, codec: Codec): string {
  return `${image.replace(' ', '-')}-${codec}`;
}

async function publish(worker: Worker, image: string, source: string): Promise<void> {
  for (const codec of codecs) {
    const name = nameOf(image, codec);
    const request = { source, tenant, name };
    await worker.convertImage(codec === 'plain' ? request : { ...request, compress: codec });
    await worker.createFunction({
      tenant,
      name,
      image: name,
      memoryMb: 1024,
      timeoutSeconds: 60,
      environment: {},
    });
  }
}

async function coldStart(
  worker: Worker,
  disk: ShapedDisk,
  { image, link, codec }: Pick<Start, 'image' | 'link' | 'codec'>,
): Promise<Start> {
  await worker.dropCaches();
  await disk.forget();
  const request = { tenant, name: nameOf(image, codec), payload: '{}' };
  const {
    coldStart: isCold,
    functionError,
    timelineMs,
    reads,
  } = await worker.invokeFunction(request);
  if (!isCold || functionError !== undefined) throw new Error(`${request.name} did not start cold`);
  const { chunks, bytes } = reads;
  return { image, link, codec, chunks, bytes, elapsedMs: timelineMs.total };
}

function timesOf(starts: readonly Start[]): Spread {
  return spread(starts.map(({ elapsedMs }) => elapsedMs));
}

/** Ratios are to the plain image; the last is the median of those of neighbours in a round. */
const columns = [
  'image',
  'link',
  'stored',
  'chunks',
  'fetched',
  'ratio',
  'fastest',
  'ratio',
  'median',
  'ratio',
];

function startTable(names: readonly string[], starts: readonly Start[]): Table {
  const rows = names.flatMap((image) =>
    Object.keys(links).flatMap((link) => {
      const of = (codec: Codec): Start[] =>
        starts.filter(
          (start) => start.image === image && start.link === link && start.codec === codec,
        );
      const plain = of('plain');
      return codecs.map((codec) => {
        const own = of(codec);
        const times = timesOf(own);
        const ratio = spread(
          own.map(({ elapsedMs }, at) => elapsedMs / (plain[at]?.elapsedMs ?? NaN)),
        );
        const bytes = spread(own.map((start) => start.bytes)).median;
        const ofPlain = bytes / spread(plain.map((start) => start.bytes)).median;
        return [
          image,
          link,
          codec,
          String(spread(own.map(({ chunks }) => chunks)).median),
          `${(bytes / 2 ** 20).toFixed(1)} MiB`,
          ofPlain.toFixed(2),
          `${times.min.toFixed(0)} ms`,
          (times.min / timesOf(plain).min).toFixed(2),
          `${times.median.toFixed(0)} ms`,
          ratio.median.toFixed(2),
        ];
      });
    }),
  );
  return {
    title: 'Fetched and waited for until the first response',
    columns,
    rows,
  };
}

/** What a chunk holds, and how long it would be stored without padding; equal for a chunk stored as it is. */
interface ChunkLengths {
  readonly plainBytes: number;
  readonly exactBytes: number;
}

/** Looks into the compressed forms, by the byte table of `docs/formats/chunk.md`. */
async function chunkLengths(store: ObjectStore, manifest: Manifest): Promise<ChunkLengths[]> {
  const lengths: ChunkLengths[] = [];
  for (const [position, chunk] of manifest.chunks.entries()) {
    const { codec, storedLengthBytes, ciphertextDigest } = chunk;
    if (codec === 'none') {
      lengths.push({ plainBytes: storedLengthBytes, exactBytes: storedLengthBytes });
      continue;
    }
    const sealed = await store.get(chunkObjectName(manifest.rootId, toHex(ciphertextDigest)));
    const key = manifest.chunkKeys[position];
    if (sealed === undefined || key === undefined) throw new Error('A chunk is gone');
    const decipher = createDecipheriv('aes-256-ctr', key, Buffer.alloc(16));
    const header = decipher.update(sealed.subarray(0, 8));
    lengths.push({ plainBytes: header.readUInt32LE(0), exactBytes: 8 + header.readUInt32LE(4) });
  }
  return lengths;
}

function entropyBits(values: readonly number[]): number {
  const shares = [...Map.groupBy(values, (value) => value).values()].map(
    (equal) => equal.length / values.length,
  );
  return shares.reduce((bits, share) => bits - share * Math.log2(share), 0);
}

const kibibytes = [4, 8, 16, 32, 64];

/** For each image, what the lengths of its chunks say, and what padding them to steps costs. */
async function paddingTables(config: Config, names: readonly string[]): Promise<Table[]> {
  const paths = pathsOf(config);
  const store = await openDirectoryStore(paths.store);
  const keys = await openLocalKeyring(paths.keyring);
  await using catalog = await openCatalog(paths.catalog);
  const tables: Table[] = [];
  for (const name of names) {
    const image = await catalog.findImage(tenant, nameOf(name, 'zstd'));
    if (image === undefined) throw new Error(`No image of "${name}"`);
    const lengths = await chunkLengths(store, await openStoredManifest({ store, keys }, image));
    tables.push(paddingTable(name, lengths));
  }
  return tables;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function paddingTable(name: string, lengths: readonly ChunkLengths[]): Table {
  const plain = lengths.map(({ plainBytes }) => plainBytes);
  const exact = lengths.map(({ exactBytes }) => exactBytes);
  const row = (title: string, values: readonly number[]): readonly string[] => [
    title,
    (sum(plain) / sum(values)).toFixed(2),
    `${((sum(values) / sum(exact) - 1) * 100).toFixed(1)} %`,
    String(new Set(values).size),
    entropyBits(values).toFixed(1),
  ];
  const padded = (step: number): number[] =>
    lengths.map(({ plainBytes, exactBytes }) =>
      exactBytes === plainBytes ? plainBytes : Math.ceil(exactBytes / step) * step,
    );
  return {
    title: `What the lengths of the ${lengths.length} chunks of "${name}" say`,
    columns: ['stored', 'plain : stored', 'over exact', 'lengths', 'bits per chunk'],
    rows: [
      row('plain', plain),
      row('zstd, exact', exact),
      ...kibibytes.map((step) => row(`zstd, step ${step} KiB`, padded(step * 1024))),
    ],
  };
}
