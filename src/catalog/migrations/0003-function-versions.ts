/**
 * Functions get versions, aliases, settings and events. Those there are become `$LATEST` of theirs: active, with their
 * image's digest as the hash of their code.
 */

import { randomUUID } from 'node:crypto';

import type { Kysely } from 'kysely';

import type { CatalogTables } from '../schema.ts';

/** As 0001 made it, with the columns that are read. */
interface OldFunction {
  readonly tenant: string;
  readonly name: string;
  readonly manifest_id: string;
  readonly image_digest: string;
  readonly memory_mb: number | string;
  readonly timeout_seconds: number | string;
  readonly environment: string;
  readonly entrypoint: string | null;
  readonly command: string | null;
  readonly working_dir: string | null;
  readonly created_at_ms: number | string;
  readonly updated_at_ms: number | string;
}

interface OldTables {
  readonly functions: Omit<OldFunction, 'image_digest'>;
  readonly images: Pick<OldFunction, 'tenant' | 'manifest_id' | 'image_digest'>;
}

async function readFunctions(db: Kysely<CatalogTables>): Promise<readonly OldFunction[]> {
  return await (db as unknown as Kysely<OldTables>)
    .selectFrom('functions')
    .innerJoin('images', (join) =>
      join
        .onRef('images.tenant', '=', 'functions.tenant')
        .onRef('images.manifest_id', '=', 'functions.manifest_id'),
    )
    .selectAll('functions')
    .select('images.image_digest')
    .execute();
}

async function createFunctions(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('functions')
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.name'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('reserved_concurrency', 'integer')
    .addColumn('versions_published', 'bigint', (column) => column.notNull())
    .addColumn('settings', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('functions_key', ['tenant', 'name'])
    .execute();
  await db.schema
    .createIndex('functions_by_reservation')
    .on('functions')
    .columns(['tenant', 'reserved_concurrency'])
    .execute();
  await db.schema
    .createTable('function_versions')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('manifest_id', 'text')
    .addColumn('code_size_bytes', 'bigint', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('last_update_status', 'text', (column) => column.notNull())
    .addColumn('revision_id', 'text', (column) => column.notNull())
    .addColumn('made_of_revision_id', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('configuration', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('function_versions_key', ['tenant', 'name', 'version'])
    .addForeignKeyConstraint('function_versions_function', ['tenant', 'name'], 'functions', [
      'tenant',
      'name',
    ])
    .addForeignKeyConstraint('function_versions_image', ['tenant', 'manifest_id'], 'images', [
      'tenant',
      'manifest_id',
    ])
    .execute();
  await db.schema
    .createIndex('function_versions_by_image')
    .on('function_versions')
    .columns(['tenant', 'manifest_id'])
    .execute();
}

async function createAliasesAndEvents(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('function_aliases')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('function_name', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('version', 'bigint', (column) => column.notNull())
    .addColumn('description', 'text', (column) => column.notNull())
    .addColumn('weights', 'text', (column) => column.notNull())
    .addColumn('revision_id', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('function_aliases_key', ['tenant', 'function_name', 'name'])
    .addForeignKeyConstraint(
      'function_aliases_version',
      ['tenant', 'function_name', 'version'],
      'function_versions',
      ['tenant', 'name', 'version'],
    )
    .execute();
  await db.schema
    .createTable('function_events')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('function_name', 'text', (column) => column.notNull())
    .addColumn('qualifier', 'text')
    .addColumn('payload', 'text', (column) => column.notNull())
    .addColumn('client_context', 'text')
    .addColumn('trace_id', 'text')
    .addColumn('accepted_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('due_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('failed_attempts', 'integer', (column) => column.notNull())
    .addForeignKeyConstraint('function_events_function', ['tenant', 'function_name'], 'functions', [
      'tenant',
      'name',
    ])
    .execute();
  await db.schema
    .createIndex('function_events_by_due')
    .on('function_events')
    .columns(['due_at_ms', 'accepted_at_ms'])
    .execute();
  await db.schema
    .createIndex('function_events_by_function')
    .on('function_events')
    .columns(['tenant', 'function_name'])
    .execute();
}

function configurationOf(old: OldFunction): object {
  return {
    code: { packageType: 'Image', imageUri: old.manifest_id },
    codeSha256: old.image_digest.replace(/^sha256:/, ''),
    description: '',
    role: '',
    memoryMb: Number(old.memory_mb),
    timeoutSeconds: Number(old.timeout_seconds),
    ephemeralStorageMb: 512,
    environment: JSON.parse(old.environment) as unknown,
    ...(old.entrypoint === null ? {} : { entrypoint: JSON.parse(old.entrypoint) as unknown }),
    ...(old.command === null ? {} : { command: JSON.parse(old.command) as unknown }),
    ...(old.working_dir === null ? {} : { workingDir: old.working_dir }),
    network: 'none',
  };
}

async function insertFunction(db: Kysely<CatalogTables>, old: OldFunction): Promise<void> {
  const { tenant, name } = old;
  await db
    .insertInto('functions')
    .values({
      tenant,
      name,
      reserved_concurrency: null,
      versions_published: 0,
      settings: JSON.stringify({ tags: {}, urls: {}, eventInvoke: {} }),
    })
    .execute();
  await db
    .insertInto('function_versions')
    .values({
      tenant,
      name,
      version: 0,
      manifest_id: old.manifest_id,
      code_size_bytes: 0,
      state: 'Active',
      last_update_status: 'Successful',
      revision_id: randomUUID(),
      made_of_revision_id: null,
      created_at_ms: Number(old.created_at_ms),
      updated_at_ms: Number(old.updated_at_ms),
      configuration: JSON.stringify(configurationOf(old)),
    })
    .execute();
}

export async function up(db: Kysely<CatalogTables>): Promise<void> {
  const functions = await readFunctions(db);
  await db.schema.dropTable('functions').execute();
  await createFunctions(db);
  await createAliasesAndEvents(db);
  for (const old of functions) await insertFunction(db, old);
}
