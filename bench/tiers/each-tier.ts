/** What a chunk takes from each tier of a worker: its memory, its disk, the zone, the origin, the last two over one link. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import { forEachLimited, toHex } from '../../src/base/index.ts';
import {
  ChunkSlab,
  createTieredLoader,
  openDiskCache,
  SlabView,
  type CacheTier,
  type DiskCache,
  type Tier,
} from '../../src/cache/index.ts';
import { tryLock } from '../../src/cache/testing/flock.ts';
import { defaultChunkSizeBytes, openChunk, type OpenPool } from '../../src/chunk/index.ts';
import { chunkObjectName, openS3Store, type S3Store } from '../../src/store/index.ts';
import { startRadosgw, type Radosgw } from '../../src/store/testing/radosgw.ts';
import type { EcdfPanel } from '../support/ecdf-chart.ts';
import type { LinkShape } from '../support/shaped-link.ts';
import { randomIndexes, type BenchChunk } from './chunks.ts';
import { fill, fourOfFive } from './contenders.ts';
import {
  msText,
  noReads,
  quantileMs,
  readSome,
  type ReadChunk,
  type Reads,
} from './measure-reads.ts';
import { BenchZone } from './zone.ts';

export interface TiersOptions {
  readonly chunks: readonly BenchChunk[];
  readonly opener: Pick<OpenPool, 'open'>;
  readonly readCount: number;
  readonly progress: (what: string) => void;
}

export interface TierMeasurement {
  /** Under `tierColumns`. */
  readonly rows: readonly (readonly string[])[];
  readonly panel: EcdfPanel;
}

export const tierColumns = [
  'link',
  'tier',
  'reads',
  'failed',
  'p50',
  'p99',
  'p99.9',
  'max',
] as const;

const turnReads = 125;
const bucket = 'thaw-bench';
const rootId = '4-of-5';
const deadlineMs = 10_000;
const sharesShown = [0.5, 0.99, 0.999, 1] as const;

function storeOn(radosgw: Radosgw, port: number): Promise<S3Store> {
  const endpoint = `http://127.0.0.1:${port}`;
  return openS3Store({ bucket, endpoint, credentials: async () => radosgw.credentials });
}

/** A gateway whose bucket has the chunks. */
export async function startOrigin(chunks: readonly BenchChunk[]): Promise<Radosgw> {
  const radosgw = await startRadosgw();
  const client = new S3Client({
    endpoint: radosgw.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: radosgw.credentials,
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  await using store = await storeOn(radosgw, Number(new URL(radosgw.endpoint).port));
  await forEachLimited(chunks, 4, async (chunk) => {
    const name = chunkObjectName(rootId, toHex(chunk.ciphertextDigest));
    await store.putIfAbsent(name, chunk.ciphertext);
  });
  return radosgw;
}

/** Each chunk in a slot of its own, copied out as a thread that answers the kernel does. */
function memoryReader(chunks: readonly BenchChunk[]): ReadChunk {
  const slotSizeBytes = defaultChunkSizeBytes;
  const slab = new ChunkSlab({ memoryBytes: chunks.length * slotSizeBytes, slotSizeBytes });
  const table = slab.createTable(chunks.length, chunks.keys());
  for (const [index, chunk] of chunks.entries()) {
    slab.insert(String(index), openChunk(chunk, chunk.ciphertext));
    slab.publish(table, index, String(index));
  }
  const view = new SlabView(slab.memory);
  const answer = Buffer.alloc(slotSizeBytes);
  return async (chunk) => {
    const slot = view.pin(table.entries, chunks.indexOf(chunk));
    if (typeof slot !== 'number') return false;
    answer.set(view.bytes(slot, 0, slotSizeBytes));
    view.unpin(slot);
    return true;
  };
}

async function filledDisk(path: string, chunks: readonly BenchChunk[]): Promise<DiskCache> {
  const disk = await openDiskCache({ path, sizeMaxBytes: 2 ** 33, tryLock });
  for (const chunk of chunks) {
    disk.offer({ ...chunk, rootId }, chunk.ciphertext);
    while (disk.status().queuedBytes > 0) await delay(1);
  }
  return disk;
}

/** A reader of one tier, through the loader that a worker has; what comes from elsewhere is a failure. */
function tierReader(
  tier: Exclude<Tier, 'l1'>,
  cache: CacheTier | undefined,
  common: { readonly store: S3Store; readonly opener: Pick<OpenPool, 'open'> },
): ReadChunk {
  const tiers = tier === 'origin' || cache === undefined ? [] : [{ tier, cache }];
  const loader = createTieredLoader({ ...common, tiers });
  return async (chunk) => (await loader.load({ ...chunk, rootId }, { deadlineMs })).tier === tier;
}

/** A tier that is only read, and behind which nobody else is asked. */
function readOnly({ get }: Pick<CacheTier, 'get'>): CacheTier {
  return { get, offer: () => {}, forget: async () => {}, hedgeAfterMs: () => Infinity };
}

/** Reads all tiers over one link, in turns. */
export async function measureTiers(
  linkName: string,
  shape: LinkShape,
  radosgw: Radosgw,
  options: TiersOptions,
): Promise<TierMeasurement> {
  const { chunks, opener, progress } = options;
  progress(`${linkName}: filling the tiers`);
  await using made = new AsyncDisposableStack();
  const origin = { name: 'origin', port: Number(new URL(radosgw.endpoint).port) };
  const zone = made.use(await BenchZone.start(shape, [origin]));
  const store = made.use(await storeOn(radosgw, zone.portOf(origin)));
  const way = made.use(fourOfFive(zone.places));
  await fill(way, chunks);
  const directory = await mkdtemp(join(tmpdir(), 'thaw-bench-tiers-'));
  made.defer(() => rm(directory, { recursive: true }));
  const disk = await filledDisk(directory, chunks);
  made.defer(() => disk.close());
  const common = { store, opener };
  const readers: readonly (readonly [name: string, read: ReadChunk, reads: Reads])[] = [
    ['memory', memoryReader(chunks), noReads()],
    ['disk', tierReader('l1-disk', disk, common), noReads()],
    ['zone', tierReader('l2', readOnly(way), common), noReads()],
    ['origin', tierReader('origin', undefined, common), noReads()],
  ];
  progress(`${linkName}: reading the tiers`);
  for (let turn = 0; turn < Math.ceil(options.readCount / turnReads); turn += 1) {
    for (const [, read, reads] of readers) {
      const nextIndex = randomIndexes(turn + 1, chunks.length);
      await readSome(reads, read, { chunks, count: turnReads, nextIndex });
    }
  }
  return {
    rows: readers.map(([name, , reads]) => [
      linkName,
      name,
      String(reads.samplesMs.length),
      String(reads.failed),
      ...sharesShown.map((share) => msText(quantileMs(reads, share))),
    ]),
    panel: {
      title: linkName,
      series: readers.map(([name, , { samplesMs }]) => ({ name, samplesMs })),
    },
  };
}
