/** Every failure that the oci room raises deliberately. Messages never hold credentials or tokens. */

import { ThawError, errorCode, errorMessage } from '../base/index.ts';

const transports =
  'use oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] ' +
  'or docker://HOST/NAME[:TAG|@DIGEST]';

export class OciReferenceError extends ThawError {
  constructor(shown: string, why: string) {
    super({
      code: 'ERR_OCI_BAD_REFERENCE',
      fault: 'caller',
      message: `Cannot parse the image reference "${shown}": ${why}; ${transports}`,
    });
  }
}

export class OciPlatformError extends ThawError {
  constructor(text: string) {
    super({
      code: 'ERR_OCI_BAD_PLATFORM',
      fault: 'caller',
      message: `Cannot parse the platform "${text}": write os/architecture[/variant], e.g. linux/arm64/v8`,
    });
  }
}

/** The image exists, but not for the platform that was asked for. */
export class OciPlatformMissingError extends ThawError {
  readonly available: readonly string[];

  constructor(reference: string, wanted: string, available: readonly string[]) {
    const choice =
      available.length === 0
        ? 'it names no platform at all'
        : `available: ${available.join(', ')}; choose one with --platform`;
    super({
      code: 'ERR_OCI_PLATFORM_MISSING',
      fault: 'caller',
      message: `Image "${reference}" is not made for ${wanted}: ${choice}`,
    });
    this.available = available;
  }
}

/** The place exists, but the image, tag, blob or member asked for is not in it. */
export class OciNotFoundError extends ThawError {
  constructor(what: string, where: string, advice: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_NOT_FOUND',
      fault: 'caller',
      message: `Cannot find ${what} in "${where}": ${advice}`,
      cause,
    });
  }
}

/** Several images answer to one reference. */
export class OciAmbiguousReferenceError extends ThawError {
  constructor(reference: string, names: readonly string[]) {
    super({
      code: 'ERR_OCI_AMBIGUOUS_REFERENCE',
      fault: 'caller',
      message: `"${reference}" holds several images: append one of the tags ${names.map((name) => `":${name}"`).join(', ')}`,
    });
  }
}

/** A directory or archive that is not what the reference says it is. */
export class OciLayoutError extends ThawError {
  constructor(path: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_BAD_LAYOUT',
      fault: 'data',
      message: `Cannot read an image from "${path}": ${why}`,
      cause,
    });
  }
}

/** An index, manifest or configuration that is not what its specification says. */
export class OciDocumentError extends ThawError {
  constructor(what: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_BAD_DOCUMENT',
      fault: 'data',
      message: `Cannot use ${what}: ${why}; build or push the image again`,
      cause,
    });
  }
}

export class OciMediaTypeError extends ThawError {
  constructor(what: string, mediaType: string, advice: string) {
    super({
      code: 'ERR_OCI_UNSUPPORTED_MEDIA_TYPE',
      fault: 'data',
      message: `Cannot use ${what}: its media type is "${mediaType}"; ${advice}`,
    });
  }
}

export class OciForeignLayerError extends ThawError {
  constructor(digest: string, mediaType: string) {
    super({
      code: 'ERR_OCI_FOREIGN_LAYER',
      fault: 'data',
      message:
        `Cannot use layer ${digest}: it may not be distributed with the image ("${mediaType}"); ` +
        'rebuild the image on a base whose layers are all ordinary',
    });
  }
}

export class OciDigestMismatchError extends ThawError {
  constructor(what: string, expected: string, actual: string) {
    super({
      code: 'ERR_OCI_DIGEST_MISMATCH',
      fault: 'data',
      message: `Cannot use ${what}: its contents hash to ${actual}, expected ${expected}; the copy is corrupt`,
    });
  }
}

export class OciSizeMismatchError extends ThawError {
  constructor(what: string, expectedBytes: number, actual: string) {
    super({
      code: 'ERR_OCI_SIZE_MISMATCH',
      fault: 'data',
      message: `Cannot use ${what}: it has ${actual} bytes, expected ${expectedBytes}; the copy is damaged`,
    });
  }
}

export class OciDiffIdMismatchError extends ThawError {
  constructor(what: string, expected: string, actual: string) {
    super({
      code: 'ERR_OCI_DIFF_ID_MISMATCH',
      fault: 'data',
      message:
        `Cannot use ${what}: uncompressed it hashes to ${actual}, but the image's configuration ` +
        `says ${expected}; build or push the image again`,
    });
  }
}

/** The blob is the one that the manifest names, and yet its compression cannot be read. */
export class OciCorruptLayerError extends ThawError {
  constructor(what: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_CORRUPT_LAYER',
      fault: 'data',
      message: `Cannot decompress ${what}: ${why}; build or push the image again`,
      cause,
    });
  }
}

export class OciTooLargeError extends ThawError {
  constructor(what: string, limitBytes: number) {
    super({
      code: 'ERR_OCI_TOO_LARGE',
      fault: 'data',
      message: `Cannot use ${what}: it is larger than the limit of ${limitBytes} bytes`,
    });
  }
}

export class OciWorkDirError extends ThawError {
  constructor(workDir: string, cause: unknown) {
    const isFull = ['ENOSPC', 'EDQUOT'].includes(errorCode(cause) ?? '');
    super({
      code: isFull ? 'ERR_OCI_WORK_DIR_FULL' : 'ERR_OCI_WORK_DIR',
      fault: 'environment',
      message: `Cannot keep a layer's temporary file in "${workDir}": ${errorMessage(cause)}; free space there or choose another directory`,
      cause,
    });
  }
}

export class OciUnauthorizedError extends ThawError {
  constructor(where: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_UNAUTHORIZED',
      fault: 'caller',
      message: `Cannot log in to "${where}": ${why}`,
      cause,
    });
  }
}

export class OciForbiddenError extends ThawError {
  constructor(what: string, where: string) {
    super({
      code: 'ERR_OCI_FORBIDDEN',
      fault: 'caller',
      message: `Cannot read ${what} from "${where}": access is denied; use credentials that may pull it`,
    });
  }
}

export class OciRateLimitedError extends ThawError {
  /** What the registry asked to wait; undefined where it did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(where: string, retryAfterMs: number | undefined) {
    const when =
      retryAfterMs === undefined ? 'later' : `in ${Math.ceil(retryAfterMs / 1000)} seconds`;
    super({
      code: 'ERR_OCI_RATE_LIMITED',
      fault: 'environment',
      message: `Registry "${where}" refuses more requests for now: try again ${when}, or log in`,
      retryable: true,
    });
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer, or one that broke off or stopped coming, more often than the retry settings allow. */
export class OciUnreachableError extends ThawError {
  constructor(where: string, why: string, options: { retryable: boolean; cause?: unknown }) {
    super({
      code: 'ERR_OCI_REGISTRY_UNREACHABLE',
      fault: 'environment',
      message: `Cannot reach registry "${where}": ${why}; check the name, the network and whether it needs --plain-http`,
      ...options,
    });
  }
}

/** The registry answers, but not as the distribution specification says, or only with its own errors. */
export class OciRegistryError extends ThawError {
  readonly retryAfterMs: number | undefined;

  constructor(
    where: string,
    why: string,
    options: { retryable: boolean; retryAfterMs?: number | undefined; cause?: unknown },
  ) {
    super({
      code: 'ERR_OCI_REGISTRY_FAILED',
      fault: 'environment',
      message: `Registry "${where}" failed: ${why}`,
      retryable: options.retryable,
      cause: options.cause,
    });
    this.retryAfterMs = options.retryAfterMs;
  }
}

export class OciCredentialsError extends ThawError {
  constructor(source: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_OCI_BAD_CREDENTIALS',
      fault: 'caller',
      message: `Cannot read registry credentials from "${source}": ${why}`,
      cause,
    });
  }
}

/** What a failure of zlib, a socket or the file system says, with the reasons beneath it. */
export function reasonOf(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  const inner = cause === undefined ? '' : ` (${errorMessage(cause)})`;
  return `${errorMessage(thrown)}${inner}`;
}
