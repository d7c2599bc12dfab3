/**
 * Waits for processes that this process did not spawn itself: `runc run --detach` leaves the
 * sandbox's main process behind, which then becomes our child because we are its subreaper. That
 * saves a supervising process of 10 MiB a sandbox, and tells exactly how it ended.
 *
 * Node waits only for the pids that it spawned, so the two do not take each other's children.
 */

import { constants } from 'node:os';

import type { ProcessExit } from '../sandbox.ts';
import { becomeSubreaper, reapChild } from '../syscalls.ts';

const signalNames = new Map(Object.entries(constants.signals).map(([name, code]) => [code, name]));
const awaited = new Map<number, (end: ProcessExit) => void>();
let isSubreaper = false;

/** Must have been called before the processes to wait for are started. */
export function prepareToReap(): void {
  if (isSubreaper) return;
  becomeSubreaper();
  isSubreaper = true;
}

/** Resolves when the child or orphaned descendant `pid` has ended, which frees its pid. */
export function childEnd(pid: number): Promise<ProcessExit> {
  return new Promise((resolve) => {
    if (awaited.size === 0) process.on('SIGCHLD', reapAll);
    awaited.set(pid, resolve);
    reapAll(); // it may have ended before anybody listened
  });
}

/** One signal may stand for several ends. */
function reapAll(): void {
  for (const [pid, resolve] of awaited) {
    const end = reap(pid);
    if (end === undefined) continue;
    awaited.delete(pid);
    resolve(end);
  }
  if (awaited.size === 0) process.off('SIGCHLD', reapAll);
}

function reap(pid: number): ProcessExit | undefined {
  let waitStatus: number | undefined;
  try {
    waitStatus = reapChild(pid);
  } catch {
    return {}; // not our child: somebody else took it, so how it ended is unknown
  }
  if (waitStatus === undefined) return undefined;
  // Source: wait(2) and the C library's WIFEXITED family.
  const signal = waitStatus & 0x7f;
  if (signal === 0) return { status: (waitStatus >> 8) & 0xff };
  return { signal: signalNames.get(signal) ?? `signal ${signal}` };
}
