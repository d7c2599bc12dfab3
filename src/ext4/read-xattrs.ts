/** Extended attributes as they are read. Source: kernel Documentation/filesystems/ext4/attributes.rst. */

import { byteStringFromBytes, roundUp, viewOf, type ByteString } from '../base/index.ts';
import { portableAcl } from './acl.ts';
import { Ext4CorruptError, Ext4UnsupportedError } from './errors.ts';
import {
  XattrBlockHeader,
  XattrEntryHead,
  inlineDataXattr,
  xattrMagic,
  xattrPrefixes,
} from './layout.ts';
import type { Ext4Inode } from './read-inode.ts';
import type { Volume } from './volume.ts';

const magicBytes = 4;

/** Full names to values as `getxattr` gives them, in byte order of the names. */
export async function readXattrs(
  volume: Volume,
  inode: Ext4Inode,
): Promise<Map<ByteString, Uint8Array>> {
  const found = [...inodeXattrs(inode)];
  if (inode.xattrBlock !== 0) {
    const what = `The extended attributes of inode ${inode.number}`;
    const block = await volume.block(inode.xattrBlock, what);
    const { h_magic, h_blocks } = XattrBlockHeader.decode(block);
    if (h_magic !== xattrMagic || h_blocks !== 1) {
      throw new Ext4CorruptError(`${what} are in a block that is none of attributes`);
    }
    found.push(...readEntries(inode, { area: block, entriesAt: XattrBlockHeader.sizeBytes }));
  }
  const named = found
    .filter((xattr) => !isInlineData(xattr))
    .map((xattr) => fullName(inode, xattr));
  return new Map(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** As it is stored. */
interface StoredXattr {
  readonly nameIndex: number;
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/** The attributes that the inode itself holds, what continues its inline data among them. */
export function* inodeXattrs(inode: Ext4Inode): Generator<StoredXattr> {
  const { tail } = inode;
  if (tail.byteLength <= magicBytes || viewOf(tail).readUInt32LE(0) !== xattrMagic) return;
  yield* readEntries(inode, { area: tail.subarray(magicBytes), entriesAt: 0 });
}

function isInlineData({ nameIndex, name }: StoredXattr): boolean {
  return nameIndex === inlineDataXattr.nameIndex && name === inlineDataXattr.name;
}

function fullName(inode: Ext4Inode, xattr: StoredXattr): [ByteString, Uint8Array] {
  const prefix = xattrPrefixes.get(xattr.nameIndex);
  if (prefix === undefined) fail(inode, `an unknown namespace, ${xattr.nameIndex}`);
  const isAcl = !prefix.endsWith('.');
  const name = `${prefix}${xattr.name}` as ByteString;
  return [name, isAcl ? portableAcl(xattr.value) : xattr.value];
}

/** Entries from `entriesAt` on to the first four zero bytes; values are at offsets from the area's start. */
function* readEntries(
  inode: Ext4Inode,
  { area, entriesAt }: { area: Uint8Array; entriesAt: number },
): Generator<StoredXattr> {
  let at = entriesAt;
  while (at + 4 <= area.byteLength && viewOf(area).readUInt32LE(at) !== 0) {
    if (at + XattrEntryHead.sizeBytes > area.byteLength) fail(inode, 'an entry cut short');
    const head = XattrEntryHead.decode(area, at);
    const nameAt = at + XattrEntryHead.sizeBytes;
    const valueEnd = head.e_value_offs + head.e_value_size;
    if (head.e_value_inum !== 0) {
      throw new Ext4UnsupportedError(`Inode ${inode.number} has an attribute in another inode`);
    }
    if (nameAt + head.e_name_len > area.byteLength) fail(inode, 'a name past their end');
    if (head.e_value_size > 0 && valueEnd > area.byteLength) fail(inode, 'a value past their end');
    const name = byteStringFromBytes(area.subarray(nameAt, nameAt + head.e_name_len));
    const value = area.slice(head.e_value_offs, valueEnd);
    yield { nameIndex: head.e_name_index, name, value };
    at += roundUp(XattrEntryHead.sizeBytes + head.e_name_len, 4);
  }
}

function fail(inode: Ext4Inode, problem: string): never {
  throw new Ext4CorruptError(`The extended attributes of inode ${inode.number} have ${problem}`);
}
