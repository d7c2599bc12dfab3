/**
 * The process that runs a function: what the image's configuration says, with the function's
 * overrides, in the environment that Lambda gives a container image.
 * Source: AWS Lambda developer guide, "Defined runtime environment variables", "Container image
 * settings". Which of them an image gets, unlike a .zip archive (no LD_LIBRARY_PATH, LANG, TZ), is
 * read off AWS's published runtime interface emulator, `rapidcore/env/environment.go`.
 */

import { present } from '../../base/index.ts';
import type { FunctionCode, FunctionRecord } from '../../catalog/index.ts';
import type { ImageDocument } from '../../publish/index.ts';
import type { SandboxSpec } from '../../sandbox/index.ts';
import { FunctionNoCommandError } from '../errors.ts';

/**
 * "At 1,769 MB, a function has the equivalent of one vCPU." Source: developer guide, "Configure
 * Lambda function memory".
 */
const memoryPerCpuMb = 1769;
/** Where Lambda shows the code of a zip archive. */
const taskDirectory = '/var/task';

/** What container engines give an image that names none. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What every instance of one worker has in common. */
export interface FunctionHost {
  /** `AWS_REGION` of the functions. */
  readonly region: string;
  /** 12 digits, for the functions' ARNs. */
  readonly accountIdOf: (tenant: string) => string;
}

export interface FunctionProcessOptions {
  readonly record: FunctionRecord;
  readonly document: ImageDocument;
  readonly host: FunctionHost;
  readonly logStream: string;
  /** On the host: the code of a zip archive, unpacked. */
  readonly codePath?: string | undefined;
}

export type FunctionProcess = Omit<SandboxSpec, 'id' | 'rootPath'>;

/** As the function was named by who invoked it: with a qualifier where one was given. */
export function functionArn(
  host: FunctionHost,
  of: { readonly tenant: string; readonly name: string; readonly qualifier?: string },
): string {
  const qualifier = of.qualifier === undefined ? '' : `:${of.qualifier}`;
  const account = host.accountIdOf(of.tenant);
  return `arn:aws:lambda:${host.region}:${account}:function:${of.name}${qualifier}`;
}

/**
 * Of a variable given twice the last counts, as for `getenv` of the shells that containers start
 * with.
 */
function imageEnvironment(document: ImageDocument): Record<string, string> {
  const pairs = document.config.env
    .map((entry) => [entry, entry.indexOf('=')] as const)
    .filter(([, at]) => at > 0)
    .map(([entry, at]) => [entry.slice(0, at), entry.slice(at + 1)] as const);
  return Object.fromEntries(pairs);
}

/**
 * `LAMBDA_TASK_ROOT` and `_HANDLER` go beyond Lambda, which leaves them to its base images: they
 * tell a runtime that knows nothing of the image where the code is and what to call.
 */
function functionEnvironment(
  options: FunctionProcessOptions,
  workingDir: string,
  handler: string | undefined,
): Record<string, string> {
  const { record, host } = options;
  const image = imageEnvironment(options.document);
  return {
    PATH: defaultPath,
    ...image,
    ...record.environment,
    AWS_DEFAULT_REGION: host.region,
    ...executionEnvironment(record.code),
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(record.memoryMb),
    AWS_LAMBDA_FUNCTION_NAME: record.name,
    AWS_LAMBDA_FUNCTION_VERSION: record.version,
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${record.name}`,
    AWS_LAMBDA_LOG_STREAM_NAME: options.logStream,
    AWS_REGION: host.region,
    LAMBDA_RUNTIME_DIR: image['LAMBDA_RUNTIME_DIR'] ?? '/var/runtime',
    LAMBDA_TASK_ROOT: image['LAMBDA_TASK_ROOT'] ?? workingDir,
    ...(handler === undefined ? {} : { _HANDLER: handler }),
    ...(record.webServer === undefined ? {} : { PORT: String(record.webServer.port) }),
  };
}

/** A runtime that an archive brings along is not told what it is. */
function executionEnvironment(code: FunctionCode): Record<string, string> {
  if (code.packageType === 'Image') return { AWS_EXECUTION_ENV: 'AWS_Lambda_Image' };
  if (code.runtime.startsWith('provided')) return {};
  return { AWS_EXECUTION_ENV: `AWS_Lambda_${code.runtime}` };
}

/**
 * Entry point, command and working directory override the image's one by one, as Lambda's
 * ImageConfig does.
 * Throws `ERR_FUNCTION_NO_COMMAND`.
 */
export function functionProcess(options: FunctionProcessOptions): FunctionProcess {
  const { record, document, codePath } = options;
  const entrypoint = record.entrypoint ?? document.config.entrypoint;
  const command = record.command ?? document.config.cmd;
  const args = [...entrypoint, ...command];
  if (args.length === 0) throw new FunctionNoCommandError(record.name);
  const workingDir = record.workingDir ?? document.config.workingDir;
  const handler = record.code.packageType === 'Zip' ? record.code.handler : command[0];
  return {
    args,
    env: functionEnvironment(options, workingDir, handler),
    workingDir,
    user: document.config.user,
    memoryBytes: record.memoryMb * 1024 * 1024,
    tmpSizeBytes: record.ephemeralStorageMb * 1024 * 1024,
    cpus: record.memoryMb / memoryPerCpuMb,
    network: record.network,
    accountId: options.host.accountIdOf(record.tenant),
    ...(codePath === undefined ? {} : { binds: [{ source: codePath, target: taskDirectory }] }),
    ...(record.webServer === undefined ? {} : { startsExtensions: false }),
  };
}

/** `2026/11/23/[$LATEST]` or `[VERSION]`, and 32 hex digits: Lambda's form. `id` is a UUID. */
export function logStreamName(of: {
  readonly nowMs: number;
  readonly id: string;
  readonly version: string;
}): string {
  const date = present(new Date(of.nowMs).toISOString().split('T')[0], 'date');
  return `${date.replaceAll('-', '/')}/[${of.version}]${of.id.replaceAll('-', '')}`;
}
