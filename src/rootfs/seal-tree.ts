/** Turns the tree that layers were applied to into the immutable one, every directory in byte order. */

import type { ByteString } from '../base/index.ts';
import type { MutableDirectory } from './mutable-tree.ts';
import { SealedEntries } from './sealed-entries.ts';
import type { DirectoryNode, Node } from './tree.ts';

/** Takes the mutable tree over: its directories are empty afterwards, so that two trees never fill the memory. */
export function sealTree(root: MutableDirectory): DirectoryNode {
  const sealedRoot = emptyTwin(root);
  // Not recursive, because trees may be thousands deep.
  const pending = [{ from: root, to: sealedRoot }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { from, to } = next;
    const entries: [ByteString, Node][] = [];
    for (const [name, node] of from.entries) {
      if (node.type === 'directory') {
        const twin = emptyTwin(node);
        entries.push([name, twin]);
        pending.push({ from: node, to: twin });
      } else entries.push([name, node]);
    }
    to.entries = new SealedEntries(entries);
    from.entries.clear();
  }
  return sealedRoot;
}

type Twin = Omit<DirectoryNode, 'entries'> & { entries: DirectoryNode['entries'] };

const noEntries = new SealedEntries([]);

function emptyTwin(directory: MutableDirectory): Twin {
  const { metadata, metadataLayer, layer, changedByLayers } = directory;
  return {
    type: 'directory',
    metadata,
    metadataLayer,
    layer,
    changedByLayers,
    entries: noEntries,
  };
}
