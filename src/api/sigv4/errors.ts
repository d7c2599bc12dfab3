/**
 * Why a request is not let in, in Lambda's words: they name nothing that the caller did not send. `details` has the status and
 * Lambda's name of the error. Source: AWS Lambda API reference, "Common Errors"; IAM user guide, "Troubleshoot Signature
 * Version 4 requests".
 */

import { ThawError } from '../../base/index.ts';

interface Refusal {
  readonly code: string;
  readonly lambdaError: string;
  readonly message: string;
}

export class AuthenticationError extends ThawError {
  constructor({ code, lambdaError, message }: Refusal) {
    super({ code, fault: 'caller', message, details: { httpStatus: 403, lambdaError } });
  }
}

export class UnsignedRequestError extends AuthenticationError {
  constructor() {
    super({
      code: 'ERR_API_UNSIGNED',
      lambdaError: 'MissingAuthenticationTokenException',
      message: 'Missing Authentication Token',
    });
  }
}

/** What was sent is no signature of version 4, or leaves out what it must cover. */
export class IncompleteSignatureError extends AuthenticationError {
  constructor(problem: string) {
    super({
      code: 'ERR_API_INCOMPLETE_SIGNATURE',
      lambdaError: 'IncompleteSignatureException',
      message: problem,
    });
  }
}

/** The access key is not known, or a session token came with it: Thaw gives none out. */
export class UnknownAccessKeyError extends AuthenticationError {
  constructor() {
    super({
      code: 'ERR_API_UNKNOWN_KEY',
      lambdaError: 'UnrecognizedClientException',
      message: 'The security token included in the request is invalid.',
    });
  }
}

/** Wrong secret, or another request than the one that was signed; the clock; the scope. */
export class InvalidSignatureError extends AuthenticationError {
  constructor(problem: string) {
    super({
      code: 'ERR_API_INVALID_SIGNATURE',
      lambdaError: 'InvalidSignatureException',
      message: problem,
    });
  }
}
