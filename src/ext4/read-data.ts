/** Extent trees, and the bytes that they lead to. Source: kernel Documentation/filesystems/ext4/ifork.rst. */

import { firstNotBefore } from '../base/index.ts';
import { Ext4CorruptError, Ext4UnsupportedError } from './errors.ts';
import type { Extent } from './extent-tree.ts';
import {
  ExtentHeader,
  ExtentIndex,
  ExtentLeaf,
  InodeFlags,
  extentBlocksMax,
  extentDepthMax,
  extentMagic,
} from './layout.ts';
import { readInlineData } from './read-inline.ts';
import type { Ext4Inode } from './read-inode.ts';
import type { Volume } from './volume.ts';

/** A whole extent tree. */
export interface ExtentTreeFound {
  /** Where the data lies, rising, holes and blocks not yet written left out. */
  readonly extents: readonly Extent[];
  /** The blocks of the tree itself, those that hold extents first, level by level to the root's children. */
  readonly nodeBlocks: readonly number[];
}

/**
 * Where the inode's data lies, rising, holes and blocks not yet written left out; nowhere if it is in the inode.
 * Throws `ERR_EXT4_CORRUPT`, `ERR_EXT4_UNSUPPORTED` for the block maps of ext2 and ext3.
 */
export async function readExtents(volume: Volume, inode: Ext4Inode): Promise<readonly Extent[]> {
  return (await readExtentTree(volume, inode)).extents;
}

/** Throws as `readExtents`. */
export async function readExtentTree(volume: Volume, inode: Ext4Inode): Promise<ExtentTreeFound> {
  if ((inode.flags & InodeFlags.inlineData) !== 0) return { extents: [], nodeBlocks: [] };
  if ((inode.flags & InodeFlags.extents) === 0) {
    throw new Ext4UnsupportedError(`Inode ${inode.number} does not keep its data in extents`);
  }
  const walk = new TreeWalk(volume, inode);
  await walk.node(inode.blockField, undefined);
  checkApart(walk.extents, inode);
  return { extents: walk.extents, nodeBlocks: walk.nodeBlocksByDepth.flat() };
}

/** No block of the disk may serve twice: a small disk could otherwise pretend to hold endless data. */
function checkApart(extents: readonly Extent[], inode: Ext4Inode): void {
  let end = 0;
  for (const extent of extents.toSorted((a, b) => a.physicalBlock - b.physicalBlock)) {
    if (extent.physicalBlock < end) {
      throw new Ext4CorruptError(`Inode ${inode.number} uses block ${extent.physicalBlock} twice`);
    }
    end = extent.physicalBlock + extent.blockCount;
  }
}

/** The index of the first extent that ends behind a block of the file; their number if none does. */
export function firstExtentEndingAfter(extents: readonly Extent[], logicalBlock: number): number {
  return firstNotBefore(extents.length, (index) => {
    const extent = extents[index];
    return extent !== undefined && extent.logicalBlock + extent.blockCount <= logicalBlock;
  });
}

/**
 * Positions in the file must rise from one extent to the next, over the whole tree. That is also what ends a walk through
 * a tree that leads back into itself: the second visit to a node finds positions that were there before.
 */
class TreeWalk {
  readonly #volume: Volume;
  readonly #inode: Ext4Inode;
  readonly extents: Extent[] = [];
  readonly nodeBlocksByDepth: number[][] = [];
  #nextLogical = 0;

  constructor(volume: Volume, inode: Ext4Inode) {
    this.#volume = volume;
    this.#inode = inode;
  }

  /** `depth` as the node above has it, undefined for the root. */
  async node(node: Uint8Array, depth: number | undefined): Promise<void> {
    const header = ExtentHeader.decode(node);
    const room = Math.floor((node.byteLength - ExtentHeader.sizeBytes) / ExtentLeaf.sizeBytes);
    this.#expect(header.eh_magic === extentMagic, 'has no magic number');
    this.#expect(header.eh_entries <= room, 'has more entries than room');
    this.#expect(header.eh_depth <= extentDepthMax, 'is too deep');
    this.#expect(depth === undefined || header.eh_depth === depth, 'has leaves at unequal depths');
    this.#expect(depth === undefined || header.eh_entries > 0, 'has an empty node');
    for (let entry = 0; entry < header.eh_entries; entry += 1) {
      const at = ExtentHeader.sizeBytes + entry * ExtentLeaf.sizeBytes;
      if (header.eh_depth === 0) this.#leaf(node, at);
      else await this.#inner(node, at, header.eh_depth - 1);
    }
  }

  async #inner(node: Uint8Array, at: number, depth: number): Promise<void> {
    const { ei_block, ei_leaf_lo, ei_leaf_hi } = ExtentIndex.decode(node, at);
    this.#expect(ei_block >= this.#nextLogical, 'is out of order');
    const block = ei_leaf_hi * 2 ** 32 + ei_leaf_lo;
    const child = await this.#volume.block(block, this.#what());
    (this.nodeBlocksByDepth[depth] ??= []).push(block);
    await this.node(child, depth);
  }

  #leaf(node: Uint8Array, at: number): void {
    const { ee_block, ee_len, ee_start_hi, ee_start_lo } = ExtentLeaf.decode(node, at);
    const unwritten = ee_len > extentBlocksMax;
    const blockCount = unwritten ? ee_len - extentBlocksMax : ee_len;
    const physicalBlock = ee_start_hi * 2 ** 32 + ee_start_lo;
    this.#expect(ee_block >= this.#nextLogical && blockCount > 0, 'is out of order');
    this.#volume.checkBlocks(physicalBlock, blockCount, this.#what());
    this.#nextLogical = ee_block + blockCount;
    if (!unwritten) this.extents.push({ logicalBlock: ee_block, physicalBlock, blockCount });
  }

  #what(): string {
    return `A part of the extent tree of inode ${this.#inode.number}, or what it leads to,`;
  }

  #expect(holds: boolean, otherwise: string): void {
    if (holds) return;
    throw new Ext4CorruptError(`The extent tree of inode ${this.#inode.number} ${otherwise}`);
  }
}

/** Fills `target` from `offset` of the inode's data on, zeros for holes and for what is past its end. */
export async function readData(
  volume: Volume,
  inode: Ext4Inode,
  { extents, offset, target }: { extents: readonly Extent[]; offset: number; target: Uint8Array },
): Promise<void> {
  const { sizeBytes } = inode;
  const inline = readInlineData(inode);
  if (inline === undefined) {
    await readExtentData(volume, extents, { sizeBytes, offset, target });
    return;
  }
  target.fill(0);
  target.set(inline.subarray(offset, Math.min(offset + target.byteLength, sizeBytes)));
}

async function readExtentData(
  volume: Volume,
  extents: readonly Extent[],
  { sizeBytes, offset, target }: { sizeBytes: number; offset: number; target: Uint8Array },
): Promise<void> {
  const { blockSizeBytes } = volume.info;
  const end = Math.min(offset + target.byteLength, sizeBytes);
  target.fill(0);
  const firstBlock = Math.floor(offset / blockSizeBytes);
  for (let index = firstExtentEndingAfter(extents, firstBlock); ; index += 1) {
    const extent = extents[index];
    if (extent === undefined || extent.logicalBlock * blockSizeBytes >= end) return;
    const start = extent.logicalBlock * blockSizeBytes;
    const from = Math.max(offset, start);
    const to = Math.min(end, start + extent.blockCount * blockSizeBytes);
    const part = target.subarray(from - offset, to - offset);
    await volume.read(extent.physicalBlock, from - start, part);
  }
}
