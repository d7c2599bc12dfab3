/** A compressed image does all that a plain one does: listed, checked, exported, mounted and run, with fewer bytes to fetch. */

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { runCommand } from '../../src/base/index.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { cannotRunSandboxes } from '../../src/sandbox/testing/test-root.ts';
import { factsOfDirectory } from '../support/file-facts.ts';
import { needsPrograms } from '../support/programs.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { Thaw } from '../support/thaw.ts';

interface Image {
  readonly manifestId: string;
  readonly codec: string;
  readonly storedBytes: number;
  readonly chunksByCodec: Readonly<Record<string, { readonly chunks: number }>>;
}

interface Invoked {
  readonly response: unknown;
  readonly coldStart: boolean;
  readonly reads: { readonly chunks: number; readonly bytes: number };
}

const missing =
  missingHere() || cannotRunSandboxes || needsPrograms('busybox', 'e2fsck', 'getfattr', 'mount');

suite('one image, plain and compressed', { skip: missing }, () => {
  let work = '';
  let thaw = new Thaw('');
  let plain: Image;
  let compressed: Image;
  let source = '';

  before(async () => {
    work = await mkdtemp(join(tmpdir(), 'thaw-compressed-test-'));
    thaw = new Thaw(join(work, 'state'));
    source = await writeShellImage(join(work, 'layout'), 'x', echoScript);
    plain = await thaw.json<Image>('image', 'convert', source, '--name', 'plain');
    const compress = ['--compress', 'zstd', '--name', 'compressed'];
    compressed = await thaw.json<Image>('image', 'convert', source, ...compress);
  });
  after(() => rm(work, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }));

  test('a compressed image is listed as such, and whole', async () => {
    assert.deepEqual([plain.codec, compressed.codec], ['none', 'zstd-v1']);
    assert.ok(compressed.storedBytes < plain.storedBytes * 0.7);
    const listed = await thaw.json<Image[]>('image', 'ls');
    assert.deepEqual(
      listed.map(({ codec, storedBytes }) => [codec, storedBytes]),
      [compressed, plain].map(({ codec, storedBytes }) => [codec, storedBytes]),
    );
    const inspected = await thaw.json<Image>('image', 'inspect', 'compressed');
    assert.ok((inspected.chunksByCodec['zstd-v1']?.chunks ?? 0) > 0);
    assert.match((await thaw.run('image', 'ls')).stdout, /^ID +NAME .*CODEC/);
    await thaw.json('image', 'check', 'compressed');
    const disk = join(work, 'disk.img');
    await thaw.json('image', 'export', 'compressed', disk);
    await runCommand('e2fsck', ['-f', '-n', disk]);
  });

  test('a compressed image, mounted, is the same tree as a plain one', async () => {
    const trees = [];
    for (const name of ['plain', 'compressed']) {
      const mounted = join(work, name);
      await mkdir(mounted);
      await thaw.json('image', 'mount', name, mounted);
      try {
        trees.push(await factsOfDirectory(mounted));
      } finally {
        assert.equal((await thaw.run('image', 'umount', mounted)).status, 0);
      }
    }
    assert.ok((trees[0]?.size ?? 0) > 10);
    assert.deepEqual(trees[1], trees[0]);
  });

  test('a function of a compressed image starts cold with fewer bytes fetched', async () => {
    const starts: Invoked[] = [];
    for (const name of ['plain', 'compressed']) {
      await thaw.json('function', 'create', name, '--image', name, '--timeout', '300');
      const payload = ['--payload', '{"asked":1}'];
      starts.push(await thaw.json<Invoked>('function', 'invoke', name, ...payload));
    }
    const [ofPlain, ofCompressed] = starts.map(({ reads }) => reads.bytes);
    assert.ok(ofPlain !== undefined && ofCompressed !== undefined);
    for (const { response, coldStart } of starts) {
      assert.deepEqual({ response, coldStart }, { response: { asked: 1 }, coldStart: true });
    }
    assert.ok(ofCompressed > 0 && ofCompressed < ofPlain * 0.7);
  });

  test('a function created from a source has its image compressed if asked to', async () => {
    const create = ['function', 'create', 'direct', '--compress', 'zstd', '--image'];
    const { manifestId } = await thaw.json<Image>(...create, source);
    const { codec } = await thaw.json<Image>('image', 'inspect', manifestId);
    assert.equal(codec, 'zstd-v1');
    const { status, stderr } = await thaw.run(...create, manifestId);
    assert.equal(status, 2);
    assert.match(stderr, /"--compress".*is published/);
  });
});

test('image convert knows no other compression', async () => {
  const args = ['image', 'convert', 'oci:x', '--compress', 'lz4'];
  const { status, stderr } = await new Thaw('/nowhere').run(...args);
  assert.equal(status, 2);
  assert.match(stderr, /zstd/);
});
