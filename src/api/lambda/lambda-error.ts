/**
 * Errors in Lambda's own terms: their names, statuses and bodies. Source: AWS Lambda API reference, "Errors" of each
 * operation, and "Common Errors".
 */

import { ThawError } from '../../base/index.ts';

/** The status of each error that the API itself raises or maps errors of the rooms to. */
export const lambdaStatuses = {
  AccessDeniedException: 403,
  BadGatewayException: 502,
  CodeStorageExceededException: 400,
  InvalidParameterValueException: 400,
  InvalidRequestContentException: 400,
  PolicyLengthExceededException: 400,
  PreconditionFailedException: 412,
  ProvisionedConcurrencyConfigNotFoundException: 404,
  RequestTimeoutException: 408,
  RequestTooLargeException: 413,
  ResourceConflictException: 409,
  ResourceNotFoundException: 404,
  SerializationException: 400,
  ServiceException: 500,
  ServiceUnavailableException: 503,
  TooManyRequestsException: 429,
  UnknownOperationException: 404,
  UnsupportedMediaTypeException: 415,
  ValidationException: 400,
} as const satisfies Readonly<Record<string, number>>;

export type LambdaErrorType = keyof typeof lambdaStatuses;

/** A request that is refused, in words that may be told to whoever sent it. */
export class LambdaError extends ThawError {
  constructor(
    type: LambdaErrorType,
    message: string,
    more: { readonly reason?: string; readonly retryAfterSeconds?: number } = {},
  ) {
    super({
      code: 'ERR_API_REFUSED',
      fault: lambdaStatuses[type] < 500 ? 'caller' : 'environment',
      message,
      retryable: lambdaStatuses[type] === 429 || lambdaStatuses[type] === 503,
      details: { lambdaError: type, httpStatus: lambdaStatuses[type], ...more },
    });
  }
}

/** What a client is told of an error. */
export interface ErrorReply {
  readonly status: number;
  /** Lambda's name of the error. */
  readonly type: string;
  readonly message: string;
  /** Of throttling: which limit it was. */
  readonly reason?: string;
  readonly retryAfterSeconds?: number;
}

/** Errors whose member is `Message` in Lambda's model; that of all others is `message`. */
const capitalised: ReadonlySet<string> = new Set([
  'AccessDeniedException',
  'ResourceNotFoundException',
  'ServiceException',
  'UnknownOperationException',
]);

/** The JSON body of a refusal. */
export function errorBody({ status, type, message, reason }: ErrorReply): object {
  return {
    Type: status < 500 ? 'User' : 'Service',
    [capitalised.has(type) ? 'Message' : 'message']: message,
    ...(reason === undefined ? {} : { Reason: reason }),
  };
}

/** The headers that go with it. */
export function errorHeaders({ type, retryAfterSeconds }: ErrorReply): Record<string, string> {
  return {
    'x-amzn-errortype': type,
    ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
  };
}
