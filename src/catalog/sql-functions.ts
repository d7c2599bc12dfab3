/** The catalog's functions and their versions, in SQL. */

import { compareStrings } from '../base/index.ts';
import {
  FunctionExistsError,
  NoSuchFunctionError,
  NoSuchImageError,
  RevisionChangedError,
  VersionInUseError,
} from './errors.ts';
import {
  latestVersion,
  type AliasRecord,
  type FunctionCatalog,
  type FunctionRecord,
  type FunctionSettings,
  type FunctionTotals,
  type InvokedFunction,
  type Page,
  type PageRequest,
} from './function-records.ts';
import {
  aliasFromRow,
  settingsFromRow,
  settingsToRow,
  versionFromRow,
  versionName,
  versionNumber,
  versionToRow,
} from './function-rows.ts';
import type { ImageRecord } from './image-records.ts';
import { imageFromRow } from './schema.ts';
import { ensureTenant, type Db, type Transactions } from './sql-transactions.ts';

interface FunctionName {
  readonly tenant: string;
  readonly name: string;
}

interface VersionName extends FunctionName {
  readonly version: string;
}

type Reads = Pick<
  FunctionCatalog,
  | 'findFunction'
  | 'findInvoked'
  | 'findFunctionSettings'
  | 'listFunctions'
  | 'listUnfinishedFunctions'
  | 'functionTotals'
  | 'listVersions'
>;
type Changes = Pick<
  FunctionCatalog,
  'addFunction' | 'updateFunction' | 'updateFunctionSettings' | 'publishVersion' | 'removeFunction'
>;

export function functionCatalog(transactions: Transactions): Reads & Changes {
  return { ...functionReads(transactions), ...functionChanges(transactions) };
}

function functionReads({ read }: Transactions): Reads {
  return {
    findFunction: (tenant, name, version = latestVersion) =>
      read((db) => readVersion(db, { tenant, name, version })),
    findInvoked: (tenant, name, qualifier) =>
      read((db) =>
        readInvoked(db, { tenant, name, ...(qualifier === undefined ? {} : { qualifier }) }),
      ),
    findFunctionSettings: (tenant, name) => read((db) => readSettings(db, { tenant, name })),
    listFunctions: (tenant, page) => read((db) => readFunctionPage(db, tenant, page)),
    listUnfinishedFunctions: () =>
      read(async (db) => {
        const rows = await db
          .selectFrom('function_versions')
          .selectAll()
          .where((row) =>
            row.or([row('state', '=', 'Pending'), row('last_update_status', '=', 'InProgress')]),
          )
          .execute();
        return rows.map(versionFromRow);
      }),
    functionTotals: (tenant) => read((db) => readTotals(db, tenant)),
    listVersions: (tenant, name, page) =>
      read(async (db) => {
        await existingSettings(db, { tenant, name });
        return await readVersionPage(db, { tenant, name }, page);
      }),
  };
}

function functionChanges({ change }: Transactions): Changes {
  return {
    addFunction: (record, settings) =>
      change(async (db) => {
        await checkImage(db, record);
        const { tenant, createdAtMs } = record;
        await ensureTenant(db, { name: tenant, createdAtMs });
        const { numInsertedOrUpdatedRows } = await db
          .insertInto('functions')
          .values(settingsToRow(settings))
          .onConflict((conflict) => conflict.columns(['tenant', 'name']).doNothing())
          .executeTakeFirst();
        if (numInsertedOrUpdatedRows === 0n) throw new FunctionExistsError(tenant, record.name);
        await insertVersion(db, { record, version: 0 });
      }),
    updateFunction: (of, changed, options = {}) =>
      change(async (db) => {
        const before = await existingVersion(db, of);
        checkRevision(of.name, before.revisionId, options.revisionId);
        const after = changed(before);
        await replaceVersion(db, after, before);
        return after;
      }),
    updateFunctionSettings: (of, changed) =>
      change(async (db) => {
        const before = await existingSettings(db, of);
        const reserved = await readReserved(db, of.tenant);
        const ofOthers = reserved - (before.reservedConcurrency ?? 0);
        const after = changed(before, { reservedConcurrency: ofOthers });
        await writeSettings(db, after);
        return after;
      }),
    publishVersion: (of, make, options) =>
      change(async (db) => {
        const latest = await existingVersion(db, { ...of, version: latestVersion });
        checkRevision(of.name, latest.revisionId, options.revisionId);
        const made = make(latest);
        const last = await readLastPublished(db, of);
        if (last !== undefined) {
          const isUnchanged = last.madeOfRevisionId === latest.revisionId;
          if (isUnchanged || options.isSame(made, last.record)) return last.record;
        }
        return await addVersion(db, made, latest);
      }),
    removeFunction: (tenant, name, version) =>
      change(async (db) =>
        version === undefined
          ? await deleteFunction(db, { tenant, name })
          : await deleteVersion(db, { tenant, name, version }),
      ),
  };
}

function versionsOf(db: Db, { tenant, name }: FunctionName) {
  return db
    .selectFrom('function_versions')
    .selectAll()
    .where('tenant', '=', tenant)
    .where('name', '=', name);
}

async function readVersion(db: Db, of: VersionName): Promise<FunctionRecord | undefined> {
  const number = versionNumber(of.version);
  if (number === undefined) return undefined;
  const row = await versionsOf(db, of).where('version', '=', number).executeTakeFirst();
  return row === undefined ? undefined : versionFromRow(row);
}

async function existingVersion(db: Db, of: VersionName): Promise<FunctionRecord> {
  const record = await readVersion(db, of);
  if (record === undefined) throw new NoSuchFunctionError(of);
  return record;
}

async function readSettings(db: Db, of: FunctionName): Promise<FunctionSettings | undefined> {
  const row = await db
    .selectFrom('functions')
    .selectAll()
    .where('tenant', '=', of.tenant)
    .where('name', '=', of.name)
    .executeTakeFirst();
  return row === undefined ? undefined : settingsFromRow(row);
}

async function existingSettings(db: Db, of: FunctionName): Promise<FunctionSettings> {
  const settings = await readSettings(db, of);
  if (settings === undefined) {
    throw new NoSuchFunctionError({ tenant: of.tenant, name: of.name });
  }
  return settings;
}

async function readInvoked(
  db: Db,
  of: FunctionName & { readonly qualifier?: string },
): Promise<InvokedFunction | undefined> {
  const { tenant, name, qualifier = latestVersion } = of;
  const settings = await readSettings(db, of);
  if (settings === undefined) return undefined;
  const alias = await readAlias(db, { tenant, functionName: name, name: qualifier });
  const meant =
    alias === undefined
      ? [qualifier]
      : [alias.version, ...Object.keys(alias.additionalVersionWeights)];
  const numbers = meant.flatMap((version) => versionNumber(version) ?? []);
  if (numbers.length === 0) return undefined;
  const rows = await versionsOf(db, of).where('version', 'in', numbers).execute();
  if (rows.length === 0) return undefined;
  return {
    settings,
    ...(alias === undefined ? {} : { alias }),
    versions: numbers
      .flatMap((number) => rows.find((row) => Number(row.version) === number) ?? [])
      .map(versionFromRow),
    images: await readImages(db, {
      tenant,
      manifestIds: rows.flatMap((row) => row.manifest_id ?? []),
    }),
    reservedConcurrencyOfTenant: await readReserved(db, tenant),
  };
}

async function readImages(
  db: Db,
  of: { readonly tenant: string; readonly manifestIds: readonly string[] },
): Promise<readonly ImageRecord[]> {
  if (of.manifestIds.length === 0) return [];
  const rows = await db
    .selectFrom('images')
    .selectAll()
    .where('tenant', '=', of.tenant)
    .where('manifest_id', 'in', of.manifestIds)
    .execute();
  return rows.map(imageFromRow);
}

async function readAlias(
  db: Db,
  of: { readonly tenant: string; readonly functionName: string; readonly name: string },
): Promise<AliasRecord | undefined> {
  if (versionNumber(of.name) !== undefined) return undefined;
  const row = await db
    .selectFrom('function_aliases')
    .selectAll()
    .where('tenant', '=', of.tenant)
    .where('function_name', '=', of.functionName)
    .where('name', '=', of.name)
    .executeTakeFirst();
  return row === undefined ? undefined : aliasFromRow(row);
}

async function readFunctionPage(
  db: Db,
  tenant: string,
  page: PageRequest,
): Promise<Page<FunctionRecord>> {
  const rows = await db
    .selectFrom('functions')
    .select('name')
    .where('tenant', '=', tenant)
    .execute();
  const { names, nextMarker } = namesOfPage(
    rows.map((row) => row.name),
    page,
  );
  if (names.length === 0) return { items: [] };
  const found = await db
    .selectFrom('function_versions')
    .selectAll()
    .where('tenant', '=', tenant)
    .where('version', '=', 0)
    .where('name', 'in', names)
    .execute();
  const items = found.map(versionFromRow).sort((a, b) => compareStrings(a.name, b.name));
  return { items, ...nextMarker };
}

/** The part of `all` that `page` asks for, in byte order, whatever collation the database has. */
export function namesOfPage(
  all: readonly string[],
  { marker, itemsMax }: PageRequest,
): { readonly names: readonly string[]; readonly nextMarker: { readonly nextMarker?: string } } {
  const after = all.filter((name) => marker === undefined || compareStrings(name, marker) > 0);
  const names = after.sort(compareStrings).slice(0, itemsMax);
  const last = names.at(-1);
  const isMore = after.length > names.length && last !== undefined;
  return { names, nextMarker: isMore ? { nextMarker: last } : {} };
}

async function readVersionPage(
  db: Db,
  of: FunctionName,
  { marker, itemsMax }: PageRequest,
): Promise<Page<FunctionRecord>> {
  const after = marker === undefined ? -1 : (versionNumber(marker) ?? Number.MAX_SAFE_INTEGER);
  const rows = await versionsOf(db, of)
    .where('version', '>', after)
    .orderBy('version')
    .limit(itemsMax + 1)
    .execute();
  const items = rows.slice(0, itemsMax).map(versionFromRow);
  const last = items.at(-1);
  return rows.length > items.length && last !== undefined
    ? { items, nextMarker: last.version }
    : { items };
}

/** What the functions of the tenant have reserved together. Part of every invoke: those without are not looked at. */
async function readReserved(db: Db, tenant: string): Promise<number> {
  const { reserved } = await db
    .selectFrom('functions')
    .select((row) => row.fn.sum<number | string | null>('reserved_concurrency').as('reserved'))
    .where('tenant', '=', tenant)
    .where('reserved_concurrency', 'is not', null)
    .executeTakeFirstOrThrow();
  return Number(reserved ?? 0);
}

async function readTotals(db: Db, tenant: string): Promise<FunctionTotals> {
  const { functionCount } = await db
    .selectFrom('functions')
    .select((row) => row.fn.countAll<number | string>().as('functionCount'))
    .where('tenant', '=', tenant)
    .executeTakeFirstOrThrow();
  const { codeSizeBytes } = await db
    .selectFrom('function_versions')
    .select((row) => row.fn.sum<number | string | null>('code_size_bytes').as('codeSizeBytes'))
    .where('tenant', '=', tenant)
    .executeTakeFirstOrThrow();
  return {
    functionCount: Number(functionCount),
    codeSizeBytes: Number(codeSizeBytes ?? 0),
    reservedConcurrency: await readReserved(db, tenant),
  };
}

async function readLastPublished(
  db: Db,
  of: FunctionName,
): Promise<{ record: FunctionRecord; madeOfRevisionId: string | null } | undefined> {
  const row = await versionsOf(db, of)
    .where('version', '>', 0)
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined
    ? undefined
    : { record: versionFromRow(row), madeOfRevisionId: row.made_of_revision_id };
}

/** Throws `ERR_CATALOG_NO_SUCH_IMAGE` rather than what the database says of its foreign key. */
async function checkImage(db: Db, { tenant, code }: FunctionRecord): Promise<void> {
  if (code.packageType !== 'Image' || code.manifestId === undefined) return;
  const image = await db
    .selectFrom('images')
    .select('manifest_id')
    .where('tenant', '=', tenant)
    .where('manifest_id', '=', code.manifestId)
    .executeTakeFirst();
  if (image === undefined) throw new NoSuchImageError(tenant, code.manifestId);
}

function checkRevision(name: string, current: string, given: string | undefined): void {
  if (given !== undefined && given !== current) throw new RevisionChangedError(name, given);
}

async function insertVersion(
  db: Db,
  of: {
    readonly record: FunctionRecord;
    readonly version: number;
    readonly madeOfRevisionId?: string;
  },
): Promise<void> {
  await db.insertInto('function_versions').values(versionToRow(of.record, of)).execute();
}

async function replaceVersion(
  db: Db,
  after: FunctionRecord,
  { tenant, name, version }: FunctionRecord,
): Promise<void> {
  await checkImage(db, after);
  const number = versionNumber(version) ?? 0;
  const { made_of_revision_id: _asItIs, ...row } = versionToRow(after, { version: number });
  await db
    .updateTable('function_versions')
    .set(row)
    .where('tenant', '=', tenant)
    .where('name', '=', name)
    .where('version', '=', number)
    .execute();
}

async function writeSettings(db: Db, settings: FunctionSettings): Promise<void> {
  await db
    .updateTable('functions')
    .set(settingsToRow(settings))
    .where('tenant', '=', settings.tenant)
    .where('name', '=', settings.name)
    .execute();
}

async function addVersion(
  db: Db,
  made: FunctionRecord,
  latest: FunctionRecord,
): Promise<FunctionRecord> {
  const settings = await existingSettings(db, latest);
  const number = settings.versionsPublished + 1;
  const record = { ...made, version: versionName(number) };
  await checkImage(db, record);
  await insertVersion(db, { record, version: number, madeOfRevisionId: latest.revisionId });
  await writeSettings(db, { ...settings, versionsPublished: number });
  return record;
}

async function deleteFunction(db: Db, { tenant, name }: FunctionName): Promise<boolean> {
  await db
    .deleteFrom('function_events')
    .where('tenant', '=', tenant)
    .where('function_name', '=', name)
    .execute();
  await db
    .deleteFrom('function_aliases')
    .where('tenant', '=', tenant)
    .where('function_name', '=', name)
    .execute();
  await db
    .deleteFrom('function_versions')
    .where('tenant', '=', tenant)
    .where('name', '=', name)
    .execute();
  const { numDeletedRows } = await db
    .deleteFrom('functions')
    .where('tenant', '=', tenant)
    .where('name', '=', name)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

async function deleteVersion(db: Db, of: VersionName): Promise<boolean> {
  const number = versionNumber(of.version);
  if (number === undefined) return false;
  const aliases = await db
    .selectFrom('function_aliases')
    .selectAll()
    .where('tenant', '=', of.tenant)
    .where('function_name', '=', of.name)
    .execute();
  const users = aliases
    .map(aliasFromRow)
    .filter((alias) => alias.version === of.version || of.version in alias.additionalVersionWeights)
    .map((alias) => alias.name);
  if (users.length > 0) throw new VersionInUseError(of, users.sort(compareStrings));
  const { numDeletedRows } = await db
    .deleteFrom('function_versions')
    .where('tenant', '=', of.tenant)
    .where('name', '=', of.name)
    .where('version', '=', number)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
