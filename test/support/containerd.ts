/**
 * containerd's own `archive.Apply` as a program: built from `test/support/containerd-apply` by `go`, which fetches its modules
 * from the Go module proxy the first time, some 200 MB, and then takes a second.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { programPath, runCommand } from '../../src/base/index.ts';
import { needsPrograms } from './programs.ts';

const goMissing =
  programPath('go') === undefined && 'compares with containerd only where Go is at hand';

/** For a test's `skip`. */
export const containerdMissing =
  process.getuid?.() === 0 ? needsPrograms('getfattr') || goMissing : 'needs root';

export interface ContainerdApply extends AsyncDisposable {
  /** Path of the program: `PROGRAM ROOT TAR...`. */
  readonly program: string;
}

export async function buildContainerdApply(): Promise<ContainerdApply> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-containerd-'));
  const program = join(directory, 'containerd-apply');
  const cwd = join(import.meta.dirname, 'containerd-apply');
  await runCommand('go', ['build', '-buildvcs=false', '-o', program, '.'], {
    cwd,
    timeoutMs: 900_000, // half a minute on a machine that does nothing else
  });
  return {
    program,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
