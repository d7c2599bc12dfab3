/** The text of a symlink: in its inode if it is short, else in a block. Source: kernel Documentation/filesystems/ext4/ifork.rst. */

import { byteStringFromBytes, type ByteString } from '../base/index.ts';
import { Ext4CorruptError } from './errors.ts';
import { fastSymlinkBytesMax } from './inode.ts';
import { readData, readExtents } from './read-data.ts';
import type { Ext4Inode } from './read-inode.ts';
import type { Volume } from './volume.ts';

/** Throws `ERR_EXT4_CORRUPT` for all but symlinks, and as `readExtents`. */
export async function readSymlink(volume: Volume, symlink: Ext4Inode): Promise<ByteString> {
  const { sizeBytes, number } = symlink;
  if (symlink.type !== 'symlink') throw new Ext4CorruptError(`Inode ${number} is no symlink`);
  if (sizeBytes === 0 || sizeBytes >= volume.info.blockSizeBytes) {
    throw new Ext4CorruptError(`Symlink ${number} is said to be ${sizeBytes} bytes long`);
  }
  const target = byteStringFromBytes(await readText(volume, symlink));
  if (target.includes('\0')) {
    throw new Ext4CorruptError(`Symlink ${number} has a text that ends before its size`);
  }
  return target;
}

async function readText(volume: Volume, symlink: Ext4Inode): Promise<Uint8Array> {
  const { sizeBytes, blockField } = symlink;
  if (sizeBytes <= fastSymlinkBytesMax) return blockField.subarray(0, sizeBytes);
  const extents = await readExtents(volume, symlink);
  const target = new Uint8Array(sizeBytes);
  await readData(volume, symlink, { extents, offset: 0, target });
  return target;
}
