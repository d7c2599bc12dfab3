/** Turns the tree that layers were applied to into the immutable one, every directory in byte order. */

import { type ByteString, compareStrings } from '../base/index.ts';
import type { MutableDirectory } from './mutable-tree.ts';
import type { DirectoryNode, Node } from './tree.ts';

/** Takes the mutable tree over: its directories are empty afterwards, so that two trees never fill the memory. */
export function sealTree(root: MutableDirectory): DirectoryNode {
  const sealedRoot = emptyTwin(root);
  // Not recursive, because trees may be thousands deep.
  const pending = [{ from: root, to: sealedRoot.entries }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { from, to } = next;
    for (const name of [...from.entries.keys()].sort(compareStrings)) {
      const node = from.entries.get(name);
      if (node === undefined) continue;
      if (node.type === 'directory') {
        const twin = emptyTwin(node);
        to.set(name, twin);
        pending.push({ from: node, to: twin.entries });
      } else to.set(name, node);
    }
    from.entries.clear();
  }
  return sealedRoot;
}

function emptyTwin(
  directory: MutableDirectory,
): DirectoryNode & { readonly entries: Map<ByteString, Node> } {
  const { metadata, metadataLayer, layer, changedByLayers } = directory;
  return {
    type: 'directory',
    metadata,
    metadataLayer,
    layer,
    changedByLayers,
    entries: new Map(),
  };
}
