/**
 * All that one worker does for its administrator, as one interface of JSON-shaped values, and of streams of them and of
 * bytes: the CLI calls it in its own process when no `thaw serve` runs, and over that server's Unix socket when one
 * does.
 */

import type { ByteString, ProgressReporter } from '../base/index.ts';
import type { CacheStatus, DroppableCache } from '../cache/index.ts';
import type { ImageRecord, TenantRecord } from '../catalog/index.ts';
import type {
  CheckReport,
  ChunkCounts,
  CodecShare,
  ImageDocument,
  ImageFile,
  LayerCounts,
  PrimedCounts,
  PublishResult,
} from '../publish/index.ts';
import type { FunctionCalls } from './function-calls.ts';
import type { NewAccessKey } from './sigv4/access-keys.ts';

/** What a caller hands along with a request that may take long. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly progress?: ProgressReporter;
}

/** What to publish, for whom. */
export interface ConvertRequest {
  /** An image source; paths in it are absolute. */
  readonly source: string;
  readonly tenant: string;
  readonly name?: string;
  /** `os/architecture[/variant]`. Default: the worker's own. */
  readonly platform?: string;
  /** Compresses the chunks that gain by it. Default: none of them; `docs/security.md` says why. */
  readonly compress?: 'zstd';
  /** Writes what is new to the zone as well, at the pace that it bears. Throws `ERR_API_NO_ZONE` without one. */
  readonly prime?: boolean;
  readonly plainHttp?: boolean;
  readonly credentials?: { readonly username: string; readonly password: string };
  /** Of the caller, who may be another user than the worker. */
  readonly dockerConfigPath?: string;
}

/** As `PublishResult`. `uploadedBytes`: ciphertext and manifest new to the store. */
export interface ConvertResult {
  readonly image: ImageRecord;
  readonly chunks: ChunkCounts;
  readonly layers: LayerCounts;
  readonly primed?: PrimedCounts;
  readonly leftOutXattrs: PublishResult['leftOutXattrs'];
  readonly uploadedBytes: number;
  readonly elapsedMs: number;
}

/** An access key without its secret. */
export interface AccessKeyEntry {
  readonly accessKeyId: string;
  readonly createdAtMs: number;
}

/** Names a published image. */
export interface ImageRequest {
  readonly tenant: string;
  /** A manifest id, a unique prefix of one (6 digits or more), or a name. */
  readonly id: string;
}

/** Names a file of a published image, or a directory. */
export interface ImageFileRequest extends ImageRequest {
  /** From the image's root, with or without a leading slash. */
  readonly path: ByteString;
}

/** Where to mount an image, and how. */
export interface MountImageRequest extends ImageRequest {
  /** Absolute; exists. */
  readonly directory: string;
  readonly writable: boolean;
  /** Of a writable mount: how much may be added to it. Default: as the worker is configured. */
  readonly spaceBytes?: number;
}

/** The catalog's record and what the manifest, opened with the tenant's key, says of the image. */
export interface ImageDetails {
  readonly image: ImageRecord;
  readonly document: ImageDocument;
  /** See the publish room's `chunksByCodec`. */
  readonly chunksByCodec: Readonly<Record<string, CodecShare>>;
}

/** Something that zip functions may name as their runtime. */
export interface RuntimeEntry {
  readonly name: string;
  /** The image that they run in; undefined until the first function, or `buildRuntime`, makes it. */
  readonly image?: ImageRecord;
}

/** What of the configuration can be changed while images are open. */
export interface ReloadZoneRequest {
  /** `memcached://HOST:PORT…`, as in the configuration. */
  readonly servers: readonly string[];
  /** Of each server. */
  readonly fillBytesPerSecond: number;
}

/** What came of it. */
export interface ReloadZoneResult {
  /** False if none runs; the next one begins with these servers. */
  readonly isAgentTold: boolean;
}

/**
 * Methods throw what the rooms behind them throw; over the socket the errors keep code, fault and message.
 * `ERR_API_IMAGE_NOT_FOUND` where `ImageRequest.id` names nothing of the tenant.
 */
export interface Worker extends FunctionCalls, AsyncDisposable {
  convertImage(request: ConvertRequest, options?: CallOptions): Promise<ConvertResult>;
  listImages(request: { readonly tenant: string }): Promise<readonly ImageRecord[]>;
  inspectImage(request: ImageRequest): Promise<ImageDetails>;
  checkImage(request: ImageRequest, options?: CallOptions): Promise<CheckReport>;
  /** `path` is absolute and names no file yet. */
  exportImage(
    request: ImageRequest & { readonly path: string },
    options?: CallOptions,
  ): Promise<ImageRecord>;
  /** As the function of this name in the publish room. Leaving the loop ends the work. */
  listImageFiles(request: ImageFileRequest, options?: CallOptions): AsyncIterable<ImageFile>;
  /** As the function of this name in the publish room. Leaving the loop ends the work. */
  readImageFile(request: ImageFileRequest, options?: CallOptions): AsyncIterable<Uint8Array>;
  removeImage(request: ImageRequest): Promise<ImageRecord>;
  /** The mount stays after the call and after the process. */
  mountImage(request: MountImageRequest): Promise<ImageRecord>;
  unmountImage(request: { readonly directory: string }): Promise<void>;

  /** Throws `ERR_API_BAD_NAME`, `ERR_CATALOG_TENANT_EXISTS`. */
  createTenant(request: { readonly name: string }): Promise<TenantRecord>;
  /** In byte order of names. */
  listTenants(): Promise<readonly TenantRecord[]>;
  /** Throws `ERR_CATALOG_NO_SUCH_TENANT`. The secret is shown by this call alone. */
  createAccessKey(request: { readonly tenant: string }): Promise<NewAccessKey>;
  /** Oldest first. */
  listAccessKeys(request: { readonly tenant: string }): Promise<readonly AccessKeyEntry[]>;
  /** Throws `ERR_API_NO_SUCH_KEY`. */
  removeAccessKey(request: {
    readonly tenant: string;
    readonly accessKeyId: string;
  }): Promise<void>;

  /** In byte order of names. */
  listRuntimes(): Promise<readonly RuntimeEntry[]>;
  /**
   * Makes the image from what this machine has now, and publishes it: new instances start from it. Throws
   * `ERR_RUNTIMES_UNKNOWN`.
   */
  buildRuntime(request: { readonly runtime: string }): Promise<ImageRecord>;

  /**
   * Ends idle instances, unmounts what is idle and forgets the chunks in the caches named, by default all that this worker
   * keeps: the next start is cold. What the zone has stays there for the other workers. Resolves with those that there were to
   * drop: the disk may be off.
   */
  dropCaches(request?: {
    readonly caches?: readonly DroppableCache[];
  }): Promise<readonly DroppableCache[]>;
  /** Undefined if no agent runs: then nothing is cached in memory and nobody reads. Starts none. */
  cacheStatus(): Promise<CacheStatus | undefined>;
  /**
   * From now on the zone has these servers, for the agent that runs and for those that this worker starts. Throws
   * `ERR_CLI_USAGE` if the list will not do.
   */
  reloadZone(request: ReloadZoneRequest): Promise<ReloadZoneResult>;
}
