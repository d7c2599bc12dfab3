/**
 * Starts a sandbox without a container runtime: a program made for it (`launch-program.ts`) does
 * the system calls that runc would (`builtin-steps.ts`) and becomes the sandbox's program. One
 * process is started in all, where runc starts five and sets up the Go runtime three times.
 *
 * The new process is a child of this one, in a pid namespace that only it begins. What it needs of
 * the host comes as open descriptors at numbers known beforehand: its root and what is shown in it
 * as mounts that are in no tree, its network namespace, its control groups.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';

import { present } from '../base/index.ts';
import { firstGivenFd, joinSteps, sandboxSteps, type ProcessSteps } from './builtin-steps.ts';
import { detectCgroups, limitingOptions, type Cgroup } from './cgroups.ts';
import { SandboxStartError } from './errors.ts';
import { launchProgram, type LaunchProgram, type Step } from './launch-program.ts';
import type { LaunchedProcess, Launcher, LaunchProcess, LaunchRequest } from './launcher.ts';
import { pidsMax } from './oci-config.ts';
import { openFilesMax } from './open-files-max.ts';
import { processExit } from './process-exit.ts';
import type { ProcessExit } from './sandbox.ts';
import { compileSeccomp } from './seccomp-filter.ts';
import { seccompProfile } from './seccomp-profile.ts';
import {
  errnoName,
  openExecutableMemory,
  openReadOnlyMount,
  withPidNamespace,
} from './syscalls.ts';
import { x64SyscallNumber } from './x64-syscalls.ts';

const seccompFilter = compileSeccomp(seccompProfile('x64'), x64SyscallNumber);
/** In the order in which they are joined: the mount namespace last, which hides the host's files. */
const namespaces = ['cgroup', 'ipc', 'uts', 'net', 'mnt'];

export function builtinLauncher(): Launcher {
  return {
    runtime: 'builtin',
    start: async (request) => {
      const launched = await startSandbox(request);
      const { cgroup, spec } = request;
      return {
        ...launched,
        spawn: (process) => joinSandbox({ id: spec.id, pid: launched.pid, cgroup }, process),
      };
    },
  };
}

/** Descriptors for a child, each at the number that it will have there. */
class GivenFds implements Disposable {
  readonly #fds: number[] = [];

  /** Takes the descriptor over; gives the child's number of it. */
  add(fd: number): number {
    this.#fds.push(fd);
    return firstGivenFd + this.#fds.length - 1;
  }

  get list(): readonly number[] {
    return this.#fds;
  }

  /** The first number that the child has nothing at. */
  get free(): number {
    return firstGivenFd + this.#fds.length;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) closeSync(fd);
  }
}

async function startSandbox(request: LaunchRequest): Promise<LaunchedProcess> {
  const { spec, process: main, directory, binds, networkNamespacePath } = request;
  const joined = request.cgroup.create({ ...spec, pidsMax });
  using given = new GivenFds();
  const rootFd = given.add(openReadOnlyMount(request.rootPath));
  const bindFds = [...binds].map(([target, source]) => {
    return { fd: given.add(openReadOnlyMount(source)), target };
  });
  const networkFd = given.add(openSync(networkNamespacePath, 'r'));
  const steps = sandboxSteps({
    ...processSteps(main, joined, given),
    hostname: spec.id,
    tmpSizeBytes: spec.tmpSizeBytes,
    rootTarget: directory,
    rootFd,
    bindFds,
    networkFd,
    cgroupOptions: limitingOptions(detectCgroups()),
  });
  const { outputFd } = main;
  return await launch({ id: spec.id, steps, given, outputFd, pidNamespaceFd: undefined });
}

/** A sandbox that may have been started by any of the launchers. */
export interface JoinedSandbox {
  readonly id: string;
  /** Of its main process, which must not have been waited for. */
  readonly pid: number;
  readonly cgroup: Cgroup;
}

/** Starts a further process in a sandbox. Throws `ERR_SANDBOX_START`. */
export async function joinSandbox(
  { id, pid, cgroup }: JoinedSandbox,
  process: LaunchProcess,
): Promise<LaunchedProcess> {
  using given = new GivenFds();
  let pidNamespaceFd: number | undefined;
  try {
    pidNamespaceFd = openSync(`/proc/${pid}/ns/pid`, 'r');
    const namespaceFds = namespaces.map((name) => {
      return given.add(openSync(`/proc/${pid}/ns/${name}`, 'r'));
    });
    const steps = joinSteps({ ...processSteps(process, cgroup.joinFiles(), given), namespaceFds });
    const { outputFd } = process;
    return await launch({ id, steps, given, outputFd, pidNamespaceFd });
  } catch (thrown) {
    if (thrown instanceof SandboxStartError) throw thrown;
    throw new SandboxStartError(id, 'builtin', 'its main process has ended', thrown);
  } finally {
    if (pidNamespaceFd !== undefined) closeSync(pidNamespaceFd);
  }
}

function processSteps(
  process: LaunchProcess,
  joinFiles: readonly string[],
  given: GivenFds,
): ProcessSteps {
  const cgroupFds = joinFiles.map((path) => given.add(openSync(path, 'w')));
  return {
    process,
    openFilesMax: openFilesMax(),
    seccompFilter,
    cgroupFds,
    freeFd: given.free,
  };
}

interface Launch {
  readonly id: string;
  readonly steps: readonly Step[];
  readonly given: GivenFds;
  readonly outputFd: number;
  /** Undefined: a new one. */
  readonly pidNamespaceFd: number | undefined;
}

async function launch({
  id,
  steps,
  given,
  outputFd,
  pidNamespaceFd,
}: Launch): Promise<LaunchedProcess> {
  const program = launchProgram(steps);
  const programFd = openExecutableMemory('thaw-launch');
  let child: ChildProcess;
  try {
    writeSync(programFd, program.bytes);
    child = withPidNamespace(pidNamespaceFd, () =>
      spawn(`/proc/${process.pid}/fd/${programFd}`, [], {
        stdio: ['ignore', outputFd, outputFd, 'pipe', ...given.list],
      }),
    );
  } finally {
    closeSync(programFd);
  }
  const ended = new Promise<ProcessExit>((resolve) => {
    child.once('error', () => resolve({}));
    child.once('exit', (code, signal) => resolve(processExit(code, signal)));
  });
  const report = await readAll(child.stdio[3] as Readable);
  if (child.pid === undefined) throw new SandboxStartError(id, 'builtin', 'cannot start a process');
  if (report.byteLength === 0) return { pid: child.pid, ended };
  await ended;
  throw new SandboxStartError(id, 'builtin', describe(program, report));
}

/** Empty once the steps have all been done: the program has replaced what would write. */
async function readAll(stream: Readable): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

function describe(program: LaunchProgram, report: Uint8Array): string {
  const { step, errno } = present(program.failureOf(report), 'step that failed');
  const texts = step.args.map((argument) => (typeof argument === 'string' ? argument : ''));
  const about = texts.filter((text) => text !== '');
  return `${[step.call, ...about].join(' ')}: ${errnoName(errno)}`;
}
