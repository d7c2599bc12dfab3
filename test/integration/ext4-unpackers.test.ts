/**
 * The whole way of a layer: from a tar to a disk that the kernel mounts, held against the directories that umoci and
 * containerd unpack from the same tars.
 */

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import fc from 'fast-check';

import { randomAccessOf } from '../../src/base/index.ts';
import { withDisk, withMount, fsck, needsRoot } from '../../src/ext4/testing/oracles.ts';
import {
  checkAgainst,
  checkTarsAgainst,
  containerd,
  keepsItsDirectories,
  umoci,
  type TreeView,
} from '../../src/rootfs/testing/unpackers.ts';
import {
  randomLayers,
  whiteoutsFirst,
  withoutRefused,
} from '../../src/rootfs/testing/random-layers.ts';
import { applyTars } from '../../src/rootfs/testing/apply.ts';
import { buildContainerdApply, containerdMissing } from '../support/containerd.ts';
import { factsOfDirectory, type AllFacts } from '../support/file-facts.ts';
import { needsPrograms } from '../support/programs.ts';
import { buildTar } from '../support/tar-builder.ts';
import { refusedTars, takenTars } from '../support/tar-vectors.ts';

const missing = needsRoot || needsPrograms('umoci', 'mount');

/** What the kernel shows of the tree's disk, which e2fsck has found sound. */
const onDisk: TreeView = async (tree, layers) => {
  const content = {
    read: async (layer: number, tarOffset: number, target: Uint8Array) =>
      layers[layer]?.read(tarOffset, target),
  };
  let facts: AllFacts = new Map();
  await withDisk({ tree, content }, async (disk) => {
    await fsck(disk.path);
    await withMount(disk, async (mountPoint) => {
      facts = await factsOfDirectory(mountPoint);
    });
  });
  return facts;
};

/** Archives of which umoci makes something else than containerd, whom we follow, and what. */
const umociDiffers: Readonly<Record<string, string>> = {
  v7: 'a hard link leaves the time of its file as it was',
  'entries without data that say they had some': 'the same',
  'pax headers of the whole archive': 'refuses them',
  'times before 1970, and after 2262': 'keeps the former, overflows at the latter',
};

const withAttributes = { withAttributes: true, withHardLinks: true, withMoreXattrs: true };

suite('a disk is what umoci unpacks', { skip: missing }, () => {
  test('of random layers', async () => {
    const layers = fc.oneof(
      randomLayers({ withAttributes: true, withHardLinks: false }),
      randomLayers({ withAttributes: false, withHardLinks: true }),
    );
    await fc.assert(
      fc.asyncProperty(layers, async (layers) => {
        await checkAgainst(umoci, await withoutRefused(layers.map(whiteoutsFirst)), onDisk);
      }),
      { numRuns: 10 },
    );
  });

  test('of files with attributes for the administrator alone, but none for overlayfs', async () => {
    const trusted = { 'trusted.t': 'v', 'trusted.binary': Buffer.from([0, 0xff]) };
    const marks = { 'trusted.overlay.opaque': 'y', 'trusted.overlay.redirect': '/elsewhere' };
    const xattrs = { ...trusted, ...marks };
    const tar = buildTar([
      { path: 'd/', xattrs },
      { path: 'd/f', content: 'x', xattrs },
      { path: 'link', type: 'symlink', linkTarget: 'd/f', xattrs: trusted },
      { path: 'pipe', type: 'fifo', xattrs: trusted },
    ]);
    assert.ok(await checkTarsAgainst(umoci, [tar], onDisk));
    const tree = await applyTars([randomAccessOf(tar)]);
    const facts = await onDisk(tree, [randomAccessOf(tar)]);
    for (const path of ['d', 'd/f', 'link', 'pipe']) {
      assert.deepEqual(facts.get(path)?.xattrs, { 'trusted.binary': '00ff', 'trusted.t': '76' });
    }
    assert.deepEqual(tree.leftOutXattrs, { 'trusted.overlay': 4 });
  });

  test('of archives with every kind of header', async () => {
    const tars = takenTars.filter(({ name }) => !(name in umociDiffers)).map(({ tar }) => tar);
    assert.ok(await checkTarsAgainst(umoci, tars, onDisk));
  });
});

suite('a disk is what containerd unpacks', { skip: missing || containerdMissing }, () => {
  let built: Awaited<ReturnType<typeof buildContainerdApply>> | undefined;
  before(async () => {
    built = await buildContainerdApply();
  });
  after(() => built?.[Symbol.asyncDispose]());

  test('of random layers', async () => {
    await fc.assert(
      fc.asyncProperty(randomLayers(withAttributes), async (layers) => {
        const taken = await withoutRefused(layers.map(whiteoutsFirst));
        fc.pre(await keepsItsDirectories(taken));
        await checkAgainst(containerd(built?.program ?? ''), taken, onDisk);
      }),
      { numRuns: 15 },
    );
  });

  test('of archives with every kind of header', async () => {
    const unpacker = containerd(built?.program ?? '');
    for (const { name, tar } of takenTars) {
      assert.ok(await checkTarsAgainst(unpacker, [tar]), `"${name}" is taken`);
    }
    const tars = takenTars.map(({ tar }) => tar);
    assert.ok(await checkTarsAgainst(unpacker, tars, onDisk));
  });

  for (const { name, tar } of refusedTars) {
    test(`and none comes of ${name}`, async () => {
      assert.equal(await checkTarsAgainst(containerd(built?.program ?? ''), [tar]), false);
    });
  }
});
