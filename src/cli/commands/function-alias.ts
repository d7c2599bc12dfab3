/** `thaw function alias …` */

import { InvalidArgumentError, type Command } from 'commander';

import { defined } from '../../base/index.ts';
import type { CliContext } from '../context.ts';
import { aliasTable } from '../function-tables.ts';

interface TenantOptions {
  readonly tenant: string;
  readonly json?: boolean;
}

interface SetOptions extends TenantOptions {
  readonly weight?: Readonly<Record<string, number>>;
  readonly description?: string;
}

export function addAliasCommands(
  add: (usage: string, description: string) => Command,
  context: CliContext,
): void {
  add('set <name> <alias> [version]', 'make an alias of a version, or change it')
    .option('--weight <version=share>', 'a share of its invokes, 0 to 1, for another', parseWeight)
    .option('--description <text>', 'for people')
    .action((name: string, alias: string, version: string | undefined, options: SetOptions) =>
      set(context, { functionName: name, name: alias, version }, options),
    );
  add('ls <name>', "list a function's aliases").action((name: string, options: TenantOptions) =>
    list(context, name, options),
  );
  add('rm <name> <alias>', 'remove an alias').action(
    (name: string, alias: string, options: TenantOptions) =>
      remove(context, { functionName: name, name: alias }, options),
  );
}

/** Of share 0: none at all. */
function parseWeight(text: string): Readonly<Record<string, number>> {
  const [, version, share] = /^(\d+)=(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (version === undefined || share === undefined) {
    throw new InvalidArgumentError('It must be VERSION=SHARE, e.g. 2=0.1.');
  }
  return Number(share) === 0 ? {} : { [version]: Number(share) };
}

interface AliasName {
  readonly functionName: string;
  readonly name: string;
}

async function set(
  context: CliContext,
  { version, ...of }: AliasName & { readonly version: string | undefined },
  options: SetOptions,
): Promise<void> {
  const { tenant, weight: additionalVersionWeights, description, json } = options;
  const worker = await context.worker();
  const change = defined({ version, additionalVersionWeights, description });
  const alias = await worker.setFunctionAlias({ tenant, ...of, ...change });
  context.print(alias, json, () => `${alias.functionName}:${alias.name}\n`);
}

async function list(
  context: CliContext,
  name: string,
  { tenant, json }: TenantOptions,
): Promise<void> {
  const worker = await context.worker();
  const aliases = await worker.listFunctionAliases({ tenant, name });
  context.print(aliases, json, () => aliasTable(aliases));
}

async function remove(
  context: CliContext,
  of: AliasName,
  { tenant, json }: TenantOptions,
): Promise<void> {
  const worker = await context.worker();
  await worker.removeFunctionAlias({ tenant, ...of });
  context.print(of, json, () => `${of.functionName}:${of.name}\n`);
}
