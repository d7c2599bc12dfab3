/** What processes take of the processors: on a machine that others use too, it tells more of where a start's time goes than clocks do. */

import { readdir, readFile } from 'node:fs/promises';

/** By the part of the system that a process belongs to, ms since it began. */
export type ProcessorMs = Readonly<Record<string, number>>;

/** `USER_HZ`, what the kernel tells times in: 100 wherever Linux runs Node. */
const ticksASecond = 100;

/** Which part a process belongs to, by its command line; undefined: none. */
export type PartOf = (pid: number, commandLine: string) => string | undefined;

interface Taken {
  readonly part: string;
  readonly ms: number;
  /** Of the children that have ended. */
  readonly childrenMs: number;
}

/** Fields 14 to 17 of /proc/PID/stat, after the name in parentheses. Source: proc(5). */
async function taken(pid: number, partOf: PartOf): Promise<Taken | undefined> {
  try {
    const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
    const part = partOf(pid, commandLine);
    if (part === undefined) return undefined;
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
    const msATick = 1000 / ticksASecond;
    return { part, ms: (user + system) * msATick, childrenMs: (childUser + childSystem) * msATick };
  } catch {
    return undefined; // it has ended
  }
}

/** Children that have ended count as a part of their own: `NAME's children`. */
export async function processorMs(partOf: PartOf): Promise<ProcessorMs> {
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger);
  const all = await Promise.all(pids.map(async (pid) => await taken(pid, partOf)));
  const sums: Record<string, number> = {};
  const add = (part: string, ms: number): void => {
    sums[part] = (sums[part] ?? 0) + ms;
  };
  for (const one of all) {
    if (one === undefined) continue;
    add(one.part, one.ms);
    add(`${one.part}'s children`, one.childrenMs);
  }
  return sums;
}

/** Parts that took anything between the two. */
export function processorDifference(later: ProcessorMs, earlier: ProcessorMs): ProcessorMs {
  const parts = Object.entries(later).map(
    ([part, ms]) => [part, ms - (earlier[part] ?? 0)] as const,
  );
  return Object.fromEntries(parts.filter(([, ms]) => ms > 0));
}
