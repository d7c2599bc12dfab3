/** Encodes an inode and its blocks of metadata again from what the reader makes of them, and says what differs. */

import { present, viewOf, type ByteString } from '../base/index.ts';
import type { FileContent, Node } from '../rootfs/index.ts';
import {
  encodeDirectoryBlock,
  encodeInlineDirectory,
  planDirectory,
  planInlineDirectory,
  type DirectoryTarget,
} from './directory.ts';
import { Ext4CorruptError } from './errors.ts';
import { encodeExtentTree, extentNodeCount, type Extent } from './extent-tree.ts';
import { blockSizeBytes, inodeSizeBytes, type BlockRange } from './geometry.ts';
import { encodeInode, fastSymlinkBytesMax, inodeExtents, PlannedInode } from './inode.ts';
import type { InlineData } from './inline-data.ts';
import { fileTypes, inlineBytesMax, InodeFlags, InodeRecord } from './layout.ts';
import { readExtentTree } from './read-data.ts';
import { readDirectory, type Ext4DirectoryEntry } from './read-directory.ts';
import { readInlineData } from './read-inline.ts';
import { readInode, type Ext4Inode } from './read-inode.ts';
import { readSymlink } from './read-symlink.ts';
import { readXattrs } from './read-xattrs.ts';
import type { Volume } from './volume.ts';
import { encodeXattrBlock, planXattrs } from './xattr.ts';

export interface CheckedInode {
  /** What is wrong with it, without saying which inode it is. */
  readonly problems: readonly string[];
  /** Every block that it uses. */
  readonly uses: readonly BlockRange[];
  /** Of a directory. */
  readonly entries: readonly Ext4DirectoryEntry[];
}

/** `parent` is the number of the directory that a directory lies in. Throws as the reader does. */
export async function checkInode(
  volume: Volume,
  inode: Ext4Inode,
  { path, parent }: { readonly path: ByteString; readonly parent: number },
): Promise<CheckedInode> {
  const { extents, nodeBlocks } = hasExtents(inode)
    ? await readExtentTree(volume, inode)
    : { extents: [], nodeBlocks: [] };
  const planned = new PlannedInode(await nodeOf(volume, inode, extents), path);
  planned.number = inode.number;
  planned.linkCount = inode.linkCount;
  const data = extents.map(({ physicalBlock: firstBlock, blockCount }) => {
    return { firstBlock, blockCount };
  });
  planned.data = data.length === 0 ? undefined : placed(data);
  planned.extentNodes = nodeBlocks.length === 0 ? undefined : placed(nodeBlocks.map(oneBlock));
  const xattrBlocks = inode.xattrBlock === 0 ? [] : [oneBlock(inode.xattrBlock)];
  planned.xattrBlock = inode.xattrBlock === 0 ? undefined : placed(xattrBlocks);
  planned.inline = inlineDataIn(inode);
  const problems: string[] = [];
  const entries = inode.type === 'directory' ? await readDirectory(volume, inode) : [];
  if (inode.type === 'directory') {
    const children = await childrenOf(volume, entries);
    planned.linkCount = 2 + children.directoryCount;
    problems.push(
      ...(await checkDirectory(volume, planned, { targets: children.targets, parent })),
    );
  }
  problems.push(...(await checkBlocks(volume, planned, nodeBlocks)));
  problems.push(...(await checkRecord(volume, planned)));
  return { problems, entries, uses: [...data, ...nodeBlocks.map(oneBlock), ...xattrBlocks] };
}

function hasExtents({ type, sizeBytes, flags }: Ext4Inode): boolean {
  if ((flags & InodeFlags.inlineData) !== 0) return false;
  if (type === 'symlink') return sizeBytes > fastSymlinkBytesMax;
  return type === 'file' || type === 'directory';
}

/** The data as it is; a directory's is to be encoded again. */
function inlineDataIn(inode: Ext4Inode): InlineData | undefined {
  const found = readInlineData(inode);
  if (found === undefined) return undefined;
  const { sizeBytes } = inode;
  if (sizeBytes > inlineBytesMax) {
    throw new Ext4CorruptError(`it is said to hold ${sizeBytes} bytes itself`);
  }
  const bytes = Buffer.alloc(sizeBytes);
  bytes.set(found.subarray(0, sizeBytes));
  return { sizeBytes, bytes: async () => bytes };
}

const oneBlock = (firstBlock: number): BlockRange => ({ firstBlock, blockCount: 1 });

function placed(ranges: readonly BlockRange[]): NonNullable<PlannedInode['data']> {
  return {
    firstBlock: ranges[0]?.firstBlock ?? 0,
    blockCount: ranges.reduce((sum, { blockCount }) => sum + blockCount, 0),
    ranges: () => [...ranges],
    blocks: () => ranges.map(({ firstBlock }) => firstBlock),
  };
}

/** The node of a tree that would be planned as this inode. */
async function nodeOf(volume: Volume, inode: Ext4Inode, extents: readonly Extent[]): Promise<Node> {
  const { type, mode, uid, gid, modified, linkCount, deviceMajor, deviceMinor } = inode;
  const metadata = { mode, uid, gid, modified, xattrs: await readXattrs(volume, inode) };
  const common = { metadata, layer: 0 };
  switch (type) {
    case 'directory':
      return { ...common, type, entries: new Map(), changedByLayers: [], metadataLayer: 0 };
    case 'file':
      return { ...common, type, linkCount, content: contentOf(inode, extents) };
    case 'symlink':
      return { ...common, type, linkCount, target: await readSymlink(volume, inode) };
    case 'character-device':
    case 'block-device':
    case 'fifo':
    case 'socket':
      return { ...common, type, linkCount, deviceMajor, deviceMinor };
  }
}

/** A file that has data where the extents say, up to its end. */
function contentOf(inode: Ext4Inode, extents: readonly Extent[]): FileContent {
  const { modified, sizeBytes } = inode;
  const segments = extents.map(({ logicalBlock, blockCount }) => {
    const fileOffset = logicalBlock * blockSizeBytes;
    const end = Math.min(fileOffset + blockCount * blockSizeBytes, sizeBytes);
    return { fileOffset, tarOffset: 0, lengthBytes: end - fileOffset };
  });
  if (segments.some(({ lengthBytes }) => lengthBytes <= 0)) {
    throw new Ext4CorruptError('it has blocks past its end');
  }
  return { layer: 0, path: '' as ByteString, modified, sizeBytes, segments };
}

type Targets = ReadonlyMap<ByteString, DirectoryTarget>;

async function childrenOf(
  volume: Volume,
  entries: readonly Ext4DirectoryEntry[],
): Promise<{ targets: Targets; directoryCount: number }> {
  const targets = new Map<ByteString, DirectoryTarget>();
  let directoryCount = 0;
  for (const { name, inode } of entries) {
    const { type } = await readInode(volume, inode);
    targets.set(name, { inode, entryType: fileTypes[type].entryType });
    if (type === 'directory') directoryCount += 1;
  }
  return { targets, directoryCount };
}

async function checkDirectory(
  volume: Volume,
  planned: PlannedInode,
  { targets, parent }: { readonly targets: Targets; readonly parent: number },
): Promise<string[]> {
  const names = [...targets.keys()];
  const resolve = (name: ByteString): DirectoryTarget => present(targets.get(name), 'an entry');
  if (planned.inline !== undefined) {
    const shape = planInlineDirectory(names);
    if (shape === undefined) return ['its names do not fit into the inode'];
    const bytes = encodeInlineDirectory(shape, { parent, resolve });
    planned.inline = { sizeBytes: bytes.byteLength, bytes: async () => bytes };
    return [];
  }
  const shape = planDirectory(names, planned.path);
  const blocks = planned.data?.ranges().flatMap(blocksOf) ?? [];
  if (blocks.length !== shape.blockCount) {
    return [`it has ${blocks.length} blocks, its names need ${shape.blockCount}`];
  }
  const contents = { self: planned.number, parent, names: () => names, resolve };
  const wanted = blocks.map((_, index) => encodeDirectoryBlock(shape, index, contents));
  return await compareBlocks(volume, { blocks, wanted, what: 'block of its entries' });
}

function blocksOf({ firstBlock, blockCount }: BlockRange): number[] {
  return Array.from({ length: blockCount }, (_, index) => firstBlock + index);
}

/** The extent tree outside of the inode, and the attributes there. */
async function checkBlocks(
  volume: Volume,
  planned: PlannedInode,
  nodeBlocks: readonly number[],
): Promise<string[]> {
  const needed = extentNodeCount(inodeExtents(planned).length);
  if (needed !== nodeBlocks.length) {
    return [`its extent tree has ${nodeBlocks.length} blocks, its extents need ${needed}`];
  }
  const tree = encodeExtentTree(inodeExtents(planned), nodeBlocks);
  const inTree = { blocks: nodeBlocks, wanted: tree.nodes, what: 'block of its extent tree' };
  const { inBlock } = planXattrs(planned);
  const blocks = planned.xattrBlock?.blocks() ?? [];
  if (blocks.length > 0 !== inBlock.length > 0) return ['its attributes are not where they belong'];
  const wanted = blocks.map(() => encodeXattrBlock(inBlock));
  const inXattrs = { blocks, wanted, what: 'block of its attributes' };
  return [...(await compareBlocks(volume, inTree)), ...(await compareBlocks(volume, inXattrs))];
}

async function compareBlocks(
  volume: Volume,
  {
    blocks,
    wanted,
    what,
  }: { blocks: readonly number[]; wanted: readonly Uint8Array[]; what: string },
): Promise<string[]> {
  const problems: string[] = [];
  for (const [index, number] of blocks.entries()) {
    const found = await volume.block(number, what);
    const differs = !viewOf(found).equals(wanted[index] ?? new Uint8Array());
    if (differs) problems.push(`${what} ${index} differs from what it must be`);
  }
  return problems;
}

async function checkRecord(volume: Volume, planned: PlannedInode): Promise<string[]> {
  const found = await volume.inodeBytes(planned.number);
  const wanted = Buffer.alloc(inodeSizeBytes);
  const unread = { read: () => Promise.reject(new RangeError('No layer is at hand')) };
  encodeInode(planned, await planned.inline?.bytes(unread), wanted, 0);
  if (wanted.equals(found)) return [];
  return [differences(InodeRecord, found, wanted)];
}

/** The fields of a record that differ, or that something else does. */
export function differences(
  record: { readonly decode: (source: Uint8Array) => object },
  found: Uint8Array,
  wanted: Uint8Array,
): string {
  const [is, must] = [record.decode(found), record.decode(wanted)];
  const valuesOf = new Map(Object.entries(must));
  const fields = Object.entries(is).flatMap(([name, value]) => {
    const right: unknown = valuesOf.get(name);
    if (value instanceof Uint8Array && right instanceof Uint8Array) {
      return viewOf(value).equals(right) ? [] : [`${name} is wrong`];
    }
    return value === right ? [] : [`${name} is ${value}, must be ${String(right)}`];
  });
  return fields.length === 0 ? 'bytes that mean nothing are not zero' : fields.join(', ');
}
