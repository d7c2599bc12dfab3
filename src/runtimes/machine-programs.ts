/** Programs of this machine, with the shared libraries that they load. */

import { access } from 'node:fs/promises';

import { runCommand } from '../base/index.ts';
import type { RuntimeEntry } from './runtime-tree.ts';

export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** A file of this machine at the same place inside, or at another. */
export function copyOf(source: string, path = source): RuntimeEntry {
  return { path: path.replace(/^\/+/, ''), kind: 'copy', source };
}

/** The libraries that ldd(1) names, the dynamic linker among them; none for a static program. */
export async function librariesOf(programs: readonly string[]): Promise<RuntimeEntry[]> {
  const { stdout } = await runCommand('ldd', programs).catch(() => ({ stdout: '' }));
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => copyOf(path));
}

/** Those of `names` that the dynamic linker of this machine knows. */
export async function librariesNamed(names: readonly string[]): Promise<RuntimeEntry[]> {
  const { stdout } = await runCommand('ldconfig', ['-p']).catch(() => ({ stdout: '' }));
  const found = new Map<string, string>();
  for (const [, name = '', path = ''] of stdout.matchAll(/^\s+(\S+) \(.*\) => (\S+)$/gm)) {
    if (!found.has(name)) found.set(name, path); // the first is the one that is loaded
  }
  return names.flatMap((name) => {
    const path = found.get(name);
    return path === undefined ? [] : [copyOf(path)];
  });
}
