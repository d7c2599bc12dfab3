/** Directories and entries of directories that survive a power failure. */

import { mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Resolves once every entry made, renamed or removed in directory `path` before this call is durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes directory `path` and all above it that are missing, with `mode` (default 0777 less the umask), durably. */
export async function makeDirectoryDurably(path: string, mode = 0o777): Promise<void> {
  const last = resolve(path);
  const first = await mkdir(last, { recursive: true, mode });
  if (first === undefined) return; // it was there
  for (let made = last; made.length >= first.length; made = dirname(made)) {
    await syncDirectory(dirname(made));
  }
}
