/** Data inside an inode as it is read. Source: kernel Documentation/filesystems/ext4/inlinedata.rst. */

import { InodeFlags, inlineBlockFieldBytes, inlineDataXattr } from './layout.ts';
import type { Ext4Inode } from './read-inode.ts';
import { inodeXattrs } from './read-xattrs.ts';

/** The bytes that lie in the inode, a directory's with its parent's number in front; undefined if they lie in blocks. */
export function readInlineData(inode: Ext4Inode): Uint8Array | undefined {
  if ((inode.flags & InodeFlags.inlineData) === 0) return undefined;
  const parts = [inode.blockField.subarray(0, inlineBlockFieldBytes)];
  for (const { nameIndex, name, value } of inodeXattrs(inode)) {
    if (nameIndex === inlineDataXattr.nameIndex && name === inlineDataXattr.name) parts.push(value);
  }
  return Buffer.concat(parts);
}
