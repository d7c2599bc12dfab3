/**
 * How calls to functions fail. What a function itself did wrong is no error here: see
 * `lambda-errors.ts`.
 */

import { ThawError, errorMessage } from '../base/index.ts';

export class FunctionNotFoundError extends ThawError {
  constructor(tenant: string, name: string) {
    super({
      code: 'ERR_FUNCTION_NOT_FOUND',
      fault: 'caller',
      message: `Cannot find function "${name}" of tenant "${tenant}": "thaw function ls" lists those there are`,
    });
  }
}

/** What Lambda calls an InvalidParameterValueException. */
export class FunctionBadConfigError extends ThawError {
  constructor(name: string, problem: string) {
    super({
      code: 'ERR_FUNCTION_BAD_CONFIG',
      fault: 'caller',
      message: `Cannot create function "${name}": ${problem}`,
    });
  }
}

export class FunctionBadNameError extends ThawError {
  constructor(what: 'function' | 'tenant', name: string) {
    super({
      code: 'ERR_FUNCTION_BAD_NAME',
      fault: 'caller',
      message: `Cannot use "${name.slice(0, 100)}" as the name of a ${what}: it must be 1 to 64 of the characters a-z A-Z 0-9 - _`,
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
    });
  }
}

/** The limits of a worker that an invoke can meet, as the configuration calls them below `functions`. */
export type ThrottleLimit =
  | 'instances_max'
  | 'instances_per_function_max'
  | 'cold_starts_max'
  | 'cold_starts_per_tenant_max';

/** What is used up, and what the administrator can do besides waiting. */
const limitWords: Readonly<Record<ThrottleLimit, (max: number) => string>> = {
  instances_max: (max) => `this worker has its ${max} instances and all are busy`,
  instances_per_function_max: (max) => `it has its ${max} instances and all are busy`,
  cold_starts_max: (max) =>
    `this worker's cold starts in flight are at their limit of ${max} ("functions.cold_starts_max")`,
  cold_starts_per_tenant_max: (max) =>
    `its tenant's cold starts in flight are at their limit of ${max} ("functions.cold_starts_per_tenant_max")`,
};

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
    const isOwn = limit === 'instances_per_function_max';
    super({
      code: 'ERR_FUNCTION_THROTTLED',
      fault: 'environment',
      message:
        `Cannot start another instance of function "${functionId}": ${limitWords[limit](max)}; ` +
        `try again in ${retryAfterSeconds} s`,
      retryable: true,
      details: {
        httpStatus: 429,
        lambdaError: 'TooManyRequestsException',
        reason: `${isOwn ? 'ReservedFunction' : ''}ConcurrentInvocationLimitExceeded`,
        limit,
        retryAfterSeconds,
      },
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
