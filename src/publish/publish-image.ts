/**
 * The publish flow (freeze): image reference -> layers -> tree -> disk plan -> chunks -> ciphertexts in the
 * store -> manifest -> catalog.
 *
 * Order is what makes it safe to kill at any moment: chunks first, each atomically, then the manifest that names
 * them, then the catalog record. Until the record is there nothing is published, and publishing again reuses
 * whatever chunks had got there. Paper §2, §3.
 */

import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';

import {
  defined,
  forEachLimited,
  type Clock,
  type Log,
  type ProgressReporter,
} from '../base/index.ts';
import type { Catalog, ImageRecord } from '../catalog/index.ts';
import {
  compressions,
  defaultChunkSizeBytes,
  sealManifest,
  type ChunkCodec,
  type Compression,
  type Manifest,
  type SealPool,
} from '../chunk/index.ts';
import { diskFormatVersion, planDisk, type DiskPlan } from '../ext4/index.ts';
import type { KeyService } from '../keys/index.ts';
import { formatPlatform, openImage, type OciImage, type OpenImageOptions } from '../oci/index.ts';
import { applyLayers, type AppliedLayers, type LeftOutXattrs } from '../rootfs/index.ts';
import { manifestObjectName, type ObjectStore } from '../store/index.ts';
import { ImageTooLargeError } from './errors.ts';
import { decodeImageDocument, encodeImageDocument } from './image-document.ts';
import { LayerRecordError } from './layer-record-error.ts';
import { LayerRecords } from './layer-records.ts';
import { LayerSource } from './layer-source.ts';
import type { PrimeChunk, PrimedCounts } from './prime-chunk.ts';
import { storeChunks } from './store-chunks.ts';
import { openStoredManifest } from './stored-image.ts';

/** What publishing works with; all of it stays the caller's. */
export interface PublishDependencies {
  readonly store: ObjectStore;
  readonly keys: KeyService;
  readonly catalog: Catalog;
  readonly sealer: SealPool;
  readonly clock: Clock;
  /** Where uncompressed layers are spooled; as large as the largest image being published. */
  readonly workDir: string;
  /** Sum of the sizes of an image's files. Lambda's limit and the default: 10 GiB. */
  readonly contentMaxBytes?: number;
  /** Told of what was damaged and could be made up for. */
  readonly log?: Log;
}

/** Which image to publish for whom. */
export interface PublishRequest {
  /** An image source, see `parseReference`. */
  readonly source: string;
  readonly tenant: string;
  /** Default: the source's canonical reference. */
  readonly name?: string;
  /** Compresses the chunks that gain by it. Default: none of them. */
  readonly compress?: Compression;
  /** For chunks that are new to the store. Default: none is primed. */
  readonly primeChunk?: PrimeChunk;
  readonly registry?: Omit<OpenImageOptions, 'workDir' | 'signal' | 'progress'>;
  readonly signal?: AbortSignal;
  readonly progress?: ProgressReporter;
}

/** Positions of the disk by what became of them: `total = zero + stored`, `stored = unique + reused`. */
export interface ChunkCounts {
  readonly total: number;
  readonly zero: number;
  readonly stored: number;
  /** New to the store. */
  readonly unique: number;
  readonly reused: number;
}

/** The image's layers by where their content came from. */
export interface LayerCounts {
  readonly total: number;
  /** Remembered from an image published before. */
  readonly known: number;
  /** Downloaded and unpacked: all that are not known, and those whose chunks the store has lost. */
  readonly fetched: number;
}

/** What publishing stored, and the record that it ended in. */
export interface PublishResult {
  readonly image: ImageRecord;
  readonly chunks: ChunkCounts;
  readonly layers: LayerCounts;
  /** Extended attributes that the image's layers have and its disk has not. */
  readonly leftOutXattrs: LeftOutXattrs;
  /** With `PublishRequest.primeChunk`. */
  readonly primed?: PrimedCounts;
  /** Ciphertext and manifest bytes that were new to the store. */
  readonly uploadedBytes: number;
  readonly elapsedMs: number;
}

const contentMaxDefaultBytes = 10 * 2 ** 30;
/** Decompressing a layer keeps one core busy, at some 270 MB/s; three overlap each other's waiting even on fewer. */
const openLayersAtATime = Math.min(Math.max(3, availableParallelism()), 8);

/**
 * Publishes one image for one tenant. The same image published again for the same tenant stores nothing and reads no
 * layer; under another name it gets a manifest of its own over the same chunks.
 * Throws `ERR_OCI_*`, `ERR_ROOTFS_*`, `ERR_EXT4_*`, `ERR_STORE_*`, `ERR_KEYS_*`, `ERR_PUBLISH_IMAGE_TOO_LARGE`;
 * whatever it throws, no image record was added.
 */
export async function publishImage(
  deps: PublishDependencies,
  request: PublishRequest,
): Promise<PublishResult> {
  const startedMs = deps.clock.monotonicMs();
  const rootId = await deps.catalog.activeRoot();
  const { workDir } = deps;
  const { source, signal, progress } = request;
  await using image = await openImage(
    source,
    defined({ ...request.registry, workDir, signal, progress }),
  );
  const published =
    (await reusePublished(deps, request, rootId, image)) ??
    (await freezeImage(deps, request, rootId, image));
  const elapsedMs = deps.clock.monotonicMs() - startedMs;
  if (request.primeChunk === undefined) return { ...published, elapsedMs };
  return { primed: { chunks: 0, failed: 0 }, ...published, elapsedMs };
}

type Published = Omit<PublishResult, 'elapsedMs'>;

function codecOf({ compress }: PublishRequest): ChunkCodec {
  return compress === undefined ? 'none' : compressions[compress];
}

async function freezeImage(
  deps: PublishDependencies,
  request: PublishRequest,
  rootId: string,
  image: OciImage,
): Promise<Published> {
  const codec = codecOf(request);
  const records = new LayerRecords({
    store: deps.store,
    keys: deps.keys,
    log: deps.log,
    identity: {
      tenant: request.tenant,
      rootId,
      diskFormatVersion,
      chunkSizeBytes: defaultChunkSizeBytes,
      codec,
    },
  });
  await using opened = await openLayers(image, records);
  const { layers } = opened;
  const { plan, leftOutXattrs } = await planLayers(layers, records);
  const limitBytes = deps.contentMaxBytes ?? contentMaxDefaultBytes;
  if (plan.contentBytes > limitBytes) {
    throw new ImageTooLargeError(image.reference, plan.contentBytes, limitBytes);
  }
  const { store, sealer } = deps;
  const { primeChunk, signal, progress } = request;
  const salt = await deps.keys.salt(rootId);
  const stored = await storeChunks({
    plan,
    layers,
    store,
    sealer,
    codec,
    rootId,
    salt,
    primeChunk,
    signal,
    progress,
  });
  for (const { layer, recorder } of layers) await records.remember(layer, recorder);
  const manifest: Manifest = {
    diskFormatVersion: plan.formatVersion,
    rootId,
    diskSizeBytes: plan.diskSizeBytes,
    chunkSizeBytes: defaultChunkSizeBytes,
    chunks: stored.chunks,
    chunkKeys: stored.chunkKeys,
    imageDocument: encodeImageDocument({
      reference: image.reference,
      imageDigest: image.imageDigest,
      platform: formatPlatform(image.platform),
      config: image.config,
      fileCount: plan.fileCount,
      contentBytes: plan.contentBytes,
      leftOutXattrs,
    }),
  };
  const published = await storeManifest(deps, request, manifest, stored);
  const primed = primeChunk === undefined ? undefined : stored.primed;
  return { ...published, layers: countLayers(layers), ...defined({ primed }) };
}

function countLayers(layers: readonly LayerSource[]): LayerCounts {
  return {
    total: layers.length,
    known: layers.filter(({ isKnown }) => isKnown).length,
    fetched: layers.filter(({ isFetched }) => isFetched).length,
  };
}

/** The image as it was published before, if it was; undefined otherwise. */
async function reusePublished(
  deps: PublishDependencies,
  request: PublishRequest,
  rootId: string,
  image: OciImage,
): Promise<Published | undefined> {
  const known = await deps.catalog.findPublished(request.tenant, {
    rootId,
    imageDigest: image.imageDigest,
    platform: formatPlatform(image.platform),
    diskFormatVersion,
    codec: codecOf(request),
  });
  if (known === undefined) return undefined;
  const manifest = await openStoredManifest(deps, known).catch(() => undefined);
  if (manifest === undefined) return undefined; // lost or not ours any more: freeze it anew
  const total = image.layers.length;
  const layers = { total, known: total, fetched: 0 };
  const knownDocument = decodeImageDocument(manifest.imageDocument);
  if (known.name === (request.name ?? image.reference)) {
    const chunks = countChunks(manifest, 0);
    const { leftOutXattrs = {} } = knownDocument;
    return { image: known, chunks, layers, leftOutXattrs, uploadedBytes: 0 };
  }
  const document = { ...knownDocument, reference: image.reference };
  const renamed = { ...manifest, imageDocument: encodeImageDocument(document) };
  const nothing = { newBytes: 0, newChunks: 0 };
  return { ...(await storeManifest(deps, request, renamed, nothing)), layers };
}

interface OpenLayers extends AsyncDisposable {
  readonly layers: readonly LayerSource[];
}

/**
 * Opens the layers that are not known, a few at a time. A known one is one that is remembered and that we may have:
 * what was once published for a tenant must not outlive his right to read it. On failure those already open are closed.
 */
async function openLayers(image: OciImage, records: LayerRecords): Promise<OpenLayers> {
  await using opened = new AsyncDisposableStack();
  const layers: LayerSource[] = [];
  await forEachLimited(image.layers.entries(), openLayersAtATime, async ([index, layer]) => {
    const remembered = await records.recall(layer);
    const mayUse = remembered !== undefined && (await image.hasAccess(layer));
    const record = mayUse ? remembered : undefined;
    const openTar = async () => await image.openLayer(layer);
    const source = opened.use(new LayerSource({ layer, openTar, record }));
    layers[index] = source;
    if (!source.isKnown) await source.open();
  });
  const stack = opened.move();
  return { layers, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Keeps the plan alone: the tree is as large, and would stay for as long as chunks are stored. */
async function planLayers(
  layers: readonly LayerSource[],
  records: LayerRecords,
): Promise<{ readonly plan: DiskPlan; readonly leftOutXattrs: LeftOutXattrs }> {
  const tree = await flatten(layers, records);
  for (const layer of layers) layer.endEntries();
  return { plan: planDisk(tree), leftOutXattrs: tree.leftOutXattrs };
}

/** A record that turns out to be unreadable is a miss, though a late one: then all layers are read. */
async function flatten(
  layers: readonly LayerSource[],
  records: LayerRecords,
): Promise<AppliedLayers> {
  try {
    return await applyAll(layers);
  } catch (thrown) {
    if (!(thrown instanceof LayerRecordError)) throw thrown;
    for (const source of layers) {
      if (source.isKnown) await records.discard(source.layer, thrown);
      source.forget();
    }
    return await applyAll(layers);
  }
}

async function applyAll(layers: readonly LayerSource[]): Promise<AppliedLayers> {
  return await applyLayers(
    layers.map((source) => ({ diffId: source.layer.diffId, entries: source.entries() })),
  );
}

/** The last two steps: the sealed manifest into the store, then the record that makes the image exist. */
async function storeManifest(
  deps: PublishDependencies,
  request: PublishRequest,
  manifest: Manifest,
  added: { readonly newChunks: number; readonly newBytes: number },
): Promise<Omit<Published, 'layers'>> {
  const { tenant } = request;
  const keyService = deps.keys;
  const { bytes, manifestId } = await sealManifest(manifest, { tenant, keyService, randomBytes });
  await deps.store.putIfAbsent(manifestObjectName(manifest.rootId, manifestId), bytes);
  const document = decodeImageDocument(manifest.imageDocument);
  const image = await deps.catalog.addImage({
    manifestId,
    tenant,
    rootId: manifest.rootId,
    name: request.name ?? document.reference,
    reference: document.reference,
    imageDigest: document.imageDigest,
    platform: document.platform,
    diskFormatVersion: manifest.diskFormatVersion,
    codec: codecOf(request),
    diskSizeBytes: manifest.diskSizeBytes,
    contentBytes: document.contentBytes,
    fileCount: document.fileCount,
    chunkCount: manifest.chunks.length,
    storedBytes: manifest.chunks.reduce((sum, chunk) => sum + chunk.storedLengthBytes, 0),
    createdAtMs: deps.clock.nowMs(),
  });
  return {
    image,
    chunks: countChunks(manifest, added.newChunks),
    leftOutXattrs: document.leftOutXattrs ?? {},
    uploadedBytes: added.newBytes + bytes.byteLength,
  };
}

function countChunks(manifest: Manifest, unique: number): ChunkCounts {
  const total = Math.ceil(manifest.diskSizeBytes / manifest.chunkSizeBytes);
  const stored = manifest.chunks.length;
  return { total, zero: total - stored, stored, unique, reused: stored - unique };
}
