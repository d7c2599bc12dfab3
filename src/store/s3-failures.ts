/**
 * What a server's refusal or a lost connection means for us: whether it may pass by itself, and otherwise who has to
 * change what. Never says a secret: of the server's answer only its code and its own sentence are repeated.
 *
 * Source: Amazon S3 API Reference, "Error Responses".
 */

import { ThawError, errorCode, errorMessage } from '../base/index.ts';
import {
  StoreConfigurationError,
  StoreFullError,
  StoreRefusedError,
  StoreUnavailableError,
} from './errors.ts';

/** An answer that is no success, however it was asked for. */
export interface Refusal {
  readonly status: number;
  /** S3's, e.g. `NoSuchBucket`; undefined where the answer has no body. */
  readonly code: string | undefined;
  /** The server's own sentence; may be empty. */
  readonly message: string;
}

/** Which bucket of whom, as messages name it. */
export interface Place {
  readonly bucket: string;
  readonly endpoint: string;
  readonly region: string;
}

const messageLengthMax = 300;

const badCredentials = new Set([
  'InvalidAccessKeyId',
  'InvalidSecurity',
  'InvalidToken',
  'SignatureDoesNotMatch',
  'AuthorizationHeaderMalformed',
]);
const expiredCredentials = new Set(['ExpiredToken', 'TokenRefreshRequired', 'RequestExpired']);
const wrongClock = new Set(['RequestTimeTooSkewed']);
const full = new Set(['QuotaExceeded', 'XMinioStorageFull']);
const wrongRegion = new Set([
  'AuthorizationHeaderMalformed', // as AWS says it; it names the region
  'IllegalLocationConstraintException',
  'PermanentRedirect',
  'TemporaryRedirect',
]);
/** Damaged or overtaken on the way, or too much for the server just now, whatever the status. */
const passing = new Set([
  'BadDigest',
  'ConditionalRequestConflict',
  'InternalError',
  'OperationAborted',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'XAmzContentSHA256Mismatch',
]);
const badCertificate =
  /^(CERT_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER|VERIFY)|ERR_TLS_CERT_ALTNAME)/;

/** The code and the sentence of an error's XML. */
export function refusalOf(status: number, body: Uint8Array): Refusal {
  const xml = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const code = /<Code>([A-Za-z0-9.]+)<\/Code>/.exec(xml)?.[1];
  const message = /<Message>([^<]*)<\/Message>/.exec(xml)?.[1] ?? '';
  return { status, code, message };
}

/** True where another try with fresh credentials may succeed. */
export function isExpired({ code }: Refusal): boolean {
  return code !== undefined && expiredCredentials.has(code);
}

export function isClockSkew({ code }: Refusal): boolean {
  return code !== undefined && wrongClock.has(code);
}

function describe({ status, code, message }: Refusal): string {
  const said = code === undefined ? `status ${status}` : `${code}, status ${status}`;
  const sentence = message.replaceAll(/\s+/g, ' ').trim().slice(0, messageLengthMax);
  return `the server answered ${said}${sentence === '' ? '' : ` (${sentence})`}`;
}

function forbidden(what: string, { bucket }: Place, refusal: Refusal): ThawError {
  const { code = '' } = refusal;
  const why = describe(refusal);
  if (expiredCredentials.has(code)) {
    return new StoreRefusedError(what, why, 'renew the credentials, e.g. by "aws sso login"');
  }
  if (wrongClock.has(code)) {
    return new StoreRefusedError(what, why, "set this machine's clock");
  }
  if (badCredentials.has(code)) {
    return new StoreRefusedError(what, why, 'check the access key, its secret and "store.region"');
  }
  const actions = 's3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket';
  return new StoreRefusedError(what, why, `allow these credentials ${actions} on "${bucket}"`);
}

/** The error for an answer that is no success. `what` is worded to follow "Cannot". */
export function refusalError(what: string, place: Place, refusal: Refusal): ThawError {
  const { status, code = '' } = refusal;
  const why = describe(refusal);
  if (full.has(code) || status === 507) return new StoreFullError(what, new Error(why));
  if (status >= 500 || status === 429 || passing.has(code)) {
    return new StoreUnavailableError(what, new Error(why));
  }
  if (code === 'NoSuchBucket') {
    const remedy = `make the bucket "${place.bucket}" at ${place.endpoint}, or correct "store.url"`;
    return new StoreConfigurationError(what, why, remedy);
  }
  if ((status >= 300 && status < 400) || (status === 400 && wrongRegion.has(code))) {
    const remedy = `set "store.region" to the region of "${place.bucket}": it is "${place.region}" now`;
    return new StoreConfigurationError(what, why, remedy);
  }
  if (status === 401 || status === 403 || badCredentials.has(code) || expiredCredentials.has(code))
    return forbidden(what, place, refusal);
  const remedy = `check that ${place.endpoint} is an S3 server with the bucket "${place.bucket}"`;
  return new StoreConfigurationError(what, why, remedy);
}

/** The error where there are no credentials to make a request with. */
export function credentialsError(what: string, thrown: unknown): ThawError {
  const why = `no credentials: ${errorMessage(thrown)}`;
  // Whoever gives them out may be out of reach just now; only this error says that nobody does.
  if (!(thrown instanceof Error) || thrown.name !== 'CredentialsProviderError') {
    return new StoreUnavailableError(what, new Error(why, { cause: thrown }));
  }
  const remedy = 'set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role';
  return new StoreRefusedError(what, why, remedy, thrown);
}

/** The error for a request that got no answer. */
export function connectionError(what: string, place: Place, thrown: unknown): unknown {
  if (thrown instanceof ThawError) return thrown;
  const code = errorCode(thrown) ?? '';
  const why = `no answer from ${place.endpoint}: ${errorMessage(thrown)}`;
  if (badCertificate.test(code)) {
    const remedy =
      'set "store.ca_file" to the certificate of the authority that it has its own from';
    return new StoreConfigurationError(what, why, remedy, thrown);
  }
  if (!(thrown instanceof Error) || thrown instanceof TypeError) return thrown; // a bug shows itself
  return new StoreUnavailableError(what, new Error(why, { cause: thrown }));
}
