/** Which of several servers runs an event: a claim of it, which is gone with the event and with the server's own row. */

import type { Kysely } from 'kysely';

import type { CatalogTables } from '../schema.ts';

export async function up(db: Kysely<CatalogTables>): Promise<void> {
  await db.schema
    .createTable('event_runners')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('beat', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('event_claims')
    .addColumn('event_id', 'text', (column) =>
      column.primaryKey().notNull().references('function_events.id').onDelete('cascade'),
    )
    .addColumn('runner_id', 'text', (column) =>
      column.notNull().references('event_runners.id').onDelete('cascade'),
    )
    .execute();
  await db.schema
    .createIndex('event_claims_by_runner')
    .on('event_claims')
    .column('runner_id')
    .execute();
}
