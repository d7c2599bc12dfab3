/**
 * Random layers, unpacked by others: our tree must be what their directory is. What they do differently is kept
 * out here or in `testing/unpackers.ts`, each with its reason.
 *
 * umoci always runs. containerd's own `archive.Apply` runs where `THAW_CONTAINERD_APPLY` names the program that
 * `go build` makes of `test/support/containerd-apply`: building it takes longer than all tests of this room.
 */

import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';

import { byteString } from '../base/index.ts';
import { needsPrograms } from '../../test/support/programs.ts';
import { cleanNames } from './entry-path.ts';
import type { MutableDirectory } from './mutable-tree.ts';
import { resolveDirectory } from './resolve-path.ts';
import { apply } from './testing/apply.ts';
import { type Layer, isMarker, randomLayers, withoutRefused } from './testing/random-layers.ts';
import { checkAgainst, containerd, umoci } from './testing/unpackers.ts';

const containerdApply = process.env['THAW_CONTAINERD_APPLY'];
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

if (containerdApply !== undefined) {
  const unpacker = containerd(containerdApply);
  const anything = randomLayers({ withAttributes: true, withHardLinks: true });
  const layers = anything.map((layers) => layers.map(whiteoutsFirst));

  test("random layers give what containerd's archive.Apply does", { skip }, async () => {
    await fc.assert(
      fc.asyncProperty(layers, async (layers) => {
        const taken = await withoutRefused(layers);
        fc.pre(await keepsItsDirectories(taken));
        await checkAgainst(unpacker, taken);
      }),
      { numRuns: 300 },
    );
  });

  test(
    "random layers are refused where containerd's archive.Apply refuses them",
    { skip },
    async () => {
      await fc.assert(
        fc.asyncProperty(layers, async (layers) => {
          fc.pre(await keepsItsDirectories(layers));
          await checkAgainst(unpacker, layers);
        }),
        { numRuns: 300 },
      );
    },
  );
}

/**
 * Where whiteouts come after other entries of their layer, containerd removes those too, which the specification forbids,
 * and umoci lets a directory that is hidden but has something new in it keep its old metadata.
 */
function whiteoutsFirst(layer: Layer): Layer {
  return [...layer.filter(isMarker), ...layer.filter((entry) => !isMarker(entry))];
}

/**
 * Whether each directory entry is still there, with its time, at the end of its layer: only then does containerd set the time of
 * what the entry made, and not of something else that its path has come to mean.
 */
async function keepsItsDirectories(layers: readonly Layer[]): Promise<boolean> {
  for (const [index, layer] of layers.entries()) {
    const tree = await apply(...layers.slice(0, index + 1)).catch(() => undefined);
    if (tree === undefined) return true;
    const root = tree.root as unknown as MutableDirectory;
    for (const { path, type, modified } of layer) {
      if (type !== 'directory') continue;
      const found = resolveDirectory(root, cleanNames(byteString(path.toString())));
      if (typeof found === 'string' || found.missing.length > 0) return false;
      if (!isDeepStrictEqual(found.chain.at(-1)?.metadata.modified, modified)) return false;
    }
  }
  return true;
}
