/** What the catalog remembers of published images. Bytes are never in it, keys neither. */

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

/** The part of the catalog that is about images and the roots that they are in. */
export interface ImageCatalog {
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
  /** False if there was none. Throws `ERR_CATALOG_IMAGE_IN_USE` while any version of a function uses it. */
  removeImage(tenant: string, manifestId: string): Promise<boolean>;
}
