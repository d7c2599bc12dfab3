/**
 * Extent trees: which blocks of the disk hold which blocks of a file. Up to four extents stand in the inode, more
 * in blocks of their own, which together form a tree that is as shallow and as full as can be.
 * Source: kernel Documentation/filesystems/ext4/ifork.rst.
 */

import { blockSizeBytes, type BlockRange } from './geometry.ts';
import { ExtentHeader, ExtentIndex, ExtentLeaf, extentBlocksMax, extentMagic } from './layout.ts';

export interface Extent {
  /** Position in the file, in blocks. */
  readonly logicalBlock: number;
  readonly physicalBlock: number;
  readonly blockCount: number;
}

/** Blocks of a file that hold data, holes left out. */
export interface LogicalRun {
  readonly logicalBlock: number;
  readonly blockCount: number;
}

export interface ExtentTree {
  /** The 60 bytes of `i_block`. */
  readonly root: Uint8Array;
  /** As many blocks as `extentNodeCount` said. */
  readonly nodes: readonly Uint8Array[];
}

const rootBytes = 60;
const entryBytes = ExtentLeaf.sizeBytes;
const rootEntriesMax = (rootBytes - ExtentHeader.sizeBytes) / entryBytes;
const nodeEntriesMax = Math.floor((blockSizeBytes - ExtentHeader.sizeBytes) / entryBytes);

/** Lays `runs` one after the other over `ranges`, which together hold as many blocks. */
export function extentsOf(runs: readonly LogicalRun[], ranges: readonly BlockRange[]): Extent[] {
  const extents: Extent[] = [];
  let rangeIndex = 0;
  let usedOfRange = 0;
  for (const run of runs) {
    let done = 0;
    while (done < run.blockCount) {
      const range = ranges[rangeIndex];
      if (range === undefined)
        throw new RangeError('More blocks to lay out than there is room for');
      const left = Math.min(run.blockCount - done, range.blockCount - usedOfRange);
      const blockCount = Math.min(left, extentBlocksMax);
      const physicalBlock = range.firstBlock + usedOfRange;
      extents.push({ logicalBlock: run.logicalBlock + done, physicalBlock, blockCount });
      done += blockCount;
      usedOfRange += blockCount;
      if (usedOfRange === range.blockCount) {
        rangeIndex += 1;
        usedOfRange = 0;
      }
    }
  }
  return extents;
}

/** How many blocks the tree of so many extents needs besides the inode. */
export function extentNodeCount(extentCount: number): number {
  let nodeCount = 0;
  let width = extentCount;
  while (width > rootEntriesMax) {
    width = Math.ceil(width / nodeEntriesMax);
    nodeCount += width;
  }
  return nodeCount;
}

interface TreeEntry {
  readonly logicalBlock: number;
  readonly encodeInto: (target: Uint8Array, offset: number) => void;
}

function leafEntry(extent: Extent): TreeEntry {
  return {
    logicalBlock: extent.logicalBlock,
    encodeInto: (target, offset) => {
      ExtentLeaf.encodeInto(target, offset, {
        ee_block: extent.logicalBlock,
        ee_len: extent.blockCount,
        ee_start_hi: 0,
        ee_start_lo: extent.physicalBlock,
      });
    },
  };
}

function indexEntry(logicalBlock: number, nodeBlock: number): TreeEntry {
  return {
    logicalBlock,
    encodeInto: (target, offset) => {
      ExtentIndex.encodeInto(target, offset, {
        ei_block: logicalBlock,
        ei_leaf_lo: nodeBlock,
        ei_leaf_hi: 0,
      });
    },
  };
}

function encodeNode(sizeBytes: number, depth: number, entries: readonly TreeEntry[]): Uint8Array {
  const node = new Uint8Array(sizeBytes);
  ExtentHeader.encodeInto(node, 0, {
    eh_magic: extentMagic,
    eh_entries: entries.length,
    eh_max: Math.floor((sizeBytes - ExtentHeader.sizeBytes) / entryBytes),
    eh_depth: depth,
  });
  for (const [index, entry] of entries.entries()) {
    entry.encodeInto(node, ExtentHeader.sizeBytes + index * entryBytes);
  }
  return node;
}

/** The tree of `extents`, which rise; `nodeBlocks[i]` is where `nodes[i]` will lie. */
export function encodeExtentTree(
  extents: readonly Extent[],
  nodeBlocks: readonly number[],
): ExtentTree {
  const nodes: Uint8Array[] = [];
  let depth = 0;
  let level = extents.map(leafEntry);
  while (level.length > rootEntriesMax) {
    const above: TreeEntry[] = [];
    for (let start = 0; start < level.length; start += nodeEntriesMax) {
      const entries = level.slice(start, start + nodeEntriesMax);
      const nodeBlock = nodeBlocks[nodes.length];
      if (nodeBlock === undefined)
        throw new RangeError('An extent tree outgrew the blocks planned for it');
      above.push(indexEntry(entries[0]?.logicalBlock ?? 0, nodeBlock));
      nodes.push(encodeNode(blockSizeBytes, depth, entries));
    }
    level = above;
    depth += 1;
  }
  return { root: encodeNode(rootBytes, depth, level), nodes };
}
