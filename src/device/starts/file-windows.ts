/**
 * Which parts of an ext4 image's files the kernel has in its page cache, by inode and window of 64 KiB, and where on the disk they lie.
 *
 * Files are opened by their inode, never by a path: nothing that an image holds leads out of it. None but regular files are.
 */

import { closeSync, fstatSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { layout } from '../../base/index.ts';
import { cachedPageCount, ioctl, openInode } from '../system-calls.ts';

/** Half of what the kernel reads around a page fault. */
export const windowSizeBytes = 64 * 1024;

/** A stretch of a file: the bytes from `window` * `windowSizeBytes`, so many or up to the file's end. */
export interface FileWindow {
  readonly inode: number;
  readonly window: number;
}

/** One of which pages are in the page cache. */
export interface CachedWindow extends FileWindow {
  /** Of its first byte that is not in a hole, on the disk. */
  readonly diskOffset: number;
  /** Of its last. */
  readonly lastDiskOffset: number;
}

export interface OpenFile extends Disposable {
  readonly fd: number;
  readonly sizeBytes: number;
}

/** Undefined if the filesystem that `mountFd` is in has no such regular file. */
export async function openFileByInode(
  mountFd: number,
  inode: number,
): Promise<OpenFile | undefined> {
  const fd = await openInode(mountFd, inode);
  if (fd === undefined) return undefined;
  const stats = fstatSync(fd);
  if (stats.isFile()) {
    return { fd, sizeBytes: stats.size, [Symbol.dispose]: () => closeSync(fd) };
  }
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

interface Extent {
  readonly start: number;
  readonly end: number;
  readonly diskOffset: number;
}

/** In the file's order; none if the filesystem does not say. */
async function extentsOf({ fd, sizeBytes }: OpenFile): Promise<readonly Extent[]> {
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
    if ((await ioctl(fd, FS_IOC_FIEMAP, map)) !== 0) return extents;
    const { fm_mapped_extents: count } = Fiemap.decode(map);
    if (count === 0) return extents;
    for (let position = 0; position < count; position += 1) {
      const at = Fiemap.sizeBytes + position * FiemapExtent.sizeBytes;
      const extent = FiemapExtent.decode(map, at);
      const start = Number(extent.fe_logical);
      from = start + Number(extent.fe_length);
      if ((extent.fe_flags & elsewhereFlags) !== 0) continue;
      extents.push({ start, end: from, diskOffset: Number(extent.fe_physical) });
    }
  }
  return extents;
}

const pageSizeBytes = 4096;

/** The windows `from..to` of an open file of which pages are cached; asks the fewer times the more they lie together. */
function* cachedIn(file: OpenFile, from: number, to: number): Generator<number> {
  const start = from * windowSizeBytes;
  const end = Math.min(to * windowSizeBytes, file.sizeBytes);
  const count = cachedPageCount(file.fd, start, end - start);
  if (count === 0) return;
  const isWhole = count === Math.ceil((end - start) / pageSizeBytes);
  if (isWhole || to - from === 1) {
    for (let window = from; window < to; window += 1) yield window;
    return;
  }
  const middle = Math.floor((from + to) / 2);
  yield* cachedIn(file, from, middle);
  yield* cachedIn(file, middle, to);
}

/** 16 MiB, which may take a millisecond: after these somebody else's turn comes. */
const windowsATurn = 256;

async function windowsIn(file: OpenFile): Promise<readonly number[]> {
  const count = Math.ceil(file.sizeBytes / windowSizeBytes);
  const windows: number[] = [];
  for (let from = 0; from < count; from += windowsATurn) {
    windows.push(...cachedIn(file, from, Math.min(from + windowsATurn, count)));
    await nextTurn();
  }
  return windows;
}

/** In the file's order; none if it is no regular file, or so small that it lies in its inode. */
export async function cachedWindows(
  mountFd: number,
  inode: number,
): Promise<readonly CachedWindow[]> {
  using file = await openFileByInode(mountFd, inode);
  if (file === undefined || file.sizeBytes === 0) return [];
  const cached = await windowsIn(file);
  if (cached.length === 0) return [];
  const extents = await extentsOf(file);
  const windows: CachedWindow[] = [];
  for (const window of cached) {
    const from = window * windowSizeBytes;
    const to = Math.min(from + windowSizeBytes, file.sizeBytes);
    const held = extents.filter(({ start, end }) => end > from && start < to);
    const [first, last] = [held[0], held.at(-1)];
    if (first === undefined || last === undefined) continue;
    const diskOffset = first.diskOffset + Math.max(0, from - first.start);
    const lastDiskOffset = last.diskOffset + Math.min(to, last.end) - 1 - last.start;
    windows.push({ inode, window, diskOffset, lastDiskOffset });
  }
  return windows;
}
