/**
 * What can go wrong with an object store. "Not found" is no error: `undefined` or `false` says it.
 */

import { ThawError, errorCode, errorMessage } from '../base/index.ts';

export class StoreBadNameError extends ThawError {
  constructor(name: string, rule: string) {
    super({
      code: 'ERR_STORE_BAD_NAME',
      fault: 'caller',
      message: `Cannot use the object name ${JSON.stringify(name.slice(0, 200))}: ${rule}`,
    });
  }
}

export class StoreObjectTooLargeError extends ThawError {
  constructor(name: string, sizeBytes: number, maxBytes: number) {
    super({
      code: 'ERR_STORE_OBJECT_TOO_LARGE',
      fault: 'caller',
      message: `Cannot store object "${name}": it is ${sizeBytes} bytes, the store takes at most ${maxBytes}`,
    });
  }
}

export class StoreFullError extends ThawError {
  constructor(what: string, cause: unknown) {
    super({
      code: 'ERR_STORE_FULL',
      fault: 'environment',
      message: `Cannot ${what}: the store is full (${errorMessage(cause)}); free space or enlarge it, then try again`,
      cause,
    });
  }
}

export class StoreUnavailableError extends ThawError {
  constructor(what: string, cause: unknown) {
    super({
      code: 'ERR_STORE_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot ${what}: ${errorMessage(cause)}; check that the store is there and may be read and written`,
      retryable: true,
      cause,
    });
  }
}

/** The server knows us not, or not for this. `what` is worded to follow "Cannot". */
export class StoreRefusedError extends ThawError {
  constructor(what: string, why: string, remedy: string, cause?: unknown) {
    super({
      code: 'ERR_STORE_REFUSED',
      fault: 'environment',
      message: `Cannot ${what}: ${why}; ${remedy}`,
      cause,
    });
  }
}

/** What we were told of the store (bucket, region, address, certificate) is not so. */
export class StoreConfigurationError extends ThawError {
  constructor(what: string, why: string, remedy: string, cause?: unknown) {
    super({
      code: 'ERR_STORE_CONFIGURATION',
      fault: 'caller',
      message: `Cannot ${what}: ${why}; ${remedy}`,
      cause,
    });
  }
}

/** Two publishers could both believe that they stored an object, so such a server is not written to. */
export class StoreOverwritesError extends ThawError {
  constructor(what: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_STORE_OVERWRITES',
      fault: 'environment',
      message: `Cannot ${what}: ${why}; use a server with conditional writes, as AWS S3, Ceph RGW, R2 and MinIO have`,
      cause,
    });
  }
}

/**
 * The store's error for a failed system call of `what`, which is worded to follow "Cannot". Errors
 * that are no system errors, an abort among them, come back as they are.
 */
export function storeError(what: string, thrown: unknown): unknown {
  const code = errorCode(thrown);
  if (code === undefined || thrown instanceof ThawError || !/^E[A-Z0-9]+$/.test(code))
    return thrown;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new StoreFullError(what, thrown);
  return new StoreUnavailableError(what, thrown);
}
