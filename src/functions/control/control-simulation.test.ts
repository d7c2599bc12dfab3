/**
 * The control plane through random days: code that comes and fails to come, servers that are killed, functions that are
 * removed and made again. Invariants checked after each day: nothing waits for ever, what is active has code, the store
 * has the archives that versions name and no others, and aliases name versions.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { ThawError, errorCode } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { FunctionCodeRequest } from '../function-control.ts';
import {
  imageUri,
  openRegistryFixture,
  type RegistryFixture,
} from '../testing/registry-fixture.ts';

type Code = 'image' | 'registry' | 'zip';

type Step =
  | {
      readonly do: 'create' | 'recode';
      readonly name: string;
      readonly code: Code;
      readonly publish: boolean;
    }
  | { readonly do: 'configure'; readonly name: string; readonly memoryMb: number }
  | { readonly do: 'publish'; readonly name: string }
  | { readonly do: 'alias'; readonly name: string; readonly version: string }
  | { readonly do: 'remove'; readonly name: string; readonly version: string | undefined }
  | { readonly do: 'end'; readonly well: boolean }
  | { readonly do: 'restart' }
  /** The next two at once. */
  | { readonly do: 'together' };

const name = fc.constantFrom('f', 'g');
const version = fc.constantFrom('1', '2');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('create', 'recode'),
      name,
      code: fc.constantFrom<Code>('image', 'registry', 'zip', 'zip'),
      publish: fc.boolean(),
    }),
  },
  fc.record({ do: fc.constant('configure' as const), name, memoryMb: fc.constantFrom(128, 256) }),
  fc.record({ do: fc.constant('publish' as const), name }),
  fc.record({ do: fc.constant('alias' as const), name, version }),
  fc.record({
    do: fc.constant('remove' as const),
    name,
    version: fc.option(version, { nil: undefined }),
  }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant('end' as const), well: fc.boolean() }) },
  fc.record({ do: fc.constantFrom('restart', 'together') }),
);

/** What may come of asking for the impossible; anything else is a failure of ours. */
const refusals: ReadonlySet<string> = new Set([
  'ERR_CATALOG_FUNCTION_EXISTS',
  'ERR_CATALOG_VERSION_IN_USE',
  'ERR_FUNCTION_BAD_CODE',
  'ERR_FUNCTION_BAD_CONFIG', // publish what failed
  'ERR_FUNCTION_NOT_FOUND',
  'ERR_FUNCTION_REVISION_CHANGED',
  'ERR_FUNCTION_UPDATE_IN_PROGRESS',
]);

let uploads = 0;

function codeOf(code: Code): FunctionCodeRequest {
  if (code === 'image') return { packageType: 'Image', imageUri: 'app' };
  if (code === 'registry') return { packageType: 'Image', imageUri };
  uploads += 1;
  return { packageType: 'Zip', zipFile: Buffer.from(`PK ${uploads}`) };
}

async function take(fixture: RegistryFixture, one: Step): Promise<void> {
  const { control } = fixture;
  switch (one.do) {
    case 'create': {
      const { name: created, code, publish } = one;
      const ofZip = code === 'zip' ? { runtime: 'nodejs24.x', handler: 'a.b' } : {};
      await fixture.create({ name: created, code: codeOf(code), publish, ...ofZip });
      return;
    }
    case 'recode':
      await control.updateCode(named(one), codeOf(one.code), { publish: one.publish });
      return;
    case 'configure':
      await control.updateConfiguration(named(one), { memoryMb: one.memoryMb });
      return;
    case 'publish':
      await control.publishVersion(named(one));
      return;
    case 'alias':
      await control.createAlias({
        tenant: 'default',
        functionName: one.name,
        name: `v${one.version}`,
        version: one.version,
        description: '',
        additionalVersionWeights: {},
      });
      return;
    case 'remove': {
      const { version: qualifier } = one;
      await control.remove({ ...named(one), ...(qualifier === undefined ? {} : { qualifier }) });
      return;
    }
    case 'end': {
      const [first] = fixture.publishing;
      const failure = { code: 'ERR_OCI_NOT_FOUND', fault: 'caller', message: 'none' } as const;
      if (one.well) await first?.succeed();
      else first?.fail(new ThawError(failure));
      return;
    }
    case 'restart':
      await fixture.restart();
      return;
    case 'together':
      return;
  }
}

function named({ name: functionName }: { readonly name: string }) {
  return { tenant: 'default', name: functionName };
}

async function live(fixture: RegistryFixture, day: readonly Step[]): Promise<void> {
  let together: Promise<void>[] = [];
  for (const [index, one] of day.entries()) {
    const done = take(fixture, one).catch((thrown: unknown) => {
      const code = errorCode(thrown) ?? String(thrown);
      assert.ok(refusals.has(code) || code === 'ERR_CATALOG_ALIAS_EXISTS', `${one.do}: ${code}`);
    });
    together.push(done);
    if (day[index - 1]?.do === 'together' || one.do === 'together') continue;
    await Promise.all(together);
    together = [];
  }
  await Promise.all(together);
}

/** All that is under way ends well, and what that lets in, too. */
async function settle(fixture: RegistryFixture): Promise<void> {
  const ended = new AbortController();
  const settled = fixture.publications.settled().finally(() => ended.abort());
  while (!ended.signal.aborted) {
    for (const one of fixture.publishing.slice()) await one.succeed();
    await fixture.time.pass(0);
  }
  await settled;
}

async function allVersions(fixture: RegistryFixture): Promise<readonly FunctionRecord[]> {
  const { items } = await fixture.control.list('default', { itemsMax: 10 });
  const versions = items.map(async (of) => {
    const page = await fixture.control.listVersions(of, { itemsMax: 1000 });
    return page.items;
  });
  return (await Promise.all(versions)).flat();
}

function checkRecord(record: FunctionRecord): void {
  const what = JSON.stringify(record);
  assert.notEqual(record.state, 'Pending', what);
  assert.notEqual(record.lastUpdateStatus, 'InProgress', what);
  assert.equal(record.nextImageUri, undefined, what);
  const { code } = record;
  if (record.state === 'Active' && code.packageType === 'Image') assert.ok(code.manifestId, what);
  if (record.state === 'Failed') assert.ok(record.stateReason, what);
}

test('after any day nothing waits, and the store has the archives that versions name', async () => {
  const days = fc.array(step, { maxLength: 30, size: 'max' });
  const property = fc.asyncProperty(days, async (day) => {
    await using fixture = await openRegistryFixture();
    fixture.runtimes.add('nodejs24.x');
    await live(fixture, day);
    await settle(fixture);
    const versions = await allVersions(fixture);
    versions.forEach(checkRecord);
    const used = versions.flatMap(({ code }) =>
      code.packageType === 'Zip' ? [code.archiveId] : [],
    );
    assert.deepEqual([...fixture.archives].sort(), [...new Set(used)].sort());
    assert.deepEqual(await fixture.catalog.listUnfinishedFunctions(), []);
  });
  await fc.assert(property, { numRuns: 60 });
});
