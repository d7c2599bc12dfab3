/**
 * The one table from errors of the rooms to Lambda's. What is not in it is told as a ServiceException without a word of ours:
 * the log has the rest. Source of the words: AWS Lambda API reference, and what the service answers.
 */

import { ThawError, errorCode } from '../../base/index.ts';
import { lambdaStatuses, type ErrorReply, type LambdaErrorType } from './lambda-error.ts';

/** What the request was about, for the words. */
export interface ErrorSubject {
  /** The function's ARN, with the qualifier where there was one; empty where the request names none. */
  readonly arn: string;
  readonly functionName: string;
  /** True for operations on an alias: then what is missing is the alias. */
  readonly isAlias: boolean;
  readonly requestId: string;
}

interface Mapping {
  readonly type: LambdaErrorType;
  /** Default: the error's own message, which is then fit for strangers. */
  readonly words?: (subject: ErrorSubject, error: ThawError) => string;
}

const notFound: Mapping = {
  type: 'ResourceNotFoundException',
  words: ({ arn, isAlias }) =>
    `${isAlias ? 'Cannot find alias arn' : 'Function not found'}: ${arn}`,
};
const badParameter: Mapping = { type: 'InvalidParameterValueException' };
const sourceImageMissing: Mapping = {
  type: 'InvalidParameterValueException',
  words: () => 'Source image does not exist. Provide a valid source image.',
};
const revisionChanged: Mapping = {
  type: 'PreconditionFailedException',
  words: () =>
    'The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id',
};
const unavailable: Mapping = {
  type: 'ServiceUnavailableException',
  words: ({ requestId }) => `Service unavailable. Try again later. Request id: ${requestId}`,
};

const mappings: Readonly<Record<string, Mapping>> = {
  ERR_FUNCTION_NOT_FOUND: notFound,
  ERR_CATALOG_NO_SUCH_FUNCTION: notFound,
  ERR_CATALOG_NO_SUCH_ALIAS: notFound,
  ERR_FUNCTION_BAD_NAME: {
    type: 'ValidationException',
    words: ({ functionName }) =>
      `1 validation error detected: Value '${functionName}' at 'functionName' failed to satisfy constraint: ` +
      'Member must satisfy regular expression pattern: [a-zA-Z0-9-_]{1,64}',
  },
  ERR_FUNCTION_BAD_CONFIG: badParameter,
  ERR_FUNCTION_BAD_ENVIRONMENT: badParameter,
  ERR_FUNCTION_BAD_CODE: badParameter,
  ERR_FUNCTION_NO_COMMAND: badParameter,
  ERR_CATALOG_VERSION_IN_USE: { type: 'ResourceConflictException' },
  ERR_CATALOG_NO_SUCH_IMAGE: sourceImageMissing,
  ERR_API_IMAGE_NOT_FOUND: sourceImageMissing,
  ERR_FUNCTION_REVISION_CHANGED: revisionChanged,
  ERR_CATALOG_REVISION_CHANGED: revisionChanged,
  ERR_CATALOG_FUNCTION_EXISTS: {
    type: 'ResourceConflictException',
    words: ({ functionName }) => `Function already exist: ${functionName}`,
  },
  ERR_CATALOG_ALIAS_EXISTS: {
    type: 'ResourceConflictException',
    words: ({ arn }) => `Alias already exists: ${arn}`,
  },
  ERR_FUNCTION_UPDATE_IN_PROGRESS: {
    type: 'ResourceConflictException',
    words: ({ arn }) =>
      `The operation cannot be performed at this time. An update is in progress for resource: ${arn}`,
  },
  ERR_FUNCTION_NOT_READY: {
    type: 'ResourceConflictException',
    words: (_subject, { details }) =>
      'The operation cannot be performed at this time. The function is currently in the following state: ' +
      `${details?.['state'] ?? 'Pending'}`,
  },
  ERR_FUNCTION_BAD_PAYLOAD: {
    type: 'InvalidRequestContentException',
    words: (_subject, { cause }) =>
      'Could not parse request body into json: ' +
      `Could not parse payload into json${cause instanceof SyntaxError ? `: ${cause.message}` : ''}`,
  },
  ERR_FUNCTION_PAYLOAD_TOO_LARGE: {
    type: 'RequestTooLargeException',
    words: (_subject, { details }) =>
      tooLargeWords('InvokeFunction', Number(details?.['sizeMaxBytes'] ?? invokeBodyMaxBytes)),
  },
  ERR_FUNCTION_WEB: { type: 'BadGatewayException', words: () => 'Internal Server Error' },
  ERR_FUNCTION_STOPPED: unavailable,
  ERR_API_STOPPING: unavailable,
  ERR_CATALOG_BUSY: unavailable,
};

/** Source: Lambda quotas, "Invocation payload". */
export const invokeBodyMaxBytes = 6 * 1024 * 1024;

/** Of the permission that the operation needs, whose name Lambda uses here: InvokeFunction. */
export function tooLargeWords(operation: string, sizeMaxBytes: number): string {
  const name = operation.startsWith('Invoke') ? 'InvokeFunction' : operation;
  return `Request must be smaller than ${sizeMaxBytes} bytes for the ${name} operation`;
}

/** What the client is told. `isForeseen` is false where the log must tell the administrator more. */
export function errorReply(
  thrown: unknown,
  subject: ErrorSubject,
): ErrorReply & { readonly isForeseen: boolean } {
  if (thrown instanceof ThawError) {
    const told = toldByItself(thrown);
    if (told !== undefined) return { ...told, isForeseen: true };
    const code = errorCode(thrown) ?? '';
    const mapping = Object.hasOwn(mappings, code) ? mappings[code] : undefined;
    if (mapping !== undefined) {
      const { type, words } = mapping;
      const message = words === undefined ? thrown.message : words(subject, thrown);
      return { status: lambdaStatuses[type], type, message, isForeseen: true };
    }
  }
  return {
    status: 500,
    type: 'ServiceException',
    message: `The service encountered an internal error. Please try again later. Request id: ${subject.requestId}`,
    isForeseen: false,
  };
}

/** Some errors have Lambda's name and status in their details: throttling, authentication, and the API's own. */
function toldByItself({ message, details }: ThawError): ErrorReply | undefined {
  const { lambdaError, httpStatus, reason, retryAfterSeconds } = details ?? {};
  if (typeof lambdaError !== 'string' || typeof httpStatus !== 'number') return undefined;
  return {
    status: httpStatus,
    type: lambdaError,
    message: lambdaError === 'TooManyRequestsException' ? 'Rate Exceeded.' : message,
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(typeof retryAfterSeconds === 'number' ? { retryAfterSeconds } : {}),
  };
}
