/** Applies layers that tests write as lists of entries. */

import { type RandomAccess, randomAccessOf } from '../../base/index.ts';
import { scanTar } from '../../oci/index.ts';
import { type TarBuilderEntry, buildTar } from '../../../test/support/tar-builder.ts';
import {
  type AppliedLayers,
  type ApplyLayersOptions,
  type DirectoryNode,
  type Node,
  type RootTree,
  applyLayers,
  walkTree,
} from '../index.ts';

export async function applyTars(
  tars: readonly RandomAccess[],
  options?: ApplyLayersOptions,
): Promise<AppliedLayers> {
  const layers = tars.map((tar, index) => ({
    diffId: `sha256:${String(index).padStart(64, '0')}`,
    entries: scanTar(tar),
  }));
  return await applyLayers(layers, options);
}

export async function apply(
  ...layers: readonly (readonly TarBuilderEntry[])[]
): Promise<AppliedLayers> {
  return await applyTars(layers.map((entries) => randomAccessOf(buildTar(entries))));
}

/** All paths but the root's, in order. */
export function pathsOf(tree: RootTree): string[] {
  return [...walkTree(tree.root)].map(({ path }) => path).slice(1);
}

/** The node at a path that leads through directories only. */
export function nodeAt(tree: RootTree, path: string): Node {
  const found = [...walkTree(tree.root)].find((place) => place.path === path);
  if (found === undefined) throw new Error(`Nothing is at "${path}"`);
  return found.node;
}

export function directoryAt(tree: RootTree, path: string): DirectoryNode {
  const node = nodeAt(tree, path);
  if (node.type !== 'directory') throw new Error(`No directory is at "${path}"`);
  return node;
}
