/** What an agent takes of the processors, user and system, to the microsecond: on a busy machine it says more than clocks do. */

import { readdir, readFile } from 'node:fs/promises';

/** ms since the process began. Threads that have ended are left out: an agent's stay. */
export interface AgentTime {
  readonly mainThreadMs: number;
  readonly otherThreadsMs: number;
}

/** The first field of /proc/PID/task/TID/schedstat, ns. Source: kernel Documentation/scheduler/sched-stats.rst. */
async function threadMs(pid: number, thread: string): Promise<number> {
  const text = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').catch(() => '0'); // it has ended
  return Number(text.split(' ')[0]) / 1e6;
}

/** The process whose command line ends in `args`. */
export async function pidOf(args: readonly string[]): Promise<number> {
  const wanted = args.map((argument) => `${argument}\0`).join('');
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''); // it has ended
    if (commandLine.endsWith(wanted)) return Number(pid);
  }
  throw new Error(`No process runs with "${args.join(' ')}"`);
}

export async function agentTime(pid: number): Promise<AgentTime> {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = await Promise.all(threads.map((thread) => threadMs(pid, thread)));
  const all = times.reduce((sum, ms) => sum + ms, 0);
  const mainThreadMs = times[threads.indexOf(String(pid))] ?? 0;
  return { mainThreadMs, otherThreadsMs: all - mainThreadMs };
}
