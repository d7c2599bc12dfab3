/** Opens an image wherever it is. */

import { tmpdir } from 'node:os';
import { resolve } from 'node:path';

import { InternalError, silentProgress, type ProgressReporter } from '../base/index.ts';
import { withFreshCopies, type Blob, type BlobExpectation } from './blob-source.ts';
import { digestHex } from './digest.ts';
import { DockerArchive } from './docker-archive.ts';
import { OciTooLargeError } from './errors.ts';
import { openDirectoryFiles, openArchiveFiles, type ImageFiles } from './image-files.ts';
import type { LayerTar, OciImage, OciLayer, Platform } from './image-source.ts';
import { LayoutSource } from './layout-source.ts';
import { hostPlatform } from './platform.ts';
import {
  formatReference,
  parseReference,
  type DockerArchiveReference,
  type ImageReference,
  type LayoutReference,
  type RegistryReference,
} from './reference.ts';
import {
  credentialFilePaths,
  findLogin,
  type RegistryCredentials,
} from './registry-credentials.ts';
import { RegistrySource } from './registry-source.ts';
import { resolveImage, type ResolvedImage } from './resolve-image.ts';
import {
  RetryBudget,
  defaultRetrySettings,
  systemTiming,
  type RetrySettings,
  type Timing,
} from './retry.ts';
import { unpackLayer } from './unpack-layer.ts';

/** 10 GiB is the largest image that Lambda takes; a layer's tar may have some more than its files. */
const layerBytesMaxDefault = 16 * 1024 ** 3;

export interface OpenImageOptions {
  /** Which image of an index. Default: this machine's own. */
  readonly platform?: Platform;
  /** Speaks HTTP without TLS to a registry, and allows it to redirect there. Default false. */
  readonly plainHttp?: boolean;
  /** For the registry. Default: what `docker login`, `podman login` or a credential helper has kept. */
  readonly credentials?: RegistryCredentials;
  /** The only file to look for credentials in. Default: `credentialFilePaths()`. */
  readonly dockerConfigPath?: string;
  /** Where layers are unpacked to, as files without names. Default: the system's temporary directory. */
  readonly workDir?: string;
  /** Ends every call under way and to come. */
  readonly signal?: AbortSignal;
  /** Told of the bytes of each layer's blob, as stored, that have been fetched. */
  readonly progress?: ProgressReporter;
  /** Limit of one layer, as stored and uncompressed. Default 16 GiB. */
  readonly layerBytesMax?: number;
  readonly retry?: Partial<RetrySettings>;
  /** For tests. Default: the system's clock, timers and randomness. */
  readonly timing?: Timing;
}

/** What differs between the sources once the image is found. */
interface LayerBlobs extends AsyncDisposable {
  readonly isRemote: boolean;
  open(layer: OciLayer): Promise<Blob>;
  has(layer: OciLayer): Promise<boolean>;
  /** What can be known of a blob besides its layer's diff id. */
  expect(layer: OciLayer): BlobExpectation;
}

interface FoundImage {
  readonly image: ResolvedImage;
  readonly blobs: LayerBlobs;
}

class OpenedImage implements OciImage {
  readonly reference: string;
  readonly imageDigest: string;
  readonly platform: Platform;
  readonly config: OciImage['config'];
  readonly layers: readonly OciLayer[];
  readonly #blobs: LayerBlobs;
  readonly #options: OpenImageOptions;

  constructor(reference: string, { image, blobs }: FoundImage, options: OpenImageOptions) {
    this.reference = reference;
    this.imageDigest = image.imageDigest;
    this.platform = image.platform;
    this.config = image.config;
    this.layers = image.layers;
    this.#blobs = blobs;
    this.#options = options;
  }

  async openLayer(layer: OciLayer): Promise<LayerTar> {
    if (!this.layers.includes(layer)) throw new InternalError('The layer is of another image');
    const { progress = silentProgress, workDir = tmpdir(), signal } = this.#options;
    const tarBytesMax = this.#options.layerBytesMax ?? layerBytesMaxDefault;
    const what = `layer ${layer.digest}`;
    if (layer.sizeBytes > tarBytesMax) throw new OciTooLargeError(what, tarBytesMax);
    signal?.throwIfAborted();
    const label = `Fetch layer ${digestHex(layer.digest).slice(0, 12)}`;
    return await withFreshCopies(this.#blobs, async () =>
      unpackLayer(await this.#blobs.open(layer), {
        what,
        blob: this.#blobs.expect(layer),
        diffId: layer.diffId,
        workDir,
        tarBytesMax,
        signal,
        onBytes: (done) => progress({ label, unit: 'bytes', done, total: layer.sizeBytes }),
      }),
    );
  }

  async hasAccess(layer: OciLayer): Promise<boolean> {
    if (!this.layers.includes(layer)) throw new InternalError('The layer is of another image');
    this.#options.signal?.throwIfAborted();
    return await this.#blobs.has(layer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#blobs[Symbol.asyncDispose]();
  }
}

async function openFiles(
  reference: LayoutReference | DockerArchiveReference,
  options: OpenImageOptions,
): Promise<ImageFiles> {
  if (reference.transport === 'oci') return await openDirectoryFiles(reference.path);
  return await openArchiveFiles(reference.path, {
    workDir: options.workDir ?? tmpdir(),
    tarBytesMax: options.layerBytesMax ?? layerBytesMaxDefault,
    signal: options.signal,
  });
}

async function findInSource(
  source: LayoutSource | RegistrySource,
  reference: ImageReference,
  wanted: Platform,
): Promise<FoundImage> {
  const image = await resolveImage(source, formatReference(reference), wanted);
  const blobs: LayerBlobs = {
    isRemote: source.isRemote,
    open: (layer) => source.openBlob(layer),
    has: (layer) => source.hasBlob(layer),
    expect: ({ digest, sizeBytes }) => ({ digest, sizeBytes }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
  return { image, blobs };
}

async function findInDockerArchive(
  files: ImageFiles,
  reference: DockerArchiveReference,
  wanted: Platform,
): Promise<FoundImage> {
  const archive = await DockerArchive.open(files, reference, wanted);
  const blobs: LayerBlobs = {
    isRemote: false,
    open: async (layer) => ({ kind: 'range', range: await archive.openLayer(layer) }),
    has: (layer) => archive.hasLayer(layer),
    expect: ({ sizeBytes }) => ({ digest: undefined, sizeBytes }),
    [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose](),
  };
  return { image: archive.image, blobs };
}

function registrySource(reference: RegistryReference, options: OpenImageOptions): RegistrySource {
  const { credentials, dockerConfigPath, plainHttp = false, signal } = options;
  const settings = { ...defaultRetrySettings, ...options.retry };
  const paths = dockerConfigPath === undefined ? credentialFilePaths() : [dockerConfigPath];
  return new RegistrySource({
    reference,
    isPlainHttp: plainHttp,
    findLogin: async () =>
      credentials === undefined
        ? await findLogin(reference.host, reference.repository, paths)
        : { kind: 'password', ...credentials },
    retry: {
      settings,
      timing: options.timing ?? systemTiming,
      budget: new RetryBudget(settings.retriesMax),
    },
    signal,
  });
}

async function findImage(
  reference: ImageReference,
  options: OpenImageOptions,
): Promise<FoundImage> {
  const wanted = options.platform ?? hostPlatform();
  const place: ImageFiles | RegistrySource =
    reference.transport === 'docker'
      ? registrySource(reference, options)
      : await openFiles(reference, options);
  try {
    if (place instanceof RegistrySource) return await findInSource(place, reference, wanted);
    return reference.transport === 'docker-archive'
      ? await findInDockerArchive(place, reference, wanted)
      : await findInSource(
          new LayoutSource(place, reference as LayoutReference),
          reference,
          wanted,
        );
  } catch (thrown) {
    await place[Symbol.asyncDispose]();
    throw thrown;
  }
}

/** Paths made absolute, so that the reference still means something elsewhere. */
function absolute(reference: ImageReference): ImageReference {
  return reference.transport === 'docker'
    ? reference
    : { ...reference, path: resolve(reference.path) };
}

/**
 * Opens the image that a reference names: reads and checks its index, manifest and configuration, but no layer.
 * Several layers may be opened at the same time; each needs a few buffers and room under `workDir`.
 *
 * Throws `ERR_OCI_BAD_REFERENCE`, `ERR_OCI_NOT_FOUND`, `ERR_OCI_AMBIGUOUS_REFERENCE`, `ERR_OCI_PLATFORM_MISSING`,
 * `ERR_OCI_BAD_LAYOUT`, `ERR_OCI_BAD_DOCUMENT`, `ERR_OCI_UNSUPPORTED_MEDIA_TYPE`, `ERR_OCI_FOREIGN_LAYER`,
 * `ERR_OCI_TOO_LARGE`, `ERR_OCI_DIGEST_MISMATCH`, `ERR_OCI_SIZE_MISMATCH`; of archives also what `scanTar` throws and
 * `ERR_OCI_WORK_DIR`; of registries also `ERR_OCI_UNAUTHORIZED`, `ERR_OCI_FORBIDDEN`, `ERR_OCI_RATE_LIMITED`,
 * `ERR_OCI_REGISTRY_UNREACHABLE`, `ERR_OCI_REGISTRY_FAILED`, `ERR_OCI_BAD_CREDENTIALS`. When `signal` is aborted
 * its reason is thrown.
 */
export async function openImage(
  reference: string | ImageReference,
  options: OpenImageOptions = {},
): Promise<OciImage> {
  const parsed = absolute(typeof reference === 'string' ? parseReference(reference) : reference);
  options.signal?.throwIfAborted();
  return new OpenedImage(formatReference(parsed), await findImage(parsed, options), options);
}
