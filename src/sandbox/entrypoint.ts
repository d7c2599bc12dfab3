/** Checks that the program to run is in the image, before anything is started for it. */

import { posix } from 'node:path';

import { SandboxEntrypointError } from './errors.ts';
import { statInRoot } from './root-files.ts';
import type { SandboxSpec } from './sandbox.ts';

/** What execvp(3) searches where the environment has no PATH. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Throws `ERR_SANDBOX_ENTRYPOINT` when the first argument leads to no executable file in the root,
 * and to nothing that `isElsewhere`.
 */
export function checkEntrypoint(
  {
    rootPath,
    args,
    env,
    workingDir,
  }: Pick<SandboxSpec, 'rootPath' | 'args' | 'env' | 'workingDir'>,
  isElsewhere: (path: string) => boolean,
): void {
  const [program = ''] = args;
  const candidates = program.includes('/')
    ? [posix.resolve(workingDir, program)]
    : (env['PATH'] ?? defaultPath)
        .split(':')
        .map((directory) => posix.resolve(workingDir, directory, program));
  if (candidates.some(isElsewhere)) return;
  const found = candidates
    .map((candidate) => statInRoot(rootPath, candidate))
    .filter((stats) => stats !== undefined);
  if (found.length === 0) {
    const where = program.includes('/') ? 'no such file' : 'no such program on its PATH';
    throw new SandboxEntrypointError(program, where);
  }
  const isExecutable = found.some((stats) => stats.isFile() && (stats.mode & 0o111) !== 0);
  if (!isExecutable) throw new SandboxEntrypointError(program, 'not an executable file');
}
