/**
 * A name for a process that runs events, by which others on its machine can tell at once that it is gone. They share a kernel's start and a
 * namespace of process numbers, and a number that is used again is told by the moment of its process's start.
 * Source: proc(5), `/proc/pid/stat` and `/proc/sys/kernel/random/boot_id`; namespaces(7).
 */

import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';

import { errorCode } from '../../base/index.ts';

/** Fresh at every call. */
export function newRunnerId(): string {
  return [randomUUID(), placeOfProcesses(), process.pid, startOf(process.pid)].join(' ');
}

/** True only where it is sure: of another machine's process, and where this one has no /proc, nothing is. */
export function isRunnerGone(runnerId: string): boolean {
  const [, place, pid, start] = runnerId.split(' ');
  if (start === undefined || start === unknown || place !== placeOfProcesses()) return false;
  return startOf(Number(pid)) !== start;
}

const unknown = 'unknown';

/** The same for processes that see each other by their numbers. */
function placeOfProcesses(): string {
  try {
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${bootId}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return randomUUID(); // like nobody's
  }
}

/** In ticks since the machine's start; `gone` where there is no such process, or nothing of it but its exit status. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'gone' : (fields[19] ?? unknown);
  } catch (thrown) {
    return errorCode(thrown) === 'ENOENT' || errorCode(thrown) === 'ESRCH' ? 'gone' : unknown;
  }
}
