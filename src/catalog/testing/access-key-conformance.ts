/** What every catalog must do with tenants and their access keys. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { errorCode } from '../../base/index.ts';
import type { AccessKeyRecord } from '../access-keys.ts';
import type { Catalog } from '../catalog.ts';
import { imageRecord } from './records.ts';

type InFresh = (work: (catalog: Catalog) => Promise<void>) => () => Promise<void>;

function accessKey(fields: Partial<AccessKeyRecord> = {}): AccessKeyRecord {
  return {
    accessKeyId: 'AKIAAAAAAAAAAAAAAAAA',
    tenant: 'alice',
    wrappedSecret: Buffer.from([0, 255, 1, 254]),
    createdAtMs: 2 ** 41,
    ...fields,
  };
}

async function rejectsWith(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (thrown) => errorCode(thrown) === code);
}

export function accessKeyTests(inFresh: InFresh): void {
  test(
    'addTenant() makes a tenant once, listTenants() gives them in byte order, those made on first use too',
    inFresh(async (catalog) => {
      await catalog.addTenant({ name: 'b', createdAtMs: 2 ** 41 });
      await catalog.addTenant({ name: 'a', createdAtMs: 1 });
      await rejectsWith(
        'ERR_CATALOG_TENANT_EXISTS',
        catalog.addTenant({ name: 'a', createdAtMs: 9 }),
      );
      const image = await catalog.addImage(imageRecord({ tenant: 'Z' }));
      const tenants = await catalog.listTenants();
      assert.deepEqual(
        tenants.filter(({ name }) => name !== 'default'),
        [
          { name: 'Z', createdAtMs: image.createdAtMs },
          { name: 'a', createdAtMs: 1 },
          { name: 'b', createdAtMs: 2 ** 41 },
        ],
      );
      assert.deepEqual(
        tenants.map(({ name }) => name),
        ['Z', 'a', 'b', 'default'],
      );
    }),
  );

  test(
    'findAccessKey() gives back every field, and nothing for an id that is not there',
    inFresh(async (catalog) => {
      await catalog.addTenant({ name: 'alice', createdAtMs: 1 });
      await catalog.addAccessKey(accessKey());
      assert.deepEqual(await catalog.findAccessKey(accessKey().accessKeyId), accessKey());
      for (const id of ['AKIAAAAAAAAAAAAAAAAB', 'akiaaaaaaaaaaaaaaaaa', '%', '']) {
        assert.equal(await catalog.findAccessKey(id), undefined, id);
      }
    }),
  );

  test(
    'addAccessKey() refuses a tenant that is not there, and an id that is',
    inFresh(async (catalog) => {
      await rejectsWith('ERR_CATALOG_NO_SUCH_TENANT', catalog.addAccessKey(accessKey()));
      await catalog.addTenant({ name: 'alice', createdAtMs: 1 });
      await catalog.addTenant({ name: 'bob', createdAtMs: 1 });
      await catalog.addAccessKey(accessKey());
      await assert.rejects(catalog.addAccessKey(accessKey({ tenant: 'bob' })));
      assert.equal((await catalog.findAccessKey(accessKey().accessKeyId))?.tenant, 'alice');
    }),
  );

  test(
    "listAccessKeys() gives a tenant's own, oldest first; removeAccessKey() removes no other tenant's",
    inFresh(async (catalog) => {
      await catalog.addTenant({ name: 'alice', createdAtMs: 1 });
      await catalog.addTenant({ name: 'bob', createdAtMs: 1 });
      const young = accessKey({ accessKeyId: 'AKIA1', createdAtMs: 20 });
      const old = accessKey({ accessKeyId: 'AKIA2', createdAtMs: 10 });
      const other = accessKey({ accessKeyId: 'AKIA3', tenant: 'bob' });
      for (const key of [young, old, other]) await catalog.addAccessKey(key);
      assert.deepEqual(await catalog.listAccessKeys('alice'), [old, young]);
      assert.equal(await catalog.removeAccessKey('alice', 'AKIA3'), false);
      assert.equal(await catalog.removeAccessKey('alice', 'AKIA2'), true);
      assert.equal(await catalog.removeAccessKey('alice', 'AKIA2'), false);
      assert.deepEqual(await catalog.listAccessKeys('alice'), [young]);
      assert.deepEqual(await catalog.listAccessKeys('bob'), [other]);
    }),
  );
}
