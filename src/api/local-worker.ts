/** The `Worker` that does the work itself, in this process. */

import { untilAborted } from '../base/index.ts';
import type { ImageRecord } from '../catalog/index.ts';
import { mountImage, unmountImage, type AgentClient, type RootMounts } from '../device/index.ts';
import type { FunctionService } from '../functions/index.ts';
import { parsePlatform } from '../oci/index.ts';
import {
  checkImage,
  decodeImageDocument,
  exportImage,
  openStoredManifest,
  publishImage,
  type PublishDependencies,
} from '../publish/index.ts';
import { manifestObjectName } from '../store/index.ts';
import { ImageNotFoundError } from './errors.ts';
import type { CallOptions, ConvertRequest, ImageRequest, Worker } from './worker.ts';

/** What needs privileges and is therefore made only when a call needs it. */
export interface WorkerRuntime {
  readonly functions: FunctionService;
  readonly roots: RootMounts;
  readonly agent: AgentClient;
}

/** What a worker is made of. */
export interface LocalWorkerOptions {
  readonly publish: PublishDependencies;
  /** Called once, on first use. Throws what is missing on this machine. */
  readonly runtime: () => Promise<WorkerRuntime>;
  /** Ends everything, the runtime too if it was made. */
  readonly close: () => Promise<void>;
}

/** See `Worker`. Nothing is started before a call needs it. */
export function createLocalWorker(options: LocalWorkerOptions): Worker {
  const { publish, runtime } = options;
  const { catalog, store } = publish;

  const findImage = async ({ tenant, id }: ImageRequest): Promise<ImageRecord> => {
    const image = await catalog.findImage(tenant, id);
    if (image === undefined) throw new ImageNotFoundError(tenant, id);
    return image;
  };
  const storedImage = async (request: ImageRequest) => {
    const image = await findImage(request);
    return { image, manifest: await openStoredManifest(publish, image) };
  };

  return {
    convertImage: async (request, call = {}) =>
      await publishImage(publish, publishRequest(request, call)),
    listImages: async ({ tenant }) => await catalog.listImages(tenant),
    inspectImage: async (request) => {
      const { image, manifest } = await storedImage(request);
      return { image, document: decodeImageDocument(manifest.imageDocument) };
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
    removeImage: async (request) => {
      const image = await findImage(request);
      await catalog.removeImage(image.tenant, image.manifestId);
      await store.delete(manifestObjectName(image.rootId, image.manifestId));
      return image;
    },
    mountImage: async (request) => {
      const image = await findImage(request);
      const { agent } = await runtime();
      await mountImage(agent, image, request.directory, { writable: request.writable });
      return image;
    },
    unmountImage: async ({ directory }) => {
      const { agent } = await runtime();
      await unmountImage(agent, directory);
    },

    createFunction: async ({ image: id, ...request }) => {
      const { manifestId } = await findImage({ tenant: request.tenant, id });
      const { functions } = await runtime();
      return await functions.create({ ...request, manifestId });
    },
    listFunctions: async ({ tenant }) => await catalog.listFunctions(tenant),
    removeFunction: async ({ tenant, name }) => {
      const { functions } = await runtime();
      await functions.remove(tenant, name);
    },
    invokeFunction: async ({ tenant, name, payload }, { signal } = {}) => {
      const { functions } = await runtime();
      const invoking = functions.invoke({ tenant, name, payload: Buffer.from(payload) });
      const result = await untilAborted(invoking, signal); // as in Lambda, the function runs on
      return { ...result, payload: Buffer.from(result.payload).toString('utf8') };
    },
    functionLogs: async ({ tenant, name, maxBytes }) => {
      const { functions } = await runtime();
      return Buffer.from(await functions.logs(tenant, name, maxBytes)).toString('utf8');
    },
    dropCaches: async () => {
      const { functions, roots } = await runtime();
      await functions.endIdle();
      await roots.dropCaches();
    },
    [Symbol.asyncDispose]: async () => await options.close(),
  };
}

function publishRequest(request: ConvertRequest, call: CallOptions) {
  const { source, tenant, name, platform } = request;
  return {
    source,
    tenant,
    ...(name === undefined ? {} : { name }),
    registry: {
      ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
      ...(request.plainHttp === undefined ? {} : { plainHttp: request.plainHttp }),
      ...(request.credentials === undefined ? {} : { credentials: request.credentials }),
      ...(request.dockerConfigPath === undefined
        ? {}
        : { dockerConfigPath: request.dockerConfigPath }),
    },
    ...call,
  };
}
