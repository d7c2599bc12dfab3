/**
 * What every catalog must do, whatever database it is in. Run it with `catalogConformance({ name,
 * create })`.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import * as fc from 'fast-check';

import { compareStrings, errorCode } from '../../base/index.ts';
import { accessKeyTests } from './access-key-conformance.ts';
import type { Catalog } from '../catalog.ts';
import type { FunctionRecord } from '../function-records.ts';
import type { ImageRecord } from '../image-records.ts';
import { functionTests as versionTests } from './function-conformance.ts';
import { functionRecord, functionSettings, imageRecord, manifestIdOf } from './records.ts';

/**
 * An empty database. Disposing of it removes it; the catalogs opened on it are disposed of before.
 */
export interface CatalogDatabase extends AsyncDisposable {
  open(): Promise<Catalog>;
}

export interface CatalogSubject {
  readonly name: string;
  create(): Promise<CatalogDatabase>;
}

/** A function with no settings but its name. */
async function addFunction(catalog: Catalog, record: FunctionRecord): Promise<void> {
  const { tenant, name } = record;
  await catalog.addFunction(record, functionSettings({ tenant, name }));
}

async function listAll(catalog: Catalog, tenant = 'default'): Promise<readonly FunctionRecord[]> {
  return (await catalog.listFunctions(tenant, { itemsMax: 1000 })).items;
}

async function rejectsWith(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (thrown) => errorCode(thrown) === code);
}

function imageTests(inFresh: (work: (catalog: Catalog) => Promise<void>) => () => Promise<void>) {
  test(
    'addImage() gives back every field, also past 2^40',
    inFresh(async (catalog) => {
      const image = imageRecord();
      assert.deepEqual(await catalog.addImage(image), image);
      assert.deepEqual(await catalog.findImage('default', image.manifestId), image);
    }),
  );

  test(
    'addImage() keeps the older record of a manifest that is there',
    inFresh(async (catalog) => {
      const older = await catalog.addImage(imageRecord());
      assert.deepEqual(await catalog.addImage(imageRecord({ name: 'other' })), older);
      assert.deepEqual(await catalog.listImages('default'), [older]);
    }),
  );

  test(
    'hasImages() tells whether a tenant has any, or a root',
    inFresh(async (catalog) => {
      const image = imageRecord();
      const [{ tenant }, { rootId }] = [image, image];
      assert.equal(await catalog.hasImages({ tenant }), false);
      assert.equal(await catalog.hasImages({ rootId }), false);
      await catalog.addImage(image);
      assert.equal(await catalog.hasImages({ tenant }), true);
      assert.equal(await catalog.hasImages({ rootId }), true);
      assert.equal(await catalog.hasImages({ tenant: 'other' }), false);
      assert.equal(await catalog.hasImages({ rootId: 'other' }), false);
    }),
  );

  test(
    'addImage() refuses a root that it does not know',
    inFresh(async (catalog) => {
      const adding = catalog.addImage(imageRecord({ rootId: 'r9' }));
      await rejectsWith('ERR_CATALOG_NO_SUCH_ROOT', adding);
      assert.deepEqual(await catalog.listImages('default'), []);
    }),
  );

  test(
    'activeRoot() of a new catalog takes images',
    inFresh(async (catalog) => {
      const rootId = await catalog.activeRoot();
      assert.equal(rootId, 'r1');
      assert.equal((await catalog.addImage(imageRecord({ rootId }))).rootId, rootId);
    }),
  );

  test(
    'findImage() finds by name the newest',
    inFresh(async (catalog) => {
      const old = imageRecord({ manifestId: manifestIdOf(1), createdAtMs: 1000 });
      const young = imageRecord({ manifestId: manifestIdOf(2), createdAtMs: 2000 });
      await catalog.addImage(young);
      await catalog.addImage(old);
      assert.deepEqual(await catalog.findImage('default', 'debian'), young);
    }),
  );

  test(
    'findImage() finds by a prefix of six digits, and says so where several start with it',
    inFresh(async (catalog) => {
      const image = await catalog.addImage(imageRecord({ manifestId: manifestIdOf(1, 'abcdef1') }));
      await catalog.addImage(imageRecord({ manifestId: manifestIdOf(1, 'abcdef2') }));
      assert.deepEqual(await catalog.findImage('default', 'abcdef1'), image);
      assert.equal(await catalog.findImage('default', 'abcde'), undefined);
      await rejectsWith('ERR_CATALOG_AMBIGUOUS', catalog.findImage('default', 'abcdef'));
    }),
  );

  test(
    'findImage() takes a name before a prefix that reads the same',
    inFresh(async (catalog) => {
      await catalog.addImage(imageRecord({ manifestId: manifestIdOf(1, 'abcdef') }));
      const named = imageRecord({ manifestId: manifestIdOf(2), name: 'abcdef' });
      await catalog.addImage(named);
      assert.deepEqual(await catalog.findImage('default', 'abcdef'), named);
    }),
  );

  test(
    'findImage() takes wildcards and quotes for what they are',
    inFresh(async (catalog) => {
      await catalog.addImage(imageRecord({ manifestId: manifestIdOf(1, 'abcdef') }));
      for (const id of ['%', '______', 'abcde%', 'abcdef%', 'abcde_', "' or 1=1 --", '', '\\%']) {
        assert.equal(await catalog.findImage('default', id), undefined, id);
      }
      const named = imageRecord({ manifestId: manifestIdOf(2), name: '50%_"off"' });
      await catalog.addImage(named);
      assert.deepEqual(await catalog.findImage('default', '50%_"off"'), named);
    }),
  );

  test(
    'findPublished() finds the newest of equal identity and nothing else',
    inFresh(async (catalog) => {
      const image = imageRecord({ manifestId: manifestIdOf(2), createdAtMs: 2000 });
      await catalog.addImage(imageRecord({ createdAtMs: 1000 }));
      await catalog.addImage(image);
      assert.deepEqual(await catalog.findPublished('default', image), image);
      const others = [
        { rootId: 'r2' },
        { imageDigest: `sha256:${'e'.repeat(64)}` },
        { platform: 'linux/arm64' },
        { diskFormatVersion: 2 },
        { codec: 'zstd-v1' },
      ];
      for (const other of others) {
        assert.equal(await catalog.findPublished('default', { ...image, ...other }), undefined);
      }
      assert.equal(await catalog.findPublished('other', image), undefined);
    }),
  );
}

function functionTests(
  inFresh: (work: (catalog: Catalog) => Promise<void>) => () => Promise<void>,
) {
  test(
    'addFunction() gives back every field, optional ones absent or empty',
    inFresh(async (catalog) => {
      await catalog.addImage(imageRecord());
      const bare = functionRecord();
      const full = functionRecord({
        name: 'full',
        environment: { A: 'ö\n"', __proto__x: '' },
        entrypoint: [],
        command: ['a b', ''],
        workingDir: '/srv',
      });
      for (const record of [bare, full]) {
        await addFunction(catalog, record);
        assert.deepEqual(await catalog.findFunction('default', record.name), record);
      }
    }),
  );

  test(
    'addFunction() refuses a name that is taken and an image that is not there',
    inFresh(async (catalog) => {
      await rejectsWith('ERR_CATALOG_NO_SUCH_IMAGE', addFunction(catalog, functionRecord()));
      await catalog.addImage(imageRecord());
      await addFunction(catalog, functionRecord());
      const again = addFunction(catalog, functionRecord({ memoryMb: 256 }));
      await rejectsWith('ERR_CATALOG_FUNCTION_EXISTS', again);
      assert.deepEqual(await listAll(catalog), [functionRecord()]);
    }),
  );

  test(
    'listFunctions() sorts names in byte order',
    inFresh(async (catalog) => {
      await catalog.addImage(imageRecord());
      for (const name of ['b', 'a', '_', 'B', '-', 'a1']) {
        await addFunction(catalog, functionRecord({ name }));
      }
      const names = (await listAll(catalog)).map((record) => record.name);
      assert.deepEqual(names, ['-', 'B', '_', 'a', 'a1', 'b']);
    }),
  );

  test(
    'removeImage() refuses while a function uses the image',
    inFresh(async (catalog) => {
      const { manifestId } = await catalog.addImage(imageRecord());
      await addFunction(catalog, functionRecord());
      await rejectsWith('ERR_CATALOG_IMAGE_IN_USE', catalog.removeImage('default', manifestId));
      assert.equal(await catalog.removeFunction('default', 'hello'), true);
      assert.equal(await catalog.removeFunction('default', 'hello'), false);
      assert.equal(await catalog.removeImage('default', manifestId), true);
      assert.equal(await catalog.removeImage('default', manifestId), false);
    }),
  );

  test(
    'a tenant sees and removes nothing of another',
    inFresh(async (catalog) => {
      const { manifestId } = await catalog.addImage(imageRecord());
      await addFunction(catalog, functionRecord());
      assert.equal(await catalog.findImage('other', manifestId), undefined);
      assert.equal(await catalog.findImage('other', 'debian'), undefined);
      assert.equal(await catalog.findImage('other', manifestId.slice(0, 8)), undefined);
      assert.deepEqual(await catalog.listImages('other'), []);
      assert.equal(await catalog.removeImage('other', manifestId), false);
      assert.equal(await catalog.findFunction('other', 'hello'), undefined);
      assert.deepEqual(await listAll(catalog, 'other'), []);
      assert.equal(await catalog.removeFunction('other', 'hello'), false);
      const borrowing = addFunction(catalog, functionRecord({ tenant: 'other' }));
      await rejectsWith('ERR_CATALOG_NO_SUCH_IMAGE', borrowing);
    }),
  );
}

/** The simplest thing that could be a catalog: what the real one is held against. */
class CatalogModel {
  readonly images = new Map<string, ImageRecord>();
  readonly functions = new Map<string, FunctionRecord>();

  addImage(image: ImageRecord): ImageRecord {
    const there = this.images.get(image.manifestId) ?? image;
    this.images.set(image.manifestId, there);
    return there;
  }

  addFunction(record: FunctionRecord): string | undefined {
    const { code } = record;
    if (code.packageType !== 'Image' || !this.images.has(code.manifestId ?? ''))
      return 'ERR_CATALOG_NO_SUCH_IMAGE';
    if (this.functions.has(record.name)) return 'ERR_CATALOG_FUNCTION_EXISTS';
    this.functions.set(record.name, record);
    return undefined;
  }

  removeImage(manifestId: string): string | boolean {
    const isUsed = [...this.functions.values()].some(
      ({ code }) => code.packageType === 'Image' && code.manifestId === manifestId,
    );
    return isUsed ? 'ERR_CATALOG_IMAGE_IN_USE' : this.images.delete(manifestId);
  }
}

type Step = readonly [
  action: 'addImage' | 'addFunction' | 'removeImage' | 'removeFunction',
  image: number,
  name: string,
];

function byManifestId(a: ImageRecord, b: ImageRecord): number {
  return compareStrings(a.manifestId, b.manifestId);
}

/** What a call gives: its value, or the code of its error. */
function outcome(work: Promise<unknown>): Promise<unknown> {
  return work.catch((thrown: unknown) => errorCode(thrown));
}

/** Takes one step on both and compares what comes of it. */
async function applyStep(catalog: Catalog, model: CatalogModel, step: Step): Promise<void> {
  const [action, image, name] = step;
  const manifestId = manifestIdOf(image);
  switch (action) {
    case 'addImage': {
      const record = imageRecord({ manifestId, name });
      assert.deepEqual(await catalog.addImage(record), model.addImage(record));
      return;
    }
    case 'addFunction': {
      const record = functionRecord({ manifestId, name });
      assert.equal(await outcome(addFunction(catalog, record)), model.addFunction(record));
      return;
    }
    case 'removeImage':
      assert.equal(
        await outcome(catalog.removeImage('default', manifestId)),
        model.removeImage(manifestId),
      );
      return;
    case 'removeFunction':
      assert.equal(await catalog.removeFunction('default', name), model.functions.delete(name));
      return;
  }
}

const steps = fc.array(
  fc.tuple(
    fc.constantFrom('addImage', 'addFunction', 'removeImage', 'removeFunction'),
    fc.integer({ min: 1, max: 3 }),
    fc.constantFrom('a', 'b', 'c'),
  ),
  { maxLength: 30 },
) satisfies fc.Arbitrary<Step[]>;

export function catalogConformance(subject: CatalogSubject): void {
  const inFresh = (work: (catalog: Catalog) => Promise<void>) => async (): Promise<void> => {
    await using database = await subject.create();
    await using catalog = await database.open();
    await work(catalog);
  };

  describe(`catalog conformance: ${subject.name}`, () => {
    imageTests(inFresh);
    functionTests(inFresh);
    versionTests(inFresh);
    accessKeyTests(inFresh);

    test('any sequence of changes leaves what a model of the catalog holds', async () => {
      const property = fc.asyncProperty(steps, async (sequence) => {
        await using database = await subject.create();
        await using catalog = await database.open();
        const model = new CatalogModel();
        for (const step of sequence) await applyStep(catalog, model, step);
        assert.deepEqual(
          [...(await catalog.listImages('default'))].sort(byManifestId),
          [...model.images.values()].sort(byManifestId),
        );
        assert.deepEqual(
          await listAll(catalog),
          [...model.functions.values()].sort((a, b) => compareStrings(a.name, b.name)),
        );
      });
      await fc.assert(property, { numRuns: 20 });
    });

    test('calls made at once on two handles all take effect, one winner for a name', async () => {
      await using database = await subject.create();
      await using left = await database.open();
      await using right = await database.open();
      const numbers = Array.from({ length: 20 }, (_, index) => index);
      const added = numbers.map((number) =>
        (number % 2 === 0 ? left : right).addImage(
          imageRecord({ manifestId: manifestIdOf(number) }),
        ),
      );
      await Promise.all(added);
      assert.equal((await left.listImages('default')).length, numbers.length);
      const claims = await Promise.allSettled(
        numbers.map((number) =>
          addFunction(
            number % 2 === 0 ? left : right,
            functionRecord({ manifestId: manifestIdOf(number) }),
          ),
        ),
      );
      assert.equal(claims.filter((claim) => claim.status === 'fulfilled').length, 1);
      for (const claim of claims) {
        if (claim.status === 'rejected') {
          assert.equal(errorCode(claim.reason), 'ERR_CATALOG_FUNCTION_EXISTS');
        }
      }
    });
  });
}
