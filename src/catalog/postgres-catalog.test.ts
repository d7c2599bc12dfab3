/** The catalog's SQL on PostgreSQL: there is no `open…` for it yet, but nothing in the SQL keeps one from being written. */

import { after, describe } from 'node:test';

import { catalogConformance } from './testing/catalog-conformance.ts';
import { postgresSkip, startPostgres, type PostgresServer } from './testing/postgres-server.ts';

describe('over PostgreSQL', { skip: postgresSkip }, () => {
  let server: Promise<PostgresServer> | undefined;
  after(async () => await (await server)?.[Symbol.asyncDispose]());
  catalogConformance({
    name: 'PostgreSQL',
    create: async () => await (await (server ??= startPostgres())).createDatabase(),
  });
});
