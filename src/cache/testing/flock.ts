/** flock(2), as the device room has it: what a disk cache is given by whoever opens it. */

import koffi from 'koffi';

const flock = koffi.load(null).func('int flock(int fd, int operation)');
/** LOCK_EX | LOCK_NB of sys/file.h */
const exclusiveOrFail = 6;

export function tryLock(fd: number): boolean {
  return flock(fd, exclusiveOrFail) === 0;
}
