/** Tenants and their access keys, over any Kysely database. */

import type { Selectable } from 'kysely';

import { compareStrings } from '../base/index.ts';
import type { AccessKeyCatalog, AccessKeyRecord } from './access-keys.ts';
import { NoSuchTenantError, TenantExistsError } from './errors.ts';
import type { AccessKeyTable } from './schema.ts';
import type { Transactions } from './sql-transactions.ts';

function accessKeyFromRow(row: Selectable<AccessKeyTable>): AccessKeyRecord {
  return {
    accessKeyId: row.id,
    tenant: row.tenant,
    wrappedSecret: Buffer.from(row.wrapped_secret, 'base64'),
    createdAtMs: Number(row.created_at_ms),
  };
}

export function accessKeyCatalog({ read, change }: Transactions): AccessKeyCatalog {
  return {
    addTenant: (tenant) =>
      change(async (db) => {
        const { numInsertedOrUpdatedRows } = await db
          .insertInto('tenants')
          .values({ name: tenant.name, created_at_ms: tenant.createdAtMs })
          .onConflict((conflict) => conflict.column('name').doNothing())
          .executeTakeFirst();
        if (numInsertedOrUpdatedRows === 0n) throw new TenantExistsError(tenant.name);
      }),

    listTenants: () =>
      read(async (db) => {
        const rows = await db.selectFrom('tenants').selectAll().execute();
        return rows
          .map((row) => ({ name: row.name, createdAtMs: Number(row.created_at_ms) }))
          .sort((a, b) => compareStrings(a.name, b.name));
      }),

    addAccessKey: (key) =>
      change(async (db) => {
        const tenant = await db
          .selectFrom('tenants')
          .select('name')
          .where('name', '=', key.tenant)
          .executeTakeFirst();
        if (tenant === undefined) throw new NoSuchTenantError(key.tenant);
        await db
          .insertInto('access_keys')
          .values({
            id: key.accessKeyId,
            tenant: key.tenant,
            wrapped_secret: Buffer.from(key.wrappedSecret).toString('base64'),
            created_at_ms: key.createdAtMs,
          })
          .execute();
      }),

    findAccessKey: (accessKeyId) =>
      read(async (db) => {
        const row = await db
          .selectFrom('access_keys')
          .selectAll()
          .where('id', '=', accessKeyId)
          .executeTakeFirst();
        return row === undefined ? undefined : accessKeyFromRow(row);
      }),

    listAccessKeys: (tenant) =>
      read(async (db) => {
        const rows = await db
          .selectFrom('access_keys')
          .selectAll()
          .where('tenant', '=', tenant)
          .orderBy('created_at_ms')
          .orderBy('id')
          .execute();
        return rows.map(accessKeyFromRow);
      }),

    removeAccessKey: (tenant, accessKeyId) =>
      change(async (db) => {
        const { numDeletedRows } = await db
          .deleteFrom('access_keys')
          .where('tenant', '=', tenant)
          .where('id', '=', accessKeyId)
          .executeTakeFirst();
        return numDeletedRows > 0n;
      }),
  };
}
