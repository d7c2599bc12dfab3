/**
 * From a tree to a plan of its disk. Pure: the same tree gives the same bytes, on any machine, at any time.
 *
 * The order of things: count what is there, plan each layer by itself, give the layers their addresses, number the inodes,
 * mark what is in use, and build the head, which knows it all.
 */

import type { RootTree } from '../rootfs/index.ts';
import { placeLayers } from './address-plan.ts';
import { takeCensus, type Census } from './census.ts';
import { BytesPart, DirectoryPart, InodeTablePart, XattrPart, type DiskPart } from './disk-part.ts';
import type { DiskPlan } from './disk-plan.ts';
import {
  blocksPerGroup,
  firstFreeInodeNumber,
  inodesPerGroup,
  rootInodeNumber,
  topDirectoryNumbers,
} from './geometry.ts';
import { DiskUse, encodeHead, shapeHead } from './head.ts';
import { PlannedInode, type PlannedDirectory } from './inode.ts';
import { planLayer, type LayerPlan } from './layer-plan.ts';
import { placeInOrder } from './packing.ts';
import { hashedPlace, pathHash } from './path-hash.ts';
import { PlannedDisk } from './planned-disk.ts';
import { needsXattrBlock } from './xattr.ts';

/**
 * Plans the disk of `tree`, which must not change as long as the plan is used; no content is read.
 * Throws `ERR_EXT4_LIMIT` where the tree holds what ext4 cannot, `ERR_EXT4_BAD_ACL` for an attribute
 * `system.posix_acl_*` that is none.
 */
export function planDisk(tree: RootTree): DiskPlan {
  return planWhole(tree).disk;
}

/** A plan with what it was made of. */
export interface WholePlan {
  readonly disk: DiskPlan;
  /** Each once. */
  readonly inodes: readonly PlannedInode[];
  readonly use: DiskUse;
}

/** For what looks into plans; as `planDisk` in all else. */
export function planWhole(tree: RootTree): WholePlan {
  const census = takeCensus(tree);
  const layers = census.layers.map((layer, index) => planLayer(layer, index));
  const addresses = placeLayers(layers);
  const use = new DiskUse(addresses.groupCount);
  const placed = layers.map((layer, index) => {
    const firstGroup = addresses.firstGroups[index] ?? 0;
    return [moveParts(layer, firstGroup, use), planInodeTables(layer, firstGroup, use)];
  });
  const parts = [...placed.flat(2), ...planHead(census, use)];
  const disk = new PlannedDisk({
    parts,
    groupCount: addresses.groupCount,
    fileCount: census.inodes.length,
    contentBytes: census.contentBytes,
  });
  return { disk, inodes: census.inodes, use };
}

/** Takes the layer's parts to their address and marks what is live. */
function moveParts(layer: LayerPlan, firstGroup: number, use: DiskUse): readonly DiskPart[] {
  // Even if all that lies beside the inode table is dead, the table does not begin with the group.
  if (layer.firstTableBlock > 0)
    use.touch(firstGroup, firstGroup * blocksPerGroup + layer.firstTableBlock);
  for (const part of layer.parts) {
    part.moveBy(firstGroup * blocksPerGroup);
    if (part.live) for (const range of part.ranges()) use.useBlocks(range);
  }
  return layer.parts;
}

/** Numbers the layer's inodes, those that are no more as well. */
function planInodeTables(layer: LayerPlan, firstGroup: number, use: DiskUse): InodeTablePart[] {
  const tables: InodeTablePart[] = [];
  for (let start = 0; start < layer.inodes.length; start += inodesPerGroup) {
    const group = firstGroup + start / inodesPerGroup;
    const inodes: (PlannedInode | undefined)[] = [];
    for (const [index, inode] of layer.inodes.slice(start, start + inodesPerGroup).entries()) {
      if (inode === undefined) continue;
      inode.number = group * inodesPerGroup + index + 1;
      if (!(inode instanceof PlannedInode)) continue;
      inodes[index] = inode;
      use.useInode(inode.number, inode.node.type === 'directory');
    }
    const table = new InodeTablePart(inodes);
    table.firstBlock = use.touch(group).tableBlock;
    tables.push(table);
  }
  return tables;
}

/** The head with the root directory, which lies there because every image has its own, and the inodes of those in it. */
function planHead({ root, topDirectories }: Census, use: DiskUse): DiskPart[] {
  const inodes = numberHeadInodes(root, topDirectories);
  for (const inode of inodes) if (inode !== undefined) use.useInode(inode.number, true);
  const rootParts: DiskPart[] = [(root.data = new DirectoryPart(root))];
  if (needsXattrBlock(root)) {
    rootParts.push((root.xattrBlock = new XattrPart(root)));
  }
  const shape = shapeHead(
    use,
    rootParts.reduce((sum, part) => sum + part.blockCount, 0),
  );
  placeInOrder(rootParts, shape.rootBlock);
  const table = new InodeTablePart(inodes);
  table.firstBlock = use.touch(0).tableBlock = shape.tableBlock;
  use.useBlocks({ firstBlock: 0, blockCount: shape.tableBlock });
  return [new BytesPart(encodeHead(use, shape), 0), ...rootParts, table];
}

/** By position in group 0's table. A directory's number depends on its path and on the lower layers, seldom on these. */
function numberHeadInodes(
  root: PlannedDirectory,
  topDirectories: readonly PlannedDirectory[],
): (PlannedInode | undefined)[] {
  const inodes: (PlannedInode | undefined)[] = [];
  root.number = rootInodeNumber;
  inodes[rootInodeNumber - 1] = root;
  for (const inode of topDirectories) {
    let slot = hashedPlace(pathHash(inode.path), topDirectoryNumbers);
    while (inodes[firstFreeInodeNumber + slot - 1] !== undefined) {
      slot = (slot + 1) % topDirectoryNumbers;
    }
    inode.number = firstFreeInodeNumber + slot;
    inodes[inode.number - 1] = inode;
  }
  return Array.from(inodes);
}
