/** Looks into a published image without mounting it: its files listed, and one of them read, over the stored chunks. */

import type { ByteString } from '../base/index.ts';
import type { Manifest } from '../chunk/index.ts';
import { openFilesystem, type Ext4Inode, type Ext4Path, type Ext4Reader } from '../ext4/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { NotAFileInImageError } from './errors.ts';
import { findInImage } from './image-path.ts';
import { storedDisk } from './stored-image.ts';

/** Which file of which image, through which store. */
export interface ImageFileOptions {
  readonly store: ObjectStore;
  readonly manifest: Manifest;
  /** From the image's root, with or without a leading slash. */
  readonly path: ByteString;
  readonly signal?: AbortSignal;
}

/** One name in an image, JSON-shaped. */
export interface ImageFile {
  /** The real path from the root, without a leading slash; empty for the root itself. */
  readonly path: ByteString;
  readonly type: Ext4Inode['type'];
  /** Permission, set-id and sticky bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** As `stat` gives it: for a directory its blocks, for a symlink its target. */
  readonly sizeBytes: number;
  readonly modified: Ext4Inode['modified'];
  /** Equal for the names of one file. */
  readonly inode: number;
  readonly linkCount: number;
  /** Of symlinks only. */
  readonly target?: ByteString;
  /** Of devices only. */
  readonly device?: { readonly major: number; readonly minor: number };
}

/**
 * What is at the path and all below it, directories before what they hold, names in byte order. Links on the way to
 * the path are followed inside the image, one at its end is listed itself unless a slash follows.
 * Throws `ERR_PUBLISH_FILE_MISSING`, `ERR_PUBLISH_NOT_A_DIRECTORY`, `ERR_PUBLISH_LINK_LOOP`, `ERR_PUBLISH_CHUNK_MISSING`,
 * `ERR_CHUNK_*`, `ERR_EXT4_CORRUPT`, `ERR_STORE_*` and the signal's reason.
 */
export async function* listImageFiles(options: ImageFileOptions): AsyncGenerator<ImageFile> {
  const reader = await openFilesystem(storedDisk(options.store, options.manifest));
  const start = await findInImage(reader, options.path, { followLast: false });
  for await (const found of reader.walk(start)) {
    options.signal?.throwIfAborted();
    yield await describe(reader, found);
  }
}

async function describe(reader: Ext4Reader, { path, inode }: Ext4Path): Promise<ImageFile> {
  const { type, mode, uid, gid, sizeBytes, modified, number, linkCount } = inode;
  const common = { path, type, mode, uid, gid, sizeBytes, modified, inode: number, linkCount };
  if (type === 'symlink') return { ...common, target: await reader.readLink(inode) };
  if (type !== 'character-device' && type !== 'block-device') return common;
  return { ...common, device: { major: inode.deviceMajor, minor: inode.deviceMinor } };
}

/** As large as a chunk, so that a piece costs about one fetch. */
const pieceBytes = 512 * 1024;

/**
 * A file's bytes in order, holes as zeros, in pieces that are the caller's; each is read when it is asked for. Links are
 * followed inside the image. Throws as `listImageFiles`, and `ERR_PUBLISH_NOT_A_FILE` for all but regular files.
 */
export async function* readImageFile(options: ImageFileOptions): AsyncGenerator<Uint8Array> {
  const reader = await openFilesystem(storedDisk(options.store, options.manifest));
  const { path, inode } = await findInImage(reader, options.path, { followLast: true });
  if (inode.type !== 'file') throw new NotAFileInImageError(path, inode.type);
  for (let offset = 0; offset < inode.sizeBytes; offset += pieceBytes) {
    options.signal?.throwIfAborted();
    const piece = new Uint8Array(Math.min(pieceBytes, inode.sizeBytes - offset));
    await reader.read(inode, offset, piece);
    yield piece;
  }
}
