/** Finds the program to run in the image, before anything is started for it. */

import { posix } from 'node:path';

import { SandboxEntrypointError } from '../errors.ts';
import { statInRoot } from './root-files.ts';
import type { SandboxSpec } from '../sandbox.ts';

/** What execvp(3) searches where the environment has no PATH. */
const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The paths to try as the program, in order: the first that can be run is it. What `isElsewhere`
 * cannot be looked at, and is among them. Throws `ERR_SANDBOX_ENTRYPOINT` when the first argument
 * leads to no executable file in the root, and to nothing elsewhere.
 */
export function findPrograms(
  {
    rootPath,
    args,
    env,
    workingDir,
  }: Pick<SandboxSpec, 'rootPath' | 'args' | 'env' | 'workingDir'>,
  isElsewhere: (path: string) => boolean,
): readonly string[] {
  const [program = ''] = args;
  const candidates = program.includes('/')
    ? [posix.resolve(workingDir, program)]
    : (env['PATH'] ?? defaultPath)
        .split(':')
        .map((directory) => posix.resolve(workingDir, directory, program));
  const found = candidates.map((path) => ({
    path,
    isElsewhere: isElsewhere(path),
    stats: statInRoot(rootPath, path),
  }));
  const programs = found.filter((one) => {
    return one.isElsewhere || (one.stats?.isFile() === true && (one.stats.mode & 0o111) !== 0);
  });
  if (programs.length > 0) return programs.map(({ path }) => path);
  if (found.some(({ stats }) => stats !== undefined)) {
    throw new SandboxEntrypointError(program, 'not an executable file');
  }
  const where = program.includes('/') ? 'no such file' : 'no such program on its PATH';
  throw new SandboxEntrypointError(program, where);
}
