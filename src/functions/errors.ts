/**
 * How calls to functions fail. What a function itself did wrong is no error here: see
 * `lambda-errors.ts`.
 */

import { ThawError, errorMessage } from '../base/index.ts';

export class FunctionNotFoundError extends ThawError {
  constructor(tenant: string, name: string, qualifier?: string) {
    const part = qualifier === undefined ? '' : `version or alias "${qualifier}" of `;
    super({
      code: 'ERR_FUNCTION_NOT_FOUND',
      fault: 'caller',
      message: `Cannot find ${part}function "${name}" of tenant "${tenant}": "thaw function ls" lists those there are`,
    });
  }
}

/** What Lambda calls a PreconditionFailedException. */
export class FunctionRevisionChangedError extends ThawError {
  constructor(name: string, cause?: unknown) {
    super({
      code: 'ERR_FUNCTION_REVISION_CHANGED',
      fault: 'caller',
      message: `Cannot change function "${name}": the revision given is not the latest one; get the function's revision and try again`,
      cause,
    });
  }
}

/** What Lambda calls a ResourceConflictException. */
export class FunctionUpdateInProgressError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_FUNCTION_UPDATE_IN_PROGRESS',
      fault: 'caller',
      message: `Cannot change function "${name}": its code is still being published; wait until it is active and its last update has ended`,
      retryable: true,
    });
  }
}

/** What Lambda calls a CodeStorageExceededException, in its words. */
export class FunctionCodeStorageError extends ThawError {
  constructor(name: string, limitBytes: number) {
    super({
      code: 'ERR_FUNCTION_CODE_STORAGE',
      fault: 'caller',
      message: `Cannot keep the code of function "${name}": Code storage limit exceeded: all versions of all functions may have ${limitBytes} bytes together; remove some`,
      details: { httpStatus: 400, lambdaError: 'CodeStorageExceededException' },
    });
  }
}

/** What Lambda calls an InvalidParameterValueException. */
export class FunctionBadCodeError extends ThawError {
  constructor(name: string, problem: string, cause?: unknown) {
    super({
      code: 'ERR_FUNCTION_BAD_CODE',
      fault: 'caller',
      message: `Cannot use this code for function "${name}": ${problem}`,
      cause,
    });
  }
}

/** What Lambda calls an InvalidParameterValueException. */
export class FunctionBadConfigError extends ThawError {
  constructor(name: string, problem: string) {
    super({
      code: 'ERR_FUNCTION_BAD_CONFIG',
      fault: 'caller',
      message: `Cannot configure function "${name}": ${problem}`,
    });
  }
}

export class FunctionBadNameError extends ThawError {
  constructor(what: 'function' | 'tenant' | 'alias', name: string) {
    const form =
      what === 'alias'
        ? '1 to 128 of the characters a-z A-Z 0-9 - _, not all of them digits'
        : '1 to 64 of the characters a-z A-Z 0-9 - _';
    super({
      code: 'ERR_FUNCTION_BAD_NAME',
      fault: 'caller',
      message: `Cannot use "${name.slice(0, 100)}" as the name of a ${what}: it must be ${form}`,
    });
  }
}

export class FunctionBadEnvironmentError extends ThawError {
  constructor(name: string, problem: string) {
    super({
      code: 'ERR_FUNCTION_BAD_ENVIRONMENT',
      fault: 'caller',
      message: `Cannot set the environment of function "${name}": ${problem}`,
    });
  }
}

export class FunctionNoCommandError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_FUNCTION_NO_COMMAND',
      fault: 'caller',
      message: `Cannot start function "${name}": its image has neither entry point nor command; set one when creating the function`,
    });
  }
}

/** What Lambda calls an InvalidRequestContentException. */
export class FunctionBadPayloadError extends ThawError {
  constructor(cause: unknown) {
    super({
      code: 'ERR_FUNCTION_BAD_PAYLOAD',
      fault: 'caller',
      message: `Cannot invoke with this payload: it is not JSON in UTF-8: ${errorMessage(cause)}`,
      cause,
    });
  }
}

/** What Lambda calls a RequestTooLargeException. */
export class FunctionPayloadTooLargeError extends ThawError {
  constructor(sizeBytes: number, sizeMaxBytes: number) {
    super({
      code: 'ERR_FUNCTION_PAYLOAD_TOO_LARGE',
      fault: 'caller',
      message: `Cannot invoke with a payload of ${sizeBytes} bytes: at most ${sizeMaxBytes} are allowed`,
      details: { sizeMaxBytes },
    });
  }
}

/** The limits that an invoke can meet: a worker's, as the configuration calls them below `functions`, and what is reserved. */
export type ThrottleLimit =
  | 'instances_max'
  | 'instances_per_function_max'
  | 'reserved_concurrency'
  | 'unreserved_concurrency'
  | 'cold_starts_max'
  | 'cold_starts_per_tenant_max'
  | 'events_per_tenant_max';

/** What is used up, and what the administrator can do besides waiting. */
const limitWords: Readonly<Record<ThrottleLimit, (max: number) => string>> = {
  instances_max: (max) => `this worker has its ${max} instances and all are busy`,
  instances_per_function_max: (max) => `it has its ${max} instances and all are busy`,
  reserved_concurrency: (max) => `its reserved concurrency is ${max} and all of it is in use`,
  unreserved_concurrency: (max) =>
    `its tenant has ${max} concurrent invokes that no function has reserved, and all are in use`,
  cold_starts_max: (max) =>
    `this worker's cold starts in flight are at their limit of ${max} ("functions.cold_starts_max")`,
  cold_starts_per_tenant_max: (max) =>
    `its tenant's cold starts in flight are at their limit of ${max} ("functions.cold_starts_per_tenant_max")`,
  events_per_tenant_max: (max) => `its tenant has ${max} events waiting`,
};

/** Source: AWS Lambda API reference, TooManyRequestsException, `Reason`. */
function throttleReason(limit: ThrottleLimit): string {
  switch (limit) {
    case 'reserved_concurrency':
    case 'instances_per_function_max':
      return 'ReservedFunctionConcurrentInvocationLimitExceeded';
    case 'events_per_tenant_max':
      return 'CallerRateLimitExceeded';
    case 'instances_max':
    case 'unreserved_concurrency':
    case 'cold_starts_max':
    case 'cold_starts_per_tenant_max':
      return 'ConcurrentInvocationLimitExceeded';
  }
}

/**
 * What Lambda calls a TooManyRequestsException, with the `Reason` and the `Retry-After` that Lambda gives in its details.
 * Source: AWS Lambda API reference, Invoke, TooManyRequestsException. A function's own limit is what Lambda calls its
 * reserved concurrency.
 */
export class FunctionThrottledError extends ThawError {
  constructor(of: {
    readonly functionId: string;
    readonly limit: ThrottleLimit;
    readonly max: number;
    readonly retryAfterSeconds: number;
  }) {
    const { functionId, limit, max, retryAfterSeconds } = of;
    super({
      code: 'ERR_FUNCTION_THROTTLED',
      fault: 'environment',
      message:
        `Cannot run another invoke of function "${functionId}": ${limitWords[limit](max)}; ` +
        `try again in ${retryAfterSeconds} s`,
      retryable: true,
      details: {
        httpStatus: 429,
        lambdaError: 'TooManyRequestsException',
        reason: throttleReason(limit),
        limit,
        retryAfterSeconds,
      },
    });
  }
}

/** What Lambda calls a ResourceConflictException, in its words: the function's code is not there yet, or will not come. */
export class FunctionNotReadyError extends ThawError {
  constructor(of: { readonly name: string; readonly state: string; readonly why?: string }) {
    super({
      code: 'ERR_FUNCTION_NOT_READY',
      fault: 'caller',
      message:
        `Cannot invoke function "${of.name}": it is currently in the following state: ${of.state}` +
        (of.why === undefined ? '' : `: ${of.why}`),
      retryable: of.state === 'Pending',
      details: { httpStatus: 409, lambdaError: 'ResourceConflictException', state: of.state },
    });
  }
}

/** Its image did not open in time: the origin is slow or stalls. */
export class FunctionStartTimeoutError extends ThawError {
  constructor(name: string, limitMs: number) {
    super({
      code: 'ERR_FUNCTION_START_TIMEOUT',
      fault: 'environment',
      message:
        `Cannot start function "${name}": its image was not open within ${limitMs} ms; ` +
        '"thaw doctor" tries the store',
      retryable: true,
    });
  }
}

/** The function's web server gave no answer, or has none. Lambda's function URLs answer 502 then. */
export class FunctionWebError extends ThawError {
  constructor(name: string, problem: string, cause?: unknown) {
    super({
      code: 'ERR_FUNCTION_WEB',
      fault: 'caller',
      message: `Cannot get an answer from the web server of function "${name}": ${problem}`,
      details: { httpStatus: 502 },
      cause,
    });
  }
}

/** An invoke was cut off from our side: its function was removed, or the worker is stopping. */
export class FunctionStoppedError extends ThawError {
  constructor(why: string) {
    super({
      code: 'ERR_FUNCTION_STOPPED',
      fault: 'environment',
      message: `The invoke was ended: ${why}`,
    });
  }
}
