/** The system calls that neither Node nor a program of the system offers; through koffi, loaded on first use. */

import { createRequire } from 'node:module';

import type koffiModule from 'koffi';

const require = createRequire(import.meta.url);

interface Ioctl<Argument> {
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

type MountArguments = readonly [
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
];

interface LibC {
  flock(fd: number, operation: number): number;
  readonly ioctl: Ioctl<Uint8Array | null>;
  readonly ioctlNumber: Ioctl<number>;
  readonly mount: Async<MountArguments>;
  readonly umount2: Async<readonly [target: string, flags: number]>;
}

let libc: LibC | undefined;

function loadLibC(): LibC {
  if (libc !== undefined) return libc;
  const koffi = require('koffi') as typeof koffiModule;
  const self = koffi.load(null); // what this process has loaded already
  libc = {
    flock: self.func('int flock(int fd, int operation)') as LibC['flock'],
    ioctl: self.func('int ioctl(int fd, unsigned long request, void *argument)'),
    ioctlNumber: self.func('int ioctl(int fd, unsigned long request, unsigned long argument)'),
    mount: self.func(
      'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
    ),
    umount2: self.func('int umount2(const char *target, int flags)'),
  };
  return libc;
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
