/** What the processes of one Thaw hold, from /proc: memory and open descriptors. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Of all processes of one kind together. */
export interface ProcessSize {
  readonly residentBytes: number;
  readonly descriptors: number;
}

/** `serve`, `holder` and `agent`: as `ps` shows them. */
export type ProcessKind = 'serve' | 'holder' | 'agent';

const pageBytes = 4096;

/** The processes of the Thaw at `root`, by kind; a kind without a process is left out. */
export async function processSizes(root: string): Promise<ReadonlyMap<ProcessKind, ProcessSize>> {
  const sizes = new Map<ProcessKind, ProcessSize>();
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const kind = await kindOf(pid, root).catch(() => undefined);
    const size = kind === undefined ? undefined : await sizeOf(pid).catch(() => undefined);
    if (kind === undefined || size === undefined) continue; // it has ended meanwhile
    const known = sizes.get(kind) ?? { residentBytes: 0, descriptors: 0 };
    sizes.set(kind, {
      residentBytes: known.residentBytes + size.residentBytes,
      descriptors: known.descriptors + size.descriptors,
    });
  }
  return sizes;
}

async function kindOf(pid: string, root: string): Promise<ProcessKind | undefined> {
  const words = (await readFile(join('/proc', pid, 'cmdline'), 'utf8')).split('\0');
  if (!words.some((word) => word.includes(root))) return undefined;
  return (['serve', 'holder', 'agent'] as const).find((kind) => words.includes(kind));
}

async function sizeOf(pid: string): Promise<ProcessSize> {
  const [, residentPages] = (await readFile(join('/proc', pid, 'statm'), 'utf8')).split(' ');
  const descriptors = await readdir(join('/proc', pid, 'fd'));
  return { residentBytes: Number(residentPages) * pageBytes, descriptors: descriptors.length };
}
