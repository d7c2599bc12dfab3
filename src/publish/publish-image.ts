/**
 * The publish flow (freeze): image reference -> layers -> tree -> disk plan -> chunks -> ciphertexts in the
 * store -> manifest -> catalog.
 *
 * Order is what makes it safe to kill at any moment: chunks first, each atomically, then the manifest that names
 * them, then the catalog record. Until the record is there nothing is published, and publishing again reuses
 * whatever chunks had got there. Paper §2, §3.
 */

import { randomBytes } from 'node:crypto';

import {
  assert,
  defined,
  forEachLimited,
  toHex,
  type Clock,
  type ProgressReporter,
} from '../base/index.ts';
import type { Catalog, ImageRecord } from '../catalog/index.ts';
import {
  defaultChunkSizeBytes,
  sealManifest,
  type Manifest,
  type ManifestChunk,
  type SealPool,
} from '../chunk/index.ts';
import { diskFormatVersion, planDisk, type ContentReader, type DiskPlan } from '../ext4/index.ts';
import type { KeyService } from '../keys/index.ts';
import {
  formatPlatform,
  openImage,
  scanTar,
  type LayerTar,
  type OciImage,
  type OpenImageOptions,
} from '../oci/index.ts';
import { applyLayers, type RootTree } from '../rootfs/index.ts';
import { chunkObjectName, manifestObjectName, type ObjectStore } from '../store/index.ts';
import { ImageTooLargeError } from './errors.ts';
import { decodeImageDocument, encodeImageDocument } from './image-document.ts';
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
}

/** Which image to publish for whom. */
export interface PublishRequest {
  /** An image source, see `parseReference`. */
  readonly source: string;
  readonly tenant: string;
  /** Default: the source's canonical reference. */
  readonly name?: string;
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

/** What publishing stored, and the record that it ended in. */
export interface PublishResult {
  readonly image: ImageRecord;
  readonly chunks: ChunkCounts;
  /** Ciphertext and manifest bytes that were new to the store. */
  readonly uploadedBytes: number;
  readonly elapsedMs: number;
}

const contentMaxDefaultBytes = 10 * 2 ** 30;
const openLayersAtATime = 3;
const chunksInFlight = 8;

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
  return { ...published, elapsedMs: deps.clock.monotonicMs() - startedMs };
}

type Published = Omit<PublishResult, 'elapsedMs'>;

async function freezeImage(
  deps: PublishDependencies,
  request: PublishRequest,
  rootId: string,
  image: OciImage,
): Promise<Published> {
  await using layers = await openLayers(image);
  const tree = await flatten(image, layers.tars);
  const plan = planDisk(tree);
  const limitBytes = deps.contentMaxBytes ?? contentMaxDefaultBytes;
  if (plan.contentBytes > limitBytes) {
    throw new ImageTooLargeError(image.reference, plan.contentBytes, limitBytes);
  }
  const stored = await storeChunks(deps, request, rootId, plan, contentOf(layers.tars));
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
    }),
  };
  return await storeManifest(deps, request, manifest, stored.newBytes, stored.newChunks);
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
  });
  if (known === undefined) return undefined;
  const manifest = await openStoredManifest(deps, known).catch(() => undefined);
  if (manifest === undefined) return undefined; // lost or not ours any more: freeze it anew
  if (known.name === (request.name ?? image.reference)) {
    return { image: known, chunks: countChunks(manifest, 0), uploadedBytes: 0 };
  }
  const document = { ...decodeImageDocument(manifest.imageDocument), reference: image.reference };
  const renamed = { ...manifest, imageDocument: encodeImageDocument(document) };
  return await storeManifest(deps, request, renamed, 0, 0);
}

interface OpenLayers extends AsyncDisposable {
  readonly tars: readonly LayerTar[];
}

/** Opens all layers, a few at a time. On failure those already open are closed. */
async function openLayers(image: OciImage): Promise<OpenLayers> {
  await using opened = new AsyncDisposableStack();
  const tars: LayerTar[] = [];
  await forEachLimited(image.layers.entries(), openLayersAtATime, async ([index, layer]) => {
    tars[index] = opened.use(await image.openLayer(layer));
  });
  const stack = opened.move();
  return { tars, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function flatten(image: OciImage, tars: readonly LayerTar[]): Promise<RootTree> {
  return await applyLayers(
    image.layers.map((layer, index) => {
      const tar = tars[index];
      assert(tar !== undefined, `Layer ${index} was not opened`);
      return { diffId: layer.diffId, entries: scanTar(tar) };
    }),
  );
}

function contentOf(tars: readonly LayerTar[]): ContentReader {
  return {
    read: async (layer, tarOffset, target) => {
      const tar = tars[layer];
      assert(tar !== undefined, `The plan names layer ${layer}, the image has ${tars.length}`);
      await tar.read(tarOffset, target);
    },
  };
}

interface StoredChunks {
  readonly chunks: readonly ManifestChunk[];
  readonly chunkKeys: readonly Uint8Array[];
  readonly newChunks: number;
  readonly newBytes: number;
}

/** Renders, seals and stores every chunk that holds anything, several at a time. */
async function storeChunks(
  deps: PublishDependencies,
  request: PublishRequest,
  rootId: string,
  plan: DiskPlan,
  content: ContentReader,
): Promise<StoredChunks> {
  const indexes = plan.chunkIndexes(defaultChunkSizeBytes);
  const salt = await deps.keys.salt(rootId);
  const sealed: { chunk: ManifestChunk; key: Uint8Array }[] = [];
  let done = 0;
  let newChunks = 0;
  let newBytes = 0;
  await forEachLimited(indexes, chunksInFlight, async (index) => {
    request.signal?.throwIfAborted();
    const plaintext = new Uint8Array(defaultChunkSizeBytes);
    await plan.render(index * defaultChunkSizeBytes, plaintext, content);
    const chunk = await deps.sealer.seal(plaintext, salt);
    if (chunk !== undefined) {
      const { ciphertext, ciphertextDigest, storedLengthBytes, key } = chunk;
      const name = chunkObjectName(rootId, toHex(ciphertextDigest));
      if ((await deps.store.putIfAbsent(name, ciphertext)) === 'created') {
        newChunks += 1;
        newBytes += ciphertext.byteLength;
      }
      sealed.push({ chunk: { index, storedLengthBytes, codec: 'none', ciphertextDigest }, key });
    }
    done += 1;
    request.progress?.({ label: 'Store chunks', unit: 'chunks', done, total: indexes.length });
  });
  sealed.sort((a, b) => a.chunk.index - b.chunk.index);
  return {
    chunks: sealed.map(({ chunk }) => chunk),
    chunkKeys: sealed.map(({ key }) => key),
    newChunks,
    newBytes,
  };
}

/** The last two steps: the sealed manifest into the store, then the record that makes the image exist. */
async function storeManifest(
  deps: PublishDependencies,
  request: PublishRequest,
  manifest: Manifest,
  newChunkBytes: number,
  newChunks: number,
): Promise<Published> {
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
    diskSizeBytes: manifest.diskSizeBytes,
    contentBytes: document.contentBytes,
    fileCount: document.fileCount,
    chunkCount: manifest.chunks.length,
    storedBytes: manifest.chunks.reduce((sum, chunk) => sum + chunk.storedLengthBytes, 0),
    createdAtMs: deps.clock.nowMs(),
  });
  return {
    image,
    chunks: countChunks(manifest, newChunks),
    uploadedBytes: newChunkBytes + bytes.byteLength,
  };
}

function countChunks(manifest: Manifest, unique: number): ChunkCounts {
  const total = Math.ceil(manifest.diskSizeBytes / manifest.chunkSizeBytes);
  const stored = manifest.chunks.length;
  return { total, zero: total - stored, stored, unique, reused: stored - unique };
}
