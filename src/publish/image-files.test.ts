import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';

import { buildTar, type TarBuilderEntry } from '../../test/support/tar-builder.ts';
import { byteString, toHex } from '../base/index.ts';
import type { Manifest } from '../chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../store/index.ts';
import { countingStore } from '../store/testing/counting-store.ts';
import { withFaults } from '../store/testing/with-faults.ts';
import { listImageFiles, readImageFile, type ImageFile } from './image-files.ts';
import { openStoredManifest } from './stored-image.ts';
import { publishingHouse } from './testing/publishing-house.ts';

const bigBytes = 3_000_000;
/** Bytes of which no two chunks are equal, with 1.5 MB of zeros amid them. */
const big = Buffer.alloc(bigBytes);
for (let at = 0; at < bigBytes; at += 4) big.writeUInt32LE(at, at);
big.fill(0, 800_000, 2_300_000);

const link = (path: string, linkTarget: string): TarBuilderEntry => {
  return { path, type: 'symlink', linkTarget };
};

const entries: readonly TarBuilderEntry[] = [
  { path: 'usr/', mode: 0o1755, uid: 7, gid: 70_000 },
  { path: 'usr/bin/' },
  { path: 'usr/bin/tool', content: 'tool', mode: 0o6755, modified: 5 },
  { path: 'usr/big', content: big },
  { path: 'usr.d', content: 'sorts between usr and usr/' },
  link('bin', 'usr/bin'),
  link('absolute', '/usr/bin/tool'),
  link('usr/up', '../../../../usr.d'),
  link('escape', '../../../../../etc/passwd'),
  link('dangling', 'nowhere'),
  link('loop-a', 'loop-b'),
  link('loop-b', 'loop-a/x'),
  link('usr/bin/slash', 'tool/'),
  {
    path: 'usr/bin/again',
    type: 'hardlink',
    linkTarget: 'usr/bin/tool',
    mode: 0o6755,
    modified: 5,
  },
  { path: 'null', type: 'character-device', deviceMajor: 1, deviceMinor: 300 },
  { path: 'pipe', type: 'fifo' },
  { path: Uint8Array.of(0xff, 0x0a), content: 'odd' },
];

interface Setup {
  readonly store: ObjectStore;
  readonly manifest: Manifest;
}

async function published(t: TestContext): Promise<Setup> {
  const house = await publishingHouse(t);
  const { image } = await house.publish(await house.image([{ tar: buildTar(entries) }]));
  return { store: house.store, manifest: await openStoredManifest(house.deps, image) };
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

async function filesAt(setup: Setup, path: string): Promise<ImageFile[]> {
  return await all(listImageFiles({ ...setup, path: byteString(path) }));
}

async function contentOf(setup: Setup, path: string): Promise<Buffer> {
  return Buffer.concat(await all(readImageFile({ ...setup, path: byteString(path) })));
}

test('listImageFiles() gives a tree in byte order of names, a directory before what it holds', async (t) => {
  const setup = await published(t);
  const files = await filesAt(setup, '/');
  const paths = files.map(({ path }) => path as string);
  const names = 'absolute bin dangling escape loop-a loop-b null pipe usr';
  const inUsr = 'usr/big usr/bin usr/bin/again usr/bin/slash usr/bin/tool usr/up';
  const odd = Buffer.from([0xff, 0x0a]).toString('latin1');
  assert.deepEqual(paths, ['', ...`${names} ${inUsr} usr.d`.split(' '), odd]);
  const of = (path: string): ImageFile | undefined => files.find((file) => file.path === path);
  const { inode, ...tool } = of('usr/bin/tool') ?? assert.fail();
  assert.deepEqual(tool, {
    path: 'usr/bin/tool',
    type: 'file',
    mode: 0o6755,
    uid: 0,
    gid: 0,
    sizeBytes: 4,
    modified: { seconds: 5, nanoseconds: 0 },
    linkCount: 2,
  });
  assert.equal(of('usr/bin/again')?.inode, inode);
  assert.deepEqual([of('usr')?.mode, of('usr')?.uid, of('usr')?.gid], [0o1755, 7, 70_000]);
  assert.equal(of('absolute')?.target, '/usr/bin/tool');
  assert.deepEqual(of('null')?.device, { major: 1, minor: 300 });
});

test('listImageFiles() follows links on the way, inside the image, and lists the one at the end', async (t) => {
  const setup = await published(t);
  const pathsAt = async (path: string): Promise<string[]> =>
    (await filesAt(setup, path)).map((file) => file.path);
  assert.deepEqual(await pathsAt('bin'), ['bin']);
  const below = ['usr/bin', 'usr/bin/again', 'usr/bin/slash', 'usr/bin/tool'];
  assert.deepEqual(await pathsAt('/bin/'), below);
  assert.deepEqual(await pathsAt('//bin/./'), below);
  assert.deepEqual(await pathsAt('bin/tool'), ['usr/bin/tool']);
  assert.deepEqual(await pathsAt('bin/../big'), ['usr/big']);
  assert.deepEqual(await pathsAt('../../usr.d'), ['usr.d']);
  assert.deepEqual(await pathsAt('dangling'), ['dangling']);
  assert.equal((await pathsAt(''))[0], '');
});

test('readImageFile() gives the bytes of any regular file, through links, holes as zeros', async (t) => {
  const setup = await published(t);
  assert.ok((await contentOf(setup, '/usr/big')).equals(big));
  for (const path of ['bin/tool', 'absolute', 'usr/bin/again', '/bin/../../bin/tool']) {
    assert.equal((await contentOf(setup, path)).toString(), 'tool', path);
  }
  assert.match((await contentOf(setup, 'usr/up')).toString(), /^sorts/);
});

test('paths that lead nowhere, in circles or to what has no bytes are told apart', async (t) => {
  const setup = await published(t);
  const codes: readonly (readonly [path: string, code: string])[] = [
    ['nowhere', 'ERR_PUBLISH_FILE_MISSING'],
    ['dangling', 'ERR_PUBLISH_FILE_MISSING'],
    ['escape', 'ERR_PUBLISH_FILE_MISSING'],
    [`usr/${'n'.repeat(300)}`, 'ERR_PUBLISH_FILE_MISSING'],
    ['usr.d/', 'ERR_PUBLISH_NOT_A_DIRECTORY'],
    ['usr.d/..', 'ERR_PUBLISH_NOT_A_DIRECTORY'],
    ['absolute/x', 'ERR_PUBLISH_NOT_A_DIRECTORY'],
    ['usr/bin/slash', 'ERR_PUBLISH_NOT_A_DIRECTORY'],
    ['loop-a', 'ERR_PUBLISH_LINK_LOOP'],
    ['usr', 'ERR_PUBLISH_NOT_A_FILE'],
    ['', 'ERR_PUBLISH_NOT_A_FILE'],
    ['null', 'ERR_PUBLISH_NOT_A_FILE'],
    ['pipe', 'ERR_PUBLISH_NOT_A_FILE'],
  ];
  for (const [path, code] of codes) {
    await assert.rejects(contentOf(setup, path), { code, fault: 'caller' }, path);
  }
  await assert.rejects(contentOf(setup, 'a\u001b[2J\n'), {
    message: /^Cannot find "\/a\\033\[2J\\012" in the image/,
  });
});

test('only the chunks that hold what is read, and the way to it, are fetched, each once', async (t) => {
  const { store, manifest } = await published(t);
  const counting = countingStore(store);
  const counted = { store: counting, manifest };
  assert.equal((await contentOf(counted, 'bin/tool')).toString(), 'tool');
  assert.ok(counting.read.length <= 5, `${counting.read.length} chunks for a small file`);
  assert.equal(new Set(counting.read).size, counting.read.length);
  const wayToIt = counting.read.length;
  counting.read.length = 0;
  await contentOf(counted, 'usr/big');
  const most = wayToIt + Math.ceil((bigBytes - 1_500_000) / manifest.chunkSizeBytes) + 2;
  assert.ok(counting.read.length <= most, `${counting.read.length} chunks of at most ${most}`);
});

test('a file is read piece by piece as it is asked for, and no further', async (t) => {
  const { store, manifest } = await published(t);
  const counting = countingStore(store);
  const pieces = readImageFile({ store: counting, manifest, path: byteString('usr/big') });
  const first = await pieces.next();
  assert.ok(first.done === false && first.value.byteLength <= manifest.chunkSizeBytes);
  const readSoFar = counting.read.length;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(counting.read.length, readSoFar);
  const abort = new AbortController();
  abort.abort(new Error('enough'));
  const { signal } = abort;
  const stopped = readImageFile({ store, manifest, path: byteString('usr/big'), signal });
  await assert.rejects(stopped.next(), /enough/);
});

test('damaged and missing chunks and a store that fails end the reading with their codes', async (t) => {
  const { store, manifest } = await published(t);
  const rates = { errorBefore: 1 };
  const down = withFaults(store, { rates, random: () => 0 });
  await assert.rejects(filesAt({ store: down, manifest }, '/'), { code: 'ERR_STORE_UNAVAILABLE' });
  const flipping = withFaults(store, { rates: { bitFlip: 1 }, random: () => 0 });
  const damaged = { store: flipping, manifest };
  await assert.rejects(contentOf(damaged, 'usr/big'), { code: 'ERR_CHUNK_CORRUPT', fault: 'data' });
  for (const { ciphertextDigest } of manifest.chunks) {
    await store.delete(chunkObjectName(manifest.rootId, toHex(ciphertextDigest)));
  }
  await assert.rejects(filesAt({ store, manifest }, '/'), { code: 'ERR_PUBLISH_CHUNK_MISSING' });
});
