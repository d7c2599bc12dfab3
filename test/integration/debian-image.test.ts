/**
 * The issue's own proof: a real Debian image with Python, published from every kind of source, checked by e2fsck, compared
 * with an independent unpacker, run as a function, and published by processes that are killed at random.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { workerAt, type ImageRequest, type Worker } from '../../src/api/index.ts';
import { compareStrings, runCommand, toHex, type ByteString } from '../../src/base/index.ts';
import type { ManifestHeader } from '../../src/chunk/index.ts';
import { decodeManifestHeader } from '../../src/chunk/index.ts';
import type { ImageFile } from '../../src/publish/index.ts';
import { manifestObjectName, openDirectoryStore } from '../../src/store/index.ts';
import { debianImageLayout, debianImageMissing, debianImageTag } from '../support/debian-image.ts';
import { factsOfDirectory, type AllFacts, type FileFacts } from '../support/file-facts.ts';
import { needsPrograms } from '../support/programs.ts';
import { registryMissing, startRegistry } from '../support/registry.ts';
import { endOf, leftInKernel, Thaw, untilLogged } from '../support/thaw.ts';

interface Converted {
  readonly manifestId: string;
  readonly imageDigest: string;
  readonly contentBytes: number;
  readonly fileCount: number;
  readonly chunks: Readonly<Record<'total' | 'zero' | 'stored' | 'unique' | 'reused', number>>;
  readonly uploadedBytes: number;
}

/** Ends other people's programs that hang. */
const timeoutMs = 240_000;

interface Invoked {
  readonly response: {
    readonly event: unknown;
    readonly python: string;
    readonly args: readonly string[];
    readonly root: boolean;
    readonly tmp: boolean;
  };
  readonly coldStart: boolean;
  readonly timelineMs: Readonly<Record<string, number>>;
  readonly reads: { readonly chunks: number; readonly bytes: number };
}

/** What a listing and the files' bytes tell; attributes are not listed. */
async function factsOfImage(
  worker: Worker,
  image: ImageRequest,
): Promise<Map<string, Omit<FileFacts, 'xattrs'>>> {
  const files: ImageFile[] = [];
  const root = '/' as ByteString;
  for await (const file of worker.listImageFiles({ ...image, path: root })) files.push(file);
  const contents = new Map<ByteString, string>();
  const regular = files.filter(({ type }) => type === 'file').values();
  const readOn = async (): Promise<void> => {
    for (const { path } of regular) {
      const hash = createHash('sha256');
      for await (const piece of worker.readImageFile({ ...image, path })) hash.update(piece);
      contents.set(path, hash.digest('hex'));
    }
  };
  // One file after the other would wait for the other process as often as there are files.
  await Promise.all(Array.from({ length: 8 }, readOn));
  const facts = new Map<string, Omit<FileFacts, 'xattrs'>>();
  const firstPaths = new Map<number, string>();
  for (const file of files.toSorted((a, b) => compareStrings(a.path, b.path))) {
    const { path, type, mode, uid, gid, modified, inode, target, device } = file;
    if (!firstPaths.has(inode)) firstPaths.set(inode, path);
    const numbers = device === undefined ? '' : `${device.major}:${device.minor}`;
    facts.set(path, {
      type,
      mode: mode.toString(8),
      owner: `${uid}:${gid}`,
      mtimeNs: BigInt(modified.seconds) * 1_000_000_000n + BigInt(modified.nanoseconds),
      inode: firstPaths.get(inode) ?? path,
      content: contents.get(path) ?? target ?? numbers,
    });
  }
  return facts;
}

const missing =
  debianImageMissing || registryMissing || needsPrograms('e2fsck', 'getfattr', 'skopeo', 'mount');

suite('a Debian image of three layers', { skip: missing }, () => {
  let work = '';
  let layout = '';
  let thaw = new Thaw('');

  before(async () => {
    layout = await debianImageLayout();
    work = await mkdtemp(join(tmpdir(), 'thaw-debian-test-'));
    thaw = new Thaw(join(work, 'state'));
  });
  after(() => rm(work, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }));

  let unpacking: Promise<AllFacts> | undefined;
  /** What umoci, an independent unpacker, makes of the image. */
  const unpackedFacts = (): Promise<AllFacts> => {
    const unpacked = join(work, 'unpacked');
    const image = `${layout}:${debianImageTag}`;
    const args = ['raw', 'unpack', '--image', image, unpacked];
    unpacking ??= runCommand('umoci', args, { timeoutMs }).then(() => factsOfDirectory(unpacked));
    return unpacking;
  };

  const layoutSource = (): string => `oci:${layout}:${debianImageTag}`;

  test('gives the same chunks from a layout, from archives and from a registry', async (t) => {
    await using registry = await startRegistry();
    const ociArchive = join(work, 'image.oci.tar');
    const dockerArchive = join(work, 'image.docker.tar');
    const name = 'debian:python';
    for (const archive of [`oci-archive:${ociArchive}`, `docker-archive:${dockerArchive}:x`]) {
      await runCommand('skopeo', ['copy', '-q', layoutSource(), archive], { timeoutMs });
    }
    await registry.push(layoutSource(), name);
    const sources = [
      [layoutSource()],
      [`oci-archive:${ociArchive}`],
      [`docker-archive:${dockerArchive}`],
      [`docker://${registry.host}/${name}`, '--plain-http'],
    ];

    const store = await openDirectoryStore(join(thaw.root, 'store'));
    const manifests: ManifestHeader[] = [];
    const converted: Converted[] = [];
    for (const [index, source] of sources.entries()) {
      // Under tenants of their own: nothing is known of the image, all is published anew.
      const args = ['image', 'convert', ...source, '--tenant', `tenant-${index}`];
      const result = await thaw.json<Converted>(...args);
      const bytes = await store.get(manifestObjectName('r1', result.manifestId));
      assert.ok(bytes);
      manifests.push(decodeManifestHeader(bytes));
      converted.push(result);
    }
    const [first, ...others] = manifests;
    for (const other of others) assert.deepEqual(other.chunks, first?.chunks);
    const digests = new Set(first?.chunks.map(({ ciphertextDigest }) => toHex(ciphertextDigest)));
    assert.equal(converted[0]?.chunks.unique, digests.size);
    for (const result of converted.slice(1)) assert.equal(result.chunks.unique, 0);
    t.diagnostic(
      `stored ${converted[0]?.chunks.stored} chunks for ${converted[0]?.contentBytes} bytes`,
    );
  });

  test('published again, stores nothing and gives the same manifest', async () => {
    const first = await thaw.json<Converted>('image', 'convert', layoutSource());
    const again = await thaw.json<Converted>('image', 'convert', layoutSource());
    assert.equal(again.manifestId, first.manifestId);
    assert.equal(again.uploadedBytes, 0);
    assert.equal(again.chunks.unique, 0);
  });

  test('exports to a disk that e2fsck finds nothing to say of', async () => {
    const { manifestId } = await thaw.json<Converted>('image', 'convert', layoutSource());
    const disk = join(work, 'export.img');
    await thaw.json('image', 'export', manifestId, disk);
    await runCommand('e2fsck', ['-f', '-n', disk]);
    const again = await thaw.run('image', 'export', manifestId, disk);
    assert.equal(again.status, 8, 'an existing file is not overwritten');
    await thaw.json('image', 'check', manifestId);
  });

  test('mounted, equals what an independent unpacker gives, file by file', async () => {
    const { manifestId } = await thaw.json<Converted>('image', 'convert', layoutSource());
    const mounted = join(work, 'mounted');
    await mkdir(mounted);
    const theirs = await unpackedFacts();
    await thaw.json('image', 'mount', manifestId, mounted);
    try {
      const ours = await factsOfDirectory(mounted);
      assert.ok(theirs.size > 3000, `an image of ${theirs.size} files`);
      assert.deepEqual([...ours.keys()], [...theirs.keys()]);
      for (const [path, facts] of theirs) assert.deepEqual(ours.get(path), facts, path);
    } finally {
      assert.equal((await thaw.run('image', 'umount', mounted)).status, 0);
    }
  });

  test('listed and read without a mount, equals what an independent unpacker gives', async () => {
    const { manifestId } = await thaw.json<Converted>('image', 'convert', layoutSource());
    const server = thaw.start('serve');
    const serverEnd = endOf(server);
    try {
      await untilLogged(server, ' serving ');
      const worker = workerAt(join(thaw.root, 'run/serve.sock'));
      const ours = await factsOfImage(worker, { tenant: 'default', id: manifestId });
      const theirs = await unpackedFacts();
      assert.deepEqual([...ours.keys()].toSorted(), [...theirs.keys()]);
      for (const [path, { xattrs: _, ...facts }] of theirs) {
        assert.deepEqual(ours.get(path), facts, path);
      }
    } finally {
      server.kill('SIGTERM');
    }
    assert.equal((await serverEnd).status, 0);
  });

  test('mounted writable, keeps writes to that mount alone', async () => {
    const { manifestId } = await thaw.json<Converted>('image', 'convert', layoutSource());
    const mounted = join(work, 'writable');
    await mkdir(mounted);
    await thaw.json('image', 'mount', manifestId, mounted, '--writable', '--space', '3');
    try {
      const { bavail, bsize } = await statfs(mounted);
      assert.equal(bavail * bsize, 3 * 2 ** 20, 'df shows what may be written');
      const tooMuch = writeFile(join(mounted, 'filler'), Buffer.alloc(4 * 2 ** 20, 'x'));
      await assert.rejects(tooMuch, { code: 'ENOSPC' });
      await rm(join(mounted, 'filler'));
      await writeFile(join(mounted, 'etc/hostname'), 'written');
      await rm(join(mounted, 'etc/debian_version'));
      await runCommand('sync', ['-f', mounted]);
      assert.equal(await readFile(join(mounted, 'etc/hostname'), 'utf8'), 'written');
    } finally {
      assert.equal((await thaw.run('image', 'umount', mounted)).status, 0);
    }
    await thaw.json('image', 'mount', manifestId, mounted);
    try {
      assert.match(await readFile(join(mounted, 'etc/debian_version'), 'utf8'), /^12\./);
      assert.notEqual(await readFile(join(mounted, 'etc/hostname'), 'utf8'), 'written');
    } finally {
      assert.equal((await thaw.run('image', 'umount', mounted)).status, 0);
    }
    await thaw.json('image', 'check', manifestId);
  });

  test('runs a plain program as a function, cold and then warm under a server', async () => {
    const { manifestId } = await thaw.json<Converted>('image', 'convert', layoutSource());
    const server = thaw.start('serve');
    const serverEnd = endOf(server);
    try {
      await untilLogged(server, ' serving ');
      await thaw.json('function', 'create', 'py', '--image', manifestId, '--timeout', '300');
      const payload = JSON.stringify({ hello: 'wörld' });
      const invoke = ['function', 'invoke', 'py', '--payload', payload];
      const cold = await thaw.json<Invoked>(...invoke);
      assert.deepEqual(cold.response.event, { hello: 'wörld' });
      assert.deepEqual(cold.response.args, ['--from-image']);
      assert.equal(cold.response.root, false, 'the root is read-only');
      assert.equal(cold.response.tmp, true, '/tmp is writable');
      assert.equal(cold.coldStart, true);
      assert.ok(cold.reads.chunks > 0);
      const warm = await thaw.json<Invoked>(...invoke);
      assert.equal(warm.coldStart, false);
      assert.deepEqual(warm.response, cold.response);
      assert.match((await thaw.run('function', 'logs', 'py')).stdout, /handling [0-9a-f-]{36}/);
      assert.equal((await thaw.run('function', 'rm', 'py')).status, 0);
    } finally {
      server.kill('SIGTERM');
    }
    assert.equal((await serverEnd).status, 0);
  });

  test('survives publishers killed at random: nothing half-published, nothing lost', async (t) => {
    const killed = new Thaw(join(work, 'killed'));
    const convert = ['image', 'convert', layoutSource()];
    const began = performance.now();
    const whole = await new Thaw(join(work, 'timed')).json<Converted>(...convert);
    const publishMs = performance.now() - began;
    const seed = Date.now();
    t.diagnostic(`seed ${seed}`);
    let state = seed;
    const random = (): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state / 2 ** 32;
    };
    for (let round = 0; round < 10; round += 1) {
      const publisher = killed.start(...convert);
      const end = endOf(publisher);
      await delay(random() * publishMs); // the moment of the kill is what is being tried
      publisher.kill('SIGKILL');
      await end;
      for (const { manifestId } of await killed.json<readonly Converted[]>('image', 'ls')) {
        await killed.json('image', 'check', manifestId);
      }
    }
    const published = await killed.json<Converted>(...convert);
    await killed.json('image', 'check', published.manifestId);
    assert.equal(published.chunks.stored, whole.chunks.stored);
    assert.equal(published.fileCount, whole.fileCount);
  });

  test('leaves no mounts behind', async () => {
    const endsAtMs = performance.now() + 60_000;
    while ((await leftInKernel(work)).length > 0 && performance.now() < endsAtMs) await delay(100);
    assert.deepEqual(await leftInKernel(work), []);
  });
});
