/** How many files a process of a sandbox may open at most. */

import { readFileSync } from 'node:fs';

const wanted = 65_536;

/** 64 Ki, or as many as this process may hand on: to raise its own limit takes CAP_SYS_RESOURCE. */
export function openFilesMax(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = Number(/^Max open files +\S+ +(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(hard, wanted);
}
