/** The system calls that neither Node nor a program of the system offers; through koffi, loaded on first use. */

import { closeSync, constants } from 'node:fs';
import { createRequire } from 'node:module';

import type koffiModule from 'koffi';

const require = createRequire(import.meta.url);

interface Ioctl<Argument> {
  (fd: number, request: number, argument: Argument): number;
  async(
    fd: number,
    request: number,
    argument: Argument,
    done: (thrown: Error | null, result: number) => void,
  ): void;
}

interface Async<Arguments extends readonly unknown[]> {
  async(...call: [...Arguments, done: (thrown: Error | null, result: number) => void]): void;
}

interface LibCWatch {
  fanotifyInit(this: void, flags: number, openFlags: number): number;
  fanotifyMark(
    this: void,
    fd: number,
    flags: number,
    mask: number,
    dirFd: number,
    path: string,
  ): number;
}

type MountArguments = readonly [
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
];

interface LibC extends LibCWatch {
  gettid(this: void): number;
  flock(fd: number, operation: number): number;
  readonly ioctl: Ioctl<Uint8Array | null>;
  readonly ioctlNumber: Ioctl<number>;
  readonly mount: Async<MountArguments>;
  readonly umount2: Async<readonly [target: string, flags: number]>;
  openByHandleAt(this: void, mountFd: number, handle: Uint8Array, flags: number): number;
  readahead(this: void, fd: number, offset: number, size: number): number;
  cachestat(
    this: void,
    call: number,
    fd: number,
    range: Uint8Array,
    stat: Uint8Array,
    flags: number,
  ): number;
}

let libc: LibC | undefined;

function loadLibC(): LibC {
  if (libc !== undefined) return libc;
  const koffi = require('koffi') as typeof koffiModule;
  const self = koffi.load(null); // what this process has loaded already
  libc = {
    gettid: self.func('int gettid()') as LibC['gettid'],
    flock: self.func('int flock(int fd, int operation)') as LibC['flock'],
    ioctl: self.func('int ioctl(int fd, unsigned long request, void *argument)'),
    ioctlNumber: self.func('int ioctl(int fd, unsigned long request, unsigned long argument)'),
    mount: self.func(
      'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
    ),
    umount2: self.func('int umount2(const char *target, int flags)'),
    fanotifyInit: self.func(
      'int fanotify_init(unsigned int flags, unsigned int event_f_flags)',
    ) as LibC['fanotifyInit'],
    fanotifyMark: self.func(
      'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dirfd, const char *path)',
    ) as LibC['fanotifyMark'],
    openByHandleAt: self.func(
      'int open_by_handle_at(int mount_fd, void *handle, int flags)',
    ) as LibC['openByHandleAt'],
    readahead: self.func(
      'long readahead(int fd, int64_t offset, size_t count)',
    ) as LibC['readahead'],
    cachestat: self.func(
      'long syscall(long call, long fd, void *range, void *stat, long flags)',
    ) as LibC['cachestat'],
  };
  return libc;
}

/** Of the calling thread, as the kernel knows it. */
export function threadId(): number {
  return loadLibC().gettid();
}

/** sys/file.h */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the lock of an open file unless another process has it. The lock is held until the file is closed. */
export function tryLockFile(fd: number): boolean {
  return loadLibC().flock(fd, LOCK_EX | LOCK_NB) === 0;
}

/**
 * ioctl(2) on a thread of its own, since it may wait for a filesystem: its result, -1 if it failed. Bytes must not be
 * touched until it resolves; a number is the argument itself.
 */
export async function ioctl(
  fd: number,
  request: number,
  argument: Uint8Array | number | null = null,
): Promise<number> {
  const { ioctl: withPointer, ioctlNumber: withNumber } = loadLibC();
  return new Promise((resolve, reject) => {
    const done = (thrown: Error | null, result: number): void => {
      if (thrown === null) resolve(result);
      else reject(thrown);
    };
    if (typeof argument === 'number') withNumber.async(fd, request, argument, done);
    else withPointer.async(fd, request, argument, done);
  });
}

/** ioctl(2) on the calling thread, which waits as long as it takes. */
export function ioctlSync(fd: number, request: number, argument: Uint8Array): number {
  return loadLibC().ioctl(fd, request, argument);
}

/** linux/fs.h */
const BLKRASET = 0x1262;
const sectorSizeBytes = 512;

/** How much the kernel reads around what is read of the block device `fd`, from files that are opened from now on. False if that failed. */
export function setReadAhead(fd: number, sizeBytes: number): boolean {
  return loadLibC().ioctlNumber(fd, BLKRASET, sizeBytes / sectorSizeBytes) === 0;
}

/** sys/mount.h */
export const MountFlag = { MS_RDONLY: 1, MS_NOSUID: 2, MS_NODEV: 4 } as const;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** mount(2), on a thread of its own: it reads the filesystem. False if it failed; the `mount` program then says why. */
export async function tryMount(...mounting: MountArguments): Promise<boolean> {
  const { mount } = loadLibC();
  return new Promise((resolve, reject) => {
    mount.async(...mounting, (thrown, result) => {
      if (thrown === null) resolve(result === 0);
      else reject(thrown);
    });
  });
}

/** umount2(2), on a thread of its own. False if it failed, be it that nothing is mounted there. `lazily`: as `umount -l`. */
export async function tryUnmount(
  target: string,
  { lazily }: { lazily: boolean },
): Promise<boolean> {
  const { umount2 } = loadLibC();
  return new Promise((resolve, reject) => {
    umount2.async(target, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0), (thrown, result) => {
      if (thrown === null) resolve(result === 0);
      else reject(thrown);
    });
  });
}

/** linux/fanotify.h, fcntl.h */
const FAN_CLOEXEC = 1;
const FAN_NONBLOCK = 2;
const FAN_REPORT_TID = 0x100;
const FAN_REPORT_FID = 0x200;
const FAN_MARK_ADD_FILESYSTEM = 0x101;
const FAN_OPEN = 0x20;
const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;

/** A descriptor that tells of every file that is opened in the filesystem mounted at `path`, and by which thread; undefined if it cannot be had. */
export function watchOpens(path: string): number | undefined {
  const { fanotifyInit, fanotifyMark } = loadLibC();
  const flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_TID;
  const fd = fanotifyInit(flags, constants.O_RDONLY);
  if (fd < 0) return undefined;
  if (fanotifyMark(fd, FAN_MARK_ADD_FILESYSTEM, FAN_OPEN, AT_FDCWD, path) === 0) return fd;
  closeSync(fd);
  return undefined;
}

/**
 * open_by_handle_at(2) by the number of an inode of ext4, on the calling thread: it may read the filesystem. Undefined if there is none, or it
 * is what cannot be read: a symbolic link, a device where those are not served. A FIFO is opened, and does not block.
 */
export function openInode(mountFd: number, inode: number): number | undefined {
  // struct file_handle: FILEID_INO32_GEN, and 0 for any generation.
  const handle = Buffer.from(new Uint32Array([8, 1, inode, 0]).buffer);
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | O_CLOEXEC;
  const fd = loadLibC().openByHandleAt(mountFd, handle, flags);
  return fd < 0 ? undefined : fd;
}

/**
 * readahead(2), on the calling thread, which may have to read the file's extents first: begins to read a part of a file into the page
 * cache. False if that failed.
 */
export function readAhead(fd: number, offset: number, sizeBytes: number): boolean {
  return loadLibC().readahead(fd, offset, sizeBytes) === 0;
}

/** The same number on every architecture. */
const SYS_cachestat = 451;

/** How many pages of a part of a file are in the page cache, by cachestat(2) of Linux 6.5; 0 if the kernel does not say. */
export function cachedPageCount(fd: number, offset: number, sizeBytes: number): number {
  const range = new BigUint64Array([BigInt(offset), BigInt(sizeBytes)]);
  const stat = new BigUint64Array(5); // struct cachestat: nr_cache and four more
  const { cachestat } = loadLibC();
  const isKnown =
    cachestat(SYS_cachestat, fd, new Uint8Array(range.buffer), new Uint8Array(stat.buffer), 0) ===
    0;
  return isKnown ? Number(stat[0]) : 0;
}
