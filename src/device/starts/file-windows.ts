/**
 * Which pages of an ext4 image's files, and of the disk itself, the kernel has in its page cache, by inode and window of 64 KiB, and where on the
 * disk they lie. Blocks the thread that asks: what it asks may have to be read.
 *
 * Files are opened by their inode, never by a path: nothing that an image holds leads out of it. None but regular files are.
 */

import { closeSync, fstatSync } from 'node:fs';

import { layout } from '../../base/index.ts';
import { cachedPageCount, ioctlSync, openInode } from '../system-calls.ts';

/** A page of the page cache; on the disk, a block of the filesystem. */
export const pageSizeBytes = 4096;
export const pagesPerWindow = 16;
export const windowSizeBytes = pagesPerWindow * pageSizeBytes;
export const allPages = 2 ** pagesPerWindow - 1;

/** The disk itself, by which the kernel reads the filesystem's metadata: no file has this inode. */
export const diskInode = 0;

/** Pages of a stretch of a file that are in the page cache, of those from `window` * `pagesPerWindow` on. */
export interface CachedWindow {
  /** Of a regular file, or `diskInode`. */
  readonly inode: number;
  readonly window: number;
  /** The lowest bit is the window's first page. Never 0. */
  readonly pages: number;
  /** Where the window's first page lies on the disk, or would: its pages lie there one after the other. */
  readonly diskBlock: number;
}

/** What a start had of a window in the page cache when it ended. */
export interface ReadWindow extends CachedWindow {
  /** When the first of its pages was read, in whole microseconds since the start began; `unknownUs` at most. */
  readonly atUs: number;
}

/** Later than all that is known. */
export const unknownUs = 2 ** 32 - 1;

/** Gaps of so many pages are quicker read than left out: each run of pages is a request of its own. */
const bridgedPagesMax = 2;

/** `pages` of a window with the small gaps between them filled. */
export function bridged(pages: number): number {
  let filled = pages;
  for (let gap = 1; gap <= bridgedPagesMax; gap += 1) {
    const gaps = ~pages & (pages << 1) & (pages >> gap);
    for (let page = 0; page < gap; page += 1) filled |= gaps << page;
  }
  return filled;
}

/** An open file; where it is the disk, its size is the disk's. */
export interface OpenFile {
  readonly fd: number;
  readonly sizeBytes: number;
}

/** Undefined if the filesystem that `mountFd` is in has no such regular file. The descriptor is the caller's. */
export function openFileByInode(mountFd: number, inode: number): OpenFile | undefined {
  const fd = openInode(mountFd, inode);
  if (fd === undefined) return undefined;
  const stats = fstatSync(fd);
  if (stats.isFile()) return { fd, sizeBytes: stats.size };
  closeSync(fd);
  return undefined;
}

/** Kernel Documentation/filesystems/fiemap.rst, include/uapi/linux/fiemap.h. */
const FS_IOC_FIEMAP = 0xc020660b;
const extentsAtATime = 128;

const Fiemap = layout('fiemap', 32, [
  [0, 'u64', 'fm_start'],
  [8, 'u64', 'fm_length'],
  [16, 'u32', 'fm_flags'],
  [20, 'u32', 'fm_mapped_extents'],
  [24, 'u32', 'fm_extent_count'],
  [28, 'u32', '_fm_reserved'],
]);

const FiemapExtent = layout('fiemap_extent', 56, [
  [0, 'u64', 'fe_logical'],
  [8, 'u64', 'fe_physical'],
  [16, 'u64', 'fe_length'],
  [24, 'bytes16', '_fe_reserved64'],
  [40, 'u32', 'fe_flags'],
  [44, 'bytes12', '_fe_reserved'],
]);

/** FIEMAP_EXTENT_UNKNOWN, _DELALLOC, _ENCODED, _DATA_ENCRYPTED, _NOT_ALIGNED, _DATA_INLINE: not on the disk as it is read. */
const elsewhereFlags = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200;

/** Pages of a file that lie on the disk one after the other. */
interface Extent {
  readonly page: number;
  readonly pageEnd: number;
  readonly diskBlock: number;
}

/** In the file's order; none if the filesystem does not say. */
function extentsOf({ fd, sizeBytes }: OpenFile): readonly Extent[] {
  const extents: Extent[] = [];
  for (let from = 0; from < sizeBytes;) {
    const map = Buffer.alloc(Fiemap.sizeBytes + extentsAtATime * FiemapExtent.sizeBytes);
    Fiemap.encodeInto(map, 0, {
      fm_start: BigInt(from),
      fm_length: BigInt(sizeBytes - from),
      fm_flags: 0,
      fm_mapped_extents: 0,
      fm_extent_count: extentsAtATime,
    });
    if (ioctlSync(fd, FS_IOC_FIEMAP, map) !== 0) return extents;
    const { fm_mapped_extents: count } = Fiemap.decode(map);
    if (count === 0) return extents;
    for (let position = 0; position < count; position += 1) {
      const at = Fiemap.sizeBytes + position * FiemapExtent.sizeBytes;
      const extent = FiemapExtent.decode(map, at);
      const start = Number(extent.fe_logical);
      from = start + Number(extent.fe_length);
      if ((extent.fe_flags & elsewhereFlags) !== 0) continue;
      extents.push({
        page: start / pageSizeBytes,
        pageEnd: from / pageSizeBytes,
        diskBlock: Number(extent.fe_physical) / pageSizeBytes,
      });
    }
  }
  return extents;
}

/** The cached pages of an open file from page `from` on and below `to`; asks the fewer times the more of them lie together. */
function* cachedPages(file: OpenFile, from: number, to: number): Generator<number> {
  const start = from * pageSizeBytes;
  const end = Math.min(to * pageSizeBytes, file.sizeBytes);
  const count = cachedPageCount(file.fd, start, end - start);
  if (count === 0) return;
  if (count === to - from) {
    for (let page = from; page < to; page += 1) yield page;
    return;
  }
  const middle = Math.floor((from + to) / 2);
  yield* cachedPages(file, from, middle);
  yield* cachedPages(file, middle, to);
}

function* windowsAt(
  inode: number,
  file: OpenFile,
  extents: readonly Extent[],
): Generator<CachedWindow> {
  let current: CachedWindow | undefined;
  let extentAt = 0;
  for (const page of cachedPages(file, 0, Math.ceil(file.sizeBytes / pageSizeBytes))) {
    while ((extents[extentAt]?.pageEnd ?? Infinity) <= page) extentAt += 1;
    const extent = extents[extentAt];
    if (extent === undefined || extent.page > page) continue; // in a hole
    const window = Math.floor(page / pagesPerWindow);
    const first = window * pagesPerWindow;
    const diskBlock = extent.diskBlock + first - extent.page;
    const pages = 1 << (page - first);
    if (current?.window === window) {
      // Of one that lies in two places on the disk, the first alone is told.
      if (current.diskBlock === diskBlock) current = { ...current, pages: current.pages | pages };
      continue;
    }
    if (current !== undefined) yield current;
    current = diskBlock < 0 ? undefined : { inode, window, pages, diskBlock };
  }
  if (current !== undefined) yield current;
}

/** In the file's order; none if it is no regular file, or so small that it lies in its inode. */
export function cachedWindows(mountFd: number, inode: number): readonly CachedWindow[] {
  const file = openFileByInode(mountFd, inode);
  if (file === undefined) return [];
  try {
    if (cachedPageCount(file.fd, 0, file.sizeBytes) === 0) return [];
    return [...windowsAt(inode, file, extentsOf(file))];
  } finally {
    closeSync(file.fd);
  }
}

/** Of the block device `fd`: what the kernel has read of the filesystem's metadata. */
export function cachedDiskWindows(disk: OpenFile): readonly CachedWindow[] {
  const pageEnd = Math.ceil(disk.sizeBytes / pageSizeBytes);
  return [...windowsAt(diskInode, disk, [{ page: 0, pageEnd, diskBlock: 0 }])];
}
