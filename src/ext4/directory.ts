/**
 * Directories as blocks: a single block is a plain list of entries, more are a hash tree over leaves, so that the kernel
 * finds one name among 300,000 by reading three blocks.
 *
 * The hash space is halved until each part's names fit into a block. A leaf's range therefore depends on the names in
 * it alone, and a name more or less changes one leaf, or splits one.
 * Source: kernel Documentation/filesystems/ext4/directory.rst.
 */

import { compareStrings, roundUp, type ByteString } from '../base/index.ts';
import { Ext4LimitError } from './errors.ts';
import { blockSizeBytes, directoryHashSeed } from './geometry.ts';
import { halfMd4 } from './half-md4.ts';
import {
  DirectoryEntryHead,
  HashTreeCount,
  HashTreeEntry,
  HashTreeInfo,
  fileTypes,
  hashHalfMd4,
  inlineBlockFieldBytes,
  inlineBytesMax,
  inlineParentBytes,
} from './layout.ts';

/** How many blocks a directory needs, and for a hash tree which names go where. */
export interface DirectoryShape {
  readonly blockCount: number;
  readonly hashTree?: HashTree;
}

interface HashTree {
  /** Blocks between the first one and the leaves: 0, or one for each 511 leaves. */
  readonly nodeCount: number;
  readonly leaves: readonly Leaf[];
}

interface Leaf {
  /** Where its range of hashes begins; the lowest bit is set if names with this hash are in the leaf before, too. */
  readonly firstHash: number;
  readonly names: readonly ByteString[];
}

/** The names of a directory that fits into its inode, by the part of the inode that has them. */
export interface InlineDirectoryShape {
  readonly inBlockField: readonly ByteString[];
  readonly inXattr: readonly ByteString[];
}

/** What the names of a directory stand for, known only once every inode has its number. */
export interface DirectoryContents {
  readonly self: number;
  readonly parent: number;
  /** In byte order. */
  readonly names: () => Iterable<ByteString>;
  readonly resolve: (name: ByteString) => DirectoryTarget;
}

export interface DirectoryTarget {
  readonly inode: number;
  /** As in `fileTypes`. */
  readonly entryType: number;
}

const headBytes = DirectoryEntryHead.sizeBytes;
const dotsBytes = 24;
const directoryType = fileTypes.directory.entryType;

const rootTreeAt = dotsBytes + HashTreeInfo.sizeBytes;
const rootEntriesMax = (blockSizeBytes - rootTreeAt) / HashTreeEntry.sizeBytes;
const nodeEntriesMax = (blockSizeBytes - headBytes) / HashTreeEntry.sizeBytes;

function entryBytes(name: ByteString): number {
  return roundUp(headBytes + name.length, 4);
}

/** Plans the blocks of a directory with these entries besides `.` and `..`. Throws `ERR_EXT4_LIMIT`. */
export function planDirectory(names: Iterable<ByteString>, path: string): DirectoryShape {
  const all = [...names];
  const linearBytes = all.reduce((sum, name) => sum + entryBytes(name), dotsBytes);
  if (linearBytes <= blockSizeBytes) return { blockCount: 1 };
  const leaves = planLeaves(all);
  const nodeCount = leaves.length <= rootEntriesMax ? 0 : Math.ceil(leaves.length / nodeEntriesMax);
  if (nodeCount > rootEntriesMax) {
    throw new Ext4LimitError(
      `Cannot store directory "${path}": its ${all.length} entries are more than a hash tree of two levels holds`,
    );
  }
  return { blockCount: 1 + nodeCount + leaves.length, hashTree: { nodeCount, leaves } };
}

const inlineFrontBytes = inlineBlockFieldBytes - inlineParentBytes;
const inlineBackBytes = inlineBytesMax - inlineBlockFieldBytes;

/** Undefined if the entries do not fit into an inode. */
export function planInlineDirectory(names: Iterable<ByteString>): InlineDirectoryShape | undefined {
  const shape = { inBlockField: [] as ByteString[], inXattr: [] as ByteString[] };
  let frontBytes = 0;
  let backBytes = 0;
  for (const name of names) {
    const bytes = entryBytes(name);
    if (frontBytes + bytes <= inlineFrontBytes) {
      frontBytes += bytes;
      shape.inBlockField.push(name);
    } else if (backBytes + bytes <= inlineBackBytes) {
      backBytes += bytes;
      shape.inXattr.push(name);
    } else return undefined;
  }
  return shape;
}

/** How many bytes `encodeInlineDirectory` gives. */
export function inlineDirectoryBytes({ inXattr }: InlineDirectoryShape): number {
  return inXattr.reduce((sum, name) => sum + entryBytes(name), inlineBlockFieldBytes);
}

/** The parent's number, then entries that fill `i_block`, then those in the attribute. There are no dots. */
export function encodeInlineDirectory(
  shape: InlineDirectoryShape,
  contents: Pick<DirectoryContents, 'parent' | 'resolve'>,
): Uint8Array {
  const bytes = Buffer.alloc(inlineDirectoryBytes(shape));
  bytes.writeUInt32LE(contents.parent);
  const front = bytes.subarray(inlineParentBytes, inlineBlockFieldBytes);
  writeEntries(front, 0, shape.inBlockField, contents);
  const back = bytes.subarray(inlineBlockFieldBytes);
  if (back.byteLength > 0) writeEntries(back, 0, shape.inXattr, contents);
  return bytes;
}

interface HashedName {
  readonly hash: number;
  readonly name: ByteString;
}

function planLeaves(names: readonly ByteString[]): Leaf[] {
  const hashed = names
    .map((name) => ({ hash: halfMd4(name, directoryHashSeed), name }))
    .sort((a, b) => a.hash - b.hash || compareStrings(a.name, b.name));
  const leaves: Leaf[] = [];
  halve(hashed, 0, 2 ** 32, leaves);
  return leaves;
}

/** Adds the leaves for `entries`, which are all that hash to `firstHash` and the `hashCount` - 1 after it. */
function halve(
  entries: readonly HashedName[],
  firstHash: number,
  hashCount: number,
  leaves: Leaf[],
): void {
  if (entries.length === 0) return;
  const bytes = entries.reduce((sum, { name }) => sum + entryBytes(name), 0);
  if (bytes <= blockSizeBytes) {
    leaves.push({ firstHash, names: entries.map(({ name }) => name) });
    return;
  }
  if (hashCount === 2) {
    addCollidingLeaves(entries, firstHash, leaves);
    return;
  }
  const half = hashCount / 2;
  const split = entries.findIndex(({ hash }) => hash >= firstHash + half);
  const upperAt = split === -1 ? entries.length : split;
  halve(entries.slice(0, upperAt), firstHash, half, leaves);
  halve(entries.slice(upperAt), firstHash + half, half, leaves);
}

/** More names of one hash than a block holds: all leaves but the first say that the one before goes on. */
function addCollidingLeaves(entries: readonly HashedName[], hash: number, leaves: Leaf[]): void {
  let names: ByteString[] = [];
  let bytes = 0;
  let firstHash = hash;
  for (const { name } of entries) {
    if (bytes + entryBytes(name) > blockSizeBytes) {
      leaves.push({ firstHash, names });
      firstHash = hash + 1;
      names = [];
      bytes = 0;
    }
    names.push(name);
    bytes += entryBytes(name);
  }
  leaves.push({ firstHash, names });
}

/** A fresh block: number `index` of the directory that `shape` planned. */
export function encodeDirectoryBlock(
  shape: DirectoryShape,
  index: number,
  contents: DirectoryContents,
): Uint8Array {
  const block = Buffer.alloc(blockSizeBytes);
  const tree = shape.hashTree;
  if (tree === undefined) {
    writeEntries(block, writeDots(block, contents, dotsBytes), contents.names(), contents);
  } else if (index === 0) {
    writeTreeRoot(block, tree, contents);
  } else if (index <= tree.nodeCount) {
    writeTreeNode(block, tree, index - 1);
  } else {
    writeEntries(block, 0, tree.leaves[index - 1 - tree.nodeCount]?.names ?? [], contents);
  }
  return block;
}

/** By hand rather than by the table: this runs once for every name of an image, a million at times. */
function writeEntry(
  block: Buffer,
  at: number,
  recordBytes: number,
  name: ByteString,
  { inode, entryType }: DirectoryTarget,
): void {
  block.writeUInt32LE(inode, at);
  block.writeUInt16LE(recordBytes, at + 4);
  block.writeUInt8(name.length, at + 6);
  block.writeUInt8(entryType, at + 7);
  block.write(name, at + headBytes, 'latin1');
}

/** Writes `.` and `..` so that the two fill the first `endAt` bytes; returns `endAt`. */
function writeDots(block: Buffer, { self, parent }: DirectoryContents, endAt: number): number {
  const dotBytes = dotsBytes / 2;
  const dot = '.' as ByteString;
  const dotDot = '..' as ByteString;
  writeEntry(block, 0, dotBytes, dot, { inode: self, entryType: directoryType });
  writeEntry(block, dotBytes, endAt - dotBytes, dotDot, {
    inode: parent,
    entryType: directoryType,
  });
  return endAt;
}

/** Entries from `startAt` on; the last one's record reaches to the end of `block`. */
function writeEntries(
  block: Buffer,
  startAt: number,
  names: Iterable<ByteString>,
  contents: Pick<DirectoryContents, 'resolve'>,
): void {
  let at = startAt;
  let lastAt = startAt === 0 ? 0 : dotsBytes / 2;
  for (const name of names) {
    writeEntry(block, at, entryBytes(name), name, contents.resolve(name));
    lastAt = at;
    at += entryBytes(name);
  }
  block.writeUInt16LE(block.byteLength - lastAt, lastAt + 4);
}

/** To a reader that knows no hash trees the first block holds `.` and a `..` that fills it. */
function writeTreeRoot(block: Buffer, tree: HashTree, contents: DirectoryContents): void {
  writeDots(block, contents, blockSizeBytes);
  HashTreeInfo.encodeInto(block, dotsBytes, {
    hash_version: hashHalfMd4,
    info_length: HashTreeInfo.sizeBytes,
    indirect_levels: tree.nodeCount === 0 ? 0 : 1,
  });
  const leafAt = 1 + tree.nodeCount;
  const children =
    tree.nodeCount === 0
      ? tree.leaves.map(({ firstHash }, leaf) => ({ hash: firstHash, block: leafAt + leaf }))
      : Array.from({ length: tree.nodeCount }, (_, node) => ({
          hash: tree.leaves[node * nodeEntriesMax]?.firstHash ?? 0,
          block: 1 + node,
        }));
  writeTreeEntries(block, rootTreeAt, rootEntriesMax, children);
}

/** To a reader that knows no hash trees an inner block is one unused entry. */
function writeTreeNode(block: Buffer, tree: HashTree, node: number): void {
  DirectoryEntryHead.encodeInto(block, 0, {
    inode: 0,
    rec_len: blockSizeBytes,
    name_len: 0,
    file_type: 0,
  });
  const firstLeaf = node * nodeEntriesMax;
  const children = tree.leaves
    .slice(firstLeaf, firstLeaf + nodeEntriesMax)
    .map(({ firstHash }, leaf) => ({
      hash: firstHash,
      block: 1 + tree.nodeCount + firstLeaf + leaf,
    }));
  writeTreeEntries(block, headBytes, nodeEntriesMax, children);
}

/** The first child's hash is implied; limit and count stand in its place. */
function writeTreeEntries(
  block: Buffer,
  startAt: number,
  limit: number,
  children: readonly { readonly hash: number; readonly block: number }[],
): void {
  for (const [index, child] of children.entries()) {
    HashTreeEntry.encodeInto(block, startAt + index * HashTreeEntry.sizeBytes, child);
  }
  HashTreeCount.encodeInto(block, startAt, { limit, count: children.length });
}
