/**
 * Extended attributes: in the 96 bytes that an inode has left, and what does not fit there in one block.
 * Source: kernel Documentation/filesystems/ext4/attributes.rst, fs/ext4/xattr.c.
 */

import { byteStringToDisplay, roundUp, viewOf, type ByteString } from '../base/index.ts';
import { storedAcl } from './acl.ts';
import { Ext4LimitError } from './errors.ts';
import { blockSizeBytes, inodeSizeBytes } from './geometry.ts';
import {
  InodeRecord,
  XattrBlockHeader,
  XattrEntryHead,
  inlineBlockFieldBytes,
  inlineDataXattr,
  xattrMagic,
  xattrPrefixes,
} from './layout.ts';

interface StoredXattr {
  readonly nameIndex: number;
  /** Without the prefix that `nameIndex` stands for. */
  readonly name: string;
  readonly value: Uint8Array;
}

export interface PlannedXattrs {
  readonly inInode: readonly StoredXattr[];
  /** Sorted as the kernel wants a block's entries. */
  readonly inBlock: readonly StoredXattr[];
}

/** The inode that the attributes belong to. */
interface XattrOwner {
  readonly path: ByteString;
  readonly node: { readonly metadata: { readonly xattrs: ReadonlyMap<ByteString, Uint8Array> } };
  /** Its own data, if that lies in it. */
  readonly inline: object | undefined;
}

const magicBytes = 4;
/** Four zero bytes end a list of entries. */
const endBytes = 4;
const inodeRoom = inodeSizeBytes - InodeRecord.sizeBytes - magicBytes - endBytes;
const blockRoom = blockSizeBytes - XattrBlockHeader.sizeBytes - endBytes;

const none: PlannedXattrs = { inInode: [], inBlock: [] };

/** What of an inode's inline data `i_block` does not hold; there even if that is nothing. */
export function inlineDataRest(inlineBytes: Uint8Array): StoredXattr {
  return { ...inlineDataXattr, value: inlineBytes.subarray(inlineBlockFieldBytes) };
}

function entryBytes(xattr: StoredXattr): number {
  return roundUp(XattrEntryHead.sizeBytes + xattr.name.length, 4);
}

function totalBytes(xattrs: readonly StoredXattr[]): number {
  return xattrs.reduce(
    (sum, xattr) => sum + entryBytes(xattr) + roundUp(xattr.value.byteLength, 4),
    0,
  );
}

/** Undefined for an attribute in a namespace that ext4 has not, like macOS's `com.apple.`. */
function stored(fullName: ByteString, value: Uint8Array, path: string): StoredXattr | undefined {
  for (const [nameIndex, prefix] of xattrPrefixes) {
    if (prefix.endsWith('.') ? !fullName.startsWith(prefix) : fullName !== prefix) continue;
    const name = fullName.slice(prefix.length);
    if (prefix.endsWith('.')) return { nameIndex, name, value };
    return { nameIndex, name, value: storedAcl(value, `attribute "${fullName}" of "${path}"`) };
  }
  return undefined;
}

function compare(a: StoredXattr, b: StoredXattr): number {
  return (
    a.nameIndex - b.nameIndex ||
    a.name.length - b.name.length ||
    (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  );
}

/**
 * Divides attributes between inode and block: the inode first, unless its own data lies there. Attributes in a namespace
 * that ext4 has not are left out, as unpackers do when the kernel refuses them.
 * Throws `ERR_EXT4_LIMIT` if they do not fit, `ERR_EXT4_BAD_ACL`.
 */
export function planXattrs(inode: XattrOwner): PlannedXattrs {
  const { xattrs } = inode.node.metadata;
  if (xattrs.size === 0) return none;
  const path = byteStringToDisplay(inode.path);
  const room = inode.inline === undefined ? inodeRoom : 0;
  const all = [...xattrs]
    .map(([name, value]) => stored(name, value, path))
    .filter((xattr) => xattr !== undefined)
    .sort(compare);
  const inInode: StoredXattr[] = [];
  const inBlock: StoredXattr[] = [];
  for (const xattr of all) {
    if (xattr.name.length > 255) {
      throw new Ext4LimitError(
        `Cannot store an attribute of "${path}": its name is longer than 255 bytes`,
      );
    }
    (totalBytes([...inInode, xattr]) <= room ? inInode : inBlock).push(xattr);
  }
  if (totalBytes(inBlock) > blockRoom) {
    throw new Ext4LimitError(
      `Cannot store the extended attributes of "${path}": they need ${totalBytes(inBlock)} bytes, a block holds ${blockRoom}`,
    );
  }
  return { inInode, inBlock };
}

/** True if planning these attributes puts some into a block. Throws what `planXattrs` throws. */
export function needsXattrBlock(inode: XattrOwner): boolean {
  return planXattrs(inode).inBlock.length > 0;
}

/** The kernel's hash of one attribute, by which it finds equal blocks. Source: ext4_xattr_hash_entry. */
function entryHash({ name, value }: StoredXattr): number {
  let hash = 0;
  for (let index = 0; index < name.length; index += 1) {
    hash = (hash << 5) ^ (hash >>> 27) ^ name.charCodeAt(index);
  }
  const words = Buffer.alloc(roundUp(value.byteLength, 4));
  words.set(value);
  for (let at = 0; at < words.byteLength; at += 4) {
    hash = (hash << 16) ^ (hash >>> 16) ^ words.readUInt32LE(at);
  }
  return hash >>> 0;
}

/** Entries from `entriesAt` on, values from the end of `target` down; offsets count from `base`. */
function writeEntries(
  target: Buffer,
  { entriesAt, base, hashed }: { entriesAt: number; base: number; hashed: boolean },
  xattrs: readonly StoredXattr[],
): void {
  let at = entriesAt;
  let valueAt = target.byteLength;
  for (const xattr of xattrs) {
    valueAt -= roundUp(xattr.value.byteLength, 4);
    target.set(xattr.value, valueAt);
    XattrEntryHead.encodeInto(target, at, {
      e_name_len: xattr.name.length,
      e_name_index: xattr.nameIndex,
      e_value_offs: xattr.value.byteLength === 0 ? 0 : valueAt - base,
      e_value_inum: 0,
      e_value_size: xattr.value.byteLength,
      e_hash: hashed ? entryHash(xattr) : 0,
    });
    target.write(xattr.name, at + XattrEntryHead.sizeBytes, 'latin1');
    at += entryBytes(xattr);
  }
}

/** Writes the attributes that stay in the inode into its last 96 bytes; `inode` is its 256 bytes. */
export function writeInodeXattrs(inode: Uint8Array, xattrs: readonly StoredXattr[]): void {
  if (xattrs.length === 0) return;
  const target = viewOf(inode);
  target.writeUInt32LE(xattrMagic, InodeRecord.sizeBytes);
  const entriesAt = InodeRecord.sizeBytes + magicBytes;
  writeEntries(target, { entriesAt, base: entriesAt, hashed: false }, xattrs);
}

/** The block of the attributes that did not fit into the inode. */
export function encodeXattrBlock(xattrs: readonly StoredXattr[]): Uint8Array {
  const block = Buffer.alloc(blockSizeBytes);
  let hash = 0;
  for (const xattr of xattrs) hash = (hash << 16) ^ (hash >>> 16) ^ entryHash(xattr);
  XattrBlockHeader.encodeInto(block, 0, {
    h_magic: xattrMagic,
    h_refcount: 1,
    h_blocks: 1,
    h_hash: hash >>> 0,
  });
  writeEntries(block, { entriesAt: XattrBlockHeader.sizeBytes, base: 0, hashed: true }, xattrs);
  return block;
}
