/** The catalog's images and roots, in SQL. */

import { compareStrings } from '../base/index.ts';
import { AmbiguousImageError, ImageInUseError, NoSuchRootError } from './errors.ts';
import type { ImageCatalog, ImageRecord } from './image-records.ts';
import { imageFromRow, imageToRow } from './schema.ts';
import { ensureTenant, type Db, type Transactions } from './sql-transactions.ts';

/** Of lower-case digits only, so that it holds no wildcard of `LIKE`. */
const manifestIdPrefix = /^[0-9a-f]{6,64}$/;

function newestImages(db: Db, tenant: string) {
  return db
    .selectFrom('images')
    .selectAll()
    .where('tenant', '=', tenant)
    .orderBy('created_at_ms', 'desc')
    .orderBy('manifest_id', 'desc');
}

async function findByPrefix(
  db: Db,
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

type Reads = Pick<
  ImageCatalog,
  'activeRoot' | 'findImage' | 'findPublished' | 'listImages' | 'hasImages'
>;

export function imageCatalog(transactions: Transactions): ImageCatalog {
  return { ...imageReads(transactions), ...imageChanges(transactions) };
}

function imageReads({ read }: Transactions): Reads {
  return {
    activeRoot(): Promise<string> {
      return read(async (db) => {
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
    },

    findImage(tenant: string, id: string): Promise<ImageRecord | undefined> {
      return read(async (db) => {
        const images = newestImages(db, tenant).limit(1);
        const row =
          (await images.where('manifest_id', '=', id).executeTakeFirst()) ??
          (await images.where('name', '=', id).executeTakeFirst());
        return row === undefined ? findByPrefix(db, { tenant, prefix: id }) : imageFromRow(row);
      });
    },

    findPublished(
      tenant: string,
      of: Pick<ImageRecord, 'rootId' | 'imageDigest' | 'platform' | 'diskFormatVersion' | 'codec'>,
    ): Promise<ImageRecord | undefined> {
      return read(async (db) => {
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
    },

    listImages(tenant: string): Promise<readonly ImageRecord[]> {
      return read(async (db) => (await newestImages(db, tenant).execute()).map(imageFromRow));
    },

    hasImages(of: Pick<ImageRecord, 'tenant'> | Pick<ImageRecord, 'rootId'>): Promise<boolean> {
      return read(async (db) => {
        const images = db.selectFrom('images').select('manifest_id').limit(1);
        const found =
          'tenant' in of
            ? images.where('tenant', '=', of.tenant)
            : images.where('root_id', '=', of.rootId);
        return (await found.executeTakeFirst()) !== undefined;
      });
    },
  };
}

function imageChanges({ change }: Transactions): Omit<ImageCatalog, keyof Reads> {
  return {
    addImage(image: ImageRecord): Promise<ImageRecord> {
      return change(async (db) => {
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
        await ensureTenant(db, { name: image.tenant, createdAtMs: image.createdAtMs });
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
    },

    removeImage(tenant: string, manifestId: string): Promise<boolean> {
      return change(async (db) => {
        const users = await db
          .selectFrom('function_versions')
          .select('name')
          .distinct()
          .where('tenant', '=', tenant)
          .where('manifest_id', '=', manifestId)
          .execute();
        if (users.length > 0) {
          throw new ImageInUseError(
            manifestId,
            users.map((user) => user.name).sort(compareStrings),
          );
        }
        const { numDeletedRows } = await db
          .deleteFrom('images')
          .where('tenant', '=', tenant)
          .where('manifest_id', '=', manifestId)
          .executeTakeFirst();
        return numDeletedRows > 0n;
      });
    },
  };
}
