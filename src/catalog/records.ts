/**
 * What the catalog remembers: tenants, images, functions and roots. Bytes are never in it, keys
 * neither.
 */

export interface ImageRecord {
  readonly manifestId: string;
  readonly tenant: string;
  readonly rootId: string;
  /** The given name, or the reference that it was published from. Not unique. */
  readonly name: string;
  readonly reference: string;
  readonly imageDigest: string;
  readonly platform: string;
  readonly diskFormatVersion: number;
  /** How its chunks are coded where that pays: `none`, or a codec of the manifest format. */
  readonly codec: string;
  readonly diskSizeBytes: number;
  readonly contentBytes: number;
  readonly fileCount: number;
  readonly chunkCount: number;
  readonly storedBytes: number;
  readonly createdAtMs: number;
}

export interface FunctionRecord {
  /** 1..64 characters of `a-z A-Z 0-9 - _`; unique in its tenant. */
  readonly name: string;
  readonly tenant: string;
  readonly manifestId: string;
  /** 128..10,240. */
  readonly memoryMb: number;
  /** 1..900. */
  readonly timeoutSeconds: number;
  readonly environment: Readonly<Record<string, string>>;
  /** Replace what the image's configuration says, where present. */
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly workingDir?: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/**
 * Every call is one transaction: all of it happens or nothing, and a change that has resolved
 * survives a kill and a power failure. Tenants are made on first use. Only images and functions of
 * the given tenant are seen, where one is given.
 *
 * Any call throws `ERR_CATALOG_BUSY` (retryable) when other processes keep the database locked for
 * seconds, `ERR_CATALOG_CORRUPT` and `ERR_CATALOG_UNAVAILABLE` (no space, no permission, a failing
 * disk).
 */
export interface Catalog extends AsyncDisposable {
  /**
   * The root that new images go into: the newest active one. Throws `ERR_CATALOG_NO_SUCH_ROOT` if
   * there is none.
   */
  activeRoot(): Promise<string>;

  /**
   * The record now in the catalog: `image`, or the older record where this manifest was published
   * before.
   * Throws `ERR_CATALOG_NO_SUCH_ROOT` unless its root is active or retired: what is in an older
   * root may be deleted.
   */
  addImage(image: ImageRecord): Promise<ImageRecord>;
  /**
   * `id` is, in this order: a manifest id; a name, of which the newest counts; a unique prefix of a
   * manifest id (>= 6 digits). Throws `ERR_CATALOG_AMBIGUOUS` where several start with it.
   */
  findImage(tenant: string, id: string): Promise<ImageRecord | undefined>;
  /** The newest of the tenant's images that these identify, for publishing the same image again. */
  findPublished(
    tenant: string,
    of: Pick<ImageRecord, 'rootId' | 'imageDigest' | 'platform' | 'diskFormatVersion' | 'codec'>,
  ): Promise<ImageRecord | undefined>;
  /** Newest first. */
  listImages(tenant: string): Promise<readonly ImageRecord[]>;
  /** Whether there is any image of that tenant, or in that root. */
  hasImages(of: Pick<ImageRecord, 'tenant'> | Pick<ImageRecord, 'rootId'>): Promise<boolean>;
  /** False if there was none. Throws `ERR_CATALOG_IMAGE_IN_USE` while a function uses it. */
  removeImage(tenant: string, manifestId: string): Promise<boolean>;

  /** Throws `ERR_CATALOG_FUNCTION_EXISTS`, `ERR_CATALOG_NO_SUCH_IMAGE`. */
  addFunction(record: FunctionRecord): Promise<void>;
  findFunction(tenant: string, name: string): Promise<FunctionRecord | undefined>;
  /** In byte order of names. */
  listFunctions(tenant: string): Promise<readonly FunctionRecord[]>;
  removeFunction(tenant: string, name: string): Promise<boolean>;
}
