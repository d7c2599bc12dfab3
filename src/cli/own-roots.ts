/**
 * Root mounts in a directory of this process, named after it. Any number of processes share the directory above, and
 * any may be killed at any moment: whoever comes next clears away what those left, several at once if so be.
 */

import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import {
  errorCode,
  errorMessage,
  isProcessAlive,
  present,
  processIdentity,
  type Log,
} from '../base/index.ts';
import { createRootMounts, type AgentClient, type RootMounts } from '../device/index.ts';

export interface OwnRootsOptions {
  readonly agent: AgentClient;
  /** An absolute path; made if it is not there. */
  readonly rootsDir: string;
  readonly log: Log;
}

/** Closing them removes the process's directory too. */
export async function createOwnRoots({
  agent,
  rootsDir,
  log,
}: OwnRootsOptions): Promise<RootMounts> {
  await mkdir(rootsDir, { recursive: true, mode: 0o700 });
  for (const name of await readdir(rootsDir)) {
    if (await isProcessAlive(name)) continue;
    try {
      await clearAway(agent, join(rootsDir, name));
    } catch (thrown) {
      // Nobody else's leftovers keep this process from its work; the next one tries again.
      log.warn('Cannot clear away what a process left', { name, reason: errorMessage(thrown) });
    }
  }
  const mountsDir = join(rootsDir, present(await processIdentity(process.pid), 'own identity'));
  const roots = await createRootMounts({ agent, mountsDir, keepIdle: true });
  return {
    acquire: (image) => roots.acquire(image),
    counters: (image) => roots.counters(image),
    startEnded: (image) => roots.startEnded(image),
    dropCaches: (caches) => roots.dropCaches(caches),
    close: async () => {
      await roots.close();
      await removeEmpty(mountsDir);
    },
  };
}

async function clearAway(agent: AgentClient, left: string): Promise<void> {
  await createRootMounts({ agent, mountsDir: left }); // taking a directory over unmounts what is in it
  for (const mountPoint of await readdir(left)) await removeEmpty(join(left, mountPoint));
  await removeEmpty(left);
}

/** Never recursively: should something still be mounted there, its files are not ours to delete. */
async function removeEmpty(dir: string): Promise<void> {
  await rmdir(dir).catch((thrown: unknown) => {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
  });
}
