/**
 * Brings a database's tables up to what this code knows, for any dialect. All migrations that are
 * missing run in one transaction, so that processes which open a fresh database together queue up
 * for it, and a process killed half-way leaves nothing.
 */

import type { Kysely } from 'kysely';
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration';

import { assert } from '../base/index.ts';
import { CatalogCorruptError, CatalogNewerError } from './errors.ts';
import { migrations } from './migrations/index.ts';
import type { CatalogTables } from './schema.ts';

interface MigrationTables extends CatalogTables {
  readonly [DEFAULT_MIGRATION_TABLE]: { readonly name: string };
}

/**
 * Names of the migrations that have run; throws where the database is not ours or is ahead of us.
 */
async function executedMigrations(db: Kysely<CatalogTables>, where: string): Promise<Set<string>> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (tables.length === 0) return new Set();
  if (!tables.some((table) => table.name === DEFAULT_MIGRATION_TABLE)) {
    throw new CatalogCorruptError(where, 'it is the database of another program');
  }
  const rows = await (db as unknown as Kysely<MigrationTables>)
    .selectFrom(DEFAULT_MIGRATION_TABLE)
    .select('name')
    .execute();
  const unknown = rows.map((row) => row.name).filter((name) => !(name in migrations));
  if (unknown.length > 0) throw new CatalogNewerError(where, unknown);
  return new Set(rows.map((row) => row.name));
}

/**
 * `where` names the database in errors. Takes no lock when there is nothing to do.
 * Throws `ERR_CATALOG_NEWER`, `ERR_CATALOG_CORRUPT` (the database of another program), and the
 * driver's errors.
 */
export async function migrateToLatest(db: Kysely<CatalogTables>, where: string): Promise<void> {
  const executed = await executedMigrations(db, where);
  if (Object.keys(migrations).every((name) => executed.has(name))) return;
  await db.transaction().execute(async (transaction) => {
    await executedMigrations(transaction, where); // another process may have been here since
    const migrator = new Migrator({
      db: transaction,
      provider: { getMigrations: async () => ({ ...migrations }) },
    });
    const { error } = await migrator.migrateToLatest();
    if (error instanceof Error) throw error;
    assert(error === undefined, `The migrations of "${where}" failed: ${String(error)}`);
  });
}
