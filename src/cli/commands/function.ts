/** `thaw function …` but for aliases and invokes, which have files of their own. */

import type { Command } from 'commander';

import { defined } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { CliContext } from '../context.ts';
import { defaultTenant } from '../default-tenant.ts';
import { UsageError } from '../errors.ts';
import {
  addFunctionOptions,
  codeIn,
  configurationIn,
  type FunctionOptions,
} from '../function-options.ts';
import { functionDetails, functionJson, functionTable, versionTable } from '../function-tables.ts';
import { parseInteger } from '../parse-integer.ts';
import { addAliasCommands } from './function-alias.ts';
import { addInvokeCommand } from './function-invoke.ts';

interface TenantOptions {
  readonly tenant: string;
  readonly json?: boolean;
}

interface QualifierOptions extends TenantOptions {
  readonly qualifier?: string;
}

const logBytesDefault = 1 << 20;
const memoryDefaultMb = 512;

/** Adds commands to one group, with the options that all have. */
function addTo(parent: Command): (usage: string, description: string) => Command {
  return (usage, description) =>
    parent
      .command(usage)
      .description(description)
      .option('--tenant <tenant>', 'whose function', defaultTenant)
      .option('--json', 'print JSON');
}

export function addFunctionCommands(program: Command, context: CliContext): void {
  const group = program.command('function').description('create and invoke functions');
  const add = addTo(group);

  addFunctionOptions(
    add('create <name>', 'create a function from an image or a zip archive'),
  ).action((name: string, options: FunctionOptions) => create(context, name, options));
  addFunctionOptions(add('update <name>', "change a function's code or configuration"))
    .option('--no-web', 'its program is no web server any longer')
    .action((name: string, options: UpdateOptions) => update(context, name, options));
  add('ls', 'list functions').action((options: TenantOptions) => list(context, options));
  add('get <name>', 'show a function')
    .option('--qualifier <version-or-alias>', 'instead of what can still be changed')
    .action((name: string, options: QualifierOptions) => get(context, name, options));
  add('publish <name>', 'keep the function as it is now as a version; prints its number')
    .option('--description <text>', "in place of the function's")
    .option('--profile-on-publish', 'initialise it once now, so that its first start is fast')
    .action((name: string, options: PublishOptions) => publish(context, name, options));
  add('versions <name>', "list a function's versions").action(
    (name: string, options: TenantOptions) => listVersions(context, name, options),
  );
  addAliasCommands(addTo(group.command('alias').description('names for versions')), context);
  addInvokeCommand(add, context);
  add('logs <name>', "print a function's log")
    .option('--bytes <n>', 'at most this much from its end', parseInteger, logBytesDefault)
    .action((name: string, options: TenantOptions & { readonly bytes: number }) =>
      logs(context, name, options),
    );
  add('rm <name>', 'stop and remove a function')
    .option('--qualifier <version>', 'this published version alone')
    .action((name: string, options: QualifierOptions) => remove(context, name, options));
}

async function create(context: CliContext, name: string, options: FunctionOptions): Promise<void> {
  const { tenant, publish: isPublished } = options;
  const configuration = configurationIn(options);
  const worker = await context.worker();
  const code = await codeIn(context, options);
  if (code === undefined) {
    throw new UsageError('Cannot create a function without code: give "--image" or "--zip"');
  }
  const created = await worker.createFunction({
    memoryMb: memoryDefaultMb,
    ...configuration,
    ...code,
    ...defined({ publish: isPublished }),
    tenant,
    name,
  });
  await finish(context, created, options);
}

interface UpdateOptions extends FunctionOptions {
  /** False with `--no-web`. */
  readonly web: boolean;
}

async function update(context: CliContext, name: string, options: UpdateOptions): Promise<void> {
  const { tenant, publish: isPublished, web } = options;
  const given = configurationIn(options);
  const worker = await context.worker();
  const configuration = web ? given : { ...given, webServer: null };
  const code = await codeIn(context, options);
  const isConfigured = Object.keys(configuration).length > 0;
  if (code === undefined && !isConfigured) {
    throw new UsageError(`Cannot update function "${name}": nothing to change was given`);
  }
  const updated = await worker.updateFunction({
    tenant,
    name,
    ...defined({ code, publish: isPublished }),
    ...(isConfigured ? { configuration } : {}),
  });
  await finish(context, updated, options);
}

/** Tells what came of it, and initialises it once where that was asked for. */
async function finish(
  context: CliContext,
  record: FunctionRecord,
  options: Pick<FunctionOptions, 'json' | 'profileOnPublish'>,
): Promise<void> {
  const { tenant, name, version: qualifier, state, stateReason } = record;
  if (state === 'Failed') {
    context.cause = 'environment';
    context.log.warn('the function cannot run', { function: name, reason: stateReason?.message });
  } else if (options.profileOnPublish === true) {
    const worker = await context.worker();
    await worker.initialiseFunction({ tenant, name, qualifier });
  }
  const text = qualifier === '$LATEST' ? name : `${name}:${qualifier}`;
  context.print(functionJson(record), options.json, () => `${text}\n`);
}

async function list(context: CliContext, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const functions = await worker.listFunctions({ tenant: options.tenant });
  context.print(functions.map(functionJson), options.json, () => functionTable(functions));
}

async function get(context: CliContext, name: string, options: QualifierOptions): Promise<void> {
  const { tenant, qualifier, json } = options;
  const worker = await context.worker();
  const description = await worker.findFunction({ tenant, name, ...defined({ qualifier }) });
  const shown = { ...description, record: functionJson(description.record) };
  context.print(shown, json, () => functionDetails(description));
}

interface PublishOptions extends TenantOptions {
  readonly description?: string;
  readonly profileOnPublish?: boolean;
}

async function publish(context: CliContext, name: string, options: PublishOptions): Promise<void> {
  const { tenant, description } = options;
  const worker = await context.worker();
  const record = await worker.publishFunction({ tenant, name, ...defined({ description }) });
  await finish(context, record, options);
}

async function listVersions(
  context: CliContext,
  name: string,
  { tenant, json }: TenantOptions,
): Promise<void> {
  const worker = await context.worker();
  const versions = await worker.listFunctionVersions({ tenant, name });
  context.print(versions.map(functionJson), json, () => versionTable(versions));
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

async function remove(context: CliContext, name: string, options: QualifierOptions): Promise<void> {
  const { tenant, qualifier, json } = options;
  const worker = await context.worker();
  await worker.removeFunction({ tenant, name, ...defined({ qualifier }) });
  const text = qualifier === undefined ? name : `${name}:${qualifier}`;
  context.print({ name, ...defined({ qualifier }) }, json, () => `${text}\n`);
}
