/** How an image's chunks are coded. Until now there was one way. */

import type { Kysely } from 'kysely';

import type { CatalogTables } from '../schema.ts';

export async function up(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .alterTable('images')
    .addColumn('codec', 'text', (column) => column.notNull().defaultTo('none'))
    .execute();
}
