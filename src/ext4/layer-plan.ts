/**
 * Plans one layer's share of the disk as a function of that layer alone, as far as can be: positions count from the
 * layer's first group, wherever that will be, and files that upper layers replaced or deleted keep their place.
 *
 * A layer has a span of groups. Its inodes fill the inode tables of the first ones: directories first, which upper layers
 * modify, then all others. Its data lies in the slots, its metadata (directories, attributes, long symlinks, extent
 * nodes) in the slots after. What fits beside the first inode table's used part shares a chunk with it.
 */

import { assert, compareStrings, type ByteString } from '../base/index.ts';
import type { FileContent } from '../rootfs/index.ts';
import type { LayerCensus } from './census.ts';
import {
  DirectoryPart,
  ExtentNodesPart,
  FilePart,
  SymlinkPart,
  XattrPart,
  type DiskPart,
} from './disk-part.ts';
import { extentNodeCount } from './extent-tree.ts';
import { hasData } from './file-data.ts';
import { chunkBlocks, inodesPerBlock, inodesPerGroup, slotsPerGroup } from './geometry.ts';
import { fastSymlinkBytesMax, inodeExtents } from './inode.ts';
import { orderInodes, type InodePosition } from './inode-order.ts';
import {
  cutIntoBins,
  cutStretches,
  isLarge,
  packIntoSlots,
  placeInOrder,
  totalBlocks,
  type Packable,
} from './packing.ts';
import { mix, pathHash } from './path-hash.ts';
import { placementStretches } from './placement-order.ts';
import { isOftenRewritten } from './start-hints.ts';
import { needsXattrBlock } from './xattr.ts';

export interface LayerPlan {
  /** Blocks counted from the layer's first group. */
  readonly parts: readonly DiskPart[];
  /** Inodes by position, counted from the first of the layer's first group; a lost file keeps its number. */
  readonly inodes: readonly InodePosition[];
  /** Where the inode table of the first group begins; those of the others begin with their group. */
  readonly firstTableBlock: number;
  /** How many groups the layer needs in a row; 0 if it has nothing. */
  readonly groupCount: number;
  /** Decides where these groups are: 32 bits that similar layers are likely to agree on. */
  readonly addressHash: number;
}

export function planLayer(census: LayerCensus, layer: number): LayerPlan {
  const files = planFiles(census);
  const inBlocks = files.filter(({ blockCount }) => blockCount > 0);
  const { small, large, rewritten } = divideData(inBlocks);
  const dataBins = [...cutStretches(small), ...cutIntoBins(rewritten)];
  const dataSlots = packIntoSlots([...dataBins, ...large], 0);
  const metadata = planMetadata(census, files, layer);
  const inodes = orderInodes(census, files);
  const parts = [...inBlocks, ...metadata];
  const frontRoom = frontRoomBeside(inodes.length);
  const allButLarge = [...small.flat(), ...metadata];
  let firstTableBlock = 0;
  let slots = dataSlots;
  if (totalBlocks(allButLarge) <= frontRoom) {
    const inOrder = placementStretches(allButLarge).flat();
    const isRoomForAll = totalBlocks([...inOrder, ...rewritten]) <= frontRoom;
    firstTableBlock = placeInOrder(isRoomForAll ? [...inOrder, ...rewritten] : inOrder, 0);
    if (isRoomForAll && large.length === 0) slots = 0;
  } else if (totalBlocks(metadata) <= frontRoom) {
    firstTableBlock = placeInOrder(placementStretches(metadata).flat(), 0);
  } else {
    slots = packIntoSlots(packMetadata(metadata), dataSlots);
  }
  const tables = Math.ceil(inodes.length / inodesPerGroup);
  return {
    parts,
    inodes,
    firstTableBlock,
    groupCount: Math.max(tables, Math.ceil(slots / slotsPerGroup), parts.length > 0 ? 1 : 0),
    addressHash: addressHash(files.length > 0 ? files : [...census.directories, ...census.others]),
  };
}

/** Blocks of the layer's first chunk that its only inode table leaves free; 0 if it has several. */
function frontRoomBeside(inodeCount: number): number {
  if (inodeCount > inodesPerGroup) return 0;
  return chunkBlocks - Math.ceil(inodeCount / inodesPerBlock);
}

interface LayerData {
  /** Stretches of what shares bins. */
  readonly small: readonly (readonly Packable[])[];
  readonly large: readonly Packable[];
  /** Small, too, but shares bins with nothing else. */
  readonly rewritten: readonly Packable[];
}

/** Tails of large files are a stretch of their own; what is taken out of stretches still begins them. */
function divideData(files: readonly FilePart[]): LayerData {
  const pieces = files.map((part) => part.pieces());
  const tails = pieces.flatMap(({ tail }) => (tail === undefined ? [] : [tail]));
  const stretches = placementStretches(pieces.map(({ body }) => body));
  const small = stretches.map((items) => items.filter((item) => !isLarge(item)));
  return {
    small: [
      ...small.map((items) => items.filter(({ path }) => !isOftenRewritten(path))),
      tails.sort((a, b) => compareStrings(a.path, b.path)),
    ],
    large: stretches.flat().filter(isLarge),
    rewritten: small.flat().filter(({ path }) => isOftenRewritten(path)),
  };
}

function packMetadata(parts: readonly DiskPart[]): readonly (DiskPart | DiskPart[])[] {
  const stretches = placementStretches(parts);
  const bins = stretches.flatMap((items) => cutIntoBins(items.filter((item) => !isLarge(item))));
  return [...bins, ...stretches.flat().filter(isLarge)];
}

/** A file of a layer is known by its path and, as archives may repeat a path, by where its data begins. */
function fileKey({ path, segments }: FileContent): string {
  return `${path}\0${segments.find(({ lengthBytes }) => lengthBytes > 0)?.tarOffset}`;
}

/** The data of all files that the layer brought; those still in the tree get it as theirs. */
function planFiles(census: LayerCensus): FilePart[] {
  const parts = new Map<string, FilePart>();
  for (const content of census.content.files) {
    if (hasData(content)) parts.set(fileKey(content), new FilePart(content));
  }
  for (const inode of census.others) {
    if (inode.node.type !== 'file' || !hasData(inode.node.content)) continue;
    const part = parts.get(fileKey(inode.node.content)) ?? new FilePart(inode.node.content);
    parts.set(fileKey(part.content), part);
    assert(part.inode === undefined, `Two files share the data of "${part.path}"`);
    part.inode = inode;
    if (inode.inline === undefined) inode.data = part;
  }
  return [...parts.values()];
}

/** All blocks of metadata that the layer has. `files` are already placed in slots. */
function planMetadata(census: LayerCensus, files: readonly FilePart[], layer: number): DiskPart[] {
  const parts: DiskPart[] = [];
  const lostFiles = groupLostFiles(files);
  for (const { inode, last } of census.changedDirectories) {
    const past = { layer, lost: lostFiles.get(inode.path) ?? new Map() };
    const part = new DirectoryPart(inode, last ? undefined : past);
    if (last ? inode.inline !== undefined : part.fitsInode()) continue;
    if (last) inode.data = part;
    parts.push(part);
  }
  for (const inode of [...census.describedDirectories, ...census.others]) {
    if (needsXattrBlock(inode)) {
      parts.push((inode.xattrBlock = new XattrPart(inode)));
    }
  }
  for (const inode of census.others) {
    const { node, inline } = inode;
    if (node.type !== 'symlink' || inline !== undefined) continue;
    if (node.target.length > fastSymlinkBytesMax) {
      parts.push((inode.data = new SymlinkPart(inode)));
    }
  }
  for (const { inode } of files) {
    const nodeCount = inode === undefined ? 0 : extentNodeCount(inodeExtents(inode).length);
    if (inode !== undefined && nodeCount > 0) {
      parts.push((inode.extentNodes = new ExtentNodesPart(inode, nodeCount)));
    }
  }
  return parts;
}

/** The files that upper layers replaced or deleted, by directory and name. */
function groupLostFiles(files: readonly FilePart[]): Map<ByteString, Map<ByteString, FilePart>> {
  const byDirectory = new Map<ByteString, Map<ByteString, FilePart>>();
  for (const part of files) {
    if (part.live) continue;
    const nameAt = part.path.lastIndexOf('/') + 1;
    const directory = part.path.slice(0, Math.max(nameAt - 1, 0)) as ByteString;
    const names = byDirectory.get(directory) ?? new Map<ByteString, FilePart>();
    byDirectory.set(directory, names.set(part.path.slice(nameAt) as ByteString, part));
  }
  return byDirectory;
}

/**
 * The hash of the path that hashes lowest: a layer with one file more, or a hundred other ones, is likely to have the
 * same, and so the same address.
 */
function addressHash(deciding: readonly { readonly path: ByteString }[]): number {
  const least = deciding.reduce((low, { path }) => Math.min(low, pathHash(path)), 0xffffffff);
  return mix(least ^ 0x9e3779b9);
}
