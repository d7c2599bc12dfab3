/** Empty file systems in memory, for tests of what happens when they are full. Needs root. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';

/** One that holds so many bytes of files. Unmounted and removed when it is disposed of. */
export async function mountSmallFilesystem(
  sizeBytes: number,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-small-'));
  await runCommand('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'thaw-test', path]);
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await runCommand('umount', [path]);
      await rm(path, { recursive: true });
    },
  };
}
