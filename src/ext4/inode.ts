/**
 * One inode of the planned filesystem and its 256 bytes.
 * Source: kernel Documentation/filesystems/ext4/inodes.rst.
 */

import { firstNotBefore, byteStringToDisplay, present, type ByteString } from '../base/index.ts';
import type { DirectoryNode, Node, SpecialNode } from '../rootfs/index.ts';
import { Ext4LimitError } from './errors.ts';
import { encodeExtentTree, extentsOf, type Extent, type LogicalRun } from './extent-tree.ts';
import { dataRuns } from './file-data.ts';
import { blockSizeBytes, inodeSizeBytes, type BlockRange } from './geometry.ts';
import type { InlineData } from './inline-data.ts';
import {
  InodeFlags,
  InodeRecord,
  fileTypes,
  inlineBlockFieldBytes,
  inodeExtraBytes,
} from './layout.ts';
import { inlineDataRest, planXattrs, writeInodeXattrs } from './xattr.ts';

/** A symlink's text of up to 59 bytes stands in the inode itself. */
export const fastSymlinkBytesMax = 59;
const symlinkBytesMax = blockSizeBytes - 1;
/** A directory with more, because of its subdirectories, says 1, which stands for "many". */
const linksMax = 65_000;
/** An extent counts a file's blocks in 32 bits, and the kernel keeps the last number for itself. */
const fileBytesMax = (2 ** 32 - 1) * blockSizeBytes;
const sectorsPerBlock = blockSizeBytes / 512;

/** Blocks that have, or will have, a place on the disk. */
interface PlacedBlocks {
  readonly firstBlock: number;
  readonly blockCount: number;
  ranges(): BlockRange[];
  blocks(): number[];
}

/** What the plan knows of one inode of the tree, filled in as planning goes on. */
export class PlannedInode {
  readonly node: Node;
  /** Orders it within its layer: of a file its path there, else the least path by which the tree has it. */
  readonly path: ByteString;
  /** Directory entries that name it; of a directory also its own `.` and its children's `..`. */
  linkCount = 0;
  number = 0;
  /** The file's data, the directory's entries as they finally are, a long symlink's text. */
  data: PlacedBlocks | undefined;
  /** The same where it lies in the inode; then there is no `data`. */
  inline: InlineData | undefined;
  xattrBlock: PlacedBlocks | undefined;
  extentNodes: PlacedBlocks | undefined;

  constructor(node: Node, path: ByteString) {
    this.node = node;
    this.path = path;
  }
}

/** Of a directory, with the inodes that its names stand for. */
export class PlannedDirectory extends PlannedInode {
  declare readonly node: DirectoryNode;
  /** The root is its own. */
  readonly parent: PlannedDirectory;
  /** In the order of `sortedNames`. A map from nodes would take six times the memory. */
  children: readonly PlannedInode[] = [];

  constructor(node: DirectoryNode, path: ByteString, parent?: PlannedDirectory) {
    super(node, path);
    this.parent = parent ?? this;
  }

  /** Finds the inode of a name, all the faster if asked again. */
  lookup(): ChildLookup {
    const names = sortedNames(this.node);
    return (name) => present(this.children[placeOf(name, names)], 'the inode of a name');
  }
}

/** The inode that a name of a directory stands for. */
export type ChildLookup = (name: ByteString) => PlannedInode;

/** -1 if it is not there. */
function placeOf(name: ByteString, sorted: readonly ByteString[]): number {
  const place = firstNotBefore(sorted.length, (index) => (sorted[index] ?? '') < name);
  return sorted[place] === name ? place : -1;
}

/** Throws `ERR_EXT4_LIMIT` if no inode of ours can hold what `inode` asks. */
export function checkLimits({ node, path, linkCount }: PlannedInode): void {
  const name = byteStringToDisplay(path);
  if (node.type !== 'directory' && linkCount > linksMax) {
    throw new Ext4LimitError(
      `Cannot store "${name}": it has ${linkCount} hard links, ext4 holds ${linksMax}`,
    );
  }
  if (node.type === 'symlink' && (node.target === '' || node.target.length > symlinkBytesMax)) {
    throw new Ext4LimitError(
      `Cannot store symlink "${name}": its text is ${node.target.length} bytes long, ext4 holds 1 to ${symlinkBytesMax}`,
    );
  }
  if (node.type === 'file' && node.content.sizeBytes > fileBytesMax) {
    throw new Ext4LimitError(
      `Cannot store "${name}": it is ${node.content.sizeBytes} bytes long, ext4 holds ${fileBytesMax}`,
    );
  }
  if ('deviceMajor' in node && (node.deviceMajor > 0xfff || node.deviceMinor > 0xfffff)) {
    throw new Ext4LimitError(
      `Cannot store device "${name}": Linux has no number ${node.deviceMajor}:${node.deviceMinor}`,
    );
  }
}

/** The extents of an inode's data, given where its part lies. */
export function inodeExtents({ node, data }: PlannedInode): Extent[] {
  if (data === undefined) return [];
  const whole: LogicalRun[] = [{ logicalBlock: 0, blockCount: data.blockCount }];
  return extentsOf(node.type === 'file' ? dataRuns(node.content) : whole, data.ranges());
}

function sizeBytes({ node, data, inline }: PlannedInode): number {
  if (inline !== undefined) return inline.sizeBytes;
  if (node.type === 'file') return node.content.sizeBytes;
  if (node.type === 'symlink') return node.target.length;
  return (data?.blockCount ?? 0) * blockSizeBytes;
}

/** The first two words of a device's `i_block`: small numbers the old way, others the new. */
function encodeDevice({ deviceMajor: major, deviceMinor: minor }: SpecialNode): Uint8Array {
  const words = Buffer.alloc(60);
  if (major < 256 && minor < 256) words.writeUInt32LE((major << 8) | minor, 0);
  else words.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, 4);
  return words;
}

/** `i_block`: a device's number, a short symlink's text, the first inline data, or the root of an extent tree. */
function encodeBlockField(inode: PlannedInode, inlineBytes: Uint8Array | undefined): Uint8Array {
  const { node } = inode;
  if (inlineBytes !== undefined) {
    const front = Buffer.alloc(inlineBlockFieldBytes);
    front.set(inlineBytes.subarray(0, inlineBlockFieldBytes));
    return front;
  }
  if (node.type === 'character-device' || node.type === 'block-device') return encodeDevice(node);
  if (node.type === 'fifo' || node.type === 'socket') return new Uint8Array(60);
  if (node.type === 'symlink' && inode.data === undefined) {
    const text = Buffer.alloc(60);
    text.write(node.target, 'latin1');
    return text;
  }
  return encodeExtentTree(inodeExtents(inode), inode.extentNodes?.blocks() ?? []).root;
}

function flags({ node, data, inline }: PlannedInode): number {
  if (inline !== undefined) return InodeFlags.inlineData;
  if (node.type === 'file') return InodeFlags.extents;
  if (data === undefined) return 0;
  const hashed = node.type === 'directory' && data.blockCount > 1;
  return InodeFlags.extents | (hashed ? InodeFlags.index : 0);
}

function linksField({ node, linkCount }: PlannedInode): number {
  return node.type === 'directory' && linkCount > linksMax ? 1 : linkCount;
}

/**
 * The seconds that 34 bits hold and that all programs read alike: 1901-12-13 to 2310-04-04. Other times become the nearest of
 * these, with no nanoseconds, as with Linux.
 */
const secondsMin = -(2 ** 31);
const secondsMax = 3 * 2 ** 32 - 2 ** 31 - 1;

function encodeTime({ node }: PlannedInode): { low: number; extra: number } {
  const { seconds, nanoseconds } = node.metadata.modified;
  const kept = Math.min(Math.max(seconds, secondsMin), secondsMax);
  const low = kept | 0;
  const epoch = (kept - low) / 2 ** 32;
  return { low, extra: (((kept === seconds ? nanoseconds : 0) << 2) | epoch) >>> 0 };
}

/** Writes the inode's 256 bytes, which are zeros, into `target` at `offset`; `inlineBytes` are those of `inode.inline`. */
export function encodeInode(
  inode: PlannedInode,
  inlineBytes: Uint8Array | undefined,
  target: Uint8Array,
  offset: number,
): void {
  const { metadata, type } = inode.node;
  const time = encodeTime(inode);
  const size = sizeBytes(inode);
  const parts = [inode.data, inode.extentNodes, inode.xattrBlock];
  const sectors = parts.reduce((sum, part) => sum + (part?.blockCount ?? 0), 0) * sectorsPerBlock;
  InodeRecord.encodeInto(target, offset, {
    i_mode: fileTypes[type].modeBits | metadata.mode,
    i_uid: metadata.uid & 0xffff,
    i_size_lo: size % 2 ** 32,
    i_atime: time.low,
    i_ctime: time.low,
    i_mtime: time.low,
    i_gid: metadata.gid & 0xffff,
    i_links_count: linksField(inode),
    i_blocks_lo: sectors % 2 ** 32,
    i_flags: flags(inode),
    i_block: encodeBlockField(inode, inlineBytes),
    i_file_acl_lo: inode.xattrBlock?.firstBlock ?? 0,
    i_size_high: Math.floor(size / 2 ** 32),
    l_i_blocks_high: Math.floor(sectors / 2 ** 32),
    l_i_file_acl_high: 0,
    l_i_uid_high: metadata.uid >>> 16,
    l_i_gid_high: metadata.gid >>> 16,
    i_extra_isize: inodeExtraBytes,
    i_ctime_extra: time.extra,
    i_mtime_extra: time.extra,
    i_atime_extra: time.extra,
    i_crtime: time.low,
    i_crtime_extra: time.extra,
  });
  const xattrs =
    inlineBytes === undefined ? planXattrs(inode).inInode : [inlineDataRest(inlineBytes)];
  writeInodeXattrs(target.subarray(offset, offset + inodeSizeBytes), xattrs);
}

/** The names of a directory in byte order, whatever the order of its map. */
export function sortedNames(directory: DirectoryNode): ByteString[] {
  const names = [...directory.entries.keys()];
  const sorted = names.every((name, index) => index === 0 || (names[index - 1] ?? '') < name);
  return sorted ? names : names.sort();
}
