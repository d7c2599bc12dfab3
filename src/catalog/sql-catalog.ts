/**
 * The catalog over any Kysely database whose tables `migrate.ts` has made. Nothing here depends on
 * the dialect: no auto-increment, no collation (names are sorted here), no `LIKE` on what a caller
 * wrote.
 *
 * A transaction that changes something must exclude others that do: `begin immediate` on SQLite; on
 * PostgreSQL the keys and foreign keys refuse what the checks before them could miss.
 */

import type { Kysely, Transaction } from 'kysely';

import { compareStrings } from '../base/index.ts';
import {
  AmbiguousImageError,
  FunctionExistsError,
  ImageInUseError,
  NoSuchImageError,
  NoSuchRootError,
} from './errors.ts';
import type { Catalog, FunctionRecord, ImageRecord } from './records.ts';
import {
  functionFromRow,
  functionToRow,
  imageFromRow,
  imageToRow,
  type CatalogTables,
} from './schema.ts';

type Work<T> = (transaction: Transaction<CatalogTables>) => Promise<T>;

/** Of lower-case digits only, so that it holds no wildcard of `LIKE`. */
const manifestIdPrefix = /^[0-9a-f]{6,64}$/;

function newestImages(db: Kysely<CatalogTables>, tenant: string) {
  return db
    .selectFrom('images')
    .selectAll()
    .where('tenant', '=', tenant)
    .orderBy('created_at_ms', 'desc')
    .orderBy('manifest_id', 'desc');
}

async function findByPrefix(
  db: Kysely<CatalogTables>,
  of: { readonly tenant: string; readonly prefix: string },
): Promise<ImageRecord | undefined> {
  if (!manifestIdPrefix.test(of.prefix)) return undefined;
  const rows = await newestImages(db, of.tenant)
    .where('manifest_id', 'like', `${of.prefix}%`)
    .limit(2)
    .execute();
  if (rows.length > 1) {
    throw new AmbiguousImageError(
      of.prefix,
      rows.map((row) => row.manifest_id),
    );
  }
  return rows[0] === undefined ? undefined : imageFromRow(rows[0]);
}

/**
 * Runs one transaction, from the start again while the database says that it is busy, and turns the
 * driver's errors into the catalog's.
 */
export type TransactionRunner = <T>(transaction: () => Promise<T>) => Promise<T>;

export class SqlCatalog implements Catalog {
  readonly #db: Kysely<CatalogTables>;
  readonly #run: TransactionRunner;

  /** Takes `db` over: disposing of the catalog closes it. */
  constructor(db: Kysely<CatalogTables>, run: TransactionRunner) {
    this.#db = db;
    this.#run = run;
  }

  activeRoot(): Promise<string> {
    return this.#read(async (db) => {
      const root = await db
        .selectFrom('roots')
        .select('id')
        .where('state', '=', 'active')
        .orderBy('created_at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst();
      if (root !== undefined) return root.id;
      throw new NoSuchRootError('Cannot publish: the catalog has no active root; create one');
    });
  }

  addImage(image: ImageRecord): Promise<ImageRecord> {
    return this.#change(async (db) => {
      const root = await db
        .selectFrom('roots')
        .select('state')
        .where('id', '=', image.rootId)
        .executeTakeFirst();
      if (root?.state !== 'active' && root?.state !== 'retired') {
        const state = root?.state ?? 'not there';
        throw new NoSuchRootError(
          `Cannot add image "${image.manifestId}": its root "${image.rootId}" is ${state}; publish it again`,
        );
      }
      await db
        .insertInto('tenants')
        .values({ name: image.tenant, created_at_ms: image.createdAtMs })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
      await db
        .insertInto('images')
        .values(imageToRow(image))
        .onConflict((conflict) => conflict.columns(['tenant', 'manifest_id']).doNothing())
        .execute();
      return imageFromRow(
        await db
          .selectFrom('images')
          .selectAll()
          .where('tenant', '=', image.tenant)
          .where('manifest_id', '=', image.manifestId)
          .executeTakeFirstOrThrow(),
      );
    });
  }

  findImage(tenant: string, id: string): Promise<ImageRecord | undefined> {
    return this.#read(async (db) => {
      const images = newestImages(db, tenant).limit(1);
      const row =
        (await images.where('manifest_id', '=', id).executeTakeFirst()) ??
        (await images.where('name', '=', id).executeTakeFirst());
      return row === undefined ? findByPrefix(db, { tenant, prefix: id }) : imageFromRow(row);
    });
  }

  findPublished(
    tenant: string,
    of: Pick<ImageRecord, 'rootId' | 'imageDigest' | 'platform' | 'diskFormatVersion' | 'codec'>,
  ): Promise<ImageRecord | undefined> {
    return this.#read(async (db) => {
      const row = await newestImages(db, tenant)
        .where('root_id', '=', of.rootId)
        .where('image_digest', '=', of.imageDigest)
        .where('platform', '=', of.platform)
        .where('disk_format_version', '=', of.diskFormatVersion)
        .where('codec', '=', of.codec)
        .limit(1)
        .executeTakeFirst();
      return row === undefined ? undefined : imageFromRow(row);
    });
  }

  listImages(tenant: string): Promise<readonly ImageRecord[]> {
    return this.#read(async (db) => (await newestImages(db, tenant).execute()).map(imageFromRow));
  }

  hasImages(of: Pick<ImageRecord, 'tenant'> | Pick<ImageRecord, 'rootId'>): Promise<boolean> {
    return this.#read(async (db) => {
      const images = db.selectFrom('images').select('manifest_id').limit(1);
      const found =
        'tenant' in of
          ? images.where('tenant', '=', of.tenant)
          : images.where('root_id', '=', of.rootId);
      return (await found.executeTakeFirst()) !== undefined;
    });
  }

  removeImage(tenant: string, manifestId: string): Promise<boolean> {
    return this.#change(async (db) => {
      const users = await db
        .selectFrom('functions')
        .select('name')
        .where('tenant', '=', tenant)
        .where('manifest_id', '=', manifestId)
        .execute();
      if (users.length > 0) {
        throw new ImageInUseError(manifestId, users.map((user) => user.name).sort(compareStrings));
      }
      const { numDeletedRows } = await db
        .deleteFrom('images')
        .where('tenant', '=', tenant)
        .where('manifest_id', '=', manifestId)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    });
  }

  addFunction(record: FunctionRecord): Promise<void> {
    return this.#change(async (db) => {
      const image = await db
        .selectFrom('images')
        .select('manifest_id')
        .where('tenant', '=', record.tenant)
        .where('manifest_id', '=', record.manifestId)
        .executeTakeFirst();
      if (image === undefined) throw new NoSuchImageError(record.tenant, record.manifestId);
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('functions')
        .values(functionToRow(record))
        .onConflict((conflict) => conflict.columns(['tenant', 'name']).doNothing())
        .executeTakeFirst();
      if (numInsertedOrUpdatedRows === 0n) {
        throw new FunctionExistsError(record.tenant, record.name);
      }
    });
  }

  findFunction(tenant: string, name: string): Promise<FunctionRecord | undefined> {
    return this.#read(async (db) => {
      const row = await db
        .selectFrom('functions')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('name', '=', name)
        .executeTakeFirst();
      return row === undefined ? undefined : functionFromRow(row);
    });
  }

  listFunctions(tenant: string): Promise<readonly FunctionRecord[]> {
    return this.#read(async (db) => {
      const rows = await db
        .selectFrom('functions')
        .selectAll()
        .where('tenant', '=', tenant)
        .execute();
      return rows.map(functionFromRow).sort((a, b) => compareStrings(a.name, b.name));
    });
  }

  removeFunction(tenant: string, name: string): Promise<boolean> {
    return this.#change(async (db) => {
      const { numDeletedRows } = await db
        .deleteFrom('functions')
        .where('tenant', '=', tenant)
        .where('name', '=', name)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#db.destroy();
  }

  #read<T>(work: Work<T>): Promise<T> {
    return this.#transact('read only', work);
  }

  #change<T>(work: Work<T>): Promise<T> {
    return this.#transact('read write', work);
  }

  #transact<T>(accessMode: 'read only' | 'read write', work: Work<T>): Promise<T> {
    return this.#run(() => this.#db.transaction().setAccessMode(accessMode).execute(work));
  }
}
