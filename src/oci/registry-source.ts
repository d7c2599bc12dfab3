/**
 * An image in a registry. Source: OCI distribution-spec, spec.md, "Pull". Transfers that break off are resumed
 * where they were; whether the bytes are right is for the reader of the blob to check.
 */

import { ThawError } from '../base/index.ts';
import type { Blob, BlobSource } from './blob-source.ts';
import { checkDocumentSize, withFreshCopies } from './blob-source.ts';
import { digestAlgorithm, digestOf, isDigest } from './digest.ts';
import { documentBytesMax, manifestMediaTypes, type Descriptor } from './documents.ts';
import {
  OciDigestMismatchError,
  OciForbiddenError,
  OciNotFoundError,
  OciRateLimitedError,
  OciRegistryError,
  OciSizeMismatchError,
  OciUnauthorizedError,
} from './errors.ts';
import { HttpClient, type HttpResponse } from './http-client.ts';
import { RegistryAuth } from './registry-auth.ts';
import type { Login } from './registry-credentials.ts';
import type { RegistryReference } from './reference.ts';
import { Retries, withRetries, type RetryContext } from './retry.ts';

/** Docker Hub's name for users is not the address of its API. */
const apiHosts: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' };
/** A first request without credentials, one with a token that may just have expired, one with a fresh one. */
const authRoundsMax = 3;
const errorBodyBytesMax = 64 * 1024;
/** Getting this much further forgives the failures before. */
const progressBytes = 1024 * 1024;

export interface RegistrySourceOptions {
  readonly reference: RegistryReference;
  readonly isPlainHttp: boolean;
  readonly findLogin: () => Promise<Login | undefined>;
  readonly retry: Omit<RetryContext, 'signal'>;
  readonly signal: AbortSignal | undefined;
}

/** Milliseconds; undefined where the header is absent or makes no sense. Source: RFC 9110, section 10.2.3. */
export function parseRetryAfter(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(header)) return Number(header) * 1000;
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** What the registry says in its own words: `CODE: message` of its first error. */
async function registryWords(response: HttpResponse): Promise<string> {
  try {
    const bytes = await response.bytes('an error message', errorBodyBytesMax);
    const document = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      errors?: { code?: string; message?: string }[];
    };
    const { code = '', message = '' } = document.errors?.[0] ?? {};
    const words = `${code}: ${message}`;
    return ` (${words.replaceAll(/[^\u0020-\u007e]+/g, ' ').slice(0, 200)})`;
  } catch {
    return '';
  }
}

export class RegistrySource implements BlobSource {
  readonly isRemote = true;
  readonly #reference: RegistryReference;
  readonly #base: string;
  readonly #http: HttpClient;
  readonly #auth: RegistryAuth;
  readonly #retry: RetryContext;
  readonly #closing = new AbortController();
  /** The manifest that `roots` has fetched. */
  #root: { readonly digest: string; readonly bytes: Uint8Array } | undefined;

  constructor(options: RegistrySourceOptions) {
    const { reference, isPlainHttp, retry } = options;
    const { host, repository } = reference;
    const signals = [
      this.#closing.signal,
      ...(options.signal === undefined ? [] : [options.signal]),
    ];
    const signal = AbortSignal.any(signals);
    this.#reference = reference;
    this.#base = `${isPlainHttp ? 'http' : 'https'}://${apiHosts[host] ?? host}/v2/${repository}`;
    this.#retry = { ...retry, signal };
    const { stallTimeoutMs } = retry.settings;
    this.#http = new HttpClient({
      where: host,
      stallTimeoutMs,
      isPlainHttpAllowed: isPlainHttp,
      signal,
    });
    this.#auth = new RegistryAuth({
      where: host,
      repository,
      http: this.#http,
      clock: retry.timing.clock,
      findLogin: options.findLogin,
    });
  }

  /** By tag the manifest's digest is computed, by digest it is checked. */
  async roots(): Promise<readonly Descriptor[]> {
    const { tag = 'latest', digest } = this.#reference;
    const name = digest ?? tag;
    return await withFreshCopies(this, async () => {
      const { bytes, mediaType, stated } = await this.#fetchManifest(name);
      const expected = digest ?? stated;
      const algorithm = expected === undefined ? 'sha256' : digestAlgorithm(expected);
      const actual = digestOf(bytes, algorithm);
      if (expected !== undefined && actual !== expected) {
        throw new OciDigestMismatchError(`manifest "${name}"`, expected, actual);
      }
      this.#root = { digest: actual, bytes };
      return [{ mediaType, digest: actual, sizeBytes: bytes.byteLength, annotations: {} }];
    });
  }

  async openManifest({ digest, sizeBytes }: Descriptor): Promise<Blob> {
    checkDocumentSize(`manifest ${digest}`, sizeBytes);
    const bytes =
      digest === this.#root?.digest ? this.#root.bytes : (await this.#fetchManifest(digest)).bytes;
    return { kind: 'stream', chunks: once(bytes) };
  }

  async openBlob(descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>): Promise<Blob> {
    return { kind: 'stream', chunks: this.#download(descriptor) };
  }

  /** Any answer but a plain yes is a no: who then opens the blob is told what is wrong. */
  async hasBlob({ digest, sizeBytes }: Pick<Descriptor, 'digest' | 'sizeBytes'>): Promise<boolean> {
    const what = `blob ${digest}`;
    try {
      return await withRetries(this.#retry, async () => {
        const response = await this.#get(`/blobs/${digest}`, {}, what, 'HEAD');
        if (response.status !== 200) throw await this.#failure(response, what);
        response.discard();
        return response.headers.get('content-length') === String(sizeBytes);
      });
    } catch (thrown) {
      this.#retry.signal.throwIfAborted();
      if (thrown instanceof ThawError && thrown.fault !== 'bug') return false;
      throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new DOMException('The image was disposed of', 'AbortError'));
  }

  async #fetchManifest(
    name: string,
  ): Promise<{ bytes: Uint8Array; mediaType: string; stated: string | undefined }> {
    return await withRetries(this.#retry, async () => {
      const what = `manifest "${name}"`;
      const headers = { accept: manifestMediaTypes.join(', ') };
      const response = await this.#get(`/manifests/${name}`, headers, what);
      if (response.status !== 200) throw await this.#failure(response, what);
      const stated = response.headers.get('docker-content-digest') ?? '';
      return {
        bytes: await response.bytes(what, documentBytesMax),
        mediaType: response.headers.get('content-type') ?? '',
        stated: isDigest(stated) ? stated : undefined,
      };
    });
  }

  /** The blob from start to end over as many connections as it takes. */
  async *#download({
    digest,
    sizeBytes,
  }: Pick<Descriptor, 'digest' | 'sizeBytes'>): AsyncGenerator<Uint8Array> {
    const retries = new Retries(this.#retry);
    let doneBytes = 0;
    let forgivenAtBytes = progressBytes;
    while (doneBytes < sizeBytes) {
      try {
        for await (const chunk of this.#downloadFrom(digest, doneBytes, sizeBytes)) {
          doneBytes += chunk.byteLength;
          yield chunk;
        }
        if (doneBytes < sizeBytes) {
          const why = `it ended blob ${digest} after ${doneBytes} of ${sizeBytes} bytes`;
          throw new OciRegistryError(this.#reference.host, why, { retryable: true });
        }
      } catch (thrown) {
        if (doneBytes >= forgivenAtBytes) {
          retries.progressed();
          forgivenAtBytes = doneBytes + progressBytes;
        }
        await retries.pause(thrown);
      }
    }
  }

  /** One connection's part of a blob. A registry that ignores the range is read past what is there already. */
  async *#downloadFrom(
    digest: string,
    offset: number,
    sizeBytes: number,
  ): AsyncGenerator<Uint8Array> {
    const what = `blob ${digest}`;
    const range: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
    const response = await this.#get(`/blobs/${digest}`, range, what);
    if (response.status !== 200 && response.status !== 206) {
      throw await this.#failure(response, what);
    }
    let skipBytes = offset;
    if (response.status === 206) {
      this.#checkRange(response, what, offset);
      skipBytes = 0;
    }
    this.#checkLength(response, what, sizeBytes - offset + skipBytes);
    for await (const chunk of response.chunks()) {
      const skipped = Math.min(skipBytes, chunk.byteLength);
      skipBytes -= skipped;
      if (skipped < chunk.byteLength) yield chunk.subarray(skipped);
    }
  }

  #checkRange(response: HttpResponse, what: string, offset: number): void {
    const range = response.headers.get('content-range') ?? '';
    if (range.startsWith(`bytes ${offset}-`)) return;
    response.discard();
    const why = `it answers a request for ${what} from byte ${offset} with "${range.slice(0, 60)}"`;
    throw new OciRegistryError(this.#reference.host, why, { retryable: false });
  }

  #checkLength(response: HttpResponse, what: string, expectedBytes: number): void {
    const stated = response.headers.get('content-length');
    if (stated === null || Number(stated) === expectedBytes) return;
    response.discard();
    throw new OciSizeMismatchError(what, expectedBytes, stated);
  }

  async #get(
    path: string,
    headers: Readonly<Record<string, string>>,
    what: string,
    method: 'GET' | 'HEAD' = 'GET',
  ): Promise<HttpResponse> {
    const url = new URL(`${this.#base}${path}`);
    for (let round = 1; ; round += 1) {
      const authorization = this.#auth.header();
      const carried = authorization === undefined ? headers : { ...headers, authorization };
      const response = await this.#http.send({ url, headers: carried, method });
      if (response.status !== 401 || response.isElsewhere) return response;
      response.discard();
      if (round === authRoundsMax) {
        const why = `it refuses to give ${what} even with a fresh token`;
        throw new OciUnauthorizedError(this.#reference.host, why);
      }
      await this.#auth.answer(response, authorization);
    }
  }

  async #failure(response: HttpResponse, what: string): Promise<Error> {
    const { host, repository } = this.#reference;
    const { status } = response;
    const nowMs = this.#retry.timing.clock.nowMs();
    const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'), nowMs);
    const words = await registryWords(response);
    if (status === 404) {
      return new OciNotFoundError(what, `${host}/${repository}`, `it is not there${words}`);
    }
    if (status === 401 || status === 403) {
      return new OciForbiddenError(what, `${host}/${repository}`);
    }
    if (status === 429) return new OciRateLimitedError(host, retryAfterMs);
    const retryable = status === 408 || status >= 500;
    const why = `it answers a request for ${what} with status ${status}${words}`;
    return new OciRegistryError(host, why, { retryable, retryAfterMs });
  }
}
