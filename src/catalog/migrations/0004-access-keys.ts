/** Access keys, each of one tenant; and the tenant `default`, whom commands mean that name none, so that he can be given one. */

import type { Kysely } from 'kysely';

import type { CatalogTables } from '../schema.ts';

export async function up(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('access_keys')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.name'))
    .addColumn('wrapped_secret', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('access_keys_by_tenant').on('access_keys').column('tenant').execute();
  await db
    .insertInto('tenants')
    .values({ name: 'default', created_at_ms: Date.now() })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
}
