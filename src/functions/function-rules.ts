/**
 * What a function may be and what it may be sent.
 * Source: AWS Lambda developer guide, "Lambda quotas" and "Defined runtime environment variables";
 * API reference, CreateFunction and Invoke.
 */

import {
  FunctionBadConfigError,
  FunctionBadEnvironmentError,
  FunctionBadNameError,
  FunctionBadPayloadError,
  FunctionPayloadTooLargeError,
} from './errors.ts';
import type { CreateFunctionRequest } from './function-service.ts';

const namePattern = /^[a-zA-Z0-9_-]{1,64}$/;
const variablePattern = /^[a-zA-Z][a-zA-Z0-9_]+$/;
const environmentSizeMaxBytes = 4096;
const payloadSizeMaxBytes = 6 * 1024 * 1024;

/**
 * Set by Thaw, so not for the function to set. Lambda reserves AWS_ACCESS_KEY_ID and its like as
 * well, because it hands out credentials of a role; Thaw has no roles, and a function may be given
 * credentials this way.
 */
const reservedVariables: ReadonlySet<string> = new Set([
  '_HANDLER',
  '_X_AMZN_TRACE_ID',
  'AWS_DEFAULT_REGION',
  'AWS_EXECUTION_ENV',
  'AWS_LAMBDA_FUNCTION_MEMORY_SIZE',
  'AWS_LAMBDA_FUNCTION_NAME',
  'AWS_LAMBDA_FUNCTION_VERSION',
  'AWS_LAMBDA_INITIALIZATION_TYPE',
  'AWS_LAMBDA_LOG_GROUP_NAME',
  'AWS_LAMBDA_LOG_STREAM_NAME',
  'AWS_LAMBDA_RUNTIME_API',
  'AWS_REGION',
  'LAMBDA_RUNTIME_DIR',
  'LAMBDA_TASK_ROOT',
]);

/**
 * Throws `ERR_FUNCTION_BAD_NAME`. The names become parts of paths, so nothing else may get past
 * here.
 */
export function checkNames(of: { readonly tenant: string; readonly name: string }): void {
  if (!namePattern.test(of.tenant)) throw new FunctionBadNameError('tenant', of.tenant);
  if (!namePattern.test(of.name)) throw new FunctionBadNameError('function', of.name);
}

function checkInteger(
  name: string,
  what: string,
  value: number,
  range: { readonly min: number; readonly max: number },
): void {
  if (Number.isInteger(value) && value >= range.min && value <= range.max) return;
  throw new FunctionBadConfigError(
    name,
    `${what} must be a whole number from ${range.min} to ${range.max}: got ${value}`,
  );
}

function checkEnvironment(name: string, environment: Readonly<Record<string, string>>): void {
  for (const [variable, value] of Object.entries(environment)) {
    if (reservedVariables.has(variable)) {
      throw new FunctionBadEnvironmentError(name, `"${variable}" is reserved; leave it out`);
    }
    if (!variablePattern.test(variable)) {
      throw new FunctionBadEnvironmentError(
        name,
        `"${variable}" must start with a letter and have two or more of the characters a-z A-Z 0-9 _`,
      );
    }
    if (value.includes('\0')) {
      throw new FunctionBadEnvironmentError(name, `the value of "${variable}" holds a zero byte`);
    }
  }
  const sizeBytes = Buffer.byteLength(JSON.stringify(environment));
  if (sizeBytes > environmentSizeMaxBytes) {
    throw new FunctionBadEnvironmentError(
      name,
      `it has ${sizeBytes} bytes as JSON, at most ${environmentSizeMaxBytes} are allowed`,
    );
  }
}

/** Throws `ERR_FUNCTION_BAD_NAME`, `ERR_FUNCTION_BAD_CONFIG`, `ERR_FUNCTION_BAD_ENVIRONMENT`. */
export function checkFunction(request: CreateFunctionRequest): void {
  const { name, memoryMb, timeoutSeconds, entrypoint = [], command = [], workingDir } = request;
  checkNames(request);
  checkInteger(name, 'its memory in MB', memoryMb, { min: 128, max: 10_240 });
  checkInteger(name, 'its timeout in seconds', timeoutSeconds, { min: 1, max: 900 });
  checkEnvironment(name, request.environment);
  if ([...entrypoint, ...command, workingDir ?? ''].some((text) => text.includes('\0'))) {
    throw new FunctionBadConfigError(name, 'its command or working directory holds a zero byte');
  }
  if (workingDir !== undefined && !workingDir.startsWith('/')) {
    throw new FunctionBadConfigError(name, `its working directory "${workingDir}" is not absolute`);
  }
}

/**
 * The event that the function gets: `payload` itself, or `{}` where it is empty.
 * Throws `ERR_FUNCTION_PAYLOAD_TOO_LARGE`, `ERR_FUNCTION_BAD_PAYLOAD`.
 */
export function checkPayload(payload: Uint8Array): Uint8Array {
  if (payload.byteLength === 0) return Buffer.from('{}');
  if (payload.byteLength > payloadSizeMaxBytes) {
    throw new FunctionPayloadTooLargeError(payload.byteLength, payloadSizeMaxBytes);
  }
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload));
  } catch (thrown) {
    throw new FunctionBadPayloadError(thrown);
  }
  return payload;
}
