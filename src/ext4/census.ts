/**
 * Goes once through the tree and sorts what it holds by layer: inodes with their links counted, and directories by
 * the layers that changed them.
 */

import {
  assert,
  byteStringToDisplay,
  compareStrings,
  present,
  type ByteString,
} from '../base/index.ts';
import type { DirectoryNode, LayerContent, Node, RootTree } from '../rootfs/index.ts';
import { Ext4LimitError } from './errors.ts';
import { topDirectoriesMax } from './geometry.ts';
import { inlineDataOf } from './inline-data.ts';
import { PlannedInode, checkLimits, sortedNames } from './inode.ts';
import { nameBytesMax } from './layout.ts';

/** What one layer has in the disk. */
export interface LayerCensus {
  readonly content: LayerContent;
  /** Inodes that it made and that are still in the tree, those in the head left out. */
  readonly directories: PlannedInode[];
  readonly others: PlannedInode[];
  /** Directories that it changed; `last` if no layer above did. */
  readonly changedDirectories: { readonly inode: PlannedInode; readonly last: boolean }[];
  /** Directories whose metadata it was the last to set. */
  readonly describedDirectories: PlannedInode[];
}

export interface Census {
  readonly root: PlannedInode;
  /**
   * The directories in the root, those of lower layers first. Their inodes lie in the head, as the root's does, because any
   * layer may change them; none do if there are too many.
   */
  readonly topDirectories: readonly PlannedInode[];
  readonly layers: readonly LayerCensus[];
  readonly inodeOf: (node: Node | undefined) => PlannedInode;
  readonly inodeCount: number;
  readonly contentBytes: number;
}

/** Throws `ERR_EXT4_LIMIT` for names, links, symlinks and device numbers that ext4 cannot hold. */
export function takeCensus(tree: RootTree): Census {
  const layers = tree.layers.map((content): LayerCensus => {
    return {
      content,
      directories: [],
      others: [],
      changedDirectories: [],
      describedDirectories: [],
    };
  });
  const layerAt = (index: number): LayerCensus => present(layers[index], `layer ${index}`);
  const inodes = collectInodes(tree.root);
  const inodeOf: Census['inodeOf'] = (node) =>
    present(node && inodes.get(node), 'the inode of a node');
  const root = present(inodes.get(tree.root), 'the root directory');
  const topDirectories = findTopDirectories(inodes.values(), root);
  const inHead = new Set([root, ...topDirectories]);
  let contentBytes = 0;
  for (const inode of inodes.values()) {
    checkLimits(inode);
    const { node } = inode;
    if (node.type === 'file') contentBytes += node.content.sizeBytes;
    if (inode.parent === inode) continue;
    inode.inline = inlineDataOf(inode, inodeOf);
    if (node.type === 'directory') {
      if (!inHead.has(inode)) layerAt(node.layer).directories.push(inode);
      noteChanges(inode, node, layerAt);
    } else layerAt(node.layer).others.push(inode);
  }
  return {
    root,
    topDirectories,
    layers,
    inodeOf,
    inodeCount: inodes.size,
    contentBytes,
  };
}

function findTopDirectories(inodes: Iterable<PlannedInode>, root: PlannedInode): PlannedInode[] {
  const found = [...inodes].filter((inode) => inode.parent === root && inode !== root);
  if (found.length > topDirectoriesMax) return [];
  return found.sort((a, b) => a.node.layer - b.node.layer || compareStrings(a.path, b.path));
}

function noteChanges(
  inode: PlannedInode,
  node: DirectoryNode,
  layerAt: (index: number) => LayerCensus,
): void {
  layerAt(node.metadataLayer).describedDirectories.push(inode);
  const changedBy = [...new Set([node.layer, ...node.changedByLayers])].sort((a, b) => a - b);
  for (const [index, layer] of changedBy.entries()) {
    layerAt(layer).changedDirectories.push({ inode, last: index === changedBy.length - 1 });
  }
}

/** Every inode once, in the order of its first path: each directory's names in byte order, depth first. */
function collectInodes(root: DirectoryNode): Map<Node, PlannedInode> {
  const inodes = new Map<Node, PlannedInode>();
  const rootInode = new PlannedInode(root, '' as ByteString);
  rootInode.parent = rootInode;
  rootInode.linkCount = 2;
  inodes.set(root, rootInode);
  const open = [{ inode: rootInode, node: root, path: '' }];
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    const below: typeof open = [];
    for (const name of sortedNames(directory.node)) {
      const node = present(directory.node.entries.get(name), 'a directory entry');
      const path = (directory.path === '' ? name : `${directory.path}/${name}`) as ByteString;
      checkName(name, path);
      const inode = inodes.get(node) ?? newInode(node, path);
      inodes.set(node, inode);
      inode.linkCount += 1;
      if (node.type !== 'directory') continue;
      assert(inode.linkCount === 1, `Directory "${path}" is entered twice`);
      inode.parent = directory.inode;
      inode.linkCount = 2;
      directory.inode.linkCount += 1;
      below.push({ inode, node, path });
    }
    for (const next of below.toReversed()) open.push(next);
  }
  return inodes;
}

function newInode(node: Node, path: ByteString): PlannedInode {
  return new PlannedInode(node, node.type === 'file' ? node.content.path : path);
}

function checkName(name: ByteString, path: ByteString): void {
  if (name.length > nameBytesMax) {
    throw new Ext4LimitError(
      `Cannot store "${byteStringToDisplay(path)}": its name is ${name.length} bytes long, ext4 holds ${nameBytesMax}`,
    );
  }
  const ordinary = name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
  assert(ordinary, `"${byteStringToDisplay(path)}" has a name that no directory can hold`);
}
