/**
 * The catalog in one SQLite file, shared by every process of a machine: the default, nothing to
 * install or start.
 *
 * Invariants: WAL, so that readers never wait; `synchronous=FULL`, so that a change that has
 * resolved survives a power failure; foreign keys checked; mode 0600, because functions'
 * environments hold what their owners put there.
 *
 * better-sqlite3 is synchronous. So SQLite never waits for a lock here: that would stop the event
 * loop, and with it a transaction of another handle of this process that has to end first.
 * Transactions are begun again instead.
 */

import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import Database from 'better-sqlite3';
import {
  CompiledQuery,
  Kysely,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type Driver,
  type SqliteDatabase,
  type SqliteStatement,
  type TransactionSettings,
} from 'kysely';

import { CatalogBusyError, CatalogCorruptError, CatalogUnavailableError } from './errors.ts';
import { migrateToLatest } from './migrate.ts';
import type { Catalog } from './catalog.ts';
import type { CatalogTables } from './schema.ts';
import { createSqlCatalog, type TransactionRunner } from './sql-catalog.ts';

export interface OpenCatalogOptions {
  /**
   * Who finds the database locked for this long gives up; transactions take milliseconds. Default
   * 5,000.
   */
  readonly busyTimeoutMs?: number;
}

const retryDelayMaxMs = 20;
/** Those that the catalog runs, and some of other lengths of lists. */
const statementsKeptMax = 200;

/**
 * Kysely begins every transaction deferred. Under SQLite a deferred transaction that reads first
 * and then writes fails at once when another process has written in between, so one that may write
 * takes the lock at its start.
 */
class ImmediateSqliteDriver extends SqliteDriver {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    super({ database: new PreparedStatements(database) });
    this.#database = database;
  }

  override async beginTransaction(
    connection: DatabaseConnection,
    settings?: TransactionSettings,
  ): Promise<void> {
    const begin = settings?.accessMode === 'read only' ? 'begin' : 'begin immediate';
    await connection.executeQuery(CompiledQuery.raw(begin));
  }

  /**
   * SQLite rolls back by itself on a full or failing disk; a second rollback would hide that error.
   */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection);
  }
}

/**
 * SQLite's DDL is transactional; Kysely's adapter says otherwise for the sake of `pragma
 * foreign_keys`, unused here.
 */
class TransactionalDdlAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class CatalogDialect extends SqliteDialect {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    super({ database });
    this.#database = database;
  }

  override createDriver(): Driver {
    return new ImmediateSqliteDriver(this.#database);
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalDdlAdapter();
  }
}

/**
 * The database as Kysely asks for it, with the statements that it has prepared: preparing one again takes as long as
 * running it. A statement is never in two hands, as every one is run to its end at once.
 */
class PreparedStatements implements SqliteDatabase {
  readonly #database: Database.Database;
  readonly #prepared = new Map<string, Database.Statement>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  prepare(sql: string): SqliteStatement {
    const statement = this.#prepared.get(sql) ?? this.#database.prepare(sql);
    this.#prepared.delete(sql);
    this.#prepared.set(sql, statement);
    const [oldest] = this.#prepared.keys();
    if (this.#prepared.size > statementsKeptMax && oldest !== undefined) {
      this.#prepared.delete(oldest);
    }
    return statement;
  }

  close(): void {
    this.#prepared.clear();
    this.#database.close();
  }
}

/** Turns what SQLite throws into the catalog's errors; anything else passes through. */
function translated(thrown: unknown, path: string): unknown {
  if (!(thrown instanceof Database.SqliteError)) return thrown;
  // SQLITE_KIND or SQLITE_KIND_DETAIL, source: https://www.sqlite.org/rescode.html
  switch (thrown.code.split('_')[1] ?? '') {
    case 'BUSY':
    case 'LOCKED':
      return new CatalogBusyError(path, thrown);
    case 'CORRUPT':
    case 'NOTADB':
      return new CatalogCorruptError(path, thrown.message, thrown);
    case 'FULL':
    case 'IOERR':
    case 'CANTOPEN':
    case 'READONLY':
    case 'PERM':
      return new CatalogUnavailableError(path, thrown);
    default:
      return thrown;
  }
}

function retryingFor(busyTimeoutMs: number, path: string): TransactionRunner {
  return async (transaction) => {
    const deadlineMs = performance.now() + busyTimeoutMs;
    for (;;) {
      try {
        return await transaction();
      } catch (thrown) {
        const failure = translated(thrown, path);
        if (!(failure instanceof CatalogBusyError) || performance.now() > deadlineMs) throw failure;
        await sleep(Math.random() * retryDelayMaxMs);
      }
    }
  };
}

async function createPrivateFile(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await (await open(path, 'a', 0o600)).close();
  } catch (thrown) {
    throw new CatalogUnavailableError(path, thrown);
  }
}

/**
 * Opens the catalog at `path`, making it and its directory if need be; any number of processes may,
 * at once. Dispose of it when done. Throws `ERR_CATALOG_NEWER`; `ERR_CATALOG_CORRUPT` where the
 * file is damaged or another program's, which is left as it is; `ERR_CATALOG_BUSY`;
 * `ERR_CATALOG_UNAVAILABLE`.
 *
 * A PostgreSQL catalog will be another `open…` beside this one, over the same `createSqlCatalog` and
 * migrations.
 */
export async function openCatalog(
  path: string,
  options: OpenCatalogOptions = {},
): Promise<Catalog> {
  await createPrivateFile(path);
  const run = retryingFor(options.busyTimeoutMs ?? 5000, path);
  const database = await run(async () => new Database(path, { timeout: 0 }));
  try {
    const db = new Kysely<CatalogTables>({ dialect: new CatalogDialect(database) });
    await run(async () => {
      database.pragma('foreign_keys = ON');
      database.pragma('synchronous = FULL');
      await migrateToLatest(db, path);
      database.pragma('journal_mode = WAL');
    });
    return createSqlCatalog(db, run);
  } catch (thrown) {
    database.close();
    throw thrown;
  }
}
