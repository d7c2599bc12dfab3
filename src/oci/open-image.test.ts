import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempDisposable, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';

import {
  OciLayoutWriter,
  writeOciLayout,
  writeOciLayoutIndex,
  type ImageInput,
  type LayerInput,
  type WrittenDescriptor,
  type WrittenLayer,
} from '../../test/support/oci-layout.ts';
import { buildTar } from '../../test/support/tar-builder.ts';
import { hostPlatform, openImage, parsePlatform } from './index.ts';
import { readAll, readImage } from './testing/image-contents.ts';

const platform = parsePlatform('linux/amd64');
const options = { platform };
const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
const ociConfig = 'application/vnd.oci.image.config.v1+json';
const ociManifest = 'application/vnd.oci.image.manifest.v1+json';

/** Bytes that compress somewhat, different for every seed, the same every time. */
function text(seed: string, sizeBytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at * 64 < sizeBytes; at += 1) {
    parts.push(Buffer.from(createHash('sha256').update(`${seed}${at}`).digest('hex')));
  }
  return Buffer.concat(parts).subarray(0, sizeBytes);
}

const baseTar = buildTar([
  { path: 'etc/', type: 'directory' },
  { path: 'etc/big', content: text('base', 1_500_000) },
]);
const appTar = buildTar([{ path: 'app', content: text('app', 70_000) }]);

function temporaryDirectory() {
  return mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A manifest and a configuration around layers that exist already, right or wrong. */
async function writeManifest(
  dir: string,
  layers: readonly Partial<WrittenLayer>[],
  overrides: { readonly manifest?: object; readonly config?: object } = {},
): Promise<WrittenDescriptor> {
  const writer = await OciLayoutWriter.open(dir);
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const configDocument = { ...platform, rootfs, ...overrides.config };
  const config = await writer.addDocument(configDocument, ociConfig);
  const listed = layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));
  const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: listed };
  const document = { ...manifest, ...overrides.manifest };
  const descriptor = await writer.addDocument(document, ociManifest);
  await writer.tag({ ...descriptor, platform });
  return descriptor;
}

/** A layout whose only layer is this blob, correctly named, said to unpack to `tar`. */
async function writeRawLayer(dir: string, blob: Uint8Array, tar: Uint8Array): Promise<void> {
  const writer = await OciLayoutWriter.open(dir);
  const written = await writer.addBlob(blob, ociLayer);
  await writeManifest(dir, [{ ...written, diffId: digestOf(tar) }]);
}

for (const dialect of ['oci', 'docker'] as const) {
  for (const compression of ['none', 'gzip', 'zstd'] as const) {
    test(`openImage() reads ${compression} layers of a layout with ${dialect} media types`, async () => {
      await using dir = await temporaryDirectory();
      const layers: LayerInput[] = [
        { tar: baseTar, compression },
        { tar: appTar, compression },
      ];
      const written = await writeOciLayout(dir.path, { layers, platform, dialect, tag: 'v1' });
      const contents = await readImage(`oci:${dir.path}:v1`, options);
      assert.equal(contents.imageDigest, written.descriptor.digest);
      assert.deepEqual(contents.tars, [baseTar, appTar]);
    });
  }
}

test('openImage() reads gzip of several members and zstd of several frames to their ends', async () => {
  for (const compress of [gzipSync, zstdCompressSync]) {
    await using dir = await temporaryDirectory();
    const halves = [baseTar.subarray(0, 700_000), baseTar.subarray(700_000)];
    await writeRawLayer(dir.path, Buffer.concat(halves.map((half) => compress(half))), baseTar);
    assert.deepEqual((await readImage(`oci:${dir.path}`, options)).tars, [baseTar]);
  }
});

test('openImage() goes by the bytes where a media type is wrong about the compression', async () => {
  await using dir = await temporaryDirectory();
  await writeRawLayer(dir.path, zstdCompressSync(appTar), appTar);
  assert.deepEqual((await readImage(`oci:${dir.path}`, options)).tars, [appTar]);
});

test('openImage() gives the configuration with what it leaves out filled in', async () => {
  await using dir = await temporaryDirectory();
  const config = {
    Entrypoint: ['/bin/app'],
    Cmd: ['--fast'],
    Env: ['A=1', 'B=é'],
    Labels: { 'a.b': 'c' },
    User: '1000:1000',
  };
  await writeOciLayout(dir.path, { layers: [{ tar: appTar }], platform, config, tag: 'full' });
  await writeOciLayout(dir.path, { layers: [], platform, tag: 'bare' });
  await using full = await openImage(`oci:${dir.path}:full`, options);
  assert.deepEqual(full.config, {
    entrypoint: ['/bin/app'],
    cmd: ['--fast'],
    env: ['A=1', 'B=é'],
    workingDir: '/',
    user: '1000:1000',
    labels: { 'a.b': 'c' },
    stopSignal: '',
  });
  assert.equal(full.reference, `oci:${dir.path}:full`);
  await using bare = await openImage(`oci:${dir.path}:bare`, options);
  assert.deepEqual(bare.layers, []);
  assert.deepEqual(bare.config.env, []);
});

test('openLayer() leaves no file behind, and its tar outlives the image', async () => {
  await using dir = await temporaryDirectory();
  await using work = await temporaryDirectory();
  const layers: LayerInput[] = [{ tar: baseTar }, { tar: appTar, compression: 'none' }];
  await writeOciLayout(dir.path, { layers, platform });
  const image = await openImage(`oci:${dir.path}`, { platform, workDir: work.path });
  const [base, app] = image.layers;
  assert.ok(base !== undefined && app !== undefined);
  await using baseLayer = await image.openLayer(base);
  await using appLayer = await image.openLayer(app);
  assert.deepEqual(await readdir(work.path), []);
  await image[Symbol.asyncDispose]();
  await dir.remove();
  assert.deepEqual(await readAll(baseLayer), baseTar);
  assert.deepEqual(await readAll(appLayer), appTar);
  const past = Buffer.alloc(2);
  await assert.rejects(appLayer.read(appTar.byteLength - 1, past), { code: 'ERR_READ_PAST_END' });
});

test('openLayer() reports progress up to the size of the blob', async () => {
  await using dir = await temporaryDirectory();
  await writeOciLayout(dir.path, { layers: [{ tar: baseTar }], platform });
  const seen: number[] = [];
  const progress = (update: { done: number; total?: number }) => seen.push(update.done);
  await using image = await openImage(`oci:${dir.path}`, { platform, progress });
  const [layer] = image.layers;
  assert.ok(layer !== undefined);
  await using _tar = await image.openLayer(layer);
  assert.equal(seen.at(-1), layer.sizeBytes);
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
});

test('openLayer() ends with the reason of an aborted signal', async () => {
  await using dir = await temporaryDirectory();
  await writeOciLayout(dir.path, { layers: [{ tar: baseTar }], platform });
  const stop = new AbortController();
  const progress = () => stop.abort(new Error('enough'));
  await using image = await openImage(`oci:${dir.path}`, {
    platform,
    signal: stop.signal,
    progress,
  });
  await assert.rejects(image.openLayer(image.layers[0] ?? assert.fail()), { message: 'enough' });
  await assert.rejects(openImage(`oci:${dir.path}`, { platform, signal: stop.signal }), {
    message: 'enough',
  });
});

/** Opens the only layer of a layout that has something wrong with it. */
async function openOnlyLayer(dir: string, extra: { layerBytesMax?: number } = {}): Promise<void> {
  await using work = await temporaryDirectory();
  await using image = await openImage(`oci:${dir}`, { platform, workDir: work.path, ...extra });
  await using _tar = await image.openLayer(image.layers[0] ?? assert.fail('no layer'));
}

for (const compression of ['none', 'gzip', 'zstd'] as const) {
  test(`openLayer() notices any damage to a stored ${compression} layer`, async () => {
    await using dir = await temporaryDirectory();
    const written = await writeOciLayout(dir.path, {
      layers: [{ tar: appTar, compression }],
      platform,
    });
    const { digest, size } = written.layers[0] ?? assert.fail();
    const path = join(dir.path, 'blobs', digest.replace(':', '/'));
    const good = await readFile(path);
    for (const at of [0, 1, 3, 9, size >> 1, size - 5, size - 1]) {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(at) ^ 0x10, at);
      await writeFile(path, bad);
      await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_DIGEST_MISMATCH' });
    }
    await writeFile(path, Buffer.concat([good, Buffer.alloc(1)]));
    await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_SIZE_MISMATCH' });
    for (const length of [0, 1, size >> 1, size - 1]) {
      await writeFile(path, good);
      await truncate(path, length);
      await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_SIZE_MISMATCH' });
    }
  });

  test(`openLayer() refuses a ${compression} layer that is not the diff id's`, async () => {
    await using dir = await temporaryDirectory();
    const writer = await OciLayoutWriter.open(dir.path);
    const layer = await writer.addLayer({ tar: appTar, compression });
    await writeManifest(dir.path, [{ ...layer, diffId: digestOf(baseTar) }]);
    await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_DIFF_ID_MISMATCH' });
  });
}

for (const [what, blob] of [
  ['gzip cut short', gzipSync(baseTar).subarray(0, 300_000)],
  ['gzip cut short in its first bytes', gzipSync(baseTar).subarray(0, 5)],
  ['gzip with a damaged block', gzipSync(baseTar).fill(0xff, 200_000, 200_100)],
  [
    'gzip whose second member is cut short',
    Buffer.concat([gzipSync(baseTar), gzipSync(appTar).subarray(0, 999)]),
  ],
  ['zstd cut short', zstdCompressSync(baseTar).subarray(0, 300_000)],
  ['zstd with a damaged block', zstdCompressSync(baseTar).fill(0xff, 200_000, 200_100)],
  [
    'zstd whose second frame is cut short',
    Buffer.concat([zstdCompressSync(baseTar), zstdCompressSync(appTar).subarray(0, 999)]),
  ],
  [
    'zstd that ends within a skippable frame',
    Buffer.concat([zstdCompressSync(baseTar), Buffer.from('502a4d18ffff0000', 'hex')]),
  ],
  [
    'zstd followed by something else',
    Buffer.concat([zstdCompressSync(baseTar), Buffer.from('junk')]),
  ],
] as const) {
  test(`openLayer() says that a layer is corrupt that was built so: ${what}`, async () => {
    await using dir = await temporaryDirectory();
    await writeRawLayer(dir.path, blob, baseTar);
    await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_CORRUPT_LAYER' });
  });
}

test('openLayer() stops a decompression bomb at the limit', async () => {
  const bomb = Buffer.alloc(64 * 1024 * 1024);
  for (const compress of [gzipSync, zstdCompressSync]) {
    await using dir = await temporaryDirectory();
    await writeRawLayer(dir.path, compress(bomb), bomb);
    const refusal = { code: 'ERR_OCI_TOO_LARGE' };
    await assert.rejects(openOnlyLayer(dir.path, { layerBytesMax: 1024 * 1024 }), refusal);
  }
});

test('openLayer() refuses a blob that is stated to be absurdly large without reading it', async () => {
  await using dir = await temporaryDirectory();
  const digest = `sha256:${'0'.repeat(64)}`;
  const layer = { mediaType: ociLayer, digest, size: 2 ** 50, diffId: digest };
  await writeManifest(dir.path, [layer]);
  await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_TOO_LARGE' });
});

test('openLayer() says where it cannot write', async () => {
  await using dir = await temporaryDirectory();
  await writeOciLayout(dir.path, { layers: [{ tar: appTar }], platform });
  const workDir = join(dir.path, 'nowhere');
  await using image = await openImage(`oci:${dir.path}`, { platform, workDir });
  const opening = image.openLayer(image.layers[0] ?? assert.fail());
  await assert.rejects(opening, { code: 'ERR_OCI_WORK_DIR' });
});

const small: ImageInput = { layers: [{ tar: appTar }] };

test('openImage() chooses the platform of an index, the nearest variant first', async () => {
  await using dir = await temporaryDirectory();
  const names = ['linux/arm/v6', 'linux/arm/v7', 'linux/arm64/v8', 'linux/amd64', 'windows/amd64'];
  const images = names.map((name) => ({ ...small, platform: parsePlatform(name) }));
  const written = await writeOciLayoutIndex(dir.path, { images, tag: 'all' });
  const chosen = async (name: string) => {
    await using image = await openImage(`oci:${dir.path}:all`, { platform: parsePlatform(name) });
    const digests = written.images.map(({ descriptor }) => descriptor.digest);
    return names[digests.indexOf(image.imageDigest)];
  };
  assert.equal(await chosen('linux/arm/v6'), 'linux/arm/v6');
  assert.equal(await chosen('linux/arm/v7'), 'linux/arm/v7');
  assert.equal(await chosen('linux/arm/v8'), 'linux/arm/v7');
  assert.equal(await chosen('linux/arm64'), 'linux/arm64/v8');
  assert.equal(await chosen('linux/x86_64'), 'linux/amd64');
  await assert.rejects(
    openImage(`oci:${dir.path}:all`, { platform: parsePlatform('linux/s390x') }),
    {
      code: 'ERR_OCI_PLATFORM_MISSING',
      available: names.toSorted(),
    },
  );
});

test('openImage() takes this machine’s platform by default, and no other', async () => {
  await using dir = await temporaryDirectory();
  const other = hostPlatform().architecture === 's390x' ? 'linux/amd64' : 'linux/s390x';
  await writeOciLayout(dir.path, { ...small, tag: 'host' });
  await writeOciLayout(dir.path, { ...small, platform: parsePlatform(other), tag: 'other' });
  await using image = await openImage(`oci:${dir.path}:host`);
  assert.deepEqual(image.platform, hostPlatform());
  await assert.rejects(openImage(`oci:${dir.path}:other`), { code: 'ERR_OCI_PLATFORM_MISSING' });
});

test('openImage() looks into nested indexes and passes over attestations', async () => {
  await using dir = await temporaryDirectory();
  const writer = await OciLayoutWriter.open(dir.path);
  const { descriptor } = await writer.addImage({ ...small, platform });
  const unknown = { os: 'unknown', architecture: 'unknown' };
  const attestation = await writer.addDocument({ not: 'an image' }, ociManifest);
  const inner = await writer.addIndex([{ ...attestation, platform: unknown }, descriptor]);
  await writer.tag(await writer.addIndex([inner]));
  await using image = await openImage(`oci:${dir.path}`, options);
  assert.equal(image.imageDigest, descriptor.digest);
});

test('openImage() asks the configuration where an index does not state a platform', async () => {
  await using dir = await temporaryDirectory();
  const writer = await OciLayoutWriter.open(dir.path);
  const silent: WrittenDescriptor[] = [];
  for (const name of ['linux/arm64', 'linux/amd64']) {
    const { descriptor } = await writer.addImage({ ...small, platform: parsePlatform(name) });
    silent.push({ mediaType: ociManifest, digest: descriptor.digest, size: descriptor.size });
  }
  await writer.tag(await writer.addIndex(silent));
  await using image = await openImage(`oci:${dir.path}`, options);
  assert.equal(image.imageDigest, silent[1]?.digest);
});

test('openImage() gives up indexes that are nested without reason or state no platforms', async () => {
  await using dir = await temporaryDirectory();
  const writer = await OciLayoutWriter.open(dir.path);
  const { descriptor } = await writer.addImage({ ...small, platform });
  let index = await writer.addIndex([descriptor]);
  for (let depth = 0; depth < 20; depth += 1) index = await writer.addIndex([index]);
  await writer.tag(index, 'deep');
  const { mediaType, digest, size } = (
    await writer.addImage({ ...small, platform: parsePlatform('linux/arm64') })
  ).descriptor;
  const silent = Array.from({ length: 500 }, () => ({ mediaType, digest, size }));
  await writer.tag(await writer.addIndex(silent), 'wide');
  for (const tag of ['deep', 'wide']) {
    await assert.rejects(openImage(`oci:${dir.path}:${tag}`, options), {
      code: 'ERR_OCI_BAD_DOCUMENT',
    });
  }
});

test('openImage() wants a tag where a layout has several images, and lists them', async () => {
  await using dir = await temporaryDirectory();
  await writeOciLayout(dir.path, { ...small, platform, tag: 'a' });
  await writeOciLayout(dir.path, { ...small, platform, config: { Cmd: ['b'] }, tag: 'b' });
  const ambiguous = { code: 'ERR_OCI_AMBIGUOUS_REFERENCE', message: /":a", ":b"/ };
  await assert.rejects(openImage(`oci:${dir.path}`, options), ambiguous);
  await assert.rejects(openImage(`oci:${dir.path}:c`, options), {
    code: 'ERR_OCI_NOT_FOUND',
    message: /it has a, b/,
  });
});

test('openImage() says what is missing of a layout', async () => {
  await using dir = await temporaryDirectory();
  await assert.rejects(openImage(`oci:${dir.path}/none`), { code: 'ERR_OCI_NOT_FOUND' });
  await assert.rejects(openImage(`oci-archive:${dir.path}/none`), { code: 'ERR_OCI_NOT_FOUND' });
  await assert.rejects(openImage(`oci:${dir.path}`), { code: 'ERR_OCI_BAD_LAYOUT' });
  await assert.rejects(openImage(`oci-archive:${dir.path}`), { code: 'ERR_OCI_BAD_LAYOUT' });
  await OciLayoutWriter.open(dir.path);
  await assert.rejects(openImage(`oci:${dir.path}`), { code: 'ERR_OCI_BAD_LAYOUT' });
  const digest = `sha256:${'0'.repeat(64)}`;
  const layer = { mediaType: ociLayer, digest, size: 10, diffId: digest };
  await writeManifest(dir.path, [layer]);
  await assert.rejects(openOnlyLayer(dir.path), { code: 'ERR_OCI_NOT_FOUND' });
});

const someDigest = `sha256:${'1'.repeat(64)}`;
const someLayer = { mediaType: ociLayer, digest: someDigest, size: 10, diffId: someDigest };

/** Documents that are wrong, and what is said of them. */
const badDocuments: readonly (readonly [
  what: string,
  layers: readonly Partial<WrittenLayer>[],
  overrides: { readonly manifest?: object; readonly config?: object },
  code: string,
])[] = [
  [
    'an unknown layer',
    [{ ...someLayer, mediaType: 'text/x' }],
    {},
    'ERR_OCI_UNSUPPORTED_MEDIA_TYPE',
  ],
  [
    'a foreign layer',
    [{ ...someLayer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' }],
    {},
    'ERR_OCI_FOREIGN_LAYER',
  ],
  [
    'a nondistributable layer',
    [{ ...someLayer, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' }],
    {},
    'ERR_OCI_FOREIGN_LAYER',
  ],
  ['schema 1', [], { manifest: { schemaVersion: 1 } }, 'ERR_OCI_UNSUPPORTED_MEDIA_TYPE'],
  [
    'an unknown manifest',
    [],
    { manifest: { mediaType: 'application/json' } },
    'ERR_OCI_UNSUPPORTED_MEDIA_TYPE',
  ],
  [
    'a manifest that says it is an index',
    [],
    { manifest: { mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] } },
    'ERR_OCI_BAD_DOCUMENT',
  ],
  ['an index and a manifest in one', [], { manifest: { manifests: [] } }, 'ERR_OCI_BAD_DOCUMENT'],
  [
    'another artifact',
    [],
    { manifest: { config: { mediaType: 'application/x.chart', digest: someDigest, size: 2 } } },
    'ERR_OCI_UNSUPPORTED_MEDIA_TYPE',
  ],
  [
    'a digest that leaves the layout',
    [{ ...someLayer, digest: 'sha256:../../../../../../etc/passwd' }],
    {},
    'ERR_OCI_BAD_DOCUMENT',
  ],
  ['an unknown digest', [{ ...someLayer, digest: 'md5:00' }], {}, 'ERR_OCI_BAD_DOCUMENT'],
  ['a negative size', [{ ...someLayer, size: -1 }], {}, 'ERR_OCI_BAD_DOCUMENT'],
  ['a size past 2^53', [{ ...someLayer, size: 2 ** 60 }], {}, 'ERR_OCI_BAD_DOCUMENT'],
  ['too few diff ids', [someLayer], { config: { rootfs: {} } }, 'ERR_OCI_BAD_DOCUMENT'],
  ['a diff id that is none', [{ ...someLayer, diffId: 'x' }], {}, 'ERR_OCI_BAD_DOCUMENT'],
  ['no architecture', [], { config: { architecture: null } }, 'ERR_OCI_BAD_DOCUMENT'],
  ['an Env that is no list', [], { config: { config: { Env: 'A=1' } } }, 'ERR_OCI_BAD_DOCUMENT'],
  ['a config that is absurdly large', [], { config: { x: 'x'.repeat(5e6) } }, 'ERR_OCI_TOO_LARGE'],
];

for (const [what, layers, overrides, code] of badDocuments) {
  test(`openImage() refuses ${what} with ${code}`, async () => {
    await using dir = await temporaryDirectory();
    await writeManifest(dir.path, layers, overrides);
    await assert.rejects(openImage(`oci:${dir.path}`, options), { code });
  });
}

test('openImage() refuses documents that are no JSON', async () => {
  await using dir = await temporaryDirectory();
  await writeOciLayout(dir.path, { ...small, platform });
  for (const junk of ['', '{', '[]', '"x"', '{"manifests":{}}', '{"manifests":[null]}']) {
    await writeFile(join(dir.path, 'index.json'), junk);
    await assert.rejects(openImage(`oci:${dir.path}`, options), /index\.json|lists no image/);
  }
});

test('hasAccess() tells whether a layout has a layer in its size, without reading it', async () => {
  await using dir = await temporaryDirectory();
  const { layers } = await writeOciLayout(dir.path, { layers: [{ tar: baseTar }], platform });
  await using image = await openImage(`oci:${dir.path}`, options);
  const [layer] = image.layers;
  assert.ok(layer);
  const path = join(dir.path, 'blobs', (layers[0]?.digest ?? '').replace(':', '/'));
  await writeFile(path, Buffer.alloc(layer.sizeBytes));
  assert.equal(await image.hasAccess(layer), true);
  await truncate(path, layer.sizeBytes - 1);
  assert.equal(await image.hasAccess(layer), false);
  await rm(path);
  assert.equal(await image.hasAccess(layer), false);
});
