/**
 * The records of ext4 as tables, with the kernel's names and offsets. Tables and constants only.
 * Source: kernel Documentation/filesystems/ext4 and fs/ext4/ext4.h. Rows named `_…` are fields that
 * Thaw neither sets nor needs.
 */

import { layout } from '../base/index.ts';

export const superblockOffset = 1024;
export const superblockMagic = 0xef53;

/** ext4_super_block, 1,024 bytes. Source: super.rst. */
export const Superblock = layout('ext4_super_block', 1024, [
  [0x0, 'u32', 's_inodes_count'],
  [0x4, 'u32', 's_blocks_count_lo'],
  [0x8, 'u32', '_s_r_blocks_count_lo'],
  [0xc, 'u32', 's_free_blocks_count_lo'],
  [0x10, 'u32', 's_free_inodes_count'],
  [0x14, 'u32', 's_first_data_block'],
  [0x18, 'u32', 's_log_block_size'], // 2^(10 + this)
  [0x1c, 'u32', 's_log_cluster_size'],
  [0x20, 'u32', 's_blocks_per_group'],
  [0x24, 'u32', 's_clusters_per_group'],
  [0x28, 'u32', 's_inodes_per_group'],
  [0x2c, 'u32', '_s_mtime'],
  [0x30, 'u32', '_s_wtime'],
  [0x34, 'u16', '_s_mnt_count'],
  [0x36, 'u16', 's_max_mnt_count'], // 0xFFFF: never checked for having been mounted often
  [0x38, 'u16', 's_magic'],
  [0x3a, 'u16', 's_state'],
  [0x3c, 'u16', 's_errors'],
  [0x3e, 'u16', '_s_minor_rev_level'],
  [0x40, 'u32', '_s_lastcheck'],
  [0x44, 'u32', '_s_checkinterval'],
  [0x48, 'u32', '_s_creator_os'],
  [0x4c, 'u32', 's_rev_level'],
  [0x50, 'u16', '_s_def_resuid'],
  [0x52, 'u16', '_s_def_resgid'],
  [0x54, 'u32', 's_first_ino'],
  [0x58, 'u16', 's_inode_size'],
  [0x5a, 'u16', '_s_block_group_nr'],
  [0x5c, 'u32', 's_feature_compat'],
  [0x60, 'u32', 's_feature_incompat'],
  [0x64, 'u32', 's_feature_ro_compat'],
  [0x68, 'bytes16', 's_uuid'],
  [0x78, 'bytes16', 's_volume_name'],
  [0x88, 'bytes64', '_s_last_mounted'],
  [0xc8, 'u32', '_s_algorithm_usage_bitmap'],
  [0xcc, 'u16', '_s_prealloc_blocks_and_dir_blocks'],
  [0xce, 'u16', '_s_reserved_gdt_blocks'],
  [0xd0, 'bytes28', '_s_journal_uuid_to_s_last_orphan'],
  [0xec, 'u32', 's_hash_seed_0'],
  [0xf0, 'u32', 's_hash_seed_1'],
  [0xf4, 'u32', 's_hash_seed_2'],
  [0xf8, 'u32', 's_hash_seed_3'],
  [0xfc, 'u8', 's_def_hash_version'],
  [0xfd, 'u8', '_s_jnl_backup_type'],
  [0xfe, 'u16', 's_desc_size'],
  [0x100, 'u32', 's_default_mount_opts'],
  [0x104, 'u32', '_s_first_meta_bg'],
  [0x108, 'u32', '_s_mkfs_time'],
  [0x10c, 'bytes68', '_s_jnl_blocks'],
  [0x150, 'u32', 's_blocks_count_hi'],
  [0x154, 'bytes8', '_s_r_blocks_count_hi_and_s_free_blocks_count_hi'],
  [0x15c, 'u16', 's_min_extra_isize'],
  [0x15e, 'u16', 's_want_extra_isize'],
  [0x160, 'u32', 's_flags'],
  [0x164, 'bytes16', '_s_raid_stride_to_s_raid_stripe_width'],
  [0x174, 'u8', 's_log_groups_per_flex'],
  [0x175, 'bytes211', '_s_checksum_type_to_s_grp_quota_inum'],
  [0x248, 'u32', 's_overhead_clusters'],
  [0x24c, 'bytes8', '_s_backup_bgs'], // zero: no backup of the superblock anywhere
  [0x254, 'bytes428', '_s_encrypt_algos_to_s_checksum'],
]);

/** `s_state`: unmounted cleanly. */
export const stateClean = 1;
/** `s_errors`: on a damaged structure, go read-only. */
export const errorsRemountReadOnly = 2;
/** `s_default_mount_opts`: extended attributes of users, access control lists. */
export const mountXattrAndAcl = 0x4 | 0x8;
/** `s_flags`: directory hashes read the bytes of names as signed, or as unsigned. */
export const signedHash = 0x1;
export const unsignedHash = 0x2;
/** `s_def_hash_version` and `hash_version`: half MD4; 4 is its unsigned twin, by which only kernels call it. */
export const hashHalfMd4 = 1;

/** Features without which the filesystem may still be written. Source: super.rst, `s_feature_compat`. */
export const Compat = {
  extendedAttributes: 0x8,
  directoryIndex: 0x20,
  sparseSuper2: 0x200,
} as const;

/** Features without which the filesystem must not be mounted. Source: super.rst, `s_feature_incompat`. */
export const Incompat = {
  fileType: 0x2,
  extents: 0x40,
  bits64: 0x80,
  flexibleGroups: 0x200,
  checksumSeed: 0x2000,
  inlineData: 0x8000,
} as const;

/** Features without which the filesystem may be read but not written. Source: super.rst, `s_feature_ro_compat`. */
export const ReadOnlyCompat = {
  largeFile: 0x2,
  hugeFile: 0x8,
  groupChecksum: 0x10,
  directoryLinks: 0x20,
  extraInodeSize: 0x40,
} as const;

/** ext4_group_desc without the 64bit half, 32 bytes. Source: group_descr.rst. */
export const GroupDescriptor = layout('ext4_group_desc', 32, [
  [0x0, 'u32', 'bg_block_bitmap_lo'],
  [0x4, 'u32', 'bg_inode_bitmap_lo'],
  [0x8, 'u32', 'bg_inode_table_lo'],
  [0xc, 'u16', 'bg_free_blocks_count_lo'],
  [0xe, 'u16', 'bg_free_inodes_count_lo'],
  [0x10, 'u16', 'bg_used_dirs_count_lo'],
  [0x12, 'u16', 'bg_flags'],
  [0x14, 'bytes8', '_bg_exclude_bitmap_lo_to_bg_inode_bitmap_csum_lo'],
  [0x1c, 'u16', 'bg_itable_unused_lo'], // inodes at the table's end that were never used
  [0x1e, 'u16', 'bg_checksum'],
]);

/** `bg_flags`: the inode table and bitmap, or the block bitmap, are not there yet; the table is zeroed. */
export const inodesUninitialised = 0x1;
export const blocksUninitialised = 0x2;
export const inodeTableZeroed = 0x4;

/** ext4_inode up to the end of the fields that `i_extra_isize` = 32 counts, 160 bytes. Source: inodes.rst. */
export const InodeRecord = layout('ext4_inode', 160, [
  [0x0, 'u16', 'i_mode'],
  [0x2, 'u16', 'i_uid'],
  [0x4, 'u32', 'i_size_lo'],
  [0x8, 'i32', 'i_atime'],
  [0xc, 'i32', 'i_ctime'],
  [0x10, 'i32', 'i_mtime'],
  [0x14, 'u32', '_i_dtime'],
  [0x18, 'u16', 'i_gid'],
  [0x1a, 'u16', 'i_links_count'],
  [0x1c, 'u32', 'i_blocks_lo'], // of 512 bytes
  [0x20, 'u32', 'i_flags'],
  [0x24, 'u32', '_l_i_version'],
  [0x28, 'bytes60', 'i_block'],
  [0x64, 'u32', '_i_generation'],
  [0x68, 'u32', 'i_file_acl_lo'], // the block of extended attributes
  [0x6c, 'u32', 'i_size_high'],
  [0x70, 'u32', '_i_obso_faddr'],
  [0x74, 'u16', 'l_i_blocks_high'],
  [0x76, 'u16', 'l_i_file_acl_high'],
  [0x78, 'u16', 'l_i_uid_high'],
  [0x7a, 'u16', 'l_i_gid_high'],
  [0x7c, 'u32', '_l_i_checksum_lo'],
  [0x80, 'u16', 'i_extra_isize'],
  [0x82, 'u16', '_i_checksum_hi'],
  [0x84, 'u32', 'i_ctime_extra'],
  [0x88, 'u32', 'i_mtime_extra'],
  [0x8c, 'u32', 'i_atime_extra'],
  [0x90, 'i32', 'i_crtime'],
  [0x94, 'u32', 'i_crtime_extra'],
  [0x98, 'u32', '_i_version_hi'],
  [0x9c, 'u32', '_i_projid'],
]);

/** What of the inode every ext filesystem has; the rest, from 0x80 on, is there as far as `i_extra_isize` says. */
export const inodeBaseBytes = 128;
export const inodeExtraBytes = InodeRecord.sizeBytes - inodeBaseBytes;

/** Data inside the inode: first in `i_block`, then in what is left for attributes. Source: inlinedata.rst. */
export const inlineBlockFieldBytes = 60;
export const inlineBytesMax = 128;
/** An inline directory begins with its parent's number; it has no dots. */
export const inlineParentBytes = 4;

/** `i_flags`. Source: inodes.rst. */
export const InodeFlags = {
  /** A directory with a hash tree. */
  index: 0x1000,
  extents: 0x80000,
  inlineData: 0x10000000,
} as const;

/** The type in `i_mode` and the one in a directory entry. Source: inodes.rst, directory.rst. */
export const fileTypes = {
  file: { modeBits: 0o100000, entryType: 1 },
  directory: { modeBits: 0o040000, entryType: 2 },
  'character-device': { modeBits: 0o020000, entryType: 3 },
  'block-device': { modeBits: 0o060000, entryType: 4 },
  fifo: { modeBits: 0o010000, entryType: 5 },
  socket: { modeBits: 0o140000, entryType: 6 },
  symlink: { modeBits: 0o120000, entryType: 7 },
} as const;
export const modeTypeMask = 0o170000;

/** ext4_extent_header, 12 bytes. Source: ifork.rst. */
export const ExtentHeader = layout('ext4_extent_header', 12, [
  [0x0, 'u16', 'eh_magic'],
  [0x2, 'u16', 'eh_entries'],
  [0x4, 'u16', 'eh_max'],
  [0x6, 'u16', 'eh_depth'], // 0: the entries are extents
  [0x8, 'u32', '_eh_generation'],
]);
export const extentMagic = 0xf30a;
/** Deeper trees are not valid: five levels reach 2^32 blocks. */
export const extentDepthMax = 5;

/** ext4_extent_idx, 12 bytes: an entry of an inner node. Source: ifork.rst. */
export const ExtentIndex = layout('ext4_extent_idx', 12, [
  [0x0, 'u32', 'ei_block'],
  [0x4, 'u32', 'ei_leaf_lo'],
  [0x8, 'u16', 'ei_leaf_hi'],
  [0xa, 'u16', '_ei_unused'],
]);

/** ext4_extent, 12 bytes. Source: ifork.rst. */
export const ExtentLeaf = layout('ext4_extent', 12, [
  [0x0, 'u32', 'ee_block'],
  [0x4, 'u16', 'ee_len'], // above 32,768: allocated, not yet written, this less 32,768 long
  [0x6, 'u16', 'ee_start_hi'],
  [0x8, 'u32', 'ee_start_lo'],
]);
export const extentBlocksMax = 32_768;

/** The fixed part of ext4_dir_entry_2, 8 bytes; the name follows. Source: directory.rst. */
export const DirectoryEntryHead = layout('ext4_dir_entry_2', 8, [
  [0x0, 'u32', 'inode'], // 0: unused
  [0x4, 'u16', 'rec_len'],
  [0x6, 'u8', 'name_len'],
  [0x7, 'u8', 'file_type'],
]);
export const nameBytesMax = 255;

/** dx_root_info, 8 bytes, at offset 24 of a hashed directory's first block. Source: directory.rst. */
export const HashTreeInfo = layout('dx_root_info', 8, [
  [0x0, 'u32', '_reserved_zero'],
  [0x4, 'u8', 'hash_version'],
  [0x5, 'u8', 'info_length'],
  [0x6, 'u8', 'indirect_levels'],
  [0x7, 'u8', '_unused_flags'],
]);

/** dx_countlimit, 4 bytes, in place of the first dx_entry's hash. Source: directory.rst. */
export const HashTreeCount = layout('dx_countlimit', 4, [
  [0x0, 'u16', 'limit'],
  [0x2, 'u16', 'count'],
]);

/** dx_entry, 8 bytes: names with this hash and above are in this block of the directory. Source: directory.rst. */
export const HashTreeEntry = layout('dx_entry', 8, [
  [0x0, 'u32', 'hash'], // lowest bit set: names with this hash are in the block before, too
  [0x4, 'u32', 'block'],
]);

/** ext4_xattr_header, 32 bytes, begins a block of attributes. Source: attributes.rst. */
export const XattrBlockHeader = layout('ext4_xattr_header', 32, [
  [0x0, 'u32', 'h_magic'],
  [0x4, 'u32', 'h_refcount'],
  [0x8, 'u32', 'h_blocks'],
  [0xc, 'u32', 'h_hash'],
  [0x10, 'bytes16', '_h_checksum_and_h_reserved'],
]);
/** Also alone, as ext4_xattr_ibody_header, in front of the attributes inside an inode. */
export const xattrMagic = 0xea020000;

/** The fixed part of ext4_xattr_entry, 16 bytes; the name follows. Source: attributes.rst. */
export const XattrEntryHead = layout('ext4_xattr_entry', 16, [
  [0x0, 'u8', 'e_name_len'],
  [0x1, 'u8', 'e_name_index'],
  [0x2, 'u16', 'e_value_offs'], // from the block's start, or in an inode from the first entry
  [0x4, 'u32', 'e_value_inum'],
  [0x8, 'u32', 'e_value_size'],
  [0xc, 'u32', 'e_hash'],
]);

/** The attribute, `system.data`, with what of an inode's inline data `i_block` does not hold. Source: inlinedata.rst. */
export const inlineDataXattr = { nameIndex: 7, name: 'data' } as const;

/** What `e_name_index` stands for. Source: attributes.rst. */
export const xattrPrefixes: ReadonlyMap<number, string> = new Map([
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
]);
