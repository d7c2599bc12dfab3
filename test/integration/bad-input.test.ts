/**
 * What a user gets for what cannot work: one line that says what is wrong with which thing, the documented status, and
 * nothing half-done. Needs neither root nor any program of the system.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';

import { exitStatuses, type ExitCause } from '../../src/cli/exit-status.ts';
import { OciLayoutWriter, writeOciLayout } from '../support/oci-layout.ts';
import { buildTar, tarEntry } from '../support/tar-builder.ts';
import { thawFor, type Thaw } from '../support/thaw.ts';

const goodTar = buildTar([
  { path: 'app/' },
  { path: 'app/main', content: 'x'.repeat(100_000), mode: 0o755 },
]);

async function expectFailure(
  thaw: Thaw,
  args: readonly string[],
  cause: ExitCause,
  says: RegExp,
): Promise<void> {
  const { status, stdout, stderr } = await thaw.run(...args);
  const what = `thaw ${args.join(' ')} said: ${stderr}`;
  assert.equal(status, exitStatuses[cause].status, what);
  assert.match(stderr, says, what);
  assert.equal(stderr.trimEnd().split('\n').length, 1, `one line: ${what}`);
  assert.equal(stdout, '', 'nothing on stdout');
}

/** A layout whose image has one layer that `spoil` changed after its digest was taken. */
async function layoutWith(
  t: TestContext,
  thaw: Thaw,
  spoil: (writer: OciLayoutWriter, layerDigest: string) => Promise<void>,
): Promise<string> {
  const dir = join(thaw.root, 'layouts', t.name.replaceAll(/\W+/g, '-'));
  await mkdir(dir, { recursive: true });
  const { layers } = await writeOciLayout(dir, { layers: [{ tar: goodTar }], tag: 'x' });
  await spoil(await OciLayoutWriter.open(dir), layers[0]?.digest ?? '');
  return `oci:${dir}:x`;
}

const spoiled: Readonly<
  Record<string, readonly [(path: string) => Promise<void>, cause: ExitCause, says: RegExp]>
> = {
  'a layer cut short': [
    async (path) => writeFile(path, (await readFile(path)).subarray(0, -10)),
    'badImage',
    /sha256:.*(size|bytes)/,
  ],
  'a layer with a flipped bit': [
    async (path) => {
      const bytes = await readFile(path);
      bytes[40] = (bytes[40] ?? 0) ^ 1;
      await writeFile(path, bytes);
    },
    'badImage',
    /sha256:/,
  ],
};

for (const [what, [change, cause, says]] of Object.entries(spoiled)) {
  test(`${what} is refused and publishes nothing`, async (t) => {
    const thaw = await thawFor(t);
    const source = await layoutWith(t, thaw, (writer, digest) => change(writer.blobPath(digest)));
    await expectFailure(thaw, ['image', 'convert', source], cause, says);
    assert.deepEqual(await thaw.json('image', 'ls'), []);
  });
}

const badTars: Readonly<Record<string, readonly [tar: Buffer, says: RegExp]>> = {
  'a tar that ends inside a file': [goodTar.subarray(0, 4096), /main/],
  'a loop of symbolic links': [
    buildTar([
      { path: 'a', type: 'symlink', linkTarget: 'b' },
      { path: 'b', type: 'symlink', linkTarget: 'a' },
      { path: 'a/file', content: 'x' },
    ]),
    /a\/file/,
  ],
  'a hard link to nothing': [
    buildTar([{ path: 'link', type: 'hardlink', linkTarget: 'missing' }]),
    /link/,
  ],
  'a layer that is no tar': [Buffer.alloc(2048, 'not a tar'), /tar entry/],
  'a file over the size limit': [
    Buffer.concat([sparseGiant(), Buffer.alloc(1024)]),
    /limit|large|bytes/i,
  ],
};

/** A PAX sparse file of 12 GiB that is all hole. */
function sparseGiant(): Buffer {
  const records = [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.name', 'giant'],
    ['GNU.sparse.realsize', String(12 * 2 ** 30)],
  ].map(([key, value]) => {
    const body = ` ${key}=${value}\n`;
    const length = body.length + 2;
    return `${length}${body}`.length === length ? `${length}${body}` : `${length + 1}${body}`;
  });
  const pax = Buffer.from(records.join(''));
  const header = Buffer.from(tarEntry({ path: 'PaxHeaders/giant', content: pax }, 'ustar'));
  header.write('x', 156, 'latin1');
  header.fill(' ', 148, 156);
  const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const map = Buffer.alloc(512);
  map.write(`1\n${12 * 2 ** 30}\n0\n`);
  return Buffer.concat([header, tarEntry({ path: 'giant', content: map }, 'ustar')]);
}

for (const [what, [tar, says]] of Object.entries(badTars)) {
  test(`${what} is refused and publishes nothing`, async (t) => {
    const thaw = await thawFor(t);
    const dir = join(thaw.root, 'layout');
    await mkdir(dir, { recursive: true });
    await writeOciLayout(dir, { layers: [{ tar }], tag: 'x' });
    await expectFailure(thaw, ['image', 'convert', `oci:${dir}:x`], 'badImage', says);
    assert.deepEqual(await thaw.json('image', 'ls'), []);
  });
}

test('an unknown layer type, and a manifest of another kind, are refused by name', async (t) => {
  const thaw = await thawFor(t);
  const dir = join(thaw.root, 'layout');
  await mkdir(dir, { recursive: true });
  const writer = await OciLayoutWriter.open(dir);
  const layer = await writer.addBlob(gzipSync(goodTar), 'application/x-rar');
  const config = await writer.addDocument(
    { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [layer.digest] } },
    'application/vnd.oci.image.config.v1+json',
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = { schemaVersion: 2, mediaType, config, layers: [layer] };
  await writer.tag(await writer.addDocument(manifest, mediaType), 'x');
  const source = `oci:${dir}:x`;
  await expectFailure(thaw, ['image', 'convert', source], 'badImage', /application\/x-rar/);
});

test('what names nothing says so, with the status of its cause', async (t) => {
  const thaw = await thawFor(t);
  const cases: readonly (readonly [readonly string[], ExitCause, RegExp])[] = [
    [['image', 'inspect', 'feedfacecafe'], 'notFound', /image "feedfacecafe".*thaw image ls/],
    [['image', 'check', 'nope'], 'notFound', /"nope"/],
    [['image', 'export', 'nope', '/tmp/x.img'], 'notFound', /"nope"/],
    [['image', 'rm', 'nope'], 'notFound', /"nope"/],
    [['image', 'convert', 'oci:/nonexistent/dir'], 'notFound', /\/nonexistent\/dir/],
    [['image', 'convert', 'oci-archive:/nonexistent.tar'], 'notFound', /\/nonexistent\.tar/],
    [['image', 'convert', 'what:is/this'], 'usage', /what:is\/this/],
    [['image', 'convert', 'docker://UPPER/Case'], 'usage', /UPPER\/Case/],
    [['image', 'convert', 'oci:/x', '--platform', 'nonsense'], 'usage', /nonsense/],
    [['image', 'convert', 'oci:/x', '--user', 'nocolon'], 'usage', /user:password/],
    [['--config', '/nonexistent.toml', 'image', 'ls'], 'usage', /\/nonexistent\.toml/],
    [['--log-level', 'loud', 'image', 'ls'], 'usage', /loud/],
  ];
  for (const [args, cause, says] of cases) await expectFailure(thaw, args, cause, says);
});

test('a registry that nobody serves ends in bounded time', async (t) => {
  const thaw = await thawFor(t);
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  server.close(); // nobody listens on this port from now on
  await once(server, 'close');
  const source = `docker://127.0.0.1:${port}/app:1`;
  const args = ['image', 'convert', source, '--plain-http'];
  await expectFailure(thaw, args, 'unreachable', new RegExp(`127\\.0\\.0\\.1:${port}`));
});

test('a file that is no keyring is refused, and left alone', async (t) => {
  const thaw = await thawFor(t);
  const dir = join(thaw.root, 'layout');
  await mkdir(dir, { recursive: true });
  await writeOciLayout(dir, { layers: [{ tar: goodTar }], tag: 'x' });
  const keyring = join(thaw.root, 'keyring.json');
  await writeFile(keyring, 'not a keyring', { mode: 0o600 });
  const convert = ['image', 'convert', `oci:${dir}:x`];
  await expectFailure(thaw, convert, 'refused', /keyring\.json/);
  assert.equal(await readFile(keyring, 'utf8'), 'not a keyring');
});

test('a chunk that was damaged or lost in the store is found by check, and fails export', async (t) => {
  const thaw = await thawFor(t);
  const dir = join(thaw.root, 'layout');
  await mkdir(dir, { recursive: true });
  await writeOciLayout(dir, { layers: [{ tar: goodTar }], tag: 'x' });
  const { manifestId } = await thaw.json<{ manifestId: string }>(
    'image',
    'convert',
    `oci:${dir}:x`,
  );
  const chunks = join(thaw.root, 'store/r1/chunks');
  const [chunk = ''] = execFileSync('find', [chunks, '-type', 'f'], { encoding: 'utf8' }).split(
    '\n',
  );
  const bytes = await readFile(chunk);
  bytes[100] = (bytes[100] ?? 0) ^ 0x80;
  await chmod(chunk, 0o600);
  await writeFile(chunk, bytes);

  const checked = await thaw.run('image', 'check', manifestId);
  assert.equal(checked.status, exitStatuses.badImage.status);
  assert.match(checked.stdout, /^damaged: .*chunk/);
  const target = join(thaw.root, 'disk.img');
  await expectFailure(thaw, ['image', 'export', manifestId, target], 'badImage', /chunk/);
  await assert.rejects(readFile(target), { code: 'ENOENT' });
});
