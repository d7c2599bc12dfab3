/**
 * The FUSE wire protocol as far as a block image needs it: tables and constants only, named as in the kernel.
 * Source: include/uapi/linux/fuse.h, protocol 7.45 (sizes and flags have not changed since those named there).
 * Everything is little-endian; `unique` and `nodeid` are echoed, never interpreted.
 */

import { layout } from '../../base/index.ts';

export const FUSE_KERNEL_VERSION = 7;
/** The newest minor version whose layouts are those below. */
export const FUSE_KERNEL_MINOR_VERSION = 45;
export const FUSE_ROOT_ID = 1;

/** enum fuse_opcode */
export const FuseOpcode = {
  FUSE_LOOKUP: 1,
  FUSE_FORGET: 2,
  FUSE_GETATTR: 3,
  FUSE_SETATTR: 4,
  FUSE_OPEN: 14,
  FUSE_READ: 15,
  FUSE_WRITE: 16,
  FUSE_STATFS: 17,
  FUSE_RELEASE: 18,
  FUSE_FSYNC: 20,
  FUSE_FLUSH: 25,
  FUSE_INIT: 26,
  FUSE_OPENDIR: 27,
  FUSE_READDIR: 28,
  FUSE_RELEASEDIR: 29,
  FUSE_FSYNCDIR: 30,
  FUSE_ACCESS: 34,
  FUSE_INTERRUPT: 36,
  FUSE_DESTROY: 38,
  FUSE_BATCH_FORGET: 42,
} as const;

/** enum fuse_notify_code; travels in `error` of an out header whose `unique` is 0. */
export const FuseNotify = {
  FUSE_NOTIFY_RESEND: 7,
} as const;

/** FUSE_INIT flags (`flags`, low 32 bits). */
export const FuseInitFlag = {
  FUSE_ASYNC_READ: 1 << 0,
  FUSE_BIG_WRITES: 1 << 5,
  FUSE_ASYNC_DIO: 1 << 15,
  FUSE_PARALLEL_DIROPS: 1 << 18,
  FUSE_MAX_PAGES: 1 << 22,
  FUSE_EXPLICIT_INVAL_DATA: 1 << 25,
  FUSE_INIT_EXT: 1 << 30,
} as const;

/** FUSE_INIT flags (`flags2`, bit 32 of the whole is bit 0 here). */
export const FuseInitFlag2 = {
  FUSE_HAS_RESEND: 1 << 7,
} as const;

/** FOPEN_* flags of an OPEN answer. */
export const FuseOpenFlag = {
  FOPEN_KEEP_CACHE: 1 << 1,
  FOPEN_NOFLUSH: 1 << 5,
} as const;

/** Errors as the kernel numbers them (asm-generic/errno-base.h, errno.h); answers carry them negated. */
export const Errno = {
  ENOENT: 2,
  EIO: 5,
  EACCES: 13,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENOSYS: 38,
  ESTALE: 116,
} as const;

export const FuseInHeader = layout('fuse_in_header', 40, [
  [0, 'u32', 'len'],
  [4, 'u32', 'opcode'],
  [8, 'u64', 'unique'],
  [16, 'u64', 'nodeid'],
  [24, 'u32', 'uid'],
  [28, 'u32', 'gid'],
  [32, 'u32', 'pid'],
  [36, 'u16', 'total_extlen'],
  [38, 'u16', '_padding'],
]);

export const FuseOutHeader = layout('fuse_out_header', 16, [
  [0, 'u32', 'len'], // of the whole answer, this header included
  [4, 'i32', 'error'], // 0, a negative errno, or a FuseNotify code
  [8, 'u64', 'unique'],
]);

/** What a 7.36 kernel and newer sends; the rest of the record is unused and may be absent. */
export const FuseInitIn = layout('fuse_init_in', 20, [
  [0, 'u32', 'major'],
  [4, 'u32', 'minor'],
  [8, 'u32', 'max_readahead'],
  [12, 'u32', 'flags'],
  [16, 'u32', 'flags2'],
]);

export const FuseInitOut = layout('fuse_init_out', 64, [
  [0, 'u32', 'major'],
  [4, 'u32', 'minor'],
  [8, 'u32', 'max_readahead'],
  [12, 'u32', 'flags'],
  [16, 'u16', 'max_background'],
  [18, 'u16', 'congestion_threshold'],
  [20, 'u32', 'max_write'],
  [24, 'u32', 'time_gran'],
  [28, 'u16', 'max_pages'],
  [30, 'u16', 'map_alignment'],
  [32, 'u32', 'flags2'],
  [36, 'u32', 'max_stack_depth'],
  [40, 'bytes24', '_unused'],
]);

export const FuseReadIn = layout('fuse_read_in', 40, [
  [0, 'u64', 'fh'],
  [8, 'u64', 'offset'],
  [16, 'u32', 'size'],
  [20, 'u32', 'read_flags'],
  [24, 'u64', 'lock_owner'],
  [32, 'u32', 'flags'],
  [36, 'u32', '_padding'],
]);

/** Followed by `size` bytes of data. */
export const FuseWriteIn = layout('fuse_write_in', 40, [
  [0, 'u64', 'fh'],
  [8, 'u64', 'offset'],
  [16, 'u32', 'size'],
  [20, 'u32', 'write_flags'],
  [24, 'u64', 'lock_owner'],
  [32, 'u32', 'flags'],
  [36, 'u32', '_padding'],
]);

export const FuseWriteOut = layout('fuse_write_out', 8, [
  [0, 'u32', 'size'],
  [4, 'u32', '_padding'],
]);

export const FuseAttr = layout('fuse_attr', 88, [
  [0, 'u64', 'ino'],
  [8, 'u64', 'size'],
  [16, 'u64', 'blocks'], // of 512 bytes
  [24, 'u64', 'atime'],
  [32, 'u64', 'mtime'],
  [40, 'u64', 'ctime'],
  [48, 'u32', 'atimensec'],
  [52, 'u32', 'mtimensec'],
  [56, 'u32', 'ctimensec'],
  [60, 'u32', 'mode'],
  [64, 'u32', 'nlink'],
  [68, 'u32', 'uid'],
  [72, 'u32', 'gid'],
  [76, 'u32', 'rdev'],
  [80, 'u32', 'blksize'],
  [84, 'u32', 'flags'],
]);

/** Followed by a `fuse_attr`. */
export const FuseEntryOut = layout('fuse_entry_out', 40, [
  [0, 'u64', 'nodeid'],
  [8, 'u64', 'generation'],
  [16, 'u64', 'entry_valid'], // seconds
  [24, 'u64', 'attr_valid'], // seconds
  [32, 'u32', 'entry_valid_nsec'],
  [36, 'u32', 'attr_valid_nsec'],
]);

/** Followed by a `fuse_attr`. Answers GETATTR and SETATTR. */
export const FuseAttrOut = layout('fuse_attr_out', 16, [
  [0, 'u64', 'attr_valid'], // seconds
  [8, 'u32', 'attr_valid_nsec'],
  [12, 'u32', '_dummy'],
]);

export const FuseOpenIn = layout('fuse_open_in', 8, [
  [0, 'u32', 'flags'],
  [4, 'u32', 'open_flags'],
]);

export const FuseOpenOut = layout('fuse_open_out', 16, [
  [0, 'u64', 'fh'],
  [8, 'u32', 'open_flags'],
  [12, 'i32', 'backing_id'],
]);

/** Followed by the name, padded with zeros to a multiple of 8. */
export const FuseDirent = layout('fuse_dirent', 24, [
  [0, 'u64', 'ino'],
  [8, 'u64', 'off'], // where the next READDIR goes on
  [16, 'u32', 'namelen'],
  [20, 'u32', 'type'], // DT_*
]);

export const FuseStatfsOut = layout('fuse_statfs_out', 80, [
  [0, 'u64', 'blocks'],
  [8, 'u64', 'bfree'],
  [16, 'u64', 'bavail'],
  [24, 'u64', 'files'],
  [32, 'u64', 'ffree'],
  [40, 'u32', 'bsize'],
  [44, 'u32', 'namelen'],
  [48, 'u32', 'frsize'],
  [52, 'bytes28', '_spare'],
]);

/** S_IFREG, S_IFDIR of `mode`; DT_REG of a directory entry. */
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const DT_REG = 8;

/** Bytes that one READ or WRITE moves at most: `max_pages` pages of 4,096. */
export const fuseTransferMaxBytes = 256 * 4096;
/** A request's buffer: the longest WRITE, with room for its headers rounded to a page. */
export const fuseRequestMaxBytes = fuseTransferMaxBytes + 4096;
