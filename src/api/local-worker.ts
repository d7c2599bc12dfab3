/** The `Worker` that does the work itself, in this process. */

import { defined } from '../base/index.ts';
import type { ImageRecord } from '../catalog/index.ts';
import { mountImage, unmountImage, type AgentClient, type RootMounts } from '../device/index.ts';
import type { FunctionService } from '../functions/index.ts';
import { parsePlatform } from '../oci/index.ts';
import {
  checkImage,
  chunksByCodec,
  decodeImageDocument,
  exportImage,
  listImageFiles,
  openStoredManifest,
  publishImage,
  readImageFile,
  type PrimeChunk,
  type PublishDependencies,
} from '../publish/index.ts';
import { runtimesTenant, type RuntimeImages } from '../runtimes/index.ts';
import { manifestObjectName, startProfileObjectName } from '../store/index.ts';
import {
  checkCompression,
  checkDirectory,
  checkImageName,
  checkMountPoint,
  checkTenant,
} from './check-request.ts';
import { ImageNotFoundError, NoSuchKeyError } from './errors.ts';
import { functionCalls } from './function-calls.ts';
import type { AccessKeys } from './sigv4/access-keys.ts';
import type { CallOptions, ConvertRequest, ImageRequest, Worker } from './worker.ts';

/** What needs privileges and is therefore made only when a call needs it. */
export interface WorkerRuntime {
  readonly functions: FunctionService;
  readonly roots: RootMounts;
  readonly agent: AgentClient;
}

/** The zone as publishing sees it. */
export interface Primer extends AsyncDisposable {
  readonly primeChunk: PrimeChunk;
}

/** What a worker is made of. */
export interface LocalWorkerOptions {
  readonly publish: PublishDependencies;
  /** What zip functions run in. */
  readonly runtimes: RuntimeImages;
  readonly accessKeys: AccessKeys;
  /** Absolute paths of where the worker's own state lies: nothing may be mounted there. */
  readonly ownDirectories: readonly string[];
  /** How much may be added to a writable mount whose request does not say. */
  readonly writableSpaceBytes: number;
  /** The zone, to be written to while an image is published. Throws `ERR_API_NO_ZONE` and what reaching it needs. */
  readonly openPrimer: () => Promise<Primer>;
  /** The agent if one runs; it need not be this worker's. Starts none. */
  readonly runningAgent: () => Promise<AgentClient | undefined>;
  /** What `runtime` made; undefined as long as it was not called. */
  readonly startedRuntime: () => Promise<WorkerRuntime | undefined>;
  /** As the `Worker`'s. */
  readonly reloadZone: Worker['reloadZone'];
  /** Called once, on first use. Throws what is missing on this machine. */
  readonly runtime: () => Promise<WorkerRuntime>;
  /** Ends everything, the runtime too if it was made. */
  readonly close: () => Promise<void>;
}

/** See `Worker`. Nothing is started before a call needs it. */
export function createLocalWorker(options: LocalWorkerOptions): Worker {
  return {
    ...imageCalls(options),
    ...tenantCalls(options),
    ...runtimeCalls(options),
    ...functionCalls({
      catalog: options.publish.catalog,
      functions: async () => (await options.runtime()).functions,
      startedFunctions: async () => (await options.startedRuntime())?.functions,
    }),
    ...cacheCalls(options),
    [Symbol.asyncDispose]: async () => await options.close(),
  };
}

type ImageCalls = Pick<Worker, Extract<keyof Worker, `${string}Image${string}`>>;
type CacheCalls = Pick<Worker, 'dropCaches' | 'cacheStatus' | 'reloadZone'>;
type RuntimeCalls = Pick<Worker, 'listRuntimes' | 'buildRuntime'>;
type TenantCalls = Pick<
  Worker,
  Extract<keyof Worker, `${string}${'Tenant' | 'AccessKey'}${string}`>
>;
async function findImage(
  { publish }: LocalWorkerOptions,
  { tenant, id }: ImageRequest,
): Promise<ImageRecord> {
  checkTenant(tenant);
  const image = await publish.catalog.findImage(tenant, id);
  if (image === undefined) throw new ImageNotFoundError(tenant, id);
  return image;
}

function imageCalls(options: LocalWorkerOptions): ImageCalls {
  const { publish, runtime } = options;
  const { catalog, store } = publish;
  const storedImage = async (request: ImageRequest) => {
    const image = await findImage(options, request);
    return { image, manifest: await openStoredManifest(publish, image) };
  };
  return {
    convertImage: async (request, call = {}) => {
      checkTenant(request.tenant);
      if (request.name !== undefined) checkImageName(request.name);
      if (request.compress !== undefined) checkCompression(request.compress);
      const publishing = publishRequest(request, call);
      if (request.prime !== true) return await publishImage(publish, publishing);
      await using primer = await options.openPrimer();
      return await publishImage(publish, { ...publishing, primeChunk: primer.primeChunk });
    },
    listImages: async ({ tenant }) => {
      checkTenant(tenant);
      return await catalog.listImages(tenant);
    },
    inspectImage: async (request) => {
      const { image, manifest } = await storedImage(request);
      return {
        image,
        document: decodeImageDocument(manifest.imageDocument),
        chunksByCodec: chunksByCodec(manifest),
      };
    },
    checkImage: async (request, call) => {
      const { manifest } = await storedImage(request);
      return await checkImage({ store, manifest, ...call });
    },
    exportImage: async (request, call) => {
      const { image, manifest } = await storedImage(request);
      await exportImage({ store, manifest, path: request.path, ...call });
      return image;
    },
    listImageFiles: async function* ({ path, ...request }, call) {
      const { manifest } = await storedImage(request);
      yield* listImageFiles({ store, manifest, path, ...call });
    },
    readImageFile: async function* ({ path, ...request }, call) {
      const { manifest } = await storedImage(request);
      yield* readImageFile({ store, manifest, path, ...call });
    },
    removeImage: async (request) => {
      const image = await findImage(options, request);
      await catalog.removeImage(image.tenant, image.manifestId);
      await store.delete(manifestObjectName(image.rootId, image.manifestId));
      await store.delete(startProfileObjectName(image.rootId, image.manifestId));
      return image;
    },
    mountImage: async (request) => {
      const image = await findImage(options, request);
      await checkMountPoint(request.directory, options.ownDirectories);
      const { agent } = await runtime();
      const { writable, spaceBytes = options.writableSpaceBytes } = request;
      await mountImage(agent, image, request.directory, { writable, spaceBytes });
      return image;
    },
    unmountImage: async ({ directory }) => {
      await checkDirectory(directory);
      const { agent } = await runtime();
      await unmountImage(agent, directory);
    },
  };
}

function tenantCalls({ publish, accessKeys }: LocalWorkerOptions): TenantCalls {
  const { catalog, clock } = publish;
  return {
    createTenant: async ({ name }) => {
      checkTenant(name);
      const tenant = { name, createdAtMs: clock.nowMs() };
      await catalog.addTenant(tenant);
      return tenant;
    },
    listTenants: async () => {
      const tenants = await catalog.listTenants();
      return tenants.filter(({ name }) => name !== runtimesTenant);
    },
    createAccessKey: async ({ tenant }) => {
      checkTenant(tenant);
      return await accessKeys.create(tenant);
    },
    listAccessKeys: async ({ tenant }) => {
      checkTenant(tenant);
      const keys = await catalog.listAccessKeys(tenant);
      return keys.map(({ accessKeyId, createdAtMs }) => ({ accessKeyId, createdAtMs }));
    },
    removeAccessKey: async ({ tenant, accessKeyId }) => {
      checkTenant(tenant);
      if (await catalog.removeAccessKey(tenant, accessKeyId)) return;
      throw new NoSuchKeyError(tenant, accessKeyId);
    },
  };
}

function runtimeCalls({ runtimes }: LocalWorkerOptions): RuntimeCalls {
  return {
    listRuntimes: async () => {
      const names = await runtimes.names();
      return await Promise.all(
        names.map(async (name) => ({ name, ...defined({ image: await runtimes.find(name) }) })),
      );
    },
    buildRuntime: async ({ runtime }) => await runtimes.build(runtime),
  };
}

function cacheCalls(options: LocalWorkerOptions): CacheCalls {
  return {
    dropCaches: async ({ caches } = {}) => {
      const { functions, roots } = await options.runtime();
      await functions.endIdle();
      return await roots.dropCaches(caches);
    },
    cacheStatus: async () => (await options.runningAgent())?.cacheStatus(),
    reloadZone: async (request) => await options.reloadZone(request),
  };
}

function publishRequest(request: ConvertRequest, call: CallOptions) {
  const { source, tenant, name, platform, compress, plainHttp, credentials, dockerConfigPath } =
    request;
  const parsed = platform === undefined ? undefined : parsePlatform(platform);
  return defined({
    source,
    tenant,
    name,
    compress,
    registry: defined({ platform: parsed, plainHttp, credentials, dockerConfigPath }),
    ...call,
  });
}
