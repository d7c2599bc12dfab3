/**
 * Decides whether a request was signed, as it is, by the holder of a secret, a short time ago, for this service here.
 * The signature is made again with the signer that AWS's own SDK for JavaScript uses, and compared.
 * Source: IAM user guide, "Create a signed AWS API request".
 *
 * Within the window a request may come again, and be served again, as with AWS: two equal requests of one second carry equal
 * signatures, so that a server which refused the second would refuse honest clients.
 */

import { createHash, createHmac, timingSafeEqual, type Hash, type Hmac } from 'node:crypto';

import { SignatureV4 } from '@smithy/signature-v4';

import {
  parseAuthorization,
  type RequestHeaders,
  type SignatureClaim,
} from './authorization-header.ts';
import { IncompleteSignatureError, InvalidSignatureError } from './errors.ts';

/** A request as it came in. */
export interface SignedRequest {
  readonly method: string;
  /** Path and query as on the request line, still encoded. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: RequestHeaders;
  /** SHA-256 of the body in lower-case hexadecimal digits; called once the rest has been found in order. */
  readonly bodyDigestHex: () => Promise<string>;
}

/** What a signature must be for. */
export interface SignatureScope {
  readonly region: string;
  readonly service: string;
}

/** How far the signer's clock may be off, either way. Source: the same guide; five minutes for all services but S3. */
export const clockSkewMaxMs = 5 * 60_000;

const payloadDigestHeader = 'x-amz-content-sha256';
const mismatch =
  'The request signature we calculated does not match the signature you provided. ' +
  'Check your AWS Secret Access Key and signing method. Consult the service documentation for details.';

/**
 * The claim of a request, checked in all but its signature: what it covers, its time and its scope. Throws `ERR_API_UNSIGNED`,
 * `ERR_API_INCOMPLETE_SIGNATURE`, `ERR_API_INVALID_SIGNATURE`.
 */
export function checkedClaim(
  request: Pick<SignedRequest, 'headers'>,
  scope: SignatureScope,
  nowMs: number,
): SignatureClaim {
  const claim = parseAuthorization(request.headers);
  checkCoverage(claim, request.headers);
  if (claim.service !== scope.service) {
    throw new InvalidSignatureError(
      `Credential should be scoped to correct service: '${scope.service}'.`,
    );
  }
  if (claim.region !== scope.region) {
    throw new InvalidSignatureError('Credential should be scoped to a valid region.');
  }
  if (claim.scopeDate !== claim.signedAt.slice(0, 8)) {
    throw new InvalidSignatureError(
      'Date in Credential scope does not match the date of the request.',
    );
  }
  checkTime(claim, nowMs);
  return claim;
}

/** Throws `ERR_API_INVALID_SIGNATURE` unless `secret` made the claim's signature for exactly this request. */
export async function verifySignature(
  claim: SignatureClaim,
  request: SignedRequest,
  secret: string,
): Promise<void> {
  const headers = signedHeadersOf(claim, request.headers);
  const bodyDigestHex = await request.bodyDigestHex();
  const claimedDigest = headers[payloadDigestHeader] ?? bodyDigestHex;
  if (claimedDigest !== bodyDigestHex) throw new InvalidSignatureError(mismatch);
  const { pathname, query } = targetOf(request.url);
  const signer = new SignatureV4({
    credentials: { accessKeyId: claim.accessKeyId, secretAccessKey: secret },
    region: claim.region,
    service: claim.service,
    sha256: NodeSha256,
    applyChecksum: false,
  });
  const again = await signer.sign(
    {
      method: request.method,
      protocol: 'http:',
      hostname: '', // the header says it
      path: pathname,
      query,
      headers: { ...headers, [payloadDigestHeader]: bodyDigestHex }, // the signer takes its word for it
    },
    {
      signingDate: new Date(claim.signedAtMs),
      signableHeaders: new Set(claim.signedHeaders),
      unsignableHeaders: new Set([payloadDigestHeader]), // unless it is signable
    },
  );
  const expected = parseAuthorization(again.headers);
  const isSame =
    sameHeaders(expected.signedHeaders, claim.signedHeaders) &&
    timingSafeEqual(Buffer.from(expected.signature), Buffer.from(claim.signature));
  if (!isSame) throw new InvalidSignatureError(mismatch);
}

/** What AWS demands to be signed: the host, the time, and all other `x-amz-*` headers, of which services act on some. */
function checkCoverage(claim: SignatureClaim, headers: RequestHeaders): void {
  const isSigned = (name: string): boolean => claim.signedHeaders.includes(name);
  const needed = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))];
  const missing = needed.find((name) => name !== 'x-amzn-trace-id' && !isSigned(name));
  if (missing === undefined) return;
  throw new IncompleteSignatureError(
    `'${missing}' must be a 'SignedHeader' in the Authorization header.`,
  );
}

function checkTime({ signedAt, signedAtMs }: SignatureClaim, nowMs: number): void {
  const now = basicTime(nowMs);
  if (nowMs - signedAtMs > clockSkewMaxMs) {
    const earliest = basicTime(nowMs - clockSkewMaxMs);
    throw new InvalidSignatureError(
      `Signature expired: ${signedAt} is now earlier than ${earliest} (${now} - 5 min.)`,
    );
  }
  if (signedAtMs - nowMs > clockSkewMaxMs) {
    const latest = basicTime(nowMs + clockSkewMaxMs);
    throw new InvalidSignatureError(
      `Signature not yet current: ${signedAt} is still later than ${latest} (${now} + 5 min.)`,
    );
  }
}

function basicTime(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[-:]|\.\d+/g, '');
}

/** Only what was signed: the signer would sign whatever else it is given. */
function signedHeadersOf(claim: SignatureClaim, headers: RequestHeaders): Record<string, string> {
  const signed = claim.signedHeaders.map((name): [string, string] => {
    const value = headers[name];
    if (value === undefined) throw new InvalidSignatureError(mismatch);
    return [name, typeof value === 'string' ? value : value.join(',')];
  });
  return Object.fromEntries(signed);
}

/** As whoever serves the request reads it: what is signed for one path or query must not serve another. */
function targetOf(url: string): { pathname: string; query: Record<string, string | string[]> } {
  const [pathname = '/', search = ''] = url.split(/\?(.*)/s, 2);
  // Signers sign what a path leads to; it is served as it is sent.
  if (/\/\.\.?(\/|$)/.test(pathname)) throw new InvalidSignatureError(mismatch);
  const query = Object.create(null) as Record<string, string | string[]>; // any name may come
  for (const pair of search.split('&').filter(Boolean)) {
    const [name = '', value = ''] = pair.split(/=(.*)/s, 2).map(decoded);
    const known = query[name];
    query[name] = known === undefined ? value : [known, value].flat();
  }
  return { pathname, query };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new InvalidSignatureError(mismatch); // no signer writes that
  }
}

function sameHeaders(a: readonly string[], b: readonly string[]): boolean {
  return a.join(';') === b.toSorted().join(';');
}

/** Node's SHA-256, and HMAC where there is a key, in the form that the signer takes. */
class NodeSha256 {
  readonly #secret: Uint8Array | undefined;
  #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#secret = secret === undefined ? undefined : bytesOf(secret);
    this.#hash = this.#begin();
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = this.#begin();
  }

  #begin(): Hash | Hmac {
    return this.#secret === undefined ? createHash('sha256') : createHmac('sha256', this.#secret);
  }
}

function bytesOf(data: string | ArrayBuffer | ArrayBufferView): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data);
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
