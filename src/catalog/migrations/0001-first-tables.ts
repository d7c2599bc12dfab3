/** Tenants, roots, images, functions; and the root `r1`, which the first images go into. */

import type { Kysely } from 'kysely';

import type { CatalogTables } from '../schema.ts';

async function createTenantsAndRoots(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('tenants')
    .addColumn('name', 'text', (column) => column.primaryKey().notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('roots')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute();
}

async function createImages(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('images')
    .addColumn('tenant', 'text', (column) => column.notNull().references('tenants.name'))
    .addColumn('manifest_id', 'text', (column) => column.notNull())
    .addColumn('root_id', 'text', (column) => column.notNull().references('roots.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('reference', 'text', (column) => column.notNull())
    .addColumn('image_digest', 'text', (column) => column.notNull())
    .addColumn('platform', 'text', (column) => column.notNull())
    .addColumn('disk_format_version', 'integer', (column) => column.notNull())
    .addColumn('disk_size_bytes', 'bigint', (column) => column.notNull())
    .addColumn('content_bytes', 'bigint', (column) => column.notNull())
    .addColumn('file_count', 'bigint', (column) => column.notNull())
    .addColumn('chunk_count', 'bigint', (column) => column.notNull())
    .addColumn('stored_bytes', 'bigint', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('images_key', ['tenant', 'manifest_id'])
    .execute();
  await db.schema
    .createIndex('images_by_name')
    .on('images')
    .columns(['tenant', 'name', 'created_at_ms'])
    .execute();
  await db.schema
    .createIndex('images_by_digest')
    .on('images')
    .columns(['tenant', 'image_digest'])
    .execute();
}

async function createFunctions(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('functions')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('manifest_id', 'text', (column) => column.notNull())
    .addColumn('memory_mb', 'integer', (column) => column.notNull())
    .addColumn('timeout_seconds', 'integer', (column) => column.notNull())
    .addColumn('environment', 'text', (column) => column.notNull())
    .addColumn('entrypoint', 'text')
    .addColumn('command', 'text')
    .addColumn('working_dir', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('functions_key', ['tenant', 'name'])
    .addForeignKeyConstraint('functions_image', ['tenant', 'manifest_id'], 'images', [
      'tenant',
      'manifest_id',
    ])
    .execute();
  await db.schema
    .createIndex('functions_by_image')
    .on('functions')
    .columns(['tenant', 'manifest_id'])
    .execute();
}

export async function up(db: Kysely<CatalogTables>): Promise<void> {
  await createTenantsAndRoots(db);
  await createImages(db);
  await createFunctions(db);
  await db
    .insertInto('roots')
    .values({ id: 'r1', state: 'active', created_at_ms: Date.now() })
    .execute();
}
