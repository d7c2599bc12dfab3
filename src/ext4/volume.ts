/**
 * The frame of a filesystem that is read: where its blocks, groups and inode tables are. Every number in it was checked
 * against the size of the disk, and so is every block that is asked for.
 */

import { toHex, viewOf, type RandomAccess } from '../base/index.ts';
import { Ext4CorruptError, Ext4UnsupportedError } from './errors.ts';
import type { HashSeed } from './half-md4.ts';
import {
  GroupDescriptor,
  Incompat,
  Superblock,
  inodeBaseBytes,
  signedHash,
  superblockMagic,
  superblockOffset,
} from './layout.ts';

/** What the superblock says of the whole. */
export interface FilesystemInfo {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly freeBlockCount: number;
  readonly inodeCount: number;
  readonly freeInodeCount: number;
  /** 32 hex digits. */
  readonly uuid: string;
}

type SuperblockFields = ReturnType<typeof Superblock.decode>;

const featuresRead =
  Incompat.fileType |
  Incompat.extents |
  Incompat.bits64 |
  Incompat.flexibleGroups |
  Incompat.inlineData |
  Incompat.checksumSeed;

const blocksKept = 512;

export class Volume {
  readonly info: FilesystemInfo;
  readonly hashSeed: HashSeed;
  readonly hashSigned: boolean;
  readonly inodeSizeBytes: number;
  readonly #disk: RandomAccess;
  readonly #superblock: SuperblockFields;
  /** The blocks used last; what was used longest ago stands first. */
  readonly #kept = new Map<number, Uint8Array>();
  /** Where the inode tables begin that were used so far, by group. */
  readonly #inodeTables = new Map<number, number>();

  private constructor(disk: RandomAccess, superblock: SuperblockFields, info: FilesystemInfo) {
    this.#disk = disk;
    this.#superblock = superblock;
    this.info = info;
    this.inodeSizeBytes = superblock.s_inode_size;
    this.hashSigned = (superblock.s_flags & signedHash) !== 0;
    this.hashSeed = [
      superblock.s_hash_seed_0,
      superblock.s_hash_seed_1,
      superblock.s_hash_seed_2,
      superblock.s_hash_seed_3,
    ];
  }

  static async open(disk: RandomAccess): Promise<Volume> {
    if (disk.sizeBytes < superblockOffset + Superblock.sizeBytes) {
      throw new Ext4CorruptError('The disk is too small to hold an ext4 filesystem');
    }
    const bytes = new Uint8Array(Superblock.sizeBytes);
    await disk.read(superblockOffset, bytes);
    const superblock = Superblock.decode(bytes);
    return new Volume(disk, superblock, checkSuperblock(superblock, disk.sizeBytes));
  }

  /** A block of the disk, for reading only. `what` says in the error what was to be found there. */
  async block(number: number, what: string): Promise<Uint8Array> {
    this.checkBlocks(number, 1, what);
    const kept = this.#kept.get(number);
    const block = kept ?? new Uint8Array(this.info.blockSizeBytes);
    if (kept === undefined) await this.read(number, 0, block);
    this.#kept.delete(number);
    this.#kept.set(number, block);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > blocksKept && oldest !== undefined) this.#kept.delete(oldest);
    return block;
  }

  /** Fills `target` with the disk's bytes from a block's byte `offset` on. */
  async read(block: number, offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(block * this.info.blockSizeBytes + offset, target);
  }

  /** Throws `ERR_EXT4_CORRUPT` unless the disk has these blocks and a filesystem may use them. */
  checkBlocks(first: number, count: number, what: string): void {
    const from = this.#superblock.s_first_data_block;
    if (first <= from || count < 1 || first + count > this.info.blockCount) {
      throw new Ext4CorruptError(`${what} is said to be in block ${first}, which cannot be`);
    }
  }

  /** The bytes of an inode. */
  async inodeBytes(number: number): Promise<Uint8Array> {
    const { s_inodes_per_group: perGroup } = this.#superblock;
    if (!Number.isInteger(number) || number < 1 || number > this.info.inodeCount) {
      throw new Ext4CorruptError(`Inode ${number} does not exist`);
    }
    const group = Math.floor((number - 1) / perGroup);
    const offset = ((number - 1) % perGroup) * this.inodeSizeBytes;
    const table = this.#inodeTables.get(group) ?? (await this.#findInodeTable(group));
    const { blockSizeBytes } = this.info;
    const block = await this.block(
      table + Math.floor(offset / blockSizeBytes),
      `The inode table of group ${group}`,
    );
    const at = offset % blockSizeBytes;
    return block.subarray(at, at + this.inodeSizeBytes);
  }

  /** The descriptor of a group, of a wide one the lower half. */
  async descriptor(group: number): Promise<ReturnType<typeof GroupDescriptor.decode>> {
    const { block, at } = await this.#descriptorAt(group);
    return GroupDescriptor.decode(block, at);
  }

  async #findInodeTable(group: number): Promise<number> {
    const { block, at } = await this.#descriptorAt(group);
    const low = GroupDescriptor.decode(block, at).bg_inode_table_lo;
    const isWide = descriptorBytes(this.#superblock) >= 64;
    const table = (isWide ? viewOf(block).readUInt32LE(at + 0x28) : 0) * 2 ** 32 + low;
    this.#inodeTables.set(group, table);
    return table;
  }

  async #descriptorAt(group: number): Promise<{ block: Uint8Array; at: number }> {
    const { blockSizeBytes } = this.info;
    const offset = group * descriptorBytes(this.#superblock);
    const first = this.#superblock.s_first_data_block + 1;
    const number = first + Math.floor(offset / blockSizeBytes);
    const block = await this.block(number, `The descriptor of group ${group}`);
    return { block, at: offset % blockSizeBytes };
  }
}

function has64Bits(superblock: SuperblockFields): boolean {
  return (superblock.s_feature_incompat & Incompat.bits64) !== 0;
}

function descriptorBytes(superblock: SuperblockFields): number {
  return has64Bits(superblock) ? superblock.s_desc_size : GroupDescriptor.sizeBytes;
}

function checkSuperblock(superblock: SuperblockFields, diskSizeBytes: number): FilesystemInfo {
  const s = superblock;
  if (s.s_magic !== superblockMagic)
    throw new Ext4CorruptError('The disk holds no ext4 filesystem');
  const unknown = s.s_feature_incompat & ~featuresRead;
  if (unknown !== 0) {
    throw new Ext4UnsupportedError(
      `The filesystem has features that Thaw does not read: incompat 0x${unknown.toString(16)}`,
    );
  }
  const blockSizeBytes = 2 ** (10 + s.s_log_block_size);
  const high = has64Bits(s) ? s.s_blocks_count_hi : 0;
  const blockCount = high * 2 ** 32 + s.s_blocks_count_lo;
  const bitsOfBlock = blockSizeBytes * 8;
  const groupCount = Math.ceil((blockCount - s.s_first_data_block) / s.s_blocks_per_group);
  const inodeBytes = s.s_inode_size;
  const descriptor = descriptorBytes(s);
  const plausible: readonly (readonly [name: string, holds: boolean])[] = [
    ['s_log_block_size', s.s_log_block_size <= 6],
    ['s_blocks_per_group', s.s_blocks_per_group > 0 && s.s_blocks_per_group <= bitsOfBlock],
    ['s_inodes_per_group', s.s_inodes_per_group > 0 && s.s_inodes_per_group <= bitsOfBlock],
    ['s_blocks_count', blockCount > 0 && blockCount * blockSizeBytes <= diskSizeBytes],
    ['s_inodes_count', s.s_inodes_count <= groupCount * s.s_inodes_per_group],
    ['s_first_data_block', s.s_first_data_block <= 1],
    ['s_inode_size', isPowerOfTwo(inodeBytes) && inodeBytes >= inodeBaseBytes],
    ['s_inode_size', inodeBytes <= blockSizeBytes],
    ['s_desc_size', isPowerOfTwo(descriptor) && descriptor >= 32 && descriptor <= blockSizeBytes],
    ['s_rev_level', s.s_rev_level >= 1],
  ];
  const wrong = plausible.find(([, holds]) => !holds);
  if (wrong !== undefined) {
    throw new Ext4CorruptError(`The superblock cannot be right: see its ${wrong[0]}`);
  }
  return {
    blockSizeBytes,
    blockCount,
    freeBlockCount: s.s_free_blocks_count_lo,
    inodeCount: s.s_inodes_count,
    freeInodeCount: s.s_free_inodes_count,
    uuid: toHex(s.s_uuid),
  };
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
