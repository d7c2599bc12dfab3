/**
 * Random layers, unpacked by others: our tree must be what their directory is. What they do differently is kept
 * out here or in `testing/unpackers.ts`, each with its reason.
 *
 * umoci always runs, containerd's own `archive.Apply` where Go is at hand to build it.
 */

import { after, before, suite, test } from 'node:test';
import fc from 'fast-check';

import {
  type ContainerdApply,
  buildContainerdApply,
  containerdMissing,
} from '../../test/support/containerd.ts';
import { needsPrograms } from '../../test/support/programs.ts';
import { randomLayers, whiteoutsFirst, withoutRefused } from './testing/random-layers.ts';
import { checkAgainst, containerd, keepsItsDirectories, umoci } from './testing/unpackers.ts';

const skip = process.getuid?.() === 0 ? needsPrograms('umoci', 'getfattr') : 'needs root';

test('random layers give what umoci unpacks', { skip }, async () => {
  const layers = fc.oneof(
    randomLayers({ withAttributes: true, withHardLinks: false, withTangledLinks: true }),
    // umoci leaves an inode as it is when it gets another name; containerd, and so we, set what the link's header says.
    randomLayers({ withAttributes: false, withHardLinks: true, withTangledLinks: true }),
  );
  await fc.assert(
    fc.asyncProperty(layers, async (layers) => {
      await checkAgainst(umoci, await withoutRefused(layers.map(whiteoutsFirst)));
    }),
    { numRuns: 30 },
  );
});

test('directories keep the time of their last entry, as with umoci', { skip }, async () => {
  await checkAgainst({ ...umoci, leavesTimeOpen: () => false, leavesOut: () => false }, [
    [
      { path: './', modified: 5 },
      { path: 'd/', modified: 6, mode: 0o2755, gid: 9 },
      { path: 'd/e/', modified: { seconds: 7, nanoseconds: 123_456_789 } },
      { path: 'd/f' },
    ],
    [{ path: 'd/e/new' }, { path: 'd/.wh.f' }],
    [{ path: 'd/e/.wh..wh..opq' }, { path: 'x', type: 'symlink', linkTarget: 'd' }],
    [{ path: 'x/through' }, { path: 'd/e', type: 'directory', modified: 8 }],
  ]);
});

suite('containerd', { skip: skip || containerdMissing }, () => {
  const layers = randomLayers({
    withAttributes: true,
    withHardLinks: true,
    withMoreXattrs: true,
  }).map((layers) => layers.map(whiteoutsFirst));
  let built: ContainerdApply | undefined;
  before(async () => {
    built = await buildContainerdApply();
  });
  after(() => built?.[Symbol.asyncDispose]());
  const unpacker = () => containerd(built?.program ?? '');

  test("random layers give what containerd's archive.Apply does", async () => {
    await fc.assert(
      fc.asyncProperty(layers, async (layers) => {
        const taken = await withoutRefused(layers);
        fc.pre(await keepsItsDirectories(taken));
        await checkAgainst(unpacker(), taken);
      }),
      { numRuns: 60 },
    );
  });

  test("random layers are refused where containerd's archive.Apply refuses them", async () => {
    await fc.assert(
      fc.asyncProperty(layers, async (layers) => {
        fc.pre(await keepsItsDirectories(layers));
        await checkAgainst(unpacker(), layers);
      }),
      { numRuns: 60 },
    );
  });
});
