/** The system calls that neither Node nor a program of the system offers; through koffi, loaded on first use. */

import { createRequire } from 'node:module';

import type koffiModule from 'koffi';

const require = createRequire(import.meta.url);

interface LibC {
  flock(fd: number, operation: number): number;
}

let libc: LibC | undefined;

function loadLibC(): LibC {
  if (libc !== undefined) return libc;
  const koffi = require('koffi') as typeof koffiModule;
  const self = koffi.load(null);
  libc = { flock: self.func('int flock(int fd, int operation)') as LibC['flock'] };
  return libc;
}

/** sys/file.h */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the lock of an open file unless another process has it. The lock is held until the file is closed. */
export function tryLockFile(fd: number): boolean {
  return loadLibC().flock(fd, LOCK_EX | LOCK_NB) === 0;
}
