/** How archives of code fail, and what Lambda's API calls that. */

import { ThawError, errorMessage } from '../base/index.ts';

const invalidParameter = { httpStatus: 400, lambdaError: 'InvalidParameterValueException' };

/** What was uploaded is no zip file, or one that must not be unpacked. */
export class ArchiveBadZipError extends ThawError {
  constructor(problem: string, cause?: unknown) {
    super({
      code: 'ERR_ARCHIVE_BAD_ZIP',
      fault: 'caller',
      message: `Could not unzip uploaded file: ${problem}. Please check your file, then try to upload again.`,
      details: invalidParameter,
      cause,
    });
  }
}

/** More than Lambda takes, zipped or unpacked. */
export class ArchiveTooLargeError extends ThawError {
  constructor(what: 'Zipped' | 'Unzipped', limitBytes: number) {
    super({
      code: 'ERR_ARCHIVE_TOO_LARGE',
      fault: 'caller',
      message: `${what} size must be smaller than ${limitBytes} bytes`,
      details: invalidParameter,
    });
  }
}

/** A record names an archive that the store does not have. */
export class ArchiveMissingError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_ARCHIVE_MISSING',
      fault: 'data',
      message: `Cannot unpack a function's code: the store has no object "${name}"; upload the code again`,
    });
  }
}

/** What is stored is not what was sealed, or was sealed for another tenant. */
export class ArchiveCorruptError extends ThawError {
  constructor(problem: string, cause?: unknown) {
    super({
      code: 'ERR_ARCHIVE_CORRUPT',
      fault: 'data',
      message: `Cannot unpack a function's code: ${problem}; upload the code again`,
      cause,
    });
  }
}

/** No place for another unpacked archive: a limit of this worker, told as Lambda tells of one. */
export class ArchiveNoSpaceError extends ThawError {
  constructor(problem: string, cause?: unknown) {
    super({
      code: 'ERR_ARCHIVE_NO_SPACE',
      fault: 'environment',
      message: `Cannot unpack a function's code: ${problem}`,
      retryable: true,
      details: {
        httpStatus: 429,
        lambdaError: 'TooManyRequestsException',
        reason: 'ConcurrentInvocationLimitExceeded',
        retryAfterSeconds: 1,
      },
      cause,
    });
  }
}

/** A thread that worked on archives ended: a bug, or no memory. */
export class ArchiveThreadLostError extends ThawError {
  constructor(how: string, cause?: unknown) {
    super({
      code: 'ERR_ARCHIVE_THREAD_LOST',
      fault: 'bug',
      message: `A thread that works on archives ${how}${cause === undefined ? '' : `: ${errorMessage(cause)}`}`,
      cause,
    });
  }
}
