/** Inodes as they are read. Source: kernel Documentation/filesystems/ext4/inodes.rst. */

import { viewOf } from '../base/index.ts';
import type { Metadata, Node } from '../rootfs/index.ts';
import { Ext4CorruptError } from './errors.ts';
import { InodeRecord, fileTypes, inodeBaseBytes, modeTypeMask } from './layout.ts';
import type { Volume } from './volume.ts';

export interface Ext4Inode {
  readonly number: number;
  readonly type: Node['type'];
  /** Permission, set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly linkCount: number;
  readonly modified: Metadata['modified'];
  /** 0 for all but devices. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** As in `InodeFlags`. */
  readonly flags: number;
  /** `i_block`: 60 bytes. */
  readonly blockField: Uint8Array;
  /** 0: no block of extended attributes. */
  readonly xattrBlock: number;
  /** What of the inode lies after its fields: attributes may be there. */
  readonly tail: Uint8Array;
}

const typesByModeBits = new Map<number, Node['type']>(
  (Object.keys(fileTypes) as Node['type'][]).map((type) => [fileTypes[type].modeBits, type]),
);

/** Throws `ERR_EXT4_CORRUPT` for an inode that is not in use. */
export async function readInode(volume: Volume, number: number): Promise<Ext4Inode> {
  const bytes = await volume.inodeBytes(number);
  // An old filesystem's short inode has no fields past the 128th byte: they read as zeros.
  const padded = Buffer.alloc(Math.max(bytes.byteLength, InodeRecord.sizeBytes));
  padded.set(bytes);
  const extraBytes = bytes.byteLength > inodeBaseBytes ? padded.readUInt16LE(inodeBaseBytes) : 0;
  const fieldsEnd = inodeBaseBytes + extraBytes;
  if (fieldsEnd > bytes.byteLength) {
    throw new Ext4CorruptError(`Inode ${number} has more fields than bytes`);
  }
  padded.fill(0, Math.min(fieldsEnd, InodeRecord.sizeBytes), InodeRecord.sizeBytes);
  const fields = InodeRecord.decode(padded);
  const type = typesByModeBits.get(fields.i_mode & modeTypeMask);
  if (type === undefined || fields.i_links_count === 0) {
    throw new Ext4CorruptError(`Inode ${number} is referred to but not in use`);
  }
  return {
    number,
    type,
    mode: fields.i_mode & 0o7777,
    uid: fields.l_i_uid_high * 0x10000 + fields.i_uid,
    gid: fields.l_i_gid_high * 0x10000 + fields.i_gid,
    sizeBytes: fields.i_size_high * 2 ** 32 + fields.i_size_lo,
    linkCount: fields.i_links_count,
    modified: decodeTime(fields.i_mtime, fields.i_mtime_extra),
    ...decodeDevice(type, fields.i_block),
    flags: fields.i_flags,
    blockField: fields.i_block,
    xattrBlock: fields.l_i_file_acl_high * 2 ** 32 + fields.i_file_acl_lo,
    tail: bytes.byteLength > inodeBaseBytes ? bytes.slice(fieldsEnd) : new Uint8Array(),
  };
}

/** The lowest two bits of the extra field extend the seconds, the others are nanoseconds. */
function decodeTime(low: number, extra: number): Metadata['modified'] {
  return { seconds: low + (extra & 3) * 2 ** 32, nanoseconds: extra >>> 2 };
}

function decodeDevice(
  type: Node['type'],
  blockField: Uint8Array,
): { deviceMajor: number; deviceMinor: number } {
  if (type !== 'character-device' && type !== 'block-device') {
    return { deviceMajor: 0, deviceMinor: 0 };
  }
  const old = viewOf(blockField).readUInt32LE(0);
  if (old !== 0) return { deviceMajor: (old >>> 8) & 0xff, deviceMinor: old & 0xff };
  const word = viewOf(blockField).readUInt32LE(4);
  return {
    deviceMajor: (word >>> 8) & 0xfff,
    deviceMinor: (word & 0xff) | ((word >>> 12) & 0xfff00),
  };
}
