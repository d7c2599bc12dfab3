/**
 * The directories of a worker's sandboxes, by which those of a worker that was killed are found:
 * each is made before anything else of its sandbox, removed after all else, and names the worker.
 */

import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { isProcessAlive, present, processIdentity, silentLog, type Log } from '../base/index.ts';
import { Cgroup, detectCgroups } from './limits/cgroups.ts';
import { SandboxSpecError } from './errors.ts';
import { detachMount } from './syscalls.ts';

/**
 * Kills and removes the sandboxes in `stateDir` whose worker has ended without removing them.
 * Leaves those of living workers alone. Returns their ids. Throws `ERR_SANDBOX_REMOVE` when one
 * cannot be removed.
 */
export async function sweepSandboxes(stateDir: string, log: Log = silentLog): Promise<string[]> {
  const root = sandboxesDirectory(stateDir);
  await mkdir(root, { recursive: true, mode: 0o700 });
  const layout = detectCgroups();
  const swept: string[] = [];
  for (const name of await readdir(root)) {
    const directory = join(root, name);
    const [owner = '', id = name] = name.split('.');
    if (await isProcessAlive(owner)) continue;
    log.info('Removing the sandbox of a worker that is gone', { id });
    await new Cgroup(layout, cgroupName(stateDir, id)).remove();
    try {
      detachMount(join(directory, 'root'));
    } catch {
      // It is a mount only where the image lacked a mount point.
    }
    await rm(directory, { recursive: true, force: true });
    swept.push(id);
  }
  return swept;
}

function sandboxesDirectory(stateDir: string): string {
  return join(stateDir, 'sandboxes');
}

/** Its name tells from the first moment whose it is: a sweep by another worker may come at any. */
export async function makeOwnDirectory(stateDir: string, id: string): Promise<string> {
  const owner = present(await processIdentity(process.pid), 'own identity');
  const directory = join(sandboxesDirectory(stateDir), `${owner}.${id}`);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (thrown) {
    throw new SandboxSpecError(`"${id}" exists already, or its directory cannot be made`, thrown);
  }
  return directory;
}

/** Unique to the state directory, so that two of them on a machine do not meet. */
export function cgroupName(stateDir: string, id: string): string {
  const hash = createHash('sha256').update(realpathSync(stateDir)).digest('hex');
  return `thaw-${hash.slice(0, 8)}-${id}`;
}
