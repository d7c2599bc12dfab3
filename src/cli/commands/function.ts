/** `thaw function …` */

import { readFile } from 'node:fs/promises';

import { InvalidArgumentError, type Command } from 'commander';

import type { InvokeReport } from '../../api/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import { defined, errorMessage } from '../../base/index.ts';
import type { CliContext } from '../context.ts';
import { convertImage } from '../convert-image.ts';
import { compressOption, type ConvertOptions } from '../convert-request.ts';
import { defaultTenant } from '../default-tenant.ts';
import { UsageError } from '../errors.ts';
import { formatBytes, formatMs, formatTable } from '../format.ts';
import { parseInteger } from '../parse-integer.ts';
import { isImageSource } from '../source.ts';

interface TenantOptions {
  readonly tenant: string;
  readonly json?: boolean;
}

interface CreateOptions extends TenantOptions, Omit<ConvertOptions, 'tenant' | 'name'> {
  readonly image: string;
  readonly memory: number;
  readonly timeout: number;
  readonly env: Readonly<Record<string, string>>;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly workdir?: string;
}

const logBytesDefault = 1 << 20;

export function addFunctionCommands(program: Command, context: CliContext): void {
  const group = program.command('function').description('create and invoke functions');
  const add = (usage: string, description: string): Command =>
    group
      .command(usage)
      .description(description)
      .option('--tenant <tenant>', 'whose function', defaultTenant)
      .option('--json', 'print JSON');

  add('create <name>', 'create a function from an image')
    .requiredOption('--image <source-or-id>', 'a published image, or a source to publish first')
    .option('--memory <mb>', 'memory limit in MB', parseInteger, 512)
    .option('--timeout <seconds>', 'longest invocation', parseInteger, 3)
    .option('--env <key=value>', 'environment variable; repeat for more', collectEnv, {})
    .option('--entrypoint <json>', "JSON array in place of the image's entry point", parseStrings)
    .option('--command <json>', "JSON array in place of the image's command", parseStrings)
    .option('--workdir <dir>', "in place of the image's working directory")
    .option('--platform <platform>', 'when publishing: os/arch[/variant]')
    .addOption(compressOption('when publishing: compress chunks before they are encrypted'))
    .option('--plain-http', 'when publishing: talk to the registry without TLS')
    .option('--user <user:password>', 'when publishing: registry credentials')
    .action((name: string, options: CreateOptions) => create(context, name, options));
  add('invoke <name>', 'invoke a function and print its response')
    .option('--payload <json>', 'the event: JSON text, or @FILE', '{}')
    .action((name: string, options: TenantOptions & { readonly payload: string }) =>
      invoke(context, name, options),
    );
  add('ls', 'list functions').action((options: TenantOptions) => list(context, options));
  add('logs <name>', "print a function's log")
    .option('--bytes <n>', 'at most this much from its end', parseInteger, logBytesDefault)
    .action((name: string, options: TenantOptions & { readonly bytes: number }) =>
      logs(context, name, options),
    );
  add('rm <name>', 'stop and remove a function').action((name: string, options: TenantOptions) =>
    remove(context, name, options),
  );
}

function collectEnv(
  pair: string,
  collected: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const equals = pair.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('It must be KEY=VALUE.');
  return { ...collected, [pair.slice(0, equals)]: pair.slice(equals + 1) };
}

function parseStrings(text: string): readonly string[] {
  const problem = 'It must be a JSON array of strings.';
  try {
    const parsed: unknown = JSON.parse(text);
    if (Array.isArray(parsed) && parsed.every((item) => typeof item === 'string')) return parsed;
  } catch {
    throw new InvalidArgumentError(problem);
  }
  throw new InvalidArgumentError(problem);
}

async function create(context: CliContext, name: string, options: CreateOptions): Promise<void> {
  const worker = await context.worker();
  const created = await worker.createFunction(
    defined({
      name,
      tenant: options.tenant,
      image: await publishedImage(context, options),
      memoryMb: options.memory,
      timeoutSeconds: options.timeout,
      environment: options.env,
      imageConfig: defined({
        entrypoint: options.entrypoint,
        command: options.command,
        workingDir: options.workdir,
      }),
    }),
  );
  context.print(created, options.json, () => `${created.name}\n`);
}

/** The id of the image, published first when a source was given. */
async function publishedImage(context: CliContext, options: CreateOptions): Promise<string> {
  if (!isImageSource(options.image)) {
    checkNothingToPublish(options);
    return options.image;
  }
  const { image } = await convertImage(context, options.image, options);
  return image.manifestId;
}

/** Throws `ERR_CLI_USAGE`: what says how to publish would be passed over. */
function checkNothingToPublish({
  image,
  platform,
  compress,
  plainHttp,
  user,
}: CreateOptions): void {
  const given = Object.entries({ platform, compress, 'plain-http': plainHttp, user });
  const name = given.find(([, value]) => value !== undefined)?.[0];
  if (name === undefined) return;
  throw new UsageError(
    `Cannot use "--${name}" with the image "${image}", which is published: give its source`,
  );
}

async function invoke(
  context: CliContext,
  name: string,
  options: TenantOptions & { readonly payload: string },
): Promise<void> {
  const worker = await context.worker();
  const payload = await readPayload(options.payload);
  const { tenant } = options;
  const { signal } = context;
  const report = await worker.invokeFunction({ tenant, name, payload }, { signal });
  if (report.functionError !== undefined) context.cause = 'functionError';
  context.print(invokeJson(report), options.json, () => `${report.payload}\n`);
  if (options.json !== true) process.stderr.write(describeInvoke(report));
}

async function readPayload(payload: string): Promise<string> {
  if (!payload.startsWith('@')) return payload;
  const file = payload.slice(1);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (thrown) {
    throw new UsageError(`Cannot use the payload file "${file}": ${errorMessage(thrown)}`);
  }
}

/** The documented, stable shape of `function invoke --json`. */
function invokeJson(report: InvokeReport): object {
  const { payload, functionError, requestId, coldStart, timelineMs, reads } = report;
  return defined({
    response: jsonOrText(payload),
    functionError,
    requestId,
    coldStart,
    timelineMs,
    reads,
  });
}

function jsonOrText(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

function describeInvoke(report: InvokeReport): string {
  const { coldStart, timelineMs, reads } = report;
  const start = coldStart ? 'cold start' : 'warm';
  const read = `${reads.chunks} chunks, ${formatBytes(reads.bytes)} read`;
  return `${start}, ${formatMs(timelineMs.total)}, ${read}\n`;
}

async function list(context: CliContext, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const functions = await worker.listFunctions({ tenant: options.tenant });
  context.print(functions, options.json, () =>
    formatTable(
      ['NAME', 'IMAGE', 'MEMORY', 'TIMEOUT'],
      functions.map((record) => [
        record.name,
        codeOf(record),
        `${record.memoryMb} MB`,
        `${record.timeoutSeconds} s`,
      ]),
    ),
  );
}

function codeOf({ code }: FunctionRecord): string {
  if (code.packageType === 'Zip') return code.runtime;
  return code.manifestId?.slice(0, 12) ?? code.imageUri;
}

async function logs(
  context: CliContext,
  name: string,
  options: TenantOptions & { readonly bytes: number },
): Promise<void> {
  const worker = await context.worker();
  const { tenant, bytes } = options;
  const log = await worker.functionLogs({ tenant, name, maxBytes: bytes });
  context.print({ name, log }, options.json, () => log);
}

async function remove(context: CliContext, name: string, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  await worker.removeFunction({ tenant: options.tenant, name });
  context.print({ name }, options.json, () => `${name}\n`);
}
