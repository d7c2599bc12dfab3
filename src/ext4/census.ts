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
import { PlannedDirectory, PlannedInode, checkLimits, sortedNames } from './inode.ts';
import { nameBytesMax } from './layout.ts';

/** What one layer has in the disk. */
export interface LayerCensus {
  readonly content: LayerContent;
  /** Inodes that it made and that are still in the tree, those in the head left out. */
  readonly directories: PlannedDirectory[];
  readonly others: PlannedInode[];
  /** Directories that it changed; `last` if no layer above did. */
  readonly changedDirectories: { readonly inode: PlannedDirectory; readonly last: boolean }[];
  /** Directories whose metadata it was the last to set. */
  readonly describedDirectories: PlannedDirectory[];
}

export interface Census {
  readonly root: PlannedDirectory;
  /**
   * The directories in the root, those of lower layers first. Their inodes lie in the head, as the root's does, because any
   * layer may change them; none do if there are too many.
   */
  readonly topDirectories: readonly PlannedDirectory[];
  readonly layers: readonly LayerCensus[];
  /** Each once, in the order of its first path: each directory's names in byte order, depth first. */
  readonly inodes: readonly PlannedInode[];
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
  const [root] = inodes;
  const topDirectories = findTopDirectories(root);
  const inHead = new Set([root, ...topDirectories]);
  let contentBytes = 0;
  for (const inode of inodes) {
    checkLimits(inode);
    const { node } = inode;
    if (node.type === 'file') contentBytes += node.content.sizeBytes;
    if (inode === root) continue;
    inode.inline = inlineDataOf(inode);
    if (inode instanceof PlannedDirectory) {
      if (!inHead.has(inode)) layerAt(node.layer).directories.push(inode);
      noteChanges(inode, layerAt);
    } else layerAt(node.layer).others.push(inode);
  }
  return {
    root,
    topDirectories,
    layers,
    inodes,
    contentBytes,
  };
}

function findTopDirectories(root: PlannedDirectory): PlannedDirectory[] {
  const found = root.children.filter((inode) => inode instanceof PlannedDirectory);
  if (found.length > topDirectoriesMax) return [];
  return found.sort((a, b) => a.node.layer - b.node.layer || compareStrings(a.path, b.path));
}

function noteChanges(inode: PlannedDirectory, layerAt: (index: number) => LayerCensus): void {
  const { node } = inode;
  layerAt(node.metadataLayer).describedDirectories.push(inode);
  const changedBy = [...new Set([node.layer, ...node.changedByLayers])].sort((a, b) => a - b);
  for (const [index, layer] of changedBy.entries()) {
    layerAt(layer).changedDirectories.push({ inode, last: index === changedBy.length - 1 });
  }
}

/** See `Census`; the root is the first. */
function collectInodes(root: DirectoryNode): [PlannedDirectory, ...PlannedInode[]] {
  const rootInode = new PlannedDirectory(root, '' as ByteString);
  rootInode.linkCount = 2;
  const inodes: [PlannedDirectory, ...PlannedInode[]] = [rootInode];
  const newInodes = new InodeMaker();
  const open = [rootInode];
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    const children: PlannedInode[] = [];
    for (const name of sortedNames(directory.node)) {
      const node = present(directory.node.entries.get(name), 'a directory entry');
      const path = (directory.path === '' ? name : `${directory.path}/${name}`) as ByteString;
      checkName(name, path);
      const inode = newInodes.inodeOf(node, path, directory);
      if (inode.linkCount === 0) inodes.push(inode);
      children.push(inode);
      inode.linkCount += 1;
      if (!(inode instanceof PlannedDirectory)) continue;
      inode.linkCount = 2;
      directory.linkCount += 1;
    }
    directory.children = children.slice(); // of the right size: one that grew has room to spare
    for (const child of children.toReversed()) {
      if (child instanceof PlannedDirectory) open.push(child);
    }
  }
  return inodes;
}

/** One inode for each node, however many names it has. */
class InodeMaker {
  readonly #linked = new Map<Node, PlannedInode>();
  readonly #directories = new Set<Node>();

  /** `path` is the node's in `parent`. */
  inodeOf(node: Node, path: ByteString, parent: PlannedDirectory): PlannedInode {
    if (node.type === 'directory') {
      assert(!this.#directories.has(node), `Directory "${path}" is entered twice`);
      this.#directories.add(node);
      return new PlannedDirectory(node, path, parent);
    }
    const inode =
      this.#linked.get(node) ??
      new PlannedInode(node, node.type === 'file' ? node.content.path : path);
    if (node.linkCount > 1) this.#linked.set(node, inode);
    return inode;
  }
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
