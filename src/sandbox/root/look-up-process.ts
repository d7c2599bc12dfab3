/** Makes a process that can be started out of one that was asked for, by looking into the root. */

import { findPrograms } from './entrypoint.ts';
import { SandboxSpecError } from '../errors.ts';
import { resolveImageUser } from './image-user.ts';
import { isBelow } from './inside-path.ts';
import type { LaunchProcess } from '../launchers/launcher.ts';
import { capabilitiesFor } from '../launchers/oci-config.ts';
import { statInRoot } from './root-files.ts';
import type { SandboxSpec } from '../sandbox.ts';

/** What is looked up where. */
export type WantedProcess = Pick<
  SandboxSpec,
  'rootPath' | 'binds' | 'args' | 'env' | 'workingDir' | 'user' | 'network'
>;

/**
 * Throws `ERR_SANDBOX_USER`, `ERR_SANDBOX_SPEC` for a working directory that is none, and
 * `ERR_SANDBOX_ENTRYPOINT`. What lies in a bound directory is left for the start itself to find.
 */
export function lookUpProcess(
  wanted: WantedProcess,
  runtimeApiAddress: string,
): Omit<LaunchProcess, 'outputFd'> {
  const { rootPath, args, env, workingDir } = wanted;
  const user = resolveImageUser(rootPath, wanted.user);
  const isBound = (path: string): boolean =>
    (wanted.binds ?? []).some(({ target }) => isBelow(path, target));
  if (!isBound(workingDir) && statInRoot(rootPath, workingDir)?.isDirectory() === false) {
    throw new SandboxSpecError(`the working directory "${workingDir}" is no directory`);
  }
  const programs = findPrograms(wanted, isBound);
  const variables = { HOME: user.home, ...env, AWS_LAMBDA_RUNTIME_API: runtimeApiAddress };
  const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const capabilities = capabilitiesFor(wanted.network ?? 'none');
  return { args, programs, environment, workingDir, user, capabilities };
}
