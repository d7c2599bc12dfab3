/**
 * The origin (L3): immutable objects by name, in a directory or in S3. The only special operation
 * is put-if-absent (paper §3.1): names come from content, so whoever comes second has nothing to
 * do.
 */

export interface ObjectStoreCapabilities {
  /** Of the objects that `put` takes. */
  readonly objectSizeMaxBytes: number;
}

/**
 * `created`: this call stored it. `existed`: an object of that name was there and was left as it
 * is.
 */
export type PutOutcome = 'created' | 'existed';

/** What is known of an object without reading it. */
export interface ObjectInfo {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Of any one request. */
export interface RequestOptions {
  readonly signal?: AbortSignal;
}

/**
 * Names are 1..512 characters of `a-z A-Z 0-9 . _ - /`, without empty, `.` or `..` parts and
 * without parts of more than 255 characters; implementations MUST refuse any other with
 * `ERR_STORE_BAD_NAME`. Failures other than "not found" are `ERR_STORE_UNAVAILABLE` (retryable),
 * `ERR_STORE_FULL`, or what only somebody can mend: `ERR_STORE_REFUSED`, `ERR_STORE_CONFIGURATION`,
 * `ERR_STORE_OVERWRITES`; never swallowed. A call whose `signal` is aborted MUST reject with the signal's
 * reason, before it starts or soon after; an object of an aborted put is there whole or not at all.
 */
export interface ObjectStore {
  readonly capabilities: ObjectStoreCapabilities;
  /** The whole object in a fresh array, which is the caller's; undefined if there is none. */
  get(name: string, options?: RequestOptions): Promise<Uint8Array | undefined>;
  /** Undefined if there is none. */
  head(name: string, options?: RequestOptions): Promise<ObjectInfo | undefined>;
  /**
   * Stores `bytes` under `name` unless an object of that name exists. MUST be atomic: among
   * concurrent writers exactly one gets `created`, and neither a reader nor a crash at any moment
   * ever shows a part of an object. When it resolves, with either outcome, the object MUST survive
   * a power failure. `bytes` stay the caller's and must not change meanwhile. Throws
   * `ERR_STORE_OBJECT_TOO_LARGE` past `capabilities.objectSizeMaxBytes`.
   */
  putIfAbsent(name: string, bytes: Uint8Array, options?: RequestOptions): Promise<PutOutcome>;
  /** True if an object was deleted, false if there was none. */
  delete(name: string, options?: RequestOptions): Promise<boolean>;
  /**
   * All objects whose name starts with `prefix`, which may be empty, in byte order of names.
   * Objects stored or deleted meanwhile may be listed or not; every other is listed once.
   */
  list(prefix: string, options?: RequestOptions): AsyncIterable<ObjectInfo>;
}
