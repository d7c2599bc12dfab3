import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';

import type { ImageRef } from './block-images.ts';
import { RecentManifests } from './recent-manifests.ts';

/** Manifests of 100 bytes, and what was asked of the origin. */
class Origin {
  readonly asked: ImageRef[] = [];
  readonly #manifests = new Map<string, Uint8Array>();

  image(seed: number, rootId = 'root'): ImageRef {
    const sealed = Buffer.alloc(100, seed);
    const manifestId = hash('sha256', sealed);
    this.#manifests.set(`${rootId}/${manifestId}`, sealed);
    return { rootId, manifestId, tenant: 'tenant' };
  }

  readonly fetch = async (image: ImageRef): Promise<Uint8Array> => {
    this.asked.push(image);
    const found = this.#manifests.get(`${image.rootId}/${image.manifestId}`);
    if (found === undefined) throw new Error('no such manifest');
    return found;
  };
}

test('the origin is asked for a manifest once, and again when all were forgotten', async () => {
  const origin = new Origin();
  const manifests = new RecentManifests({ fetch: origin.fetch, bytesMax: 1000 });
  const image = origin.image(1);
  for (let open = 0; open < 3; open += 1) {
    assert.deepEqual(await manifests.get(image), Buffer.alloc(100, 1));
  }
  assert.equal(origin.asked.length, 1);
  manifests.clear();
  await manifests.get(image);
  assert.equal(origin.asked.length, 2);
});

test('those used last are kept, in so many bytes, and one that is larger is not', async () => {
  const origin = new Origin();
  const manifests = new RecentManifests({ fetch: origin.fetch, bytesMax: 250 });
  const [one, two, three] = [origin.image(1), origin.image(2), origin.image(3)];
  for (const image of [one, two, one, three]) await manifests.get(image);
  assert.deepEqual(origin.asked, [one, two, three]);
  await manifests.get(one);
  assert.equal(origin.asked.length, 3);
  await manifests.get(two);
  assert.equal(origin.asked.length, 4);
  const none = new RecentManifests({ fetch: origin.fetch, bytesMax: 99 });
  await none.get(one);
  await none.get(one);
  assert.equal(origin.asked.length, 6);
});

test('bytes that are not what the id says are refused and not kept, and another root has its own', async () => {
  const origin = new Origin();
  const manifests = new RecentManifests({ fetch: origin.fetch, bytesMax: 1000 });
  const image = origin.image(1);
  await manifests.get(image);
  await assert.rejects(manifests.get({ ...image, rootId: 'another' }), /no such manifest/);
  const spoilt = new RecentManifests({ fetch: async () => Buffer.alloc(100, 9), bytesMax: 1000 });
  for (let open = 0; open < 2; open += 1) {
    await assert.rejects(spoilt.get(image), { code: 'ERR_DEVICE_IMAGE_UNSUPPORTED' });
  }
});
