/** A PostgreSQL of its own, for a test: started in a temporary directory, reached over a Unix socket, and gone with it. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { Kysely, PostgresDialect } from 'kysely';

import { errorCode } from '../../base/index.ts';
import type { Catalog } from '../catalog.ts';
import { migrateToLatest } from '../migrate.ts';
import type { CatalogTables } from '../schema.ts';
import { createSqlCatalog, type TransactionRunner } from '../sql-catalog.ts';
import type { CatalogDatabase } from './catalog-conformance.ts';
import { postgresPool } from './postgres-connection.ts';

/** Where Debian has the programs of its newest version; empty where PostgreSQL is not installed. */
const programs = globSync('/usr/lib/postgresql/*/bin').sort().at(-1) ?? '';

/** For a test's `skip`. */
export const postgresSkip = programs === '' ? 'needs postgresql' : false;

const user = 'thaw';
/** Of `nobody`: PostgreSQL does not run as root. */
const nobody = { uid: 65_534, gid: 65_534 };
/** Nothing has to survive: what is tested is the SQL. */
const serverSettings = [
  'fsync=off',
  'listen_addresses=',
  'default_transaction_isolation=serializable',
];
/** "serialization_failure" and "deadlock_detected": to be begun again. Source: PostgreSQL, "Error Codes". */
const retriedCodes = ['40001', '40P01'];

const retrying: TransactionRunner = async (transaction) => {
  for (;;) {
    try {
      return await transaction();
    } catch (thrown) {
      if (!retriedCodes.includes(errorCode(thrown) ?? '')) throw thrown;
    }
  }
};

/** Databases of one server, which disposing of it stops and removes. */
export interface PostgresServer extends AsyncDisposable {
  /** A new one, with empty tables. */
  createDatabase(): Promise<CatalogDatabase>;
}

async function startServer(directory: string, owner: object): Promise<ChildProcess> {
  const files = join(directory, 'data');
  const options = ['-D', files, '-U', user, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  const making = spawn(join(programs, 'initdb'), options, { stdio: 'ignore', ...owner });
  const [status] = (await once(making, 'exit')) as [number | null];
  if (status !== 0) throw new Error(`initdb ended with status ${status}`);
  const settings = serverSettings.flatMap((setting) => ['-c', setting]);
  const server = spawn(join(programs, 'postgres'), ['-D', files, '-k', directory, ...settings], {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...owner,
  });
  await new Promise<void>((resolve, reject) => {
    const lines = createInterface(server.stderr);
    lines.on('line', (line) => {
      if (line.includes('ready to accept connections')) resolve();
    });
    lines.on('close', () => reject(new Error('PostgreSQL ended before it was ready')));
  });
  return server;
}

export async function startPostgres(): Promise<PostgresServer> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-pg-'));
  const owner = process.getuid?.() === 0 ? nobody : {};
  if ('uid' in owner) await chown(directory, nobody.uid, nobody.gid);
  const server = await startServer(directory, owner);
  const pool = (database: string) =>
    postgresPool(join(directory, '.s.PGSQL.5432'), { user, database });
  const administration = pool('postgres');
  const open = async (name: string): Promise<Catalog> => {
    const db = new Kysely<CatalogTables>({ dialect: new PostgresDialect({ pool: pool(name) }) });
    await migrateToLatest(db, name);
    return createSqlCatalog(db, retrying);
  };
  const create = async (name: string, template: string): Promise<void> => {
    const client = await administration.connect();
    await client.query(`create database ${name} template ${template}`, []);
    client.release();
  };
  await create('empty', 'template1');
  await (await open('empty'))[Symbol.asyncDispose]();
  let count = 0;
  return {
    createDatabase: async () => {
      count += 1;
      const name = `catalog_${count}`;
      await create(name, 'empty');
      return {
        open: () => open(name),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    [Symbol.asyncDispose]: async () => {
      await administration.end();
      const ended = once(server, 'exit');
      server.kill('SIGINT');
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
