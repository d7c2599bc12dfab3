/** What is remembered of layers: that they are not fetched again, that it changes no image, and that damage does not matter. */

import assert from 'node:assert/strict';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import fc from 'fast-check';

import { startFaultProxy, type ProxiedRequest } from '../../test/support/fault-proxy.ts';
import { registryMissing, startRegistry } from '../../test/support/registry.ts';
import { buildTar, type TarBuilderEntry } from '../../test/support/tar-builder.ts';
import { createLog, toHex } from '../base/index.ts';
import type { ImageRecord } from '../catalog/index.ts';
import { randomLayers, withoutRefused, type Layer } from '../rootfs/testing/random-layers.ts';
import { chunkObjectName, type ObjectStore } from '../store/index.ts';
import { checkImage } from './check-image.ts';
import { openStoredManifest } from './stored-image.ts';
import { publishingHouse, type PublishingHouse } from './testing/publishing-house.ts';

/** Bytes that do not compress and are different for each seed. */
function noise(seed: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = seed >>> 0;
  for (let at = 0; at + 4 <= lengthBytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

const base = {
  tar: buildTar([
    { path: 'lib/' },
    { path: 'lib/big', content: noise(1, 3_000_000) },
    { path: 'lib/hollow', content: Buffer.alloc(2_000_000) },
    ...Array.from({ length: 200 }, (_, index) => ({
      path: `lib/small-${index}`,
      content: noise(index, 100 * index + 7),
    })),
  ]),
};
const small = { tar: buildTar([{ path: 'etc/hosts', content: 'localhost' }]) };
const app = (text: string) => ({ tar: buildTar([{ path: 'app/main', content: text }]) });

async function manifestOf(house: PublishingHouse, image: ImageRecord) {
  return await openStoredManifest(house.deps, image);
}

async function assertWhole(house: PublishingHouse, image: ImageRecord): Promise<void> {
  const manifest = await manifestOf(house, image);
  const { problems } = await checkImage({ store: house.store, manifest });
  assert.deepEqual(problems, []);
}

/** Chunks and keys: all that decides what is read from the disk. */
async function tableOf(house: PublishingHouse, image: ImageRecord) {
  const { chunks, chunkKeys } = await manifestOf(house, image);
  return { chunks, chunkKeys };
}

async function recordNames(store: ObjectStore, rootId: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(`${rootId}/layers/`)) names.push(name);
  return names;
}

test('of another image on known layers only the new layer is read', async (t) => {
  const house = await publishingHouse(t);
  const first = await house.publish(await house.image([base, small, app('one')]));
  assert.deepEqual(first.layers, { total: 3, known: 0, fetched: 3 });
  const source = await house.image([base, small, app('two')]);
  // The known layers keep their sizes but not their bytes: whoever read them would fail.
  const [, layout = ''] = /^oci:(.*):x$/.exec(source) ?? [];
  const manifest = await manifestDocument(layout);
  for (const { digest } of manifest.layers.slice(0, 2)) {
    const path = join(layout, 'blobs', digest.replace(':', '/'));
    await writeFile(path, Buffer.alloc((await readFile(path)).byteLength));
  }
  const second = await house.publish(source);
  assert.deepEqual(second.layers, { total: 3, known: 2, fetched: 1 });
  await assertWhole(house, second.image);
  const again = await house.publish(source);
  assert.deepEqual(again.layers, { total: 3, known: 3, fetched: 0 });
});

interface ManifestDocument {
  readonly layers: readonly { readonly digest: string }[];
}

async function manifestDocument(layout: string): Promise<ManifestDocument> {
  const blobs = join(layout, 'blobs/sha256');
  for (const blob of await readdir(blobs)) {
    const bytes = await readFile(join(blobs, blob));
    if (bytes[0] !== 0x7b) continue;
    const document = JSON.parse(bytes.toString()) as Partial<ManifestDocument>;
    if (document.layers !== undefined) return { layers: document.layers };
  }
  throw new Error(`No manifest is in ${layout}`);
}

test('a layout that lacks a known layer, or has it in another size, is refused as ever', async (t) => {
  const house = await publishingHouse(t);
  await house.publish(await house.image([base, app('one')]));
  const source = await house.image([base, app('two')]);
  const [, layout = ''] = /^oci:(.*):x$/.exec(source) ?? [];
  const [{ digest } = { digest: '' }] = (await manifestDocument(layout)).layers;
  const path = join(layout, 'blobs', digest.replace(':', '/'));
  await writeFile(path, 'short');
  await assert.rejects(house.publish(source), { code: 'ERR_OCI_SIZE_MISMATCH' });
  await rm(path);
  await assert.rejects(house.publish(source), { code: 'ERR_OCI_NOT_FOUND' });
});

test('one tenant gains nothing from what is remembered for another', async (t) => {
  const house = await publishingHouse(t);
  await house.publish(await house.image([base, app('one')]), { tenant: 'ours' });
  const source = await house.image([base, app('two')]);
  const theirs = await house.publish(source, { tenant: 'theirs' });
  assert.deepEqual(theirs.layers, { total: 2, known: 0, fetched: 2 });
  const rootId = theirs.image.rootId;
  assert.equal((await recordNames(house.store, rootId)).length, 4);
  // Moved to where the other tenant would look for it, a record is worth nothing.
  const [first = '', ...others] = await recordNames(house.store, rootId);
  const bytes = (await house.store.get(first)) ?? new Uint8Array();
  for (const name of others) {
    await house.store.delete(name);
    await house.store.putIfAbsent(name, bytes);
  }
  const third = await house.image([base, app('two'), app('three')]);
  for (const tenant of ['ours', 'theirs']) {
    const { image, layers } = await house.publish(third, { tenant });
    assert.ok(layers.known <= 1);
    await assertWhole(house, image);
  }
});

test('a damaged record is logged, not believed, and replaced', async (t) => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => void lines.push(line) });
  const house = await publishingHouse(t, { log });
  const first = await house.publish(await house.image([base, app('one')]));
  const names = await recordNames(house.store, first.image.rootId);
  assert.equal(names.length, 2);
  for (const name of names) {
    const bytes = (await house.store.get(name)) ?? new Uint8Array();
    bytes[bytes.byteLength - 20] = (bytes[bytes.byteLength - 20] ?? 0) ^ 1;
    await house.store.delete(name);
    await house.store.putIfAbsent(name, bytes);
  }
  const second = await house.publish(await house.image([base, app('two')]));
  assert.deepEqual(second.layers, { total: 2, known: 0, fetched: 2 });
  await assertWhole(house, second.image);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /warn a layer is read again layer="sha256:.*seal does not hold/);
  const third = await house.publish(await house.image([base, app('three')]));
  assert.deepEqual(third.layers, { total: 2, known: 1, fetched: 1 });
});

test('chunks that the store has lost are made again from the layer', async (t) => {
  const house = await publishingHouse(t);
  const first = await house.publish(await house.image([base, app('one')]));
  const { rootId, chunks } = await manifestOf(house, first.image);
  for (const { ciphertextDigest } of chunks) {
    await house.store.delete(chunkObjectName(rootId, toHex(ciphertextDigest)));
  }
  const second = await house.publish(await house.image([base, app('two')]));
  assert.deepEqual(second.layers, { total: 2, known: 1, fetched: 2 });
  await assertWhole(house, second.image);
});

test('an aborted or failed publish remembers nothing that is not stored', async (t) => {
  const house = await publishingHouse(t);
  const source = await house.image([base, app('one')]);
  const ending = new AbortController();
  const progress = ({ unit, done }: { readonly unit: string; readonly done: number }) => {
    if (unit === 'chunks' && done === 2) ending.abort();
  };
  await assert.rejects(house.publish(source, { signal: ending.signal, progress }));
  assert.deepEqual(await recordNames(house.store, await house.catalog.activeRoot()), []);
  const { layers } = await house.publish(source);
  assert.equal(layers.fetched, 2);
});

/** Layers whose files meet, and are large enough to have chunks of their own. */
const layersWithBulk = fc
  .tuple(
    randomLayers({ withAttributes: false, withHardLinks: true }),
    fc.array(fc.tuple(fc.constantFrom('a', 'b', 'bulk', 'bulk/x'), fc.nat(700_000)), {
      minLength: 2,
      maxLength: 6,
    }),
  )
  .map(([layers, bulk]) =>
    layers.map((layer, index): Layer => {
      const own = bulk.filter((_, at) => at % layers.length === index);
      const files = own.map(([path, size]): TarBuilderEntry => ({
        path,
        content: noise(size, size),
      }));
      return [...layer, ...files];
    }),
  );

test('an image is the same with and without what is remembered of its layers', async (t) => {
  const house = await publishingHouse(t);
  let knownLayers = 0;
  let serial = 0;
  await fc.assert(
    fc.asyncProperty(layersWithBulk, async (generated) => {
      const layers = (await withoutRefused(generated)).map((layer) => ({ tar: buildTar(layer) }));
      serial += 1;
      const tenant = `tenant-${serial}`;
      // Remembered from other images: each layer over nothing, as far as that can be.
      for (const layer of layers) {
        await house.publish(await house.image([layer]), { tenant }).catch(() => {});
      }
      const source = await house.image([...layers, app(`${serial}`)]);
      const without = await house.publish(source, { tenant: `other-${serial}` });
      const withRecords = await house.publish(source, { tenant });
      knownLayers += withRecords.layers.known;
      assert.deepEqual(
        await tableOf(house, withRecords.image),
        await tableOf(house, without.image),
      );
    }),
    { numRuns: 7 },
  );
  assert.ok(knownLayers > 4, `${knownLayers} layers were known`);
});

test('from a registry only the new layer is fetched', { skip: registryMissing }, async (t) => {
  await using registry = await registryOf(t);
  const { house, publish, blobRequests } = registry;
  const first = await publish('one', 'ours');
  assert.equal(first.layers.fetched, 3);
  assert.equal(blobRequests('HEAD'), 0);
  const before = blobRequests('GET');
  const second = await publish('two', 'ours');
  assert.deepEqual(second.layers, { total: 3, known: 2, fetched: 1 });
  assert.equal(blobRequests('HEAD'), 2);
  assert.equal(blobRequests('GET') - before, 2); // the configuration and the new layer
  await assertWhole(house, second.image);
});

test(
  'a layer that a registry will not let us have is not taken from memory',
  { skip: registryMissing },
  async (t) => {
    const refusals = [401, 403, 404, 405];
    let refusal: number | undefined;
    await using registry = await registryOf(t, ({ method, path }) =>
      method === 'HEAD' && path.includes('/blobs/') ? refusal : undefined,
    );
    for (const status of refusals) {
      refusal = status;
      await registry.publish('one', `tenant-${status}`);
      const { layers } = await registry.publish('two', `tenant-${status}`);
      assert.deepEqual(layers, { total: 3, known: 0, fetched: 3 }, `${status}`);
    }
  },
);

/** Images `one` and `two`, which differ in their last layer, in a registry that is watched. */
async function registryOf(
  t: TestContext,
  statusFor: (request: ProxiedRequest) => number | undefined = () => undefined,
) {
  await using made = new AsyncDisposableStack();
  const house = await publishingHouse(t);
  const registry = await startRegistry();
  made.defer(() => registry.stop());
  for (const name of ['one', 'two']) {
    await registry.push(await house.image([base, small, app(name)]), `team/${name}:x`);
  }
  const proxy = made.use(
    await startFaultProxy(registry.host, (request) => {
      const status = statusFor(request);
      return status === undefined ? undefined : { kind: 'answer', status };
    }),
  );
  const settings = { plainHttp: true, dockerConfigPath: '/nonexistent/config.json' };
  const isOf = (method: string) => (seen: ProxiedRequest) =>
    seen.method === method && seen.path.includes('/blobs/');
  const stack = made.move();
  return {
    house,
    publish: (name: string, tenant: string) =>
      house.publish(`docker://${proxy.host}/team/${name}:x`, { tenant, registry: settings }),
    blobRequests: (method: string) => proxy.requests.filter(isOf(method)).length,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
