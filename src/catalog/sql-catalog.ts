/**
 * The catalog over any Kysely database whose tables `migrate.ts` has made, put together from its parts. Nothing in
 * them depends on the dialect: no auto-increment, no collation (names are sorted here), no `LIKE` on what a caller
 * wrote, bytes as base64.
 *
 * A transaction that changes something must exclude others that do, as it writes what it made of what it read: `begin
 * immediate` on SQLite; PostgreSQL's have to be serializable, and begun again where it refuses one.
 */

import type { Kysely } from 'kysely';

import type { Catalog } from './catalog.ts';
import type { CatalogTables } from './schema.ts';
import { accessKeyCatalog } from './sql-access-keys.ts';
import { aliasCatalog } from './sql-aliases.ts';
import { eventCatalog } from './sql-events.ts';
import { functionCatalog } from './sql-functions.ts';
import { imageCatalog } from './sql-images.ts';
import type { Transactions, Work } from './sql-transactions.ts';

/**
 * Runs one transaction, from the start again while the database says that it is busy, and turns the
 * driver's errors into the catalog's.
 */
export type TransactionRunner = <T>(transaction: () => Promise<T>) => Promise<T>;

/** Takes `db` over: disposing of the catalog closes it. */
export function createSqlCatalog(db: Kysely<CatalogTables>, run: TransactionRunner): Catalog {
  const within =
    (accessMode: 'read only' | 'read write') =>
    <T>(work: Work<T>): Promise<T> =>
      run(() => db.transaction().setAccessMode(accessMode).execute(work));
  const transactions: Transactions = { read: within('read only'), change: within('read write') };
  return {
    ...imageCatalog(transactions),
    ...functionCatalog(transactions),
    ...aliasCatalog(transactions),
    ...eventCatalog(transactions),
    ...accessKeyCatalog(transactions),
    [Symbol.asyncDispose]: async () => await db.destroy(),
  };
}
