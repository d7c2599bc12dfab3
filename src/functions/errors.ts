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

/** What Lambda calls a TooManyRequestsException. */
export class FunctionThrottledError extends ThawError {
  constructor(functionId: string, limit: string) {
    super({
      code: 'ERR_FUNCTION_THROTTLED',
      fault: 'environment',
      message: `Cannot start another instance of function "${functionId}": ${limit} and all are busy; try again later`,
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
