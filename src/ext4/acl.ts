/**
 * POSIX access control lists: `getxattr` and tar spell them in one way, ext4 stores them in another, shorter one.
 * Source: kernel include/uapi/linux/posix_acl_xattr.h and fs/ext4/acl.h.
 */

import { viewOf } from '../base/index.ts';
import { Ext4AclError, Ext4CorruptError } from './errors.ts';

const portableVersion = 2;
const storedVersion = 1;
const headerBytes = 4;
const portableEntryBytes = 8;
const shortEntryBytes = 4;

/** Of the two kinds of entry, those for a named user or group carry an id. */
const tagsWithId = new Set([0x02, 0x08]);
const tagsWithoutId = new Set([0x01, 0x04, 0x10, 0x20]);
const noId = 0xffffffff;

/** From the attribute's value to ext4's own form. Throws `ERR_EXT4_BAD_ACL`. */
export function storedAcl(portable: Uint8Array, what: string): Uint8Array {
  const source = viewOf(portable);
  const whole = (source.byteLength - headerBytes) % portableEntryBytes === 0;
  if (source.byteLength < headerBytes || !whole || source.readUInt32LE(0) !== portableVersion) {
    throw new Ext4AclError(
      `Cannot store ${what}: its value is no access control list of version 2`,
    );
  }
  const parts: Uint8Array[] = [Uint8Array.of(storedVersion, 0, 0, 0)];
  for (let at = headerBytes; at < source.byteLength; at += portableEntryBytes) {
    const tag = source.readUInt16LE(at);
    if (!tagsWithId.has(tag) && !tagsWithoutId.has(tag)) {
      throw new Ext4AclError(`Cannot store ${what}: it has an entry of unknown kind ${tag}`);
    }
    parts.push(
      source.subarray(at, at + (tagsWithId.has(tag) ? portableEntryBytes : shortEntryBytes)),
    );
  }
  return Buffer.concat(parts);
}

/** The inverse of `storedAcl`. Throws `ERR_EXT4_CORRUPT`. */
export function portableAcl(stored: Uint8Array): Uint8Array {
  const source = viewOf(stored);
  if (source.byteLength < headerBytes || source.readUInt32LE(0) !== storedVersion) {
    throw new Ext4CorruptError('An access control list does not begin with version 1');
  }
  const parts: Uint8Array[] = [Uint8Array.of(portableVersion, 0, 0, 0)];
  let at = headerBytes;
  while (at < source.byteLength) {
    const hasId = at + 2 <= source.byteLength && tagsWithId.has(source.readUInt16LE(at));
    const sizeBytes = hasId ? portableEntryBytes : shortEntryBytes;
    if (at + sizeBytes > source.byteLength) {
      throw new Ext4CorruptError('An access control list ends in the middle of an entry');
    }
    const entry = Buffer.alloc(portableEntryBytes);
    entry.writeUInt32LE(noId, shortEntryBytes);
    source.copy(entry, 0, at, at + sizeBytes);
    parts.push(entry);
    at += sizeBytes;
  }
  return Buffer.concat(parts);
}
