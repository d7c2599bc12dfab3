/**
 * What a function may be and what it may be sent.
 * Source: AWS Lambda developer guide, "Lambda quotas" and "Defined runtime environment variables";
 * API reference, CreateFunction, CreateAlias, TagResource, PutFunctionEventInvokeConfig and Invoke.
 */

import { jsonProblem } from '../base/index.ts';
import type { AliasRecord, EventInvokeSettings } from '../catalog/index.ts';
import { runtimesTenant } from '../runtimes/index.ts';
import {
  FunctionBadConfigError,
  FunctionBadEnvironmentError,
  FunctionBadNameError,
  FunctionBadPayloadError,
  FunctionPayloadTooLargeError,
} from './errors.ts';
import type { FunctionConfigurationRequest } from './function-control.ts';

const namePattern = /^[a-zA-Z0-9_-]{1,64}$/;
const aliasPattern = /^(?![0-9]+$)[a-zA-Z0-9_-]{1,128}$/;
const variablePattern = /^[a-zA-Z][a-zA-Z0-9_]+$/;
const handlerPattern = /^[^\s]{1,128}$/;
/** What an HTTP request line can hold. */
const readyPathPattern = /^\/[\x21-\x7e]{0,1023}$/;
const environmentSizeMaxBytes = 4096;
const descriptionMaxLength = 256;
const roleMaxLength = 2048;
const tagsMax = 50;
const tagKeyMaxLength = 128;
const tagValueMaxLength = 256;
const payloadSizeMaxBytes = 6 * 1024 * 1024;
const networks: ReadonlySet<string> = new Set(['none', 'nat', 'host']);

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
  checkTenantName(of.tenant);
  if (!namePattern.test(of.name)) throw new FunctionBadNameError('function', of.name);
}

/** Throws `ERR_FUNCTION_BAD_NAME`. */
export function checkTenantName(tenant: string): void {
  if (!namePattern.test(tenant) || tenant === runtimesTenant) {
    throw new FunctionBadNameError('tenant', tenant);
  }
}

/** Of whole numbers, both ends included. */
interface IntegerRange {
  readonly min: number;
  readonly max: number;
}

/** Source: AWS Lambda API reference, CreateFunction, PutFunctionEventInvokeConfig. */
export const configurationRanges = {
  memoryMb: { min: 128, max: 10_240 },
  timeoutSeconds: { min: 1, max: 900 },
  ephemeralStorageMb: { min: 512, max: 10_240 },
  retriesMax: { min: 0, max: 2 },
  eventAgeMaxSeconds: { min: 60, max: 21_600 },
} as const satisfies Readonly<Record<string, IntegerRange>>;

function checkInteger(name: string, what: string, value: number, { min, max }: IntegerRange): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new FunctionBadConfigError(
    name,
    `${what} must be a whole number from ${min} to ${max}: got ${value}`,
  );
}

function checkLength(name: string, what: string, text: string, lengthMax: number): void {
  if (text.length <= lengthMax) return;
  throw new FunctionBadConfigError(
    name,
    `${what} has ${text.length} characters, at most ${lengthMax} are allowed`,
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

/** What is left out passes. Throws `ERR_FUNCTION_BAD_CONFIG`, `ERR_FUNCTION_BAD_ENVIRONMENT`. */
export function checkConfiguration(name: string, request: FunctionConfigurationRequest): void {
  const { description = '', role = '', environment = {} } = request;
  const { memoryMb = 128, timeoutSeconds = 3, ephemeralStorageMb = 512 } = request;
  checkLength(name, 'its description', description, descriptionMaxLength);
  checkLength(name, 'its role', role, roleMaxLength);
  const ranges = configurationRanges;
  checkInteger(name, 'its memory in MB', memoryMb, ranges.memoryMb);
  checkInteger(name, 'its timeout in seconds', timeoutSeconds, ranges.timeoutSeconds);
  checkInteger(name, 'its ephemeral storage in MB', ephemeralStorageMb, ranges.ephemeralStorageMb);
  checkEnvironment(name, environment);
  checkImageConfig(name, request.imageConfig ?? {});
  checkSandbox(name, request);
  const { handler } = request;
  if (handler !== undefined && !handlerPattern.test(handler)) {
    throw new FunctionBadConfigError(
      name,
      'its handler must be 1 to 128 characters without white space',
    );
  }
}

function checkImageConfig(
  name: string,
  config: NonNullable<FunctionConfigurationRequest['imageConfig']>,
): void {
  const { entrypoint = [], command = [], workingDir } = config;
  if ([...entrypoint, ...command, workingDir ?? ''].some((text) => text.includes('\0'))) {
    throw new FunctionBadConfigError(name, 'its command or working directory holds a zero byte');
  }
  if (workingDir !== undefined && !workingDir.startsWith('/')) {
    throw new FunctionBadConfigError(name, `its working directory "${workingDir}" is not absolute`);
  }
}

function checkSandbox(name: string, request: FunctionConfigurationRequest): void {
  const { network = 'none', webServer } = request;
  if (!networks.has(network)) {
    throw new FunctionBadConfigError(name, 'its network must be one of none, nat, host');
  }
  if (webServer === undefined || webServer === null) return;
  checkInteger(name, "its web server's port", webServer.port, { min: 1, max: 65_535 });
  if (!readyPathPattern.test(webServer.readyPath)) {
    throw new FunctionBadConfigError(
      name,
      "its web server's ready path must begin with a slash and hold printable ASCII, up to 1,024 characters",
    );
  }
}

/** Throws `ERR_FUNCTION_BAD_CONFIG` for what is too many, too long, or kept for AWS. */
export function checkTags(name: string, tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags);
  if (entries.length > tagsMax) {
    throw new FunctionBadConfigError(
      name,
      `it has ${entries.length} tags, at most ${tagsMax} are allowed`,
    );
  }
  for (const [key, value] of entries) {
    if (key === '') throw new FunctionBadConfigError(name, 'the key of a tag is empty');
    checkLength(name, 'the key of a tag', key, tagKeyMaxLength);
    checkLength(name, `the value of tag "${key}"`, value, tagValueMaxLength);
    if (key.toLowerCase().startsWith('aws:')) {
      throw new FunctionBadConfigError(name, `tag "${key}" begins with "aws:", which is reserved`);
    }
  }
}

/** Throws `ERR_FUNCTION_BAD_CONFIG`. */
export function checkEventInvoke(name: string, settings: EventInvokeSettings): void {
  const { retriesMax, eventAgeMaxSeconds } = settings;
  const ranges = configurationRanges;
  checkInteger(name, 'the number of retries of an event', retriesMax, ranges.retriesMax);
  checkInteger(
    name,
    'the age of an event in seconds',
    eventAgeMaxSeconds,
    ranges.eventAgeMaxSeconds,
  );
}

/** Throws `ERR_FUNCTION_BAD_NAME`, `ERR_FUNCTION_BAD_CONFIG`. Whether its versions are there is for the catalog to say. */
export function checkAlias(alias: Omit<AliasRecord, 'revisionId'>): void {
  const { functionName, name, version, additionalVersionWeights } = alias;
  if (!aliasPattern.test(name)) throw new FunctionBadNameError('alias', name);
  const refuse = (problem: string) =>
    new FunctionBadConfigError(functionName, `alias "${name}" ${problem}`);
  checkLength(functionName, `the description of alias "${name}"`, alias.description, 256);
  const weights = Object.entries(additionalVersionWeights);
  const [other] = weights;
  if (other === undefined) return;
  const [otherVersion, weight] = other;
  if (weights.length > 1) throw refuse('can have a weight for one other version only');
  if (!(weight >= 0 && weight <= 1))
    throw refuse(`has a weight that is not from 0 to 1: ${weight}`);
  if (!/^\d+$/.test(version) || !/^\d+$/.test(otherVersion)) {
    throw refuse('can share invokes between published versions only');
  }
  if (version === otherVersion) throw refuse('gives a weight to the version that it names');
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
  const problem = jsonProblem(payload);
  if (problem !== undefined) throw new FunctionBadPayloadError(new SyntaxError(problem));
  return payload;
}
