/**
 * AWS Signature Version 4 of S3 requests without query and body, cheap enough for every chunk that is read: one
 * SHA-256 and one HMAC a request, the signing key once a day. Requests that have more go through the SDK.
 *
 * Source: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header".
 */

import { createHmac, hash } from 'node:crypto';

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of credentials that expire. */
  readonly sessionToken?: string;
}

/** A request to be signed. */
export interface UnsignedRequest {
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  /** With the port, unless it is the protocol's own. */
  readonly host: string;
  /** As it is sent: see `encodePath`. */
  readonly path: string;
  /** Milliseconds since 1970, as the server counts them: it takes 15 minutes of difference. */
  readonly nowMs: number;
  readonly credentials: S3Credentials;
}

const algorithm = 'AWS4-HMAC-SHA256';
const payload = 'UNSIGNED-PAYLOAD';

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** `day` is `YYYYMMDD`, UTC. Source: the same, "Calculating a Signature". */
export function signingKey(
  secretAccessKey: string,
  { day, region, service }: { day: string; region: string; service: string },
): Buffer {
  const ofDay = hmac(`AWS4${secretAccessKey}`, day);
  return hmac(hmac(hmac(ofDay, region), service), 'aws4_request');
}

/**
 * Percent-encodes all but `A-Z a-z 0-9 - . _ ~ /` of a path, byte for byte of its UTF-8. Source: the same, "UriEncode".
 */
export function encodePath(path: string): string {
  return encodeURIComponent(path)
    .replaceAll('%2F', '/')
    .replaceAll(/[!'()*]/g, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** `20130524T000000Z` */
function timestamp(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
}

/** Signs for one region. */
export class RequestSigner {
  readonly #region: string;
  #key: { readonly day: string; readonly secret: string; readonly bytes: Buffer } | undefined;

  constructor(region: string) {
    this.#region = region;
  }

  /** The headers to send with the request; `host` is sent by whoever sends it. */
  headers(request: UnsignedRequest): Record<string, string> {
    const { method, host, path, credentials } = request;
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    const time = timestamp(request.nowMs);
    const headers: Record<string, string> = {
      'x-amz-content-sha256': payload,
      'x-amz-date': time,
      ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
    };
    const signed = Object.entries({ host, ...headers }); // in order of names
    const names = signed.map(([name]) => name).join(';');
    const lines = signed.map(([name, value]) => `${name}:${value}\n`).join('');
    const canonical = [method, path, '', lines, names, payload].join('\n');
    const day = time.slice(0, 8);
    const scope = `${day}/${this.#region}/s3/aws4_request`;
    const text = [algorithm, time, scope, hash('sha256', canonical)].join('\n');
    const signature = hmac(this.#keyOf(secretAccessKey, day), text).toString('hex');
    headers['authorization'] =
      `${algorithm} Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    return headers;
  }

  #keyOf(secret: string, day: string): Buffer {
    if (this.#key?.day !== day || this.#key.secret !== secret) {
      const bytes = signingKey(secret, { day, region: this.#region, service: 's3' });
      this.#key = { day, secret, bytes };
    }
    return this.#key.bytes;
  }
}
