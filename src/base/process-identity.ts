/** Tells a process from a later one that was given the same pid. */

import { readFile } from 'node:fs/promises';

const ended: readonly string[] = ['Z', 'X'];

/**
 * `PID-START`, the same for as long as the process lives and for no other until the next boot; fit for a file's name.
 * Undefined if there is no such process, or only what its parent has not yet asked for.
 */
export async function processIdentity(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // proc_pid_stat(5): from the 3rd field on; the 2nd is a name in parentheses, which may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '', startTime] = [fields[0], fields[19]];
  return startTime === undefined || ended.includes(state) ? undefined : `${pid}-${startTime}`;
}

/** True while the process lives that `processIdentity` gave `identity` for; false for any other text. */
export async function isProcessAlive(identity: string): Promise<boolean> {
  const pid = Number(identity.split('-')[0]);
  return Number.isInteger(pid) && pid > 0 && identity === (await processIdentity(pid));
}
