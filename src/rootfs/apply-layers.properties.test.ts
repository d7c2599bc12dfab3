import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import type { TarBuilderEntry } from '../../test/support/tar-builder.ts';
import { cleanNames, joinNames } from './entry-path.ts';
import { ApplyError, type Node, type RootTree, walkTree } from './index.ts';
import { apply } from './testing/apply.ts';
import { type Layer, isMarker, randomLayers, withoutRefused } from './testing/random-layers.ts';

const anything = randomLayers({ withAttributes: true, withHardLinks: true });
const numRuns = 100;

test('the same layers give the same tree', async () => {
  await fc.assert(
    fc.asyncProperty(anything, async (layers) => {
      const taken = await withoutRefused(layers);
      assert.deepEqual(await apply(...taken), await apply(...taken));
    }),
    { numRuns: 50 },
  );
});

test('where in its layer a whiteout stands makes no difference', async () => {
  const withoutLinks = randomLayers({
    withAttributes: true,
    withHardLinks: false,
    withSymlinks: false,
  });
  await fc.assert(
    fc.asyncProperty(withoutLinks, async (layers) => {
      const marked = layers.map((layer) => byKind(asOfOneMoment(layer)));
      const first = await applyOrRefuse(
        marked.map(({ markers, others }) => [...markers, ...others]),
      );
      const last = await applyOrRefuse(
        marked.map(({ markers, others }) => [...others, ...markers]),
      );
      fc.pre(first !== undefined && last !== undefined);
      assert.deepEqual(outline(last), outline(first));
    }),
    { numRuns },
  );
});

test('every tree is in order, and its facts agree with each other', async () => {
  await fc.assert(
    fc.asyncProperty(anything, async (layers) => {
      checkFacts(await apply(...(await withoutRefused(layers))), layers.length);
    }),
    { numRuns },
  );
});

/** A layer that is the difference between two trees: no path twice, nothing below what is no directory. */
function asOfOneMoment(layer: Layer): Layer {
  const typeOf = new Map<string, TarBuilderEntry['type']>();
  const cleaned = (entry: TarBuilderEntry): string => joinNames(cleanNames(entry.path.toString()));
  const first = layer.filter((entry) => {
    const isNew = isMarker(entry) || !typeOf.has(cleaned(entry));
    if (isNew) typeOf.set(cleaned(entry), entry.type);
    return isNew;
  });
  return first.filter((entry) =>
    [...typeOf].every(
      ([path, type]) => type === 'directory' || !cleaned(entry).startsWith(`${path}/`),
    ),
  );
}

function byKind(layer: Layer): { readonly markers: Layer; readonly others: Layer } {
  return { markers: layer.filter(isMarker), others: layer.filter((entry) => !isMarker(entry)) };
}

async function applyOrRefuse(layers: readonly Layer[]): Promise<RootTree | undefined> {
  try {
    return await apply(...layers);
  } catch (thrown) {
    if (thrown instanceof ApplyError) return undefined;
    throw thrown;
  }
}

/** All of the tree but where in the tars the data lies. */
function outline(tree: RootTree): unknown {
  return [...walkTree(tree.root)].map(({ path, node }) => {
    if (node.type === 'directory') return { path, ...node, entries: [...node.entries.keys()] };
    return node.type === 'file'
      ? { path, ...node, content: { ...node.content, segments: node.content.segments.length } }
      : { path, ...node };
  });
}

function checkFacts(tree: RootTree, layerCount: number): void {
  const namesOf = new Map<Node, number>();
  const isRising = (values: readonly (string | number)[]): boolean =>
    values.every((value, index) => index === 0 || (values[index - 1] ?? value) < value);
  const paths = [...walkTree(tree.root)].map(({ path }) => path);
  assert.ok(isRising(paths), 'walkTree goes in byte order');
  for (const { node } of walkTree(tree.root)) {
    namesOf.set(node, (namesOf.get(node) ?? 0) + 1);
    assert.ok(node.layer >= 0 && node.layer < layerCount);
    if (node.type === 'file') {
      const { layer, segments } = node.content;
      assert.equal(layer, node.layer);
      const isListed = tree.layers[layer]?.files.includes(node.content) ?? false;
      assert.equal(isListed, segments.length > 0);
    } else if (node.type === 'directory') {
      assert.ok(isRising([...node.entries.keys()]));
      assert.ok(isRising(node.changedByLayers));
      assert.equal(node.changedByLayers[0], node.layer);
      assert.ok(node.metadataLayer >= node.layer);
      for (const below of node.entries.values()) {
        const isLater = below.layer > (node.changedByLayers.at(-1) ?? 0);
        assert.ok(!isLater, 'who has a newer entry has changed');
      }
    }
  }
  for (const [node, count] of namesOf) {
    assert.equal(node.type === 'directory' ? 1 : node.linkCount, count);
  }
}
