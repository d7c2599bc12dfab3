/**
 * Reads an ext4 filesystem without mounting it. Its bytes may come from anybody: whatever they are, each
 * call ends with an answer or a coded error, in time and memory that the disk's real structures bound.
 *
 * Reads what Thaw writes and most of what mke2fs makes: any block size, extents, hashed directories, 64bit. Not journals
 * to be replayed, block maps, attributes in inodes of their own (`ea_inode`), encryption.
 */

import type { ByteString, RandomAccess } from '../base/index.ts';
import { Ext4CorruptError } from './errors.ts';
import type { Extent } from './extent-tree.ts';
import { rootInodeNumber } from './geometry.ts';
import { readData, readExtents } from './read-data.ts';
import { findInDirectory, readDirectory, type Ext4DirectoryEntry } from './read-directory.ts';
import { readInode, type Ext4Inode } from './read-inode.ts';
import { readSymlink } from './read-symlink.ts';
import { readXattrs } from './read-xattrs.ts';
import { Volume, type FilesystemInfo } from './volume.ts';

export interface Ext4Path {
  /** From the root, without a leading slash; empty for the root itself. */
  readonly path: ByteString;
  readonly inode: Ext4Inode;
}

/**
 * Every method throws `ERR_EXT4_CORRUPT` for damaged structures, `ERR_EXT4_UNSUPPORTED` for features not read, and what
 * the disk's own `read` throws.
 */
export interface Ext4Reader {
  readonly info: FilesystemInfo;
  /** The inode of this number; an error if it is not in use. */
  inode(number: number): Promise<Ext4Inode>;
  root(): Promise<Ext4Inode>;
  /** What is at `path`, names parted by `/`; symlinks are not followed. Undefined if there is nothing. */
  lookup(path: ByteString): Promise<Ext4Inode | undefined>;
  /** What `name` stands for in a directory. Undefined if there is nothing. */
  find(directory: Ext4Inode, name: ByteString): Promise<Ext4Inode | undefined>;
  /** All entries but `.` and `..`, in byte order of the names. */
  entries(directory: Ext4Inode): Promise<readonly Ext4DirectoryEntry[]>;
  /**
   * Everything from `start` down, by default from the root: directories before what they hold, names in byte order.
   * A file with several names comes once for each.
   */
  walk(start?: Ext4Path): AsyncGenerator<Ext4Path>;
  /** Where the data of a file, a directory or a long symlink lies, holes left out; nowhere if it is in the inode. */
  extents(inode: Ext4Inode): Promise<readonly Extent[]>;
  /**
   * Fills `target`, which stays the caller's, with a file's bytes from `offset` on; zeros for holes and past its end.
   */
  read(file: Ext4Inode, offset: number, target: Uint8Array): Promise<void>;
  readLink(symlink: Ext4Inode): Promise<ByteString>;
  /** Full names to values as `getxattr` gives them, in byte order of the names. */
  xattrs(inode: Ext4Inode): Promise<ReadonlyMap<ByteString, Uint8Array>>;
}

/** Opens the filesystem on `disk`. Throws `ERR_EXT4_CORRUPT`, `ERR_EXT4_UNSUPPORTED`, and what `disk` throws. */
export async function openFilesystem(disk: RandomAccess): Promise<Ext4Reader> {
  const volume = await Volume.open(disk);
  const known = new WeakMap<Ext4Inode, Promise<readonly Extent[]>>();
  const extentsOf = (inode: Ext4Inode): Promise<readonly Extent[]> => {
    const extents = known.get(inode) ?? readExtents(volume, inode);
    known.set(inode, extents);
    return extents;
  };
  return {
    info: volume.info,
    inode: (number) => readInode(volume, number),
    root: () => readInode(volume, rootInodeNumber),
    lookup: (path) => lookup(volume, path),
    find: (directory, name) => find(volume, directory, name),
    entries: (directory) => readDirectory(volume, directory),
    walk: (start) => walk(volume, start),
    extents: extentsOf,
    read: async (file, offset, target) => {
      await readData(volume, file, { extents: await extentsOf(file), offset, target });
    },
    readLink: (symlink) => readSymlink(volume, symlink),
    xattrs: (inode) => readXattrs(volume, inode),
  };
}

async function lookup(volume: Volume, path: ByteString): Promise<Ext4Inode | undefined> {
  let inode = await readInode(volume, rootInodeNumber);
  for (const name of path.split('/').filter((part) => part !== '')) {
    if (inode.type !== 'directory') return undefined;
    const child = await find(volume, inode, name as ByteString);
    if (child === undefined) return undefined;
    inode = child;
  }
  return inode;
}

async function find(
  volume: Volume,
  directory: Ext4Inode,
  name: ByteString,
): Promise<Ext4Inode | undefined> {
  const number = await findInDirectory(volume, directory, name);
  return number === undefined ? undefined : await readInode(volume, number);
}

async function* walk(volume: Volume, start?: Ext4Path): AsyncGenerator<Ext4Path> {
  const names = new Map<number, number>();
  const open: { readonly path: ByteString; readonly number: number }[] = [
    { path: start?.path ?? ('' as ByteString), number: start?.inode.number ?? rootInodeNumber },
  ];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { path, number } = next;
    const inode = await readInode(volume, number);
    const nameCount = (names.get(number) ?? 0) + 1;
    // Also what ends the walk through directories that lead back to themselves.
    if (nameCount > (inode.type === 'directory' ? 1 : inode.linkCount)) {
      throw new Ext4CorruptError(`Inode ${number} has more names than links`);
    }
    names.set(number, nameCount);
    yield { path, inode };
    if (inode.type !== 'directory') continue;
    const entries = await readDirectory(volume, inode);
    for (const { name, inode: child } of entries.toReversed()) {
      open.push({ path: (path === '' ? name : `${path}/${name}`) as ByteString, number: child });
    }
  }
}
