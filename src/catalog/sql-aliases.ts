/** The catalog's aliases, in SQL. */

import {
  AliasExistsError,
  NoSuchAliasError,
  NoSuchFunctionError,
  RevisionChangedError,
} from './errors.ts';
import type { AliasRecord, FunctionCatalog } from './function-records.ts';
import { aliasFromRow, aliasToRow, versionNumber } from './function-rows.ts';
import { namesOfPage } from './sql-functions.ts';
import type { Db, Transactions } from './sql-transactions.ts';

interface AliasName {
  readonly tenant: string;
  readonly functionName: string;
  readonly name: string;
}

type Aliases = Pick<
  FunctionCatalog,
  'addAlias' | 'findAlias' | 'listAliases' | 'updateAlias' | 'removeAlias'
>;

export function aliasCatalog({ read, change }: Transactions): Aliases {
  return {
    addAlias: (alias) => change((db) => insertAlias(db, alias)),
    findAlias: (tenant, functionName, name) =>
      read((db) => readAlias(db, { tenant, functionName, name })),
    listAliases: (tenant, functionName, page) =>
      read(async (db) => {
        await checkVersions(db, { tenant, functionName, versions: [] });
        const rows = await aliasesOf(db, { tenant, functionName }).execute();
        const aliases = rows
          .map(aliasFromRow)
          .filter(({ version }) => page.version === undefined || page.version === version);
        const { names, nextMarker } = namesOfPage(
          aliases.map((alias) => alias.name),
          page,
        );
        const byName = new Map(aliases.map((alias) => [alias.name, alias]));
        return { items: names.flatMap((name) => byName.get(name) ?? []), ...nextMarker };
      }),
    updateAlias: (of, changed, options = {}) =>
      change(async (db) => {
        const before = await readAlias(db, of);
        if (before === undefined) throw new NoSuchAliasError(of.functionName, of.name);
        const { revisionId } = options;
        if (revisionId !== undefined && revisionId !== before.revisionId) {
          throw new RevisionChangedError(of.name, revisionId);
        }
        const after = changed(before);
        await db
          .updateTable('function_aliases')
          .set(aliasToRow(after, await checkedVersion(db, after)))
          .where('tenant', '=', of.tenant)
          .where('function_name', '=', of.functionName)
          .where('name', '=', of.name)
          .execute();
        return after;
      }),
    removeAlias: (tenant, functionName, name) =>
      change(async (db) => {
        const { numDeletedRows } = await db
          .deleteFrom('function_aliases')
          .where('tenant', '=', tenant)
          .where('function_name', '=', functionName)
          .where('name', '=', name)
          .executeTakeFirst();
        return numDeletedRows > 0n;
      }),
  };
}

function aliasesOf(db: Db, of: Pick<AliasName, 'tenant' | 'functionName'>) {
  return db
    .selectFrom('function_aliases')
    .selectAll()
    .where('tenant', '=', of.tenant)
    .where('function_name', '=', of.functionName);
}

async function readAlias(db: Db, of: AliasName): Promise<AliasRecord | undefined> {
  const row = await aliasesOf(db, of).where('name', '=', of.name).executeTakeFirst();
  return row === undefined ? undefined : aliasFromRow(row);
}

async function insertAlias(db: Db, alias: AliasRecord): Promise<void> {
  const version = await checkedVersion(db, alias);
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('function_aliases')
    .values(aliasToRow(alias, version))
    .onConflict((conflict) => conflict.columns(['tenant', 'function_name', 'name']).doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows === 0n) throw new AliasExistsError(alias.functionName, alias.name);
}

/** The number of the alias's version; it is there, as are those that have a weight. */
async function checkedVersion(db: Db, alias: AliasRecord): Promise<number> {
  const { tenant, functionName, version, additionalVersionWeights } = alias;
  const versions = [version, ...Object.keys(additionalVersionWeights)];
  const [number = 0] = await checkVersions(db, { tenant, functionName, versions });
  return number;
}

/** Their numbers. Throws `ERR_CATALOG_NO_SUCH_FUNCTION` for the first that is not there, or if there is no function. */
async function checkVersions(
  db: Db,
  of: {
    readonly tenant: string;
    readonly functionName: string;
    readonly versions: readonly string[];
  },
): Promise<readonly number[]> {
  const { tenant, functionName: name, versions } = of;
  const rows = await db
    .selectFrom('function_versions')
    .select('version')
    .where('tenant', '=', tenant)
    .where('name', '=', name)
    .execute();
  const there = new Set(rows.map((row) => Number(row.version)));
  if (there.size === 0) throw new NoSuchFunctionError({ tenant, name });
  return versions.map((version) => {
    const number = versionNumber(version);
    if (number === undefined || !there.has(number)) {
      throw new NoSuchFunctionError({ tenant, name, version });
    }
    return number;
  });
}
