/** How the parts of the SQL catalog reach the database: whole transactions, and what they share inside one. */

import type { Transaction } from 'kysely';

import type { CatalogTables } from './schema.ts';

/** Inside one transaction. */
export type Db = Transaction<CatalogTables>;

export type Work<T> = (db: Db) => Promise<T>;

export interface Transactions {
  readonly read: <T>(work: Work<T>) => Promise<T>;
  /** Excludes all others that change something. */
  readonly change: <T>(work: Work<T>) => Promise<T>;
}

/** Makes the tenant if this is the first of it. */
export async function ensureTenant(
  db: Db,
  tenant: { readonly name: string; readonly createdAtMs: number },
): Promise<void> {
  await db
    .insertInto('tenants')
    .values({ name: tenant.name, created_at_ms: tenant.createdAtMs })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
}
