/** Compressed images: the same disk in fewer bytes, next to plain ones and never in their place. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { buildTar } from '../../test/support/tar-builder.ts';
import { toHex } from '../base/index.ts';
import type { ImageRecord } from '../catalog/index.ts';
import { chunkObjectName } from '../store/index.ts';
import { checkImage } from './check-image.ts';
import { chunksByCodec, openStoredManifest, storedDisk } from './stored-image.ts';
import { publishingHouse, type PublishingHouse } from './testing/publishing-house.ts';

const text = Buffer.alloc(3_000_000, 'What a program says of itself compresses well.\n');
/** Half of it compresses, half does not, and no chunk has both in full. */
const base = {
  tar: buildTar([
    { path: 'lib/' },
    { path: 'lib/noise', content: randomBytes(3_000_000) },
    { path: 'lib/text', content: text },
  ]),
};
const app = { tar: buildTar([{ path: 'app/main', content: 'main' }]) };
const compressed = { compress: 'zstd' } as const;

/** The bytes of the disk up to the last stored chunk. */
async function diskOf(house: PublishingHouse, image: ImageRecord): Promise<Buffer> {
  const manifest = await openStoredManifest(house.deps, image);
  const { index } = manifest.chunks.findLast((chunk) => chunk.index < 1000) ?? { index: 0 };
  const bytes = Buffer.alloc((index + 1) * manifest.chunkSizeBytes);
  await storedDisk(house.store, manifest).read(0, bytes);
  return bytes;
}

test('a compressed image is the same disk in fewer stored bytes, some chunks as they are', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app]);
  const plain = await house.publish(source);
  const packed = await house.publish(source, compressed);
  assert.deepEqual([plain.image.codec, packed.image.codec], ['none', 'zstd-v1']);
  assert.notEqual(packed.image.manifestId, plain.image.manifestId);
  assert.ok((await diskOf(house, plain.image)).equals(await diskOf(house, packed.image)));
  assert.ok(packed.image.storedBytes < plain.image.storedBytes * 0.7);
  const manifest = await openStoredManifest(house.deps, packed.image);
  const shares = chunksByCodec(manifest);
  assert.deepEqual(Object.keys(shares).toSorted(), ['none', 'zstd-v1']);
  const sum = Object.values(shares).reduce((bytes, share) => bytes + share.storedBytes, 0);
  assert.equal(sum, packed.image.storedBytes);
  assert.deepEqual((await checkImage({ store: house.store, manifest })).problems, []);
});

test('chunks that compression does not shorten are shared with plain images, the others among compressed ones', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app]);
  await house.publish(source, { tenant: 'plain' });
  const first = await house.publish(source, { tenant: 'ours', ...compressed });
  const shares = chunksByCodec(await openStoredManifest(house.deps, first.image));
  assert.equal(first.chunks.reused, shares['none']?.chunks);
  const second = await house.publish(source, { tenant: 'theirs', ...compressed });
  assert.equal(second.chunks.unique, 0);
});

test('publishing again gives back the image of the codec asked for, and no other', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app]);
  const plain = await house.publish(source);
  const packed = await house.publish(source, compressed);
  for (const [request, { image }] of [
    [{}, plain],
    [compressed, packed],
  ] as const) {
    const again = await house.publish(source, request);
    assert.deepEqual(again.image, image);
    assert.equal(again.uploadedBytes, 0);
  }
});

test('what is remembered of a layer in one codec is not used for another', async (t) => {
  const house = await publishingHouse(t);
  await house.publish(await house.image([base]));
  const source = await house.image([base, app]);
  const packed = await house.publish(source, compressed);
  assert.deepEqual(packed.layers, { total: 2, known: 0, fetched: 2 });
  const renewed = await house.publish(await house.image([base]), compressed);
  assert.deepEqual(renewed.layers, { total: 1, known: 1, fetched: 0 });
  const shares = chunksByCodec(await openStoredManifest(house.deps, renewed.image));
  assert.ok((shares['zstd-v1']?.chunks ?? 0) > 0);
});

test('a damaged compressed chunk is found by checking the image', async (t) => {
  const house = await publishingHouse(t);
  const { image } = await house.publish(await house.image([base]), compressed);
  const manifest = await openStoredManifest(house.deps, image);
  const victim = manifest.chunks.find(({ codec }) => codec === 'zstd-v1');
  assert.ok(victim !== undefined);
  const name = chunkObjectName(manifest.rootId, toHex(victim.ciphertextDigest));
  const bytes = Buffer.from((await house.store.get(name)) ?? []);
  bytes[9] = (bytes[9] ?? 0) ^ 1;
  await house.store.delete(name);
  await house.store.putIfAbsent(name, bytes);
  const { problems } = await checkImage({ store: house.store, manifest });
  assert.equal(problems.length, 1);
  assert.match(String(problems[0]), /contents hash to/);
});
