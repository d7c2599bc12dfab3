import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { test } from 'node:test';

import { buildTar } from '../../test/support/tar-builder.ts';
import { errorCode, toHex } from '../base/index.ts';
import { openFilesystem } from '../ext4/index.ts';
import { chunkObjectName } from '../store/index.ts';
import { seededRandom } from '../store/testing/seeded-random.ts';
import { withFaults } from '../store/testing/with-faults.ts';
import { checkImage } from './check-image.ts';
import { decodeImageDocument } from './image-document.ts';
import { publishImage } from './publish-image.ts';
import { openStoredManifest, storedDisk } from './stored-image.ts';
import { publishingHouse } from './testing/publishing-house.ts';

/** Bytes that do not compress and are different for each seed. */
function noise(seed: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = seed >>> 0;
  for (let at = 0; at < lengthBytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

const base = {
  tar: buildTar([
    { path: 'lib/' },
    { path: 'lib/big', content: noise(1, 3_000_000) },
    { path: 'lib/small', content: 'small' },
  ]),
};
const app = (text: string) => ({ tar: buildTar([{ path: 'app/main', content: text }]) });

test('publishImage() stores a disk that holds what the layers hold', async (t) => {
  const house = await publishingHouse(t);
  const { image } = await house.publish(await house.image([base, app('one')]));
  const manifest = await openStoredManifest(house.deps, image);
  const report = await checkImage({ store: house.store, manifest });
  assert.deepEqual(report.problems, []);
  assert.equal(report.filesWalked, image.fileCount);
  const disk = await openFilesystem(storedDisk(house.store, manifest));
  const big = await disk.lookup('lib/big' as never);
  assert.ok(big);
  const content = Buffer.alloc(3_000_000);
  await disk.read(big, 0, content);
  assert.ok(content.equals(noise(1, 3_000_000)));
});

test('the same image again reads no layer and gives the same record', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app('one')]);
  const first = await house.publish(source);
  // The layers are gone: only the index, manifest and configuration can be read.
  const [, layout = ''] = /^oci:(.*):x$/.exec(source) ?? [];
  for (const blob of await readdir(`${layout}/blobs/sha256`)) {
    const path = `${layout}/blobs/sha256/${blob}`;
    if ((await readFile(path)).subarray(0, 1).toString() !== '{') await rm(path);
  }
  const again = await house.publish(source);
  assert.deepEqual(again.image, first.image);
  assert.equal(again.uploadedBytes, 0);
  assert.deepEqual([again.chunks.unique, again.chunks.stored], [0, first.chunks.stored]);
  await assert.rejects(house.publish(source, { tenant: 'other' }), { code: /^ERR_OCI_/ });
});

test('attributes that the disk cannot have are counted each time that the image, or its layer, is published', async (t) => {
  const house = await publishingHouse(t);
  const xattrs = { 'trusted.overlay.opaque': 'y', 'com.apple.provenance': 'x' };
  const odd = {
    tar: buildTar([
      { path: 'd/', xattrs },
      { path: 'f', xattrs: { 'user.a': 'b' } },
    ]),
  };
  const source = await house.image([odd]);
  const counts = { 'trusted.overlay': 1, other: 1 };
  const published = [
    await house.publish(source),
    await house.publish(source),
    await house.publish(source, { name: 'another' }),
    await house.publish(await house.image([odd, app('one')])),
  ];
  const known = published.map(({ layers }) => [layers.known, layers.fetched]);
  assert.deepEqual(known, [
    [0, 1],
    [1, 0],
    [1, 0],
    [1, 1],
  ]);
  for (const { leftOutXattrs } of published) assert.deepEqual(leftOutXattrs, counts);
  const { leftOutXattrs } = await house.publish(await house.image([app('two')]));
  assert.deepEqual(leftOutXattrs, {});
});

test('under another name the image gets a manifest of its own over the same chunks', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base]);
  const first = await house.publish(source, { name: 'one' });
  const second = await house.publish(source, { name: 'two' });
  assert.notEqual(second.image.manifestId, first.image.manifestId);
  assert.equal(second.image.name, 'two');
  assert.equal(second.chunks.unique, 0);
  const chunksOf = async (image: typeof first.image) =>
    (await openStoredManifest(house.deps, image)).chunks;
  assert.deepEqual(await chunksOf(second.image), await chunksOf(first.image));
});

test('tenants share chunks, and open only their own manifests', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app('one')]);
  const ours = await house.publish(source, { tenant: 'ours' });
  const theirs = await house.publish(source, { tenant: 'theirs' });
  assert.equal(theirs.chunks.unique, 0);
  assert.notEqual(theirs.image.manifestId, ours.image.manifestId);
  await assert.rejects(openStoredManifest(house.deps, { ...ours.image, tenant: 'theirs' }), {
    code: 'ERR_KEYS_UNWRAP_REFUSED',
  });
  assert.equal(await house.catalog.findImage('theirs', ours.image.manifestId), undefined);
});

test('another application on the same layers adds a handful of chunks', async (t) => {
  const house = await publishingHouse(t);
  const first = await house.publish(await house.image([base, app('one')]));
  const second = await house.publish(await house.image([base, app('two')]));
  assert.ok(first.chunks.unique > 6);
  assert.ok(second.chunks.unique <= 3, `${second.chunks.unique} unique chunks`);
});

test('an image whose manifest was lost is published anew', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base]);
  const first = await house.publish(source);
  await house.store.delete(`${first.image.rootId}/manifests/${first.image.manifestId}`);
  const second = await house.publish(source);
  assert.notEqual(second.image.manifestId, first.image.manifestId);
  const manifest = await openStoredManifest(house.deps, second.image);
  assert.deepEqual((await checkImage({ store: house.store, manifest })).problems, []);
});

test('an image over the limit is refused before anything is stored', async (t) => {
  const house = await publishingHouse(t, { contentMaxBytes: 2_000_000 });
  await assert.rejects(house.publish(await house.image([base])), {
    code: 'ERR_PUBLISH_IMAGE_TOO_LARGE',
    message: /3000005 bytes, the limit is 2000000/,
  });
  for await (const { name } of house.store.list('')) assert.fail(`${name} was stored`);
});

test('aborted anywhere, nothing is published, and publishing again completes it', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app('one')]);
  for (const afterUpdates of [0, 1, 3, 6]) {
    const abort = new AbortController();
    let updates = 0;
    const progress = (): void => {
      if (updates === afterUpdates) abort.abort(new Error('enough'));
      updates += 1;
    };
    await assert.rejects(house.publish(source, { signal: abort.signal, progress }), /enough/);
    assert.deepEqual(await house.catalog.listImages('default'), []);
  }
  const { image } = await house.publish(source);
  const manifest = await openStoredManifest(house.deps, image);
  assert.deepEqual((await checkImage({ store: house.store, manifest })).problems, []);
});

test('a store that fails at random never leaves a record of an image that is not whole', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app('one')]);
  let failures = 0;
  for (let seed = 0; seed < 12; seed += 1) {
    const rates = { errorBefore: 0.04, errorAfter: 0.04 };
    const store = withFaults(house.store, { rates, random: seededRandom(seed) });
    const tenant = `tenant-${seed}`;
    const deps = { ...house.deps, store };
    const outcome = await publishImage(deps, { source, tenant }).catch((thrown: unknown) => {
      assert.equal(errorCode(thrown), 'ERR_STORE_UNAVAILABLE');
    });
    const records = await house.catalog.listImages(tenant);
    assert.equal(records.length, outcome === undefined ? 0 : 1, `seed ${seed}`);
    if (outcome === undefined) failures += 1;
    for (const record of records) {
      const manifest = await openStoredManifest(house.deps, record);
      assert.deepEqual((await checkImage({ store: house.store, manifest })).problems, []);
    }
  }
  assert.ok(failures > 0 && failures < 12, `${failures} of 12 failed`);
});

test('checkImage() tells what is missing and what is damaged', async (t) => {
  const house = await publishingHouse(t);
  const { image } = await house.publish(await house.image([base]));
  const manifest = await openStoredManifest(house.deps, image);
  const victim = manifest.chunks[0];
  assert.ok(victim);
  await house.store.delete(chunkObjectName(image.rootId, toHex(victim.ciphertextDigest)));
  const report = await checkImage({ store: house.store, manifest });
  assert.equal(report.problems.length, 1);
  assert.match(report.problems[0] ?? '', /no object ".*chunks\//);
  assert.equal(report.filesWalked, 0);
});

test('the image document keeps how to run the image', async (t) => {
  const house = await publishingHouse(t);
  const { image } = await house.publish(await house.image([base]));
  const manifest = await openStoredManifest(house.deps, image);
  const document = decodeImageDocument(manifest.imageDocument);
  assert.equal(document.imageDigest, image.imageDigest);
  assert.equal(document.config.workingDir, '/');
  assert.throws(() => decodeImageDocument(Buffer.from('{')), {
    code: 'ERR_PUBLISH_IMAGE_DOCUMENT',
  });
});
