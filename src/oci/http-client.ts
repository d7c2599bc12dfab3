/**
 * HTTP for registries over the built-in fetch: redirects that never carry credentials to another host, and no
 * wait without an end. It neither retries nor knows what a registry is.
 */

import { errorCode, viewOf } from '../base/index.ts';
import { OciRegistryError, OciTooLargeError, OciUnreachableError, reasonOf } from './errors.ts';

const redirectsMax = 8;
/** Less than this within the stall timeout counts as nothing, so that a trickle cannot hold us for ever. */
const stallBytes = 16 * 1024;

export interface HttpRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Form fields, sent by POST. Without them the request is a GET, or what `method` says. */
  readonly form?: URLSearchParams;
  readonly method?: 'GET' | 'HEAD';
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  /** True if another origin than the one asked has answered. */
  readonly isElsewhere: boolean;
  /** The body, once. Ends the connection when the iteration is left early. */
  chunks(): AsyncGenerator<Uint8Array>;
  /** The whole of a small body. Throws `ERR_OCI_TOO_LARGE`. */
  bytes(what: string, limitBytes: number): Promise<Uint8Array>;
  /** Gives the body up. */
  discard(): void;
}

export interface HttpClientOptions {
  /** The registry, for errors. */
  readonly where: string;
  readonly stallTimeoutMs: number;
  /** Without it nothing is ever sent unencrypted, redirects included. */
  readonly isPlainHttpAllowed: boolean;
  readonly signal: AbortSignal;
}

/** Failures that a second try does not mend: certificates, protocol mix-ups, names that do not exist. */
const permanentCode = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ENOTFOUND|HPE_)/;

/** What OpenSSL says of an answer in plain HTTP. */
const notTlsCode = /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST)$/;

function codesOf(thrown: unknown): string[] {
  const codes: string[] = [];
  for (let at = thrown, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    codes.push(errorCode(at) ?? '');
  }
  return codes;
}

/** Ends one exchange when too little comes for too long; time in which nobody waits does not count. */
class StallGuard {
  readonly #options: HttpClientOptions;
  readonly #abort = new AbortController();
  #waitedMs = 0;
  #freshBytes = 0;
  #hasStalled = false;

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  get signal(): AbortSignal {
    return AbortSignal.any([this.#abort.signal, this.#options.signal]);
  }

  async wait<T>(work: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const leftMs = Math.max(1, this.#options.stallTimeoutMs - this.#waitedMs);
    const timer = setTimeout(() => {
      this.#hasStalled = true;
      this.#abort.abort();
    }, leftMs);
    try {
      return await work();
    } catch (thrown) {
      throw this.#explain(thrown);
    } finally {
      clearTimeout(timer);
      this.#waitedMs += performance.now() - startedMs;
    }
  }

  received(bytes: number): void {
    this.#freshBytes += bytes;
    if (this.#freshBytes < stallBytes) return;
    this.#freshBytes = 0;
    this.#waitedMs = 0;
  }

  end(): void {
    this.#abort.abort();
  }

  #explain(thrown: unknown): unknown {
    const { where, stallTimeoutMs, signal } = this.#options;
    if (signal.aborted) return signal.reason;
    if (this.#hasStalled) {
      const why = `nothing came for ${stallTimeoutMs / 1000} seconds`;
      return new OciUnreachableError(where, why, { retryable: true });
    }
    const codes = codesOf(thrown);
    if (codes.some((code) => notTlsCode.test(code))) {
      return new OciUnreachableError(where, 'it does not speak TLS', { retryable: false });
    }
    const retryable = !codes.some((code) => permanentCode.test(code));
    return new OciUnreachableError(where, reasonOf(thrown), { retryable, cause: thrown });
  }
}

class FetchResponse implements HttpResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly isElsewhere: boolean;
  readonly #response: Response;
  readonly #guard: StallGuard;

  constructor(response: Response, guard: StallGuard, isElsewhere: boolean) {
    this.status = response.status;
    this.headers = response.headers;
    this.isElsewhere = isElsewhere;
    this.#response = response;
    this.#guard = guard;
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    const reader = this.#response.body?.getReader();
    if (reader === undefined) return;
    try {
      for (;;) {
        const { done, value } = await this.#guard.wait(() => reader.read());
        if (done) return;
        const chunk = viewOf(value as Uint8Array);
        this.#guard.received(chunk.byteLength);
        yield chunk;
      }
    } finally {
      this.#guard.end();
    }
  }

  async bytes(what: string, limitBytes: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of this.chunks()) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > limitBytes) throw new OciTooLargeError(what, limitBytes);
      parts.push(chunk);
    }
    return Buffer.concat(parts);
  }

  discard(): void {
    this.#guard.end();
  }
}

export class HttpClient {
  readonly #options: HttpClientOptions;

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  /**
   * Sends a request and follows redirects; resolves with the headers of any final status. Throws
   * `ERR_OCI_REGISTRY_UNREACHABLE`, `ERR_OCI_REGISTRY_FAILED`, or the reason of the aborted signal.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    let url = request.url;
    let mayCarryCredentials = true;
    for (let hops = 0; hops <= redirectsMax; hops += 1) {
      this.#checkScheme(url);
      const guard = new StallGuard(this.#options);
      const response = await this.#fetch(url, request, guard, mayCarryCredentials);
      const location = response.headers.get('location');
      if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
        return new FetchResponse(response, guard, !mayCarryCredentials);
      }
      guard.end();
      if (!URL.canParse(location, url.href)) throw this.#failed('it redirects to no valid address');
      url = new URL(location, url);
      mayCarryCredentials &&= url.origin === request.url.origin;
      if (request.form !== undefined && !mayCarryCredentials) {
        throw this.#failed('its login redirects to another host');
      }
    }
    throw this.#failed('it redirects without an end');
  }

  #checkScheme(url: URL): void {
    if (url.protocol === 'https:') return;
    if (url.protocol === 'http:' && this.#options.isPlainHttpAllowed) return;
    throw this.#failed(`it sends us to "${url.origin}", which is not encrypted`);
  }

  #failed(why: string): OciRegistryError {
    return new OciRegistryError(this.#options.where, why, { retryable: false });
  }

  async #fetch(
    url: URL,
    request: HttpRequest,
    guard: StallGuard,
    mayCarryCredentials: boolean,
  ): Promise<Response> {
    const headers = new Headers({ 'user-agent': 'thaw', ...request.headers });
    headers.set('accept-encoding', 'identity'); // ranges and digests are of the bytes as stored
    if (!mayCarryCredentials) headers.delete('authorization');
    return await guard.wait(() =>
      fetch(url.href, {
        method: request.form === undefined ? (request.method ?? 'GET') : 'POST',
        ...(request.form === undefined ? {} : { body: request.form }),
        headers,
        redirect: 'manual',
        signal: guard.signal,
      }),
    );
  }
}
