/** `thaw tenant …` */

import type { Command } from 'commander';

import type { CliContext } from '../context.ts';
import { formatTable } from '../format.ts';

interface JsonOption {
  readonly json?: boolean;
}

function add(group: Command, usage: string, description: string): Command {
  return group.command(usage).description(description).option('--json', 'print JSON');
}

export function addTenantCommands(program: Command, context: CliContext): void {
  const tenant = program.command('tenant').description('tenants and their access keys');
  const key = tenant.command('key').description('access keys, to sign requests to the API with');

  add(tenant, 'create <name>', 'create a tenant').action((name: string, options: JsonOption) =>
    createTenant(context, name, options),
  );
  add(tenant, 'ls', 'list tenants').action((options: JsonOption) => listTenants(context, options));
  add(key, 'create <tenant>', 'create an access key; its secret is shown this once').action(
    (name: string, options: JsonOption) => createKey(context, name, options),
  );
  add(key, 'ls <tenant>', "list a tenant's access keys").action(
    (name: string, options: JsonOption) => listKeys(context, name, options),
  );
  add(
    key,
    'rm <tenant> <access-key-id>',
    'remove an access key: from now on it opens nothing',
  ).action((name: string, accessKeyId: string, options: JsonOption) =>
    removeKey(context, { tenant: name, accessKeyId }, options),
  );
}

const dateOf = (ms: number): string => new Date(ms).toISOString();

async function createTenant(context: CliContext, name: string, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const tenant = await worker.createTenant({ name });
  context.print(tenant, options.json, () => `${tenant.name}\n`);
}

async function listTenants(context: CliContext, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const tenants = await worker.listTenants();
  context.print(tenants, options.json, () =>
    formatTable(
      ['NAME', 'CREATED'],
      tenants.map(({ name, createdAtMs }) => [name, dateOf(createdAtMs)]),
    ),
  );
}

/** In the form of a shell's settings, so that it can be read by one. */
async function createKey(context: CliContext, tenant: string, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const key = await worker.createAccessKey({ tenant });
  context.print({ tenant, ...key }, options.json, () =>
    [
      `AWS_ACCESS_KEY_ID=${key.accessKeyId}\n`,
      `AWS_SECRET_ACCESS_KEY=${key.secretAccessKey}\n`,
    ].join(''),
  );
}

async function listKeys(context: CliContext, tenant: string, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const keys = await worker.listAccessKeys({ tenant });
  context.print(keys, options.json, () =>
    formatTable(
      ['ACCESS KEY', 'CREATED'],
      keys.map(({ accessKeyId, createdAtMs }) => [accessKeyId, dateOf(createdAtMs)]),
    ),
  );
}

async function removeKey(
  context: CliContext,
  request: { readonly tenant: string; readonly accessKeyId: string },
  options: JsonOption,
): Promise<void> {
  const worker = await context.worker();
  await worker.removeAccessKey(request);
  context.print(request, options.json, () => `${request.accessKeyId}\n`);
}
