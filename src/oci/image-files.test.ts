import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempDisposable, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';

import { writeOciLayout, type LayerInput } from '../../test/support/oci-layout.ts';
import { needsPrograms } from '../../test/support/programs.ts';
import { buildTar, type TarBuilderEntry } from '../../test/support/tar-builder.ts';
import { runCommand } from '../base/index.ts';
import { openImage, parsePlatform } from './index.ts';
import { readImage } from './testing/image-contents.ts';

const platform = parsePlatform('linux/amd64');
const baseTar = buildTar([{ path: 'base', content: 'b'.repeat(300_000) }]);
const appTar = buildTar([{ path: 'app', content: 'a'.repeat(3000) }]);

function temporaryDirectory() {
  return mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
}

function hexOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What `docker save` writes, with members for the layers as given. */
function dockerArchive(
  layerPaths: readonly string[],
  tars: readonly Uint8Array[],
  members: readonly TarBuilderEntry[],
  overrides: object = {},
): Buffer {
  const rootfs = { type: 'layers', diff_ids: tars.map((tar) => `sha256:${hexOf(tar)}`) };
  const config = Buffer.from(JSON.stringify({ ...platform, config: { Cmd: ['/app'] }, rootfs }));
  const item = { Config: 'config.json', RepoTags: ['a/b:1'], Layers: layerPaths, ...overrides };
  return buildTar([
    ...members,
    { path: 'config.json', content: config },
    { path: 'manifest.json', content: Buffer.from(JSON.stringify([item])) },
  ]);
}

async function readArchive(bytes: Uint8Array, suffix = '') {
  await using dir = await temporaryDirectory();
  const path = join(dir.path, 'image.tar');
  await writeFile(path, bytes);
  return await readImage(`docker-archive:${path}${suffix}`, { platform });
}

test(
  'skopeo’s oci, oci-archive and docker-archive of one image give the same layers',
  { skip: needsPrograms('skopeo') },
  async () => {
    await using dir = await temporaryDirectory();
    const layers: LayerInput[] = [
      { tar: baseTar, compression: 'gzip' },
      { tar: appTar, compression: 'gzip' },
      { tar: baseTar, compression: 'none' },
    ];
    const config = { Entrypoint: ['/app'], Env: ['A=1'] };
    await writeOciLayout(dir.path, { layers, platform, config, tag: 'v1' });
    const copy = async (to: string, ...more: string[]) => {
      const flags = ['--insecure-policy', '--override-arch', 'amd64', '--quiet', ...more];
      await runCommand('skopeo', ['copy', ...flags, `oci:${dir.path}:v1`, to]);
    };
    const original = await readImage(`oci:${dir.path}:v1`, { platform });
    assert.deepEqual(original.tars, [baseTar, appTar, baseTar]);
    await copy(`oci-archive:${dir.path}/oci.tar:v1`, '--preserve-digests');
    await copy(`docker-archive:${dir.path}/docker.tar:a/b:1`);
    await copy(`oci:${dir.path}/again:v1`, '--preserve-digests');
    const again = await readImage(`oci:${dir.path}/again:v1`, { platform });
    assert.deepEqual(again, original);
    const ociArchive = await readImage(`oci-archive:${dir.path}/oci.tar`, { platform });
    assert.deepEqual(ociArchive, original);
    const dockerArchive = await readImage(`docker-archive:${dir.path}/docker.tar`, { platform });
    assert.deepEqual(dockerArchive.tars, original.tars);
    assert.deepEqual(dockerArchive.config, original.config);
    const named = await readImage(`docker-archive:${dir.path}/docker.tar:a/b:1`, { platform });
    assert.deepEqual(named, dockerArchive);
  },
);

test('an oci-archive is read in place, also when tar wrote it with ./ before every path', async () => {
  await using dir = await temporaryDirectory();
  await using work = await temporaryDirectory();
  const layers: LayerInput[] = [{ tar: baseTar, compression: 'none' }, { tar: appTar }];
  const written = await writeOciLayout(join(dir.path, 'layout'), { layers, platform });
  const archive = join(dir.path, 'image.tar');
  await runCommand('tar', ['-C', join(dir.path, 'layout'), '-cf', archive, '.']);
  const options = { platform, workDir: work.path };
  const contents = await readImage(`oci-archive:${archive}`, options);
  assert.equal(contents.imageDigest, written.descriptor.digest);
  assert.deepEqual(contents.tars, [baseTar, appTar]);
  assert.deepEqual(await readdir(work.path), []);
});

test('a damaged byte of a layer inside an archive is noticed', async () => {
  await using dir = await temporaryDirectory();
  const layers: LayerInput[] = [{ tar: baseTar, compression: 'none' }];
  await writeOciLayout(join(dir.path, 'layout'), { layers, platform });
  const archive = join(dir.path, 'image.tar');
  await runCommand('tar', ['-C', join(dir.path, 'layout'), '-cf', archive, '.']);
  const bytes = await readFile(archive);
  bytes.write('B', bytes.indexOf('bbbb') + 1234);
  await writeFile(archive, bytes);
  await assert.rejects(readImage(`oci-archive:${archive}`, { platform }), {
    code: 'ERR_OCI_DIGEST_MISMATCH',
  });
});

test('a docker-archive gives the configuration’s digest as the image’s', async () => {
  const members = [{ path: 'x/layer.tar', content: appTar }];
  const bytes = dockerArchive(['x/layer.tar'], [appTar], members);
  const contents = await readArchive(bytes);
  const start = bytes.indexOf('{"os"');
  const config = bytes.subarray(start, bytes.indexOf('\0', start));
  assert.equal(contents.imageDigest, `sha256:${hexOf(config)}`);
  assert.deepEqual(contents.config.cmd, ['/app']);
});

test('hasAccess() is given to the layers that a docker-archive holds', async () => {
  await using dir = await temporaryDirectory();
  const path = join(dir.path, 'docker.tar');
  const members = [{ path: 'x/layer.tar', content: appTar }];
  await writeFile(path, dockerArchive(['x/layer.tar'], [appTar], members));
  await using image = await openImage(`docker-archive:${path}`, { platform });
  const [layer] = image.layers;
  assert.ok(layer);
  assert.equal(await image.hasAccess(layer), true);
});

test('layers of a docker-archive may be compressed, and the archive as a whole too', async () => {
  const members = [
    { path: 'base.tar', content: gzipSync(baseTar) },
    { path: 'app.tar', content: zstdCompressSync(appTar) },
  ];
  const plain = dockerArchive(['base.tar', 'app.tar'], [baseTar, appTar], members);
  for (const bytes of [plain, gzipSync(plain), zstdCompressSync(plain)]) {
    assert.deepEqual((await readArchive(bytes)).tars, [baseTar, appTar]);
  }
});

test('layers of a docker-archive may be symlinks and hard links to other members', async () => {
  const members: TarBuilderEntry[] = [
    { path: 'one/layer.tar', content: appTar },
    { path: 'two/layer.tar', type: 'symlink', linkTarget: '../one/layer.tar' },
    { path: './three/layer.tar', type: 'hardlink', linkTarget: './one/layer.tar' },
    { path: 'four/layer.tar', type: 'symlink', linkTarget: '../two/./layer.tar' },
  ];
  const paths = ['one/layer.tar', 'two/layer.tar', 'three/layer.tar', 'four/layer.tar'];
  const tars = [appTar, appTar, appTar, appTar];
  assert.deepEqual((await readArchive(dockerArchive(paths, tars, members))).tars, tars);
});

for (const [what, linkTarget] of [
  ['leaves the archive', '../../etc/passwd'],
  ['leads to itself', 'layer.tar'],
  ['leads nowhere', 'gone.tar'],
] as const) {
  test(`a layer of a docker-archive whose link ${what} is refused`, async () => {
    const members: TarBuilderEntry[] = [{ path: 'x/layer.tar', type: 'symlink', linkTarget }];
    const bytes = dockerArchive(['x/layer.tar'], [appTar], members);
    await assert.rejects(readArchive(bytes), { code: 'ERR_OCI_BAD_LAYOUT' });
  });
}

test('a docker-archive is checked against its names, platform, diff ids and layers', async () => {
  const members = [{ path: 'x.tar', content: appTar }];
  const bytes = dockerArchive(['x.tar'], [appTar], members);
  await assert.rejects(readArchive(bytes, ':other:1'), {
    code: 'ERR_OCI_NOT_FOUND',
    message: /it has docker\.io\/a\/b:1/,
  });
  const mismatched = dockerArchive(['x.tar'], [baseTar], members);
  await assert.rejects(readArchive(mismatched), { code: 'ERR_OCI_DIFF_ID_MISMATCH' });
  const tooMany = dockerArchive(['x.tar'], [appTar, appTar], members);
  await assert.rejects(readArchive(tooMany), { code: 'ERR_OCI_BAD_DOCUMENT' });
  const noManifest = buildTar([{ path: 'config.json', content: '{}' }]);
  await assert.rejects(readArchive(noManifest), { code: 'ERR_OCI_BAD_LAYOUT' });
  await using dir = await temporaryDirectory();
  const path = join(dir.path, 'image.tar');
  await writeFile(path, bytes);
  const elsewhere = openImage(`docker-archive:${path}`, { platform: parsePlatform('linux/arm64') });
  await assert.rejects(elsewhere, { code: 'ERR_OCI_PLATFORM_MISSING' });
});

test('an archive cut short anywhere gives its layers or a coded error, never other bytes', async () => {
  await using dir = await temporaryDirectory();
  const path = join(dir.path, 'image.tar');
  const members = [{ path: 'x.tar', content: appTar }];
  const bytes = dockerArchive(['x.tar'], [appTar], members);
  for (let length = 0; length < bytes.byteLength; length += 337) {
    await writeFile(path, bytes);
    await truncate(path, length);
    const outcome = await readImage(`docker-archive:${path}`, { platform }).then(
      ({ tars }) => tars,
      (thrown: unknown) => (thrown as { code: string }).code,
    );
    if (typeof outcome === 'string') assert.match(outcome, /^ERR_(OCI|READ_PAST_END)/);
    else assert.deepEqual(outcome, [appTar]);
  }
});
