import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ThawError, errorCode } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import { imageRecord, manifestIdOf } from '../../catalog/testing/records.ts';
import { accountIds } from '../account-id.ts';
import type { FunctionRef } from '../function-control.ts';
import {
  imageUri,
  openRegistryFixture,
  type Publishing,
  type RegistryFixture,
} from '../testing/registry-fixture.ts';

const hello: FunctionRef = { tenant: 'default', name: 'hello' };
const fromRegistry = { packageType: 'Image', imageUri } as const;
const zip = { packageType: 'Zip', zipFile: Buffer.from('PK one') } as const;
const node = { runtime: 'nodejs24.x', handler: 'app.handler' };

async function rejects(work: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(work, (thrown) => {
    assert.equal(errorCode(thrown), code, String(thrown));
    return true;
  });
}

function ociError(code: string, fault: 'caller' | 'environment', retryable = false): ThawError {
  return new ThawError({ code, fault, retryable, message: `what ${code} says` });
}

/** The one publishing under way. */
function only(fixture: RegistryFixture): Publishing {
  assert.equal(fixture.publishing.length, 1);
  const [one] = fixture.publishing;
  assert.ok(one !== undefined);
  return one;
}

async function latest(fixture: RegistryFixture, qualifier?: string): Promise<FunctionRecord> {
  const of = qualifier === undefined ? hello : { ...hello, qualifier };
  return (await fixture.control.find(of)).record;
}

test('create() from a published image gives an active function with the defaults of Lambda', async () => {
  await using fixture = await openRegistryFixture();
  const { record, settings } = await fixture.create({ tags: { team: 'blue' } });
  assert.deepEqual(record, {
    tenant: 'default',
    name: 'hello',
    version: '$LATEST',
    code: { packageType: 'Image', imageUri: 'app', manifestId: manifestIdOf(1) },
    codeSha256: 'd'.repeat(64),
    codeSizeBytes: 0,
    description: '',
    role: '',
    memoryMb: 128,
    timeoutSeconds: 3,
    ephemeralStorageMb: 512,
    environment: {},
    network: 'none',
    state: 'Active',
    lastUpdateStatus: 'Successful',
    revisionId: record.revisionId,
    createdAtMs: fixture.time.nowMs(),
    updatedAtMs: fixture.time.nowMs(),
  });
  assert.deepEqual(settings.tags, { team: 'blue' });
  assert.deepEqual(await fixture.control.find(hello), { record, settings });
  assert.deepEqual((await fixture.control.list('default', { itemsMax: 10 })).items, [record]);
  await rejects(fixture.create(), 'ERR_CATALOG_FUNCTION_EXISTS');
});

test('create() refuses what is neither published nor in a registry, paths above all', async () => {
  await using fixture = await openRegistryFixture();
  const uris = [
    'absent',
    'oci:/etc',
    'docker-archive:/tmp/x.tar',
    '/etc/passwd',
    '',
    'ab'.repeat(32),
  ];
  for (const uri of uris) {
    const creating = fixture.create({ code: { packageType: 'Image', imageUri: uri } });
    await rejects(creating, 'ERR_FUNCTION_BAD_CODE');
  }
  assert.deepEqual(fixture.publishing, []);
  await rejects(fixture.control.find(hello), 'ERR_FUNCTION_NOT_FOUND');
});

test('create() from a registry is pending until its image is published', async () => {
  await using fixture = await openRegistryFixture();
  const { record } = await fixture.create({ code: fromRegistry });
  assert.equal(record.state, 'Pending');
  assert.equal(record.stateReason?.code, 'Creating');
  await rejects(
    fixture.control.updateConfiguration(hello, { memoryMb: 256 }),
    'ERR_FUNCTION_UPDATE_IN_PROGRESS',
  );
  await rejects(fixture.control.updateCode(hello, fromRegistry), 'ERR_FUNCTION_UPDATE_IN_PROGRESS');
  await rejects(fixture.control.publishVersion(hello), 'ERR_FUNCTION_UPDATE_IN_PROGRESS');
  assert.equal(only(fixture).imageUri, imageUri);
  await only(fixture).succeed({ imageDigest: `sha256:${'f'.repeat(64)}` });
  await fixture.publications.settled();
  const active = await latest(fixture);
  assert.equal(active.state, 'Active');
  assert.equal(active.stateReason, undefined);
  assert.equal(active.codeSha256, 'f'.repeat(64));
  assert.deepEqual(active.code, { packageType: 'Image', imageUri, manifestId: manifestIdOf(7) });
  assert.notEqual(active.revisionId, record.revisionId);
});

test('create() with a version has that version active, too, when its image is published', async () => {
  await using fixture = await openRegistryFixture();
  const { record } = await fixture.create({ code: fromRegistry, publish: true });
  assert.equal(record.version, '1');
  assert.equal(record.state, 'Pending');
  await only(fixture).succeed();
  await fixture.publications.settled();
  for (const version of ['$LATEST', '1']) {
    assert.equal((await latest(fixture, version)).state, 'Active', version);
  }
  const again = await fixture.control.publishVersion(hello);
  assert.equal(again.record.version, '1', 'nothing has changed since');
});

test('an image that cannot be published fails the function, with the reason that Lambda has for it', async () => {
  const failures: readonly (readonly [Error, string, RegExp])[] = [
    [ociError('ERR_OCI_UNAUTHORIZED', 'caller'), 'ImageAccessDenied', /ERR_OCI_UNAUTHORIZED/],
    [ociError('ERR_OCI_NOT_FOUND', 'caller'), 'InvalidImage', /ERR_OCI_NOT_FOUND/],
    [
      ociError('ERR_STORE_FULL', 'environment'),
      'InternalError',
      /^The code could not be made ready/,
    ],
    [new Error('/secret/path'), 'InternalError', /^The code could not be made ready; try again$/],
  ];
  for (const [failure, code, words] of failures) {
    await using fixture = await openRegistryFixture();
    await fixture.create({ code: fromRegistry });
    only(fixture).fail(failure);
    await fixture.publications.settled();
    const record = await latest(fixture);
    assert.equal(record.state, 'Failed');
    assert.equal(record.lastUpdateStatus, 'Failed');
    assert.equal(record.stateReason?.code, code);
    assert.match(record.stateReason.message, words);
    assert.match(fixture.warnings.join(''), /Cannot make a function's code ready/);
    await rejects(fixture.control.publishVersion(hello), 'ERR_FUNCTION_BAD_CONFIG');
    await fixture.control.updateCode(hello, { packageType: 'Image', imageUri: 'app' });
    assert.equal((await latest(fixture)).state, 'Active', 'other code mends it');
  }
});

test('a registry that does not answer is asked again before the function fails', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create({ code: fromRegistry });
  for (let attempt = 0; attempt < 3; attempt += 1) {
    only(fixture).fail(ociError('ERR_OCI_REGISTRY_UNREACHABLE', 'environment', true));
    await fixture.time.pass(20_000);
    assert.equal((await latest(fixture)).state, 'Pending');
  }
  await only(fixture).succeed();
  await fixture.publications.settled();
  assert.equal((await latest(fixture)).state, 'Active');
});

test('a store that does not answer keeps a published image waiting, and does not fail the function', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create({ code: fromRegistry });
  fixture.startFailures.push(ociError('ERR_STORE_UNAVAILABLE', 'environment', true));
  await only(fixture).succeed();
  const settled = fixture.publications.settled();
  await fixture.time.pass(1000);
  await settled;
  assert.equal((await latest(fixture)).state, 'Active');
  assert.deepEqual(fixture.warnings, []);
});

test('an image without a command fails the function unless it is given one', async () => {
  await using fixture = await openRegistryFixture();
  fixture.withoutCommand.add('debian').add('app');
  await rejects(fixture.create(), 'ERR_FUNCTION_NO_COMMAND');
  await fixture.create({ code: fromRegistry });
  await only(fixture).succeed();
  await fixture.publications.settled();
  assert.equal((await latest(fixture)).stateReason?.code, 'InvalidConfiguration');
  await fixture.create({ name: 'told', imageConfig: { command: ['/bin/app'] } });
});

test('what a killed server was publishing is taken up by the next, for all versions that wait', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create({ code: fromRegistry, publish: true });
  await fixture.create({ name: 'updated' });
  const updated = { ...hello, name: 'updated' };
  await fixture.control.updateCode(updated, { ...fromRegistry, imageUri: `${imageUri}b` });
  await fixture.create({ name: 'still' });
  assert.equal(fixture.publishing.length, 2);
  await fixture.restart();
  assert.deepEqual(fixture.publishing.map((one) => one.imageUri).sort(), [
    imageUri,
    `${imageUri}b`,
  ]);
  const underWay = fixture.publishing.slice(); // each leaves the list as it ends
  for (const one of underWay) await one.succeed();
  await fixture.publications.settled();
  assert.equal((await latest(fixture)).state, 'Active');
  assert.equal((await latest(fixture, '1')).state, 'Active');
  const { record } = await fixture.control.find(updated);
  assert.equal(record.lastUpdateStatus, 'Successful');
  assert.deepEqual(record.code, {
    packageType: 'Image',
    imageUri: `${imageUri}b`,
    manifestId: manifestIdOf(7),
  });
  await fixture.restart();
  assert.deepEqual(fixture.publishing, [], 'all is done');
});

test('updateCode() leaves the old code until the new image is published', async () => {
  await using fixture = await openRegistryFixture();
  const { record: before } = await fixture.create();
  const { record } = await fixture.control.updateCode(hello, fromRegistry);
  assert.equal(record.state, 'Active');
  assert.equal(record.lastUpdateStatus, 'InProgress');
  assert.deepEqual(record.code, before.code);
  await rejects(fixture.control.updateCode(hello, fromRegistry), 'ERR_FUNCTION_UPDATE_IN_PROGRESS');
  await only(fixture).succeed();
  await fixture.publications.settled();
  const after = await latest(fixture);
  assert.equal(after.lastUpdateStatus, 'Successful');
  assert.equal(after.nextImageUri, undefined);
  assert.deepEqual(after.code, { packageType: 'Image', imageUri, manifestId: manifestIdOf(7) });
});

test('updateCode() that fails leaves the old code, and a version made of it fails alone', async () => {
  await using fixture = await openRegistryFixture();
  const { record: before } = await fixture.create();
  const { record } = await fixture.control.updateCode(hello, fromRegistry, { publish: true });
  assert.equal(record.version, '1');
  assert.equal(record.state, 'Pending');
  only(fixture).fail(ociError('ERR_OCI_NOT_FOUND', 'caller'));
  await fixture.publications.settled();
  const after = await latest(fixture);
  assert.deepEqual(after.code, before.code);
  assert.equal(after.state, 'Active');
  assert.equal(after.lastUpdateStatus, 'Failed');
  assert.equal(after.lastUpdateReason?.code, 'InvalidImage');
  assert.equal((await latest(fixture, '1')).state, 'Failed');
  const mended = await fixture.control.updateConfiguration(hello, { memoryMb: 256 });
  assert.equal(mended.record.lastUpdateStatus, 'Successful');
});

test('a tag that was published before is asked for again, a name that was given is not', async () => {
  await using fixture = await openRegistryFixture();
  const { catalog } = fixture;
  const reference = { name: imageUri, reference: imageUri };
  await catalog.addImage(imageRecord({ ...reference, manifestId: manifestIdOf(3) }));
  await fixture.create({ code: fromRegistry });
  assert.equal(fixture.publishing.length, 1);
  const named = 'registry.example/named';
  await catalog.addImage(imageRecord({ name: named, manifestId: manifestIdOf(4) }));
  const code = { packageType: 'Image', imageUri: named } as const;
  assert.equal((await fixture.create({ name: 'named', code })).record.state, 'Active');
});

test('remove() gives up what is being published, for this function and no other', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create({ code: fromRegistry });
  await fixture.create({ name: 'other', code: fromRegistry });
  const [mine, others] = fixture.publishing;
  await fixture.control.remove(hello);
  assert.equal(mine?.signal.aborted, true);
  assert.equal(others?.signal.aborted, false);
  assert.deepEqual(fixture.cleared, ['default/hello']);
  await rejects(fixture.control.remove(hello), 'ERR_FUNCTION_NOT_FOUND');
  await others.succeed();
  await fixture.publications.settled();
  assert.equal((await fixture.control.find({ ...hello, name: 'other' })).record.state, 'Active');
  assert.deepEqual(fixture.warnings, []);
});

test('a function made anew is not touched by what was published for the one before', async () => {
  await using fixture = await openRegistryFixture();
  const { catalog } = fixture;
  await fixture.create({ code: fromRegistry });
  const before = only(fixture);
  await catalog.removeFunction('default', 'hello'); // by another worker, which cannot abort ours
  const { record } = await fixture.create();
  await before.succeed();
  await fixture.publications.settled();
  assert.deepEqual(await latest(fixture), record);
});

test('updateConfiguration() changes what it is given, and the revision', async () => {
  await using fixture = await openRegistryFixture();
  const { record: before } = await fixture.create({
    environment: { AB: '1' },
    imageConfig: { command: ['run'], workingDir: '/srv' },
    webServer: { port: 8080, readyPath: '/' },
    network: 'nat',
  });
  fixture.time.pass(1000).catch(() => {});
  const change = async (request: Parameters<typeof fixture.control.updateConfiguration>[1]) => {
    const { record } = await fixture.control.updateConfiguration(hello, request);
    const { revisionId, updatedAtMs: _later, ...others } = record;
    assert.notEqual(revisionId, before.revisionId);
    return others;
  };
  const { revisionId: _revision, updatedAtMs: _updated, ...same } = before;
  assert.deepEqual(await change({}), same);
  assert.deepEqual(await change({ environment: { CD: '2' } }), {
    ...same,
    environment: { CD: '2' },
  });
  const { webServer: _server, ...without } = same;
  const changed = await change({ environment: {}, webServer: null, description: 'x' });
  assert.deepEqual(changed, { ...without, environment: {}, description: 'x' });
  const { command: _command, workingDir: _dir, ...bare } = changed;
  assert.deepEqual(await change({ imageConfig: {} }), bare);
  await rejects(fixture.control.updateConfiguration(hello, node), 'ERR_FUNCTION_BAD_CONFIG');
});

test('changes refuse a revision that is not the current one, and try what is only tried', async () => {
  await using fixture = await openRegistryFixture();
  const { record } = await fixture.create();
  const { control } = fixture;
  const stale = { revisionId: record.revisionId };
  const { record: dry } = await control.updateConfiguration(
    hello,
    { memoryMb: 512 },
    { ...stale, dryRun: true },
  );
  assert.equal(dry.memoryMb, 512);
  assert.deepEqual(await latest(fixture), record, 'nothing has changed');
  await control.updateConfiguration(hello, { memoryMb: 256 }, stale);
  const again = [
    control.updateConfiguration(hello, { memoryMb: 256 }, stale),
    control.updateConfiguration(hello, { memoryMb: 256 }, { ...stale, dryRun: true }),
    control.updateCode(hello, { packageType: 'Image', imageUri: 'app' }, stale),
    control.publishVersion(hello, stale),
  ];
  for (const change of again) await rejects(change, 'ERR_FUNCTION_REVISION_CHANGED');
  const qualified = { ...hello, qualifier: '1' };
  await rejects(control.updateConfiguration(qualified, {}), 'ERR_FUNCTION_BAD_CONFIG');
});

test('two updates at once both happen, one after the other', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create();
  await Promise.all([
    fixture.control.updateConfiguration(hello, { memoryMb: 256 }),
    fixture.control.updateConfiguration(hello, { timeoutSeconds: 9 }),
  ]);
  const { memoryMb, timeoutSeconds } = await latest(fixture);
  assert.deepEqual({ memoryMb, timeoutSeconds }, { memoryMb: 256, timeoutSeconds: 9 });
});

test('of two new images at once one is refused', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create();
  const updates = await Promise.allSettled([
    fixture.control.updateCode(hello, fromRegistry),
    fixture.control.updateCode(hello, { ...fromRegistry, imageUri: `${imageUri}b` }),
  ]);
  const refused = updates.filter((update) => update.status === 'rejected');
  assert.equal(refused.length, 1);
  assert.equal(errorCode(refused[0]?.reason), 'ERR_FUNCTION_UPDATE_IN_PROGRESS');
  assert.equal(fixture.publishing.length, 1);
});

test('an update while the function is removed fails, and brings nothing back', async () => {
  await using fixture = await openRegistryFixture();
  await fixture.create();
  const [, update] = await Promise.allSettled([
    fixture.control.remove(hello),
    fixture.control.updateCode(hello, fromRegistry, { publish: true }),
  ]);
  if (update.status === 'rejected') {
    assert.equal(errorCode(update.reason), 'ERR_FUNCTION_NOT_FOUND');
  }
  await fixture.publications.close();
  await rejects(fixture.control.find(hello), 'ERR_FUNCTION_NOT_FOUND');
});

test('publishVersion() numbers what has changed, and gives the last one where nothing has', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  await fixture.create({ description: 'mine' });
  const publish = async (options = {}) => (await control.publishVersion(hello, options)).record;
  const first = await publish({ description: 'first' });
  assert.equal(first.version, '1');
  assert.equal(first.description, 'first');
  assert.deepEqual(await publish(), first);
  await control.updateConfiguration(hello, { memoryMb: 256 });
  await control.updateConfiguration(hello, { memoryMb: 128 });
  assert.equal((await publish({ description: 'other words' })).version, '1', 'as it was');
  await control.updateConfiguration(hello, { memoryMb: 256 });
  const { codeSha256 } = await latest(fixture);
  await rejects(publish({ codeSha256: 'x' }), 'ERR_FUNCTION_BAD_CONFIG');
  assert.equal((await publish({ codeSha256 })).version, '2');
  assert.equal((await latest(fixture, '1')).memoryMb, 128);
  const versions = await control.listVersions(hello, { itemsMax: 2 });
  assert.deepEqual(
    versions.items.map((record) => record.version),
    ['$LATEST', '1'],
  );
  const rest = await control.listVersions(hello, {
    itemsMax: 2,
    marker: versions.nextMarker ?? '',
  });
  assert.deepEqual(
    rest.items.map((record) => record.version),
    ['2'],
  );
  assert.equal(rest.nextMarker, undefined);
});

test('a version that was removed is gone, and its number is not given again', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  await fixture.create({ publish: true });
  await control.remove({ ...hello, qualifier: '1' });
  assert.deepEqual(fixture.cleared, ['default/hello:1']);
  await rejects(control.find({ ...hello, qualifier: '1' }), 'ERR_FUNCTION_NOT_FOUND');
  await rejects(control.remove({ ...hello, qualifier: '1' }), 'ERR_FUNCTION_NOT_FOUND');
  await rejects(control.remove({ ...hello, qualifier: '$LATEST' }), 'ERR_FUNCTION_BAD_CONFIG');
  assert.equal((await control.publishVersion(hello)).record.version, '2');
});

test('aliases name versions, share invokes between two, and keep those from being removed', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  await fixture.create({ publish: true });
  const live = { tenant: 'default', functionName: 'hello', name: 'live' };
  const bare = { ...live, version: '1', description: '', additionalVersionWeights: {} };
  const alias = await control.createAlias(bare);
  assert.deepEqual(await control.findAlias(live), alias);
  const found = await control.find({ ...hello, qualifier: 'live' });
  assert.equal(found.record.version, '1');
  assert.deepEqual(found.alias, alias);
  await rejects(control.createAlias(bare), 'ERR_CATALOG_ALIAS_EXISTS');
  await rejects(control.createAlias({ ...bare, name: '12' }), 'ERR_FUNCTION_BAD_NAME');
  await rejects(
    control.createAlias({ ...bare, name: 'n', version: '9' }),
    'ERR_FUNCTION_NOT_FOUND',
  );
  await rejects(control.remove({ ...hello, qualifier: '1' }), 'ERR_CATALOG_VERSION_IN_USE');
  await control.updateConfiguration(hello, { memoryMb: 256 }, { publish: true });
  const refused = [{ 2: 1.5 }, { $LATEST: 0.5 }, { 1: 0.5 }, { 2: 0.1, 3: 0.1 }, { 2: NaN }];
  for (const additionalVersionWeights of refused) {
    await rejects(
      control.updateAlias(live, { additionalVersionWeights }),
      'ERR_FUNCTION_BAD_CONFIG',
    );
  }
  await rejects(
    control.updateAlias(live, { additionalVersionWeights: { 7: 0.5 } }),
    'ERR_FUNCTION_NOT_FOUND',
  );
  const weighted = await control.updateAlias(live, { additionalVersionWeights: { 2: 0.25 } });
  assert.notEqual(weighted.revisionId, alias.revisionId);
  await rejects(
    control.updateAlias(live, { version: '2' }, { revisionId: alias.revisionId }),
    'ERR_FUNCTION_REVISION_CHANGED',
  );
  await rejects(control.remove({ ...hello, qualifier: '2' }), 'ERR_CATALOG_VERSION_IN_USE');
  const listed = await control.listAliases(hello, { itemsMax: 5, version: '1' });
  assert.deepEqual(listed.items, [weighted]);
  await control.removeAlias(live);
  await control.removeAlias(live);
  await rejects(control.findAlias(live), 'ERR_FUNCTION_NOT_FOUND');
  await rejects(control.updateAlias(live, {}), 'ERR_FUNCTION_NOT_FOUND');
  await control.remove({ ...hello, qualifier: '2' });
});

test('reservations leave a tenth to the functions without, also when two are made at once', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  for (const name of ['hello', 'other']) await fixture.create({ name });
  const other = { ...hello, name: 'other' };
  for (const reserved of [91, -1, 1.5]) {
    await rejects(control.setReservedConcurrency(hello, reserved), 'ERR_FUNCTION_BAD_CONFIG');
  }
  const both = await Promise.allSettled([
    control.setReservedConcurrency(hello, 50),
    control.setReservedConcurrency(other, 50),
  ]);
  assert.deepEqual(both.map((one) => one.status).sort(), ['fulfilled', 'rejected']);
  for (const one of [hello, other]) await control.setReservedConcurrency(one, undefined);
  await control.setReservedConcurrency(hello, 90);
  await control.setReservedConcurrency(hello, 90);
  await control.setReservedConcurrency(other, 0);
  assert.deepEqual(await control.accountSettings('default'), {
    concurrentExecutionsMax: 100,
    unreservedConcurrentExecutions: 10,
    functionCount: 2,
    codeSizeBytes: 0,
  });
  assert.equal((await control.find(other)).settings.reservedConcurrency, 0);
});

test('tags, URLs and the settings of event invokes are set, checked and taken back', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  await fixture.create({ tags: { a: '1', b: '2' }, publish: true });
  const settings = async () => (await control.find(hello)).settings;
  await control.changeTags(hello, { set: { c: '3', a: '9' }, remove: ['b', 'absent'] });
  assert.deepEqual((await settings()).tags, { a: '9', c: '3' });
  const many = Object.fromEntries(Array.from({ length: 49 }, (_, index) => [`t${index}`, '']));
  const bad = [
    many,
    { '': 'x' },
    { ['k'.repeat(129)]: '' },
    { k: 'v'.repeat(257) },
    { 'aws:x': '' },
  ];
  for (const set of bad)
    await rejects(control.changeTags(hello, { set }), 'ERR_FUNCTION_BAD_CONFIG');

  const url = await control.setUrl(hello, { authType: 'NONE' });
  assert.deepEqual(url, {
    authType: 'NONE',
    invokeMode: 'BUFFERED',
    createdAtMs: fixture.time.nowMs(),
    updatedAtMs: fixture.time.nowMs(),
  });
  assert.equal((await control.setUrl(hello, { invokeMode: 'RESPONSE_STREAM' }))?.authType, 'NONE');
  await rejects(control.setUrl({ ...hello, qualifier: '1' }, {}), 'ERR_FUNCTION_BAD_CONFIG');
  await rejects(control.setUrl({ ...hello, qualifier: 'live' }, {}), 'ERR_FUNCTION_NOT_FOUND');

  await rejects(control.setEventInvoke(hello, { retriesMax: 3 }), 'ERR_FUNCTION_BAD_CONFIG');
  await rejects(
    control.setEventInvoke(hello, { eventAgeMaxSeconds: 59 }),
    'ERR_FUNCTION_BAD_CONFIG',
  );
  await rejects(control.setEventInvoke({ ...hello, qualifier: '9' }, {}), 'ERR_FUNCTION_NOT_FOUND');
  await control.setEventInvoke(hello, { retriesMax: 0 });
  const updatedAtMs = fixture.time.nowMs();
  assert.deepEqual((await settings()).eventInvoke, {
    '': { retriesMax: 0, eventAgeMaxSeconds: 21_600, updatedAtMs },
  });

  const live = { ...hello, qualifier: 'live' };
  const alias = { tenant: 'default', functionName: 'hello', name: 'live', version: '1' };
  await control.createAlias({ ...alias, description: '', additionalVersionWeights: {} });
  await control.setUrl(live, {});
  await control.setEventInvoke(live, { retriesMax: 1 });
  await control.removeAlias(alias);
  assert.deepEqual(Object.keys((await settings()).urls), [''], 'an alias takes its URL along');
  assert.deepEqual(Object.keys((await settings()).eventInvoke), ['']);
  await fixture.catalog.updateFunctionSettings(hello, (now) => ({
    ...now,
    urls: { ...now.urls, live: url ?? now.urls[''] }, // set while the alias was being removed
  }));
  await control.createAlias({ ...alias, description: '', additionalVersionWeights: {} });
  assert.deepEqual(Object.keys((await settings()).urls), [''], 'nor does a new one have it');
  await control.setUrl(hello, undefined);
  await control.setEventInvoke(hello, undefined);
  const { urls, eventInvoke } = await settings();
  assert.deepEqual({ urls, eventInvoke }, { urls: {}, eventInvoke: {} });
});

test('a zip archive needs a runtime that there is, and a handler', async () => {
  await using fixture = await openRegistryFixture();
  fixture.runtimes.add('nodejs24.x');
  await rejects(fixture.create({ code: zip }), 'ERR_FUNCTION_BAD_CONFIG');
  await rejects(
    fixture.create({ code: zip, ...node, runtime: 'cobol' }),
    'ERR_FUNCTION_BAD_CONFIG',
  );
  const withEntry = { code: zip, ...node, imageConfig: { command: ['x'] } };
  await rejects(fixture.create(withEntry), 'ERR_FUNCTION_BAD_CONFIG');
  assert.equal(fixture.archives.size, 0, 'nothing is kept of what was refused');
  const { record } = await fixture.create({ code: zip, ...node });
  assert.equal(record.state, 'Active');
  assert.equal(record.codeSha256, Buffer.from('PK one').toString('base64'));
  assert.equal(record.codeSizeBytes, 6);
  const [archiveId = ''] = fixture.archives;
  assert.deepEqual(record.code, { packageType: 'Zip', ...node, archiveId, rootId: 'r1' });
  await rejects(fixture.create({ code: zip, ...node }), 'ERR_CATALOG_FUNCTION_EXISTS');
  assert.deepEqual([...fixture.archives], [archiveId]);
  await rejects(
    fixture.control.updateCode(hello, { packageType: 'Image', imageUri: 'app' }),
    'ERR_FUNCTION_BAD_CODE',
  );
});

test('a zip function is pending while its runtime has to be made', async () => {
  await using fixture = await openRegistryFixture();
  const { record } = await fixture.create({ code: zip, ...node });
  assert.equal(record.state, 'Pending');
  await fixture.publications.settled();
  const active = await latest(fixture);
  assert.equal(active.state, 'Active');
  assert.deepEqual(active.code, record.code);
  const changed = await fixture.control.updateConfiguration(hello, {
    runtime: 'provided',
    handler: 'b',
  });
  assert.deepEqual(changed.record.code, { ...record.code, runtime: 'provided', handler: 'b' });
  assert.ok(fixture.runtimes.has('provided'));
});

test('archives stay as long as a version names them', async () => {
  await using fixture = await openRegistryFixture();
  const { control, archives } = fixture;
  fixture.runtimes.add('nodejs24.x');
  await fixture.create({ code: zip, ...node, publish: true });
  const [first = ''] = archives;
  const other = { packageType: 'Zip', zipFile: Buffer.from('PK two') } as const;
  const { record: dry } = await control.updateCode(hello, other, { dryRun: true });
  assert.equal(dry.codeSizeBytes, 6);
  assert.deepEqual([...archives], [first], 'a trial leaves none');
  await control.updateCode(hello, other);
  assert.equal(archives.size, 2, 'version 1 has the old one');
  await control.updateCode(hello, { ...other, zipFile: Buffer.from('PK three') });
  assert.equal(archives.size, 2, 'no version has the second');
  await control.remove({ ...hello, qualifier: '1' });
  assert.equal(archives.has(first), false);
  assert.equal(archives.size, 1);
  await rejects(
    control.updateCode(hello, other, { revisionId: 'x' }),
    'ERR_FUNCTION_REVISION_CHANGED',
  );
  assert.equal(archives.size, 1, 'what was refused is not kept');
  await control.remove(hello);
  assert.equal(archives.size, 0);
});

test('the same archive uploaded again makes no new version, another handler does', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  fixture.runtimes.add('nodejs24.x');
  await fixture.create({ code: zip, ...node, publish: true });
  const again = await control.updateCode(hello, zip, { publish: true });
  assert.equal(again.record.version, '1');
  await control.updateConfiguration(hello, { handler: 'other.handler' });
  assert.equal((await control.publishVersion(hello)).record.version, '2');
});

test('archives of all versions together have a limit', async () => {
  await using fixture = await openRegistryFixture({ codeStorageMaxBytes: 20 });
  const { control } = fixture;
  fixture.runtimes.add('nodejs24.x');
  await fixture.create({ code: zip, ...node, publish: true });
  assert.equal((await control.accountSettings('default')).codeSizeBytes, 12);
  const large = { packageType: 'Zip', zipFile: Buffer.from('PK large') } as const;
  await control.updateCode(hello, large);
  await rejects(control.updateCode(hello, large), 'ERR_FUNCTION_CODE_STORAGE');
  assert.equal(fixture.archives.size, 2);
  await control.remove({ ...hello, qualifier: '1' });
  await control.updateCode(hello, large);
});

test('a tenant sees and changes nothing of another', async () => {
  await using fixture = await openRegistryFixture();
  const { control } = fixture;
  await fixture.create({ publish: true });
  const theirs = { ...hello, tenant: 'other' };
  const alias = { tenant: 'other', functionName: 'hello', name: 'a', version: '1' };
  const calls = [
    () => control.find(theirs),
    () => control.listVersions(theirs, { itemsMax: 1 }),
    () => control.listAliases(theirs, { itemsMax: 1 }),
    () => control.updateCode(theirs, { packageType: 'Image', imageUri: 'app' }),
    () => control.updateConfiguration(theirs, {}),
    () => control.publishVersion(theirs),
    () => control.remove(theirs),
    () => control.createAlias({ ...alias, description: '', additionalVersionWeights: {} }),
    () => control.changeTags(theirs, {}),
    () => control.setReservedConcurrency(theirs, 1),
    () => control.setUrl(theirs, {}),
    () => control.setEventInvoke(theirs, {}),
  ];
  for (const call of calls) await rejects(call(), 'ERR_FUNCTION_NOT_FOUND');
  assert.deepEqual(await control.list('other', { itemsMax: 1 }), { items: [] });
  await rejects(fixture.create({ tenant: 'other' }), 'ERR_FUNCTION_BAD_CODE');
  assert.equal((await control.accountSettings('other')).functionCount, 0);
});

test('accountIds() gives the default tenant its account, and any other one that follows from its name', () => {
  const accountIdOf = accountIds({ accountId: '123456789012', defaultTenant: 'default' });
  assert.equal(accountIdOf('default'), '123456789012');
  for (const tenant of ['a', 'b', 'team-blue']) {
    assert.match(accountIdOf(tenant), /^\d{12}$/);
    assert.equal(accountIdOf(tenant), accountIdOf(tenant));
  }
  assert.notEqual(accountIdOf('a'), accountIdOf('b'));
  // printf thaw/account/a | sha256sum: the first eight bytes as a number, its last twelve digits
  assert.equal(accountIdOf('a'), '643598864772');
});
