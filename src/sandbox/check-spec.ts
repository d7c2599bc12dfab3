/** What a sandbox's specification must hold to, before anything is made for it. */

import { SandboxSpecError } from './errors.ts';
import { isBelow } from './root/inside-path.ts';
import { mountPoints } from './launchers/oci-config.ts';
import type { SandboxBind, SandboxSpec } from './sandbox.ts';

/** Less does not hold the runtime's own start. */
const memoryMinBytes = 16 * 1024 * 1024;
const tmpSizeMinBytes = 4096;
/** The kernel takes no quota below 1 ms, and its period is 100 ms. */
const cpusMin = 0.01;

/** Throws `ERR_SANDBOX_SPEC`. */
export function checkSpec(spec: SandboxSpec): void {
  const problem = problemOf(spec) ?? processProblem(spec) ?? bindsProblem(spec.binds ?? []);
  if (problem !== undefined) throw new SandboxSpecError(problem);
}

/** The same for a further process. */
export function checkProcess(process: ProcessText): void {
  const problem = processProblem(process);
  if (problem !== undefined) throw new SandboxSpecError(problem);
}

type ProcessText = Pick<SandboxSpec, 'args' | 'env' | 'workingDir'>;

function problemOf({ id, memoryBytes, tmpSizeBytes, cpus }: SandboxSpec): string | undefined {
  if (!/^[a-z0-9-]{1,64}$/.test(id)) return `"${id}" is not an id: use a-z, 0-9 and -`;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < memoryMinBytes) {
    return `${memoryBytes} bytes of memory are less than ${memoryMinBytes}`;
  }
  if (!Number.isSafeInteger(tmpSizeBytes) || tmpSizeBytes < tmpSizeMinBytes) {
    return `${tmpSizeBytes} bytes of /tmp are less than ${tmpSizeMinBytes}`;
  }
  return cpus >= cpusMin ? undefined : `${cpus} CPUs are less than ${cpusMin}`;
}

function processProblem({ args, env, workingDir }: ProcessText): string | undefined {
  if (args.length === 0) return 'the image names no command, and none was given';
  if (!workingDir.startsWith('/')) {
    return `the working directory "${workingDir}" is not an absolute path`;
  }
  const badName = Object.keys(env).find((name) => name === '' || /[=\0]/.test(name));
  if (badName !== undefined) return `"${badName}" cannot name a variable`;
  if ([...args, workingDir, ...Object.values(env)].some((text) => text.includes('\0'))) {
    return 'a command, a variable or the working directory holds a zero byte';
  }
  return undefined;
}

function bindsProblem(binds: readonly SandboxBind[]): string | undefined {
  for (const { source, target } of binds) {
    const isPlain = [source, target].every((path) => /^(\/[^/\0]+)+$/.test(path));
    if (!isPlain || /\/\.\.?(\/|$)/.test(target)) {
      return `"${source}" cannot be shown as "${target}": give absolute paths`;
    }
    if (mountPoints.some((point) => isBelow(target, point))) {
      return `nothing can be shown as "${target}": a sandbox has its own there`;
    }
  }
  return undefined;
}
