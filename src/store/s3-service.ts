/**
 * What the AWS SDK does for us: where a bucket is, credentials and their renewal, the server's clock, and every
 * request but the reads that somebody waits for. It makes each request once: trying again is `withRetry`'s.
 */

import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';

import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type ListObjectsV2CommandOutput,
} from '@aws-sdk/client-s3';
import { defaultProvider } from '@aws-sdk/credential-provider-node';

import { defined, errorMessage, present, untilAborted } from '../base/index.ts';
import { StoreConfigurationError, StoreUnavailableError } from './errors.ts';
import {
  connectionError,
  credentialsError,
  isClockSkew,
  isExpired,
  refusalError,
  type Place,
  type Refusal,
} from './s3-failures.ts';
import type { S3Credentials } from './s3-signature.ts';

export interface ServiceOptions {
  readonly bucket: string;
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly pathStyle: boolean;
  readonly ca?: string | undefined;
  readonly credentials?: (() => Promise<S3Credentials>) | undefined;
  readonly clockOffsetMs: number;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/**
 * What a put came to. `conflict`: somebody else is writing the object at this moment. `unconditional`: the server knows no
 * conditional puts, and said so.
 */
export type ServicePutOutcome = 'created' | 'existed' | 'conflict' | 'unconditional';

/** One page of a listing. */
export interface Page {
  readonly objects: readonly { readonly key: string; readonly sizeBytes: number }[];
  /** Asks for the next page; undefined on the last. */
  readonly next: string | undefined;
}

/** Where S3 software that is not AWS's says it is. */
const regionElsewhere = 'us-east-1';

/** What decides where the bucket is. */
function placeOptions({ endpoint, pathStyle }: ServiceOptions, region: string | undefined) {
  return { ...defined({ region, endpoint }), forcePathStyle: pathStyle };
}

function createClient(options: ServiceOptions, region: string | undefined): S3Client {
  const { ca, clockOffsetMs, connectTimeoutMs, idleTimeoutMs } = options;
  const client = new S3Client({
    ...placeOptions(options, region),
    // Of its own, so that our endpoint, region and authorities are not taken for those of the token services.
    credentials: options.credentials ?? defaultProvider(),
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED', // each request is signed with the hash of its bytes
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      httpAgent: new HttpAgent({ keepAlive: true }),
      httpsAgent: new HttpsAgent({ keepAlive: true, ...defined({ ca }) }),
      connectionTimeout: connectTimeoutMs,
      socketTimeout: idleTimeoutMs,
    },
  });
  client.config.systemClockOffset = clockOffsetMs;
  return client;
}

/** As the SDK finds it: the option's, the environment's, the profile's; else that of software that has none. */
async function createClientInRegion(
  options: ServiceOptions,
): Promise<{ readonly client: S3Client; readonly region: string }> {
  const client = createClient(options, options.region);
  try {
    return { client, region: await client.config.region() };
  } catch (thrown) {
    client.destroy();
    if (options.endpoint !== undefined) {
      return { client: createClient(options, regionElsewhere), region: regionElsewhere };
    }
    throw new StoreConfigurationError(
      `open the bucket "${options.bucket}"`,
      errorMessage(thrown),
      'set "store.region" or AWS_REGION',
      thrown,
    );
  }
}

interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
}

/** The URL below which the bucket's objects lie, by the SDK's rules: prepares a request and does not make it. */
async function bucketUrl(options: ServiceOptions, region: string): Promise<URL> {
  const credentials = { accessKeyId: 'none', secretAccessKey: 'none' }; // it is not signed either
  const client = new S3Client({ ...placeOptions(options, region), credentials });
  const key = 'x';
  const command = new GetObjectCommand({ Bucket: options.bucket, Key: key });
  let prepared: SdkRequest | undefined;
  command.middlewareStack.add(
    () => async (args) => {
      prepared = args.request as SdkRequest;
      return { response: undefined, output: { $metadata: {} } };
    },
    { step: 'build', priority: 'high' },
  );
  await client.send(command);
  client.destroy();
  const { protocol, hostname, port, path } = present(prepared, 'a prepared request');
  const place = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
  return new URL(place + path.slice(0, -key.length));
}

/** What a failure of the SDK says of the server's answer; undefined if there was none. */
function refusalIn(thrown: unknown): Refusal | undefined {
  if (!(thrown instanceof Error) || !('$metadata' in thrown)) return undefined;
  const { httpStatusCode: status } = thrown.$metadata as { httpStatusCode?: number };
  if (status === undefined) return undefined;
  const code = /^[A-Z][A-Za-z0-9.]+$/.test(thrown.name) ? thrown.name : undefined;
  return { status, code, message: thrown.message };
}

export class S3Service {
  readonly place: Place;
  /** Below which the bucket's objects lie; ends in a slash. */
  readonly url: URL;
  readonly #client: S3Client;

  constructor(client: S3Client, url: URL, place: Place) {
    this.#client = client;
    this.url = url;
    this.place = place;
  }

  /** Milliseconds since 1970 as the server counts them, as far as it has told. */
  nowMs(): number {
    return Date.now() + this.#client.config.systemClockOffset;
  }

  /** Those in force; renewed in time, by the SDK. `what` they are for is worded to follow "Cannot". */
  async credentials(what: string): Promise<S3Credentials> {
    try {
      return await this.#client.config.credentials();
    } catch (thrown) {
      throw credentialsError(what, thrown);
    }
  }

  /**
   * Mends what the server complained about, if that can be done from here: renews credentials, sets our idea of the time.
   * True if it did, so that the same request, signed anew, may succeed. `date`: the answer's.
   */
  async mend(refusal: Refusal, date: unknown): Promise<boolean> {
    if (isExpired(refusal)) {
      try {
        await this.#client.config.credentials({ forceRefresh: true });
        return true;
      } catch {
        return false; // then it stays at what the server said
      }
    }
    if (!isClockSkew(refusal)) return false;
    const serverMs = typeof date === 'string' ? Date.parse(date) : NaN;
    if (!Number.isNaN(serverMs)) this.#client.config.systemClockOffset = serverMs - Date.now();
    return true;
  }

  async putIfAbsent(
    key: string,
    bytes: Uint8Array,
    what: string,
    signal: AbortSignal | undefined,
  ): Promise<ServicePutOutcome> {
    const request = { Bucket: this.place.bucket, Key: key, Body: bytes, IfNoneMatch: '*' };
    return await this.#send(what, signal, async (abortSignal) => {
      try {
        await this.#client.send(new PutObjectCommand(request), { abortSignal });
        return 'created';
      } catch (thrown) {
        const { status, code } = refusalIn(thrown) ?? {};
        if (status === 412) return 'existed';
        if (status === 501) return 'unconditional';
        if (status === 409 && code === 'ConditionalRequestConflict') return 'conflict';
        throw thrown;
      }
    });
  }

  /** Also where there is none: S3 does not tell. */
  async delete(key: string, what: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#send(what, signal, async (abortSignal) => {
      const command = new DeleteObjectCommand({ Bucket: this.place.bucket, Key: key });
      await this.#client.send(command, { abortSignal });
    });
  }

  /** In byte order of keys. `from`: the page before's `next`. */
  async page(
    prefix: string,
    from: string | undefined,
    what: string,
    signal: AbortSignal | undefined,
  ): Promise<Page> {
    const place = { Bucket: this.place.bucket, Prefix: prefix, ContinuationToken: from };
    const answer = await this.#send(
      what,
      signal,
      async (abortSignal): Promise<ListObjectsV2CommandOutput> =>
        await this.#client.send(new ListObjectsV2Command(place), { abortSignal }),
    );
    const { Contents = [], IsTruncated = false, NextContinuationToken: next } = answer;
    if (IsTruncated && next === undefined) {
      throw new StoreUnavailableError(what, new Error('the server did not say how to go on'));
    }
    const objects = Contents.map(({ Key: key = '', Size: sizeBytes = 0 }) => ({ key, sizeBytes }));
    return { objects, next: IsTruncated ? next : undefined };
  }

  /** Makes a request; a second time if what the server complained about could be mended. */
  async #send<T>(
    what: string,
    signal: AbortSignal | undefined,
    request: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    await untilAborted(this.credentials(what), signal); // to tell their failure from the server's
    const abortSignal = signal ?? new AbortController().signal;
    for (let isFirst = true; ; isFirst = false) {
      try {
        signal?.throwIfAborted();
        return await request(abortSignal);
      } catch (thrown) {
        signal?.throwIfAborted();
        const refusal = refusalIn(thrown);
        if (refusal === undefined) throw connectionError(what, this.place, thrown);
        // The SDK has learnt the time from the answer already.
        if (!isFirst || !(await this.mend(refusal, undefined))) {
          throw refusalError(what, this.place, refusal);
        }
      }
    }
  }

  /** Cuts what is under way. */
  close(): void {
    this.#client.destroy();
  }
}

/** Finds out where the bucket is and how it is spoken to; asks nobody but the machine's own configuration. */
export async function openS3Service(options: ServiceOptions): Promise<S3Service> {
  const { client, region } = await createClientInRegion(options);
  const url = await bucketUrl(options, region);
  return new S3Service(client, url, { bucket: options.bucket, endpoint: url.origin, region });
}
