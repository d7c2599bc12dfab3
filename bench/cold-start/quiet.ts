/** Waits for what a start leaves behind: fills of the zone, instances that end, files that are removed. */

import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const windowMs = 75;
const quietWindows = 2;
/** On a machine that others use as well, it is never quiet. */
const waitMaxMs = 1000;
const busyShareMax = 0.1;

setFlagsFromString('--expose-gc');
/** This process's own garbage: what is measured would have to wait while it is collected. */
const collectGarbage = runInNewContext('gc') as () => void;

interface Ticks {
  readonly all: number;
  readonly idle: number;
}

/** Of all processors since the machine's start, the first line of /proc/stat. Source: proc(5). */
async function ticks(): Promise<Ticks> {
  const [first = ''] = (await readFile('/proc/stat', 'latin1')).split('\n');
  const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, ...others] = first
    .split(/ +/)
    .slice(1)
    .map(Number);
  const all = [user, nice, system, ...others.slice(0, 3)].reduce((sum, one) => sum + one, 0);
  return { all: all + idle + waiting, idle: idle + waiting };
}

/** Until the machine's processors have been idle for a while, but not for longer than a second. */
export async function quiet(): Promise<void> {
  collectGarbage();
  const untilMs = performance.now() + waitMaxMs;
  let before = await ticks();
  for (let windows = 0; windows < quietWindows && performance.now() < untilMs;) {
    await delay(windowMs);
    const now = await ticks();
    const busyShare = 1 - (now.idle - before.idle) / (now.all - before.all);
    windows = busyShare <= busyShareMax ? windows + 1 : 0;
    before = now;
  }
}
