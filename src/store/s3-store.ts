/**
 * Objects in a bucket of S3, or of a server that speaks its language: object `root/chunks/abcd…` has the key
 * `PREFIX/root/chunks/abcd…`. Put-if-absent is S3's conditional write, `If-None-Match: *`; a server that takes the header
 * and overwrites all the same is found out before the first put: a second put of the key `PREFIX/@put-if-absent`, which
 * is no object's name, must fail.
 *
 * Reads are signed here and made over connections of our own, as a worker makes thousands of them while somebody
 * waits; the rest is the SDK's. S3 acknowledges a put when it is durable, and lists and reads what was put at once
 * (Amazon S3 User Guide, "Amazon S3 data consistency model").
 */

import { compareStrings, defined, untilAborted } from '../base/index.ts';
import {
  StoreConfigurationError,
  StoreObjectTooLargeError,
  StoreOverwritesError,
  StoreUnavailableError,
} from './errors.ts';
import { checkObjectName, checkObjectPrefix, isObjectName } from './object-names.ts';
import type {
  ObjectInfo,
  ObjectStore,
  ObjectStoreCapabilities,
  PutOutcome,
  RequestOptions,
} from './object-store.ts';
import { connectionError, refusalError, refusalOf } from './s3-failures.ts';
import type { Answer, ObjectReader } from './s3-reader.ts';
import type { S3Service } from './s3-service.ts';
import { encodePath, RequestSigner, type S3Credentials } from './s3-signature.ts';

export interface S3StoreOptions {
  readonly bucket: string;
  /** Before the names of all objects, with a slash between. Default: none. See `parseS3Url`. */
  readonly prefix?: string;
  /** `http[s]://HOST[:PORT][/PATH]` of a server that is not AWS. */
  readonly endpoint?: string;
  /** Default: the SDK's (AWS_REGION, the profile), and `us-east-1` with an endpoint. */
  readonly region?: string;
  /** The bucket in the path instead of the host's name. Default: true with an endpoint. */
  readonly pathStyle?: boolean;
  /** Authorities, PEM, that the server's certificate must come from, in place of the system's. */
  readonly ca?: string;
  /** Asked for each time those it gave expire. Default: the SDK's chain: environment, profile, SSO, container, machine. */
  readonly credentials?: () => Promise<S3Credentials & { readonly expiration?: Date }>;
  /** Of reads under way at once; further ones wait. Default 64. */
  readonly connectionsMax?: number;
  /** Of the objects that it takes, held in memory whole. Default 1 GiB; S3 takes 5 GiB at a time. */
  readonly objectSizeMaxBytes?: number;
  /** Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** How long the server may be silent while we wait. Default 10,000. */
  readonly idleTimeoutMs?: number;
  /** How far the server's clock is ahead of ours, if that is known; it is learnt from its answers. Default 0. */
  readonly clockOffsetMs?: number;
}

/** An origin in S3. Its idle connections keep no process alive; disposing of it cuts all of them. */
export interface S3Store extends ObjectStore, AsyncDisposable {
  /** Throws as any request would if the bucket cannot be reached and listed. */
  checkReads(): Promise<void>;
  /** Throws as a put would, and stores nothing but the object that tells whether the server overwrites. */
  checkWrites(): Promise<void>;
}

const probeName = '@put-if-absent';
const probeBytes = Buffer.from('Thaw puts this twice to see that the second put fails.\n');

class BucketStore implements S3Store {
  readonly capabilities: ObjectStoreCapabilities;
  readonly #service: S3Service;
  readonly #reader: ObjectReader;
  readonly #signer: RequestSigner;
  /** Of keys; empty or with a slash at its end. */
  readonly #prefix: string;
  #probing: Promise<void> | undefined;

  constructor(
    service: S3Service,
    reader: ObjectReader,
    options: { readonly prefix: string; readonly objectSizeMaxBytes: number },
  ) {
    const { prefix, objectSizeMaxBytes } = options;
    this.capabilities = { objectSizeMaxBytes };
    this.#service = service;
    this.#reader = reader;
    this.#signer = new RequestSigner(service.place.region);
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
  }

  async get(name: string, { signal }: RequestOptions = {}): Promise<Uint8Array | undefined> {
    checkObjectName(name);
    const answer = await this.#read(name, {}, signal);
    return answer?.body;
  }

  /**
   * By reading one byte: to a HEAD S3 answers without a body, so that a bucket that is gone would look like an
   * object that is not there.
   */
  async head(name: string, { signal }: RequestOptions = {}): Promise<ObjectInfo | undefined> {
    checkObjectName(name);
    const answer = await this.#read(name, { range: 'bytes=0-0' }, signal);
    if (answer === undefined) return undefined;
    if (answer.status === 416) return { name, sizeBytes: 0 }; // it has no first byte
    const size = /^bytes 0-0\/(\d+)$/.exec(String(answer.headers['content-range']))?.[1];
    return { name, sizeBytes: size === undefined ? answer.body.byteLength : Number(size) };
  }

  async putIfAbsent(
    name: string,
    bytes: Uint8Array,
    { signal }: RequestOptions = {},
  ): Promise<PutOutcome> {
    checkObjectName(name);
    const { objectSizeMaxBytes } = this.capabilities;
    if (bytes.byteLength > objectSizeMaxBytes) {
      throw new StoreObjectTooLargeError(name, bytes.byteLength, objectSizeMaxBytes);
    }
    signal?.throwIfAborted();
    await untilAborted(this.#probe(), signal);
    const what = `store object "${name}"`;
    const outcome = await this.#service.putIfAbsent(this.#key(name), bytes, what, signal);
    if (outcome === 'unconditional') throw this.#overwrites(what);
    if (outcome !== 'conflict') return outcome;
    if ((await this.head(name, defined({ signal }))) !== undefined) return 'existed';
    throw new StoreUnavailableError(what, new Error('somebody else is storing it'));
  }

  async delete(name: string, options: RequestOptions = {}): Promise<boolean> {
    const found = await this.head(name, options);
    if (found === undefined) return false;
    await this.#service.delete(this.#key(name), `delete object "${name}"`, options.signal);
    return true;
  }

  async *list(prefix: string, { signal }: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    checkObjectPrefix(prefix);
    const what = `list objects "${prefix}"`;
    let last: string | undefined;
    let next: string | undefined;
    do {
      const page = await this.#service.page(this.#key(prefix), next, what, signal);
      for (const { key, sizeBytes } of page.objects) {
        const name = key.slice(this.#prefix.length);
        if (!isObjectName(name)) continue; // somebody else's, or our probe
        signal?.throwIfAborted();
        if (last !== undefined && compareStrings(name, last) <= 0) throw this.#disorder(what);
        last = name;
        yield { name, sizeBytes };
      }
      next = page.next;
    } while (next !== undefined);
  }

  async checkReads(): Promise<void> {
    await this.#service.page(this.#prefix, undefined, 'read the store', undefined);
  }

  async checkWrites(): Promise<void> {
    await this.#probe();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#service.close();
    await this.#reader.close();
  }

  #key(name: string): string {
    return this.#prefix + name;
  }

  /** A success or, of a range that the object has not, 416; undefined if there is no such object. */
  async #read(
    name: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<Answer | undefined> {
    const what = `read object "${name}"`;
    for (let isFirst = true; ; isFirst = false) {
      const answer = await this.#ask(what, this.#key(name), headers, signal);
      const { status } = answer;
      if (status === 200 || status === 206 || status === 416) return answer;
      const refusal = refusalOf(status, answer.body);
      if (refusal.code === 'NoSuchKey') return undefined;
      const canMend = isFirst && (await this.#service.mend(refusal, answer.headers['date']));
      if (!canMend) throw refusalError(what, this.#service.place, refusal);
    }
  }

  async #ask(
    what: string,
    key: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    signal?.throwIfAborted();
    const { url, place } = this.#service;
    const path = url.pathname + encodePath(key);
    const credentials = await untilAborted(this.#service.credentials(what), signal);
    try {
      const nowMs = this.#service.nowMs();
      const request = { method: 'GET', host: url.host, path, nowMs, credentials } as const;
      const signed = { ...headers, ...this.#signer.headers(request) };
      return await this.#reader.get({ path, headers: signed, signal });
    } catch (thrown) {
      signal?.throwIfAborted();
      throw connectionError(what, place, thrown);
    }
  }

  /** Once a store, unless it fails. It is everybody's, so nobody's signal ends it. */
  #probe(): Promise<void> {
    this.#probing ??= this.#probeNow().catch((thrown: unknown) => {
      this.#probing = undefined;
      throw thrown;
    });
    return this.#probing;
  }

  async #probeNow(): Promise<void> {
    const what = 'write to the store';
    const key = this.#key(probeName);
    const put = async () => await this.#service.putIfAbsent(key, probeBytes, what, undefined);
    const first = await put();
    const second = first === 'created' ? await put() : first;
    if (second === 'created' || second === 'unconditional') throw this.#overwrites(what);
  }

  #overwrites(what: string): StoreOverwritesError {
    const why = `${this.#service.place.endpoint} does not heed "If-None-Match: *"`;
    return new StoreOverwritesError(what, why);
  }

  #disorder(what: string): StoreConfigurationError {
    const why = `${this.#service.place.endpoint} does not list objects in byte order of their names`;
    return new StoreConfigurationError(what, why, 'use a server that does, as S3 promises it');
  }
}

function checkEndpoint({ endpoint }: S3StoreOptions): void {
  if (endpoint === undefined) return;
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const isPlain = url !== undefined && url.username + url.password + url.search + url.hash === '';
  if (isPlain && /^https?:$/.test(url.protocol)) return;
  throw new StoreConfigurationError(
    'use the endpoint of the store',
    'it is no plain URL of a server',
    'set "store.endpoint" to http[s]://HOST[:PORT]',
  );
}

/**
 * Opens the store in a bucket that exists. Any number of processes may use one at a time, on any number of machines.
 * Asks the server nothing yet. Failures that only somebody can mend are `ERR_STORE_REFUSED` (credentials, rights),
 * `ERR_STORE_CONFIGURATION` (bucket, region, endpoint, certificate), here or at a request, and at a put
 * `ERR_STORE_OVERWRITES` if the server has no conditional writes. Wrap it in `withRetry` and `withLimit`.
 */
export async function openS3Store(options: S3StoreOptions): Promise<S3Store> {
  checkEndpoint(options);
  // Loaded only by those who have a store in S3: it takes longer than all else at a start.
  const { openS3Service } = await import('./s3-service.ts');
  const { ObjectReader } = await import('./s3-reader.ts');
  const { connectTimeoutMs = 5000, idleTimeoutMs = 10_000 } = options;
  const { prefix = '', objectSizeMaxBytes = 2 ** 30 } = options;
  const { bucket, endpoint, region, credentials, ca } = options;
  const service = await openS3Service({
    bucket,
    endpoint,
    region,
    credentials,
    ca,
    pathStyle: options.pathStyle ?? endpoint !== undefined,
    clockOffsetMs: options.clockOffsetMs ?? 0,
    connectTimeoutMs,
    idleTimeoutMs,
  });
  const reader = new ObjectReader({
    origin: service.url.origin,
    ca,
    connectionsMax: options.connectionsMax ?? 64,
    connectTimeoutMs,
    idleTimeoutMs,
    bodyMaxBytes: objectSizeMaxBytes,
  });
  return new BucketStore(service, reader, { prefix, objectSizeMaxBytes });
}
