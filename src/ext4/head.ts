/**
 * The head of the disk: superblock, group descriptors, bitmaps and the root directory. It is what every image has for
 * itself, so it is kept in one chunk where possible and holds nothing that another image could share.
 *
 * A group in which nothing is used needs no bitmaps: its flags say that it was never touched (`uninit_bg`). There is no
 * `lost+found`: no layer has one, and e2fsck makes it when needed.
 *
 * Free counts say the truth about the address space, most of which no device backs, and the overhead is all metadata, so
 * that `df` shows what the files take. Who mounts for writing bounds it by /sys/fs/ext4/DEVICE/reserved_clusters: free
 * blocks less the budget. `df` then shows the budget, and writing past it fails with ENOSPC, for root too.
 *
 * Source: kernel Documentation/filesystems/ext4/{super,group_descr,bitmaps}.rst.
 */

import { crc16 } from './crc16.ts';
import { Ext4LimitError } from './errors.ts';
import {
  blockSizeBytes,
  blocksPerGroup,
  directoryHashSeed,
  filesystemUuid,
  firstFreeInodeNumber,
  inodeSizeBytes,
  inodeTableBlocks,
  inodesPerGroup,
  volumeName,
  type BlockRange,
} from './geometry.ts';
import {
  Compat,
  GroupDescriptor,
  Incompat,
  ReadOnlyCompat,
  Superblock,
  blocksUninitialised,
  errorsRemountReadOnly,
  hashHalfMd4,
  inodeExtraBytes,
  inodeTableZeroed,
  inodesUninitialised,
  mountXattrAndAcl,
  stateClean,
  superblockMagic,
  superblockOffset,
  unsignedHash,
} from './layout.ts';

/** What is in use in one group. */
interface GroupUse {
  readonly blocks: Bitmap;
  inodes: Bitmap | undefined;
  directoryCount: number;
  tableBlock: number;
}

/** A block of bits, lowest bit first. */
class Bitmap {
  readonly bytes = new Uint8Array(blockSizeBytes);
  used = 0;
  last = -1;

  /** Returns how many of the bits were not set. */
  set(first: number, count: number): number {
    const usedBefore = this.used;
    for (let bit = first; bit < first + count; bit += 1) {
      const byte = this.bytes[bit >>> 3] ?? 0;
      if ((byte & (1 << (bit & 7))) === 0) this.used += 1;
      this.bytes[bit >>> 3] = byte | (1 << (bit & 7));
    }
    this.last = Math.max(this.last, first + count - 1);
    return this.used - usedBefore;
  }

  has(bit: number): boolean {
    return ((this.bytes[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  /** Marks the bits past the end of what the bitmap describes. */
  pad(from: number): void {
    this.bytes.fill(0xff, from >>> 3);
  }
}

/** Collects what is in use, group by group. */
export class DiskUse {
  readonly groupCount: number;
  readonly groups = new Map<number, GroupUse>();

  constructor(groupCount: number) {
    this.groupCount = groupCount;
    this.touch(0).inodes = new Bitmap();
    for (let number = 1; number < firstFreeInodeNumber; number += 1) this.useInode(number, false);
    // e2fsck wants the last group's bitmap written even if nothing is used there
    this.touch(groupCount - 1);
  }

  /** Gives the group a bitmap and an inode table of its own, whether or not anything in it is used. */
  touch(group: number, tableBlock = group * blocksPerGroup): GroupUse {
    const known = this.groups.get(group);
    if (known !== undefined) return known;
    const use = { blocks: new Bitmap(), inodes: undefined, directoryCount: 0, tableBlock };
    this.groups.set(group, use);
    return use;
  }

  /** Returns how many of the blocks were not in use. */
  useBlocks({ firstBlock, blockCount }: BlockRange): number {
    let wereFree = 0;
    let at = firstBlock;
    const end = firstBlock + blockCount;
    while (at < end) {
      const group = Math.floor(at / blocksPerGroup);
      const count = Math.min(end, (group + 1) * blocksPerGroup) - at;
      wereFree += this.touch(group).blocks.set(at % blocksPerGroup, count);
      at += count;
    }
    return wereFree;
  }

  /** Returns whether it was not in use. */
  useInode(number: number, isDirectory: boolean): boolean {
    const use = this.touch(Math.floor((number - 1) / inodesPerGroup));
    use.inodes ??= new Bitmap();
    if (isDirectory) use.directoryCount += 1;
    return use.inodes.set((number - 1) % inodesPerGroup, 1) > 0;
  }
}

/** How the first blocks of the disk are divided, known once it is known which groups are in use. */
export interface HeadShape {
  readonly descriptorBlocks: number;
  readonly bitmapBlocks: number;
  /** Where the root directory's own blocks begin. */
  readonly rootBlock: number;
  /** Where group 0's inode table begins. */
  readonly tableBlock: number;
}

/** `use` must already have every group that will be in use. Throws `ERR_EXT4_LIMIT`. */
export function shapeHead(use: DiskUse, rootBlocks: number): HeadShape {
  const descriptorBlocks = (use.groupCount * GroupDescriptor.sizeBytes) / blockSizeBytes;
  let bitmapBlocks = 0;
  for (const group of use.groups.values()) bitmapBlocks += group.inodes === undefined ? 1 : 2;
  const rootBlock = 1 + descriptorBlocks + bitmapBlocks;
  const tableBlock = rootBlock + rootBlocks;
  if (tableBlock + inodeTableBlocks > blocksPerGroup) {
    throw new Ext4LimitError(
      'Cannot store the image: its bitmaps and root directory need more than 128 MiB',
    );
  }
  return { descriptorBlocks, bitmapBlocks, rootBlock, tableBlock };
}

/** The first blocks of the disk up to the root directory's, which `use` must already count as used. */
export function encodeHead(use: DiskUse, shape: HeadShape): Uint8Array {
  const head = Buffer.alloc(shape.rootBlock * blockSizeBytes);
  let bitmapBlock = 1 + shape.descriptorBlocks;
  let freeBlocks = 0;
  let freeInodes = 0;
  for (let group = 0; group < use.groupCount; group += 1) {
    const known = use.groups.get(group);
    const described =
      known === undefined ? describeUnused(group) : describeUsed(group, known, bitmapBlock);
    if (known !== undefined) {
      head.set(known.blocks.bytes, bitmapBlock * blockSizeBytes);
      bitmapBlock += 1;
      if (known.inodes !== undefined) {
        head.set(known.inodes.bytes, bitmapBlock * blockSizeBytes);
        bitmapBlock += 1;
      }
    }
    freeBlocks += described.bg_free_blocks_count_lo;
    freeInodes += described.bg_free_inodes_count_lo;
    writeDescriptor(head, group, described);
  }
  const overheadBlocks =
    1 + shape.descriptorBlocks + use.groupCount * (inodeTableBlocks + bitmapsPerGroup);
  writeSuperblock(head, { groupCount: use.groupCount, freeBlocks, freeInodes, overheadBlocks });
  return head;
}

type Descriptor = Parameters<typeof GroupDescriptor.encode>[0];

const bitmapsPerGroup = 2;
/** Where in a group its bitmaps would be if it had any of its own: behind the inode table. */
const blockBitmapInGroup = inodeTableBlocks;
const inodeBitmapInGroup = inodeTableBlocks + 1;

function describeUnused(group: number): Descriptor {
  const firstBlock = group * blocksPerGroup;
  return {
    bg_block_bitmap_lo: firstBlock + blockBitmapInGroup,
    bg_inode_bitmap_lo: firstBlock + inodeBitmapInGroup,
    bg_inode_table_lo: firstBlock,
    bg_free_blocks_count_lo: blocksPerGroup - inodeTableBlocks - bitmapsPerGroup,
    bg_free_inodes_count_lo: inodesPerGroup,
    bg_used_dirs_count_lo: 0,
    bg_flags: inodesUninitialised | blocksUninitialised | inodeTableZeroed,
    bg_itable_unused_lo: inodesPerGroup,
    bg_checksum: 0,
  };
}

/** Completes the group's bitmaps, too. */
function describeUsed(group: number, use: GroupUse, bitmapBlock: number): Descriptor {
  const firstBlock = group * blocksPerGroup;
  use.blocks.set(use.tableBlock - firstBlock, inodeTableBlocks);
  // A group without inodes has no bitmap of them either, but must say where it would be: behind the table nothing is.
  const emptyBitmapBlock = use.tableBlock + inodeTableBlocks;
  if (use.inodes === undefined) use.blocks.set(emptyBitmapBlock - firstBlock, 1);
  else use.inodes.pad(inodesPerGroup);
  return {
    bg_block_bitmap_lo: bitmapBlock,
    bg_inode_bitmap_lo: use.inodes === undefined ? emptyBitmapBlock : bitmapBlock + 1,
    bg_inode_table_lo: use.tableBlock,
    bg_free_blocks_count_lo: blocksPerGroup - use.blocks.used,
    bg_free_inodes_count_lo: inodesPerGroup - (use.inodes?.used ?? 0),
    bg_used_dirs_count_lo: use.directoryCount,
    bg_flags: inodeTableZeroed | (use.inodes === undefined ? inodesUninitialised : 0),
    bg_itable_unused_lo: inodesPerGroup - 1 - (use.inodes?.last ?? -1),
    bg_checksum: 0,
  };
}

function writeDescriptor(head: Buffer, group: number, descriptor: Descriptor): void {
  const record = GroupDescriptor.encode(descriptor);
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  const checksumAt = GroupDescriptor.sizeBytes - 2;
  let checksum = crc16(0xffff, filesystemUuid);
  checksum = crc16(checksum, number);
  checksum = crc16(checksum, record.subarray(0, checksumAt));
  record.writeUInt16LE(checksum, checksumAt);
  head.set(record, blockSizeBytes + group * GroupDescriptor.sizeBytes);
}

interface Totals {
  readonly groupCount: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly overheadBlocks: number;
}

function writeSuperblock(head: Buffer, totals: Totals): void {
  const label = Buffer.alloc(16);
  label.write(volumeName, 0, 'latin1');
  Superblock.encodeInto(head, superblockOffset, {
    s_inodes_count: totals.groupCount * inodesPerGroup,
    s_blocks_count_lo: totals.groupCount * blocksPerGroup,
    s_free_blocks_count_lo: totals.freeBlocks,
    s_free_inodes_count: totals.freeInodes,
    s_first_data_block: 0,
    s_log_block_size: 2,
    s_log_cluster_size: 2,
    s_blocks_per_group: blocksPerGroup,
    s_clusters_per_group: blocksPerGroup,
    s_inodes_per_group: inodesPerGroup,
    s_max_mnt_count: 0xffff,
    s_magic: superblockMagic,
    s_state: stateClean,
    s_errors: errorsRemountReadOnly,
    s_rev_level: 1,
    s_first_ino: firstFreeInodeNumber,
    s_inode_size: inodeSizeBytes,
    s_feature_compat: Compat.extendedAttributes | Compat.directoryIndex | Compat.sparseSuper2,
    s_feature_incompat:
      Incompat.fileType | Incompat.extents | Incompat.flexibleGroups | Incompat.inlineData,
    s_feature_ro_compat:
      ReadOnlyCompat.largeFile |
      ReadOnlyCompat.hugeFile |
      ReadOnlyCompat.groupChecksum |
      ReadOnlyCompat.directoryLinks |
      ReadOnlyCompat.extraInodeSize,
    s_uuid: filesystemUuid,
    s_volume_name: label,
    s_hash_seed_0: directoryHashSeed[0],
    s_hash_seed_1: directoryHashSeed[1],
    s_hash_seed_2: directoryHashSeed[2],
    s_hash_seed_3: directoryHashSeed[3],
    s_def_hash_version: hashHalfMd4,
    s_desc_size: 0,
    s_default_mount_opts: mountXattrAndAcl,
    s_blocks_count_hi: 0,
    s_min_extra_isize: inodeExtraBytes,
    s_want_extra_isize: inodeExtraBytes,
    s_flags: unsignedHash,
    s_log_groups_per_flex: 4,
    s_overhead_clusters: totals.overheadBlocks,
  });
}
