/**
 * Starts a sandbox without a container runtime: a program made for it (`launch-program.ts`) does
 * the system calls that runc would (`builtin-steps.ts`) and becomes the sandbox's program. One
 * process is started in all, where runc starts five and sets up the Go runtime three times.
 *
 * The new process is a child of this one, in a pid namespace that only it begins. It goes as far as
 * it can without knowing what it will be, into its control groups above all, for which the kernel
 * takes its time: up to 20 ms, while all processors pass a point without locks. Then it waits.
 */

import assert from 'node:assert/strict';
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { arch } from 'node:os';
import { buffer } from 'node:stream/consumers';

import { present } from '../../base/index.ts';
import {
  joinSteps,
  laterStepsFd,
  placeSteps,
  sandboxSteps,
  statusFd,
  type HiddenKinds,
  type LimitSteps,
} from './builtin-steps.ts';
import { detectCgroups, limitingOptions, type Cgroup } from '../limits/cgroups.ts';
import { childEnd, prepareToReap } from './child-reaper.ts';
import { SandboxStartError } from '../errors.ts';
import {
  launchProgram,
  waitingProgram,
  type StepFailure,
  type WaitingProgram,
} from './launch-program.ts';
import type {
  LaunchedProcess,
  LaunchedSandbox,
  Launcher,
  LaunchPlace,
  LaunchProcess,
  LaunchRequest,
  PreparedLaunch,
} from './launcher.ts';
import { blockMetadata } from '../limits/metadata-filter.ts';
import { maskedPaths, pidsMax } from './oci-config.ts';
import { openFilesMax } from '../limits/open-files-max.ts';
import { compileSeccomp } from '../limits/seccomp-filter.ts';
import { seccompProfile } from '../limits/seccomp-profile.ts';
import {
  errnoName,
  openExecutableMemory,
  socketPair,
  spawnProgram,
  withPidNamespace,
} from '../syscalls.ts';
import { x64SyscallNumber } from './x64-syscalls.ts';

const seccompFilter = compileSeccomp(seccompProfile('x64'), x64SyscallNumber);
/** In the order in which they are joined: the mount namespace last, which hides the host's files. */
const namespaces = ['cgroup', 'ipc', 'uts', 'net', 'mnt'];

export function builtinLauncher(): Launcher {
  return { runtime: 'builtin', prepare: (place) => Promise.resolve(new PreparedProcess(place)) };
}

/** Descriptors for a child, each at the number that it will have there. */
class GivenFds implements Disposable {
  readonly #fds: number[] = [];

  /** Takes the descriptor over; gives the child's number of it. */
  add(fd: number): number {
    this.#fds.push(fd);
    return statusFd + this.#fds.length;
  }

  get list(): readonly number[] {
    return this.#fds;
  }

  /** To come under the limits of a group takes its files, which are given last. */
  limits(joinFiles: readonly string[]): LimitSteps {
    const cgroupFds = joinFiles.map((path) => this.add(openSync(path, 'w')));
    return { cgroupFds, openFilesMax: openFilesMax(), freeFd: statusFd + 1 + this.#fds.length };
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) closeSync(fd);
  }
}

/** A process that waits for what it will be. */
class PreparedProcess implements PreparedLaunch {
  readonly #cgroup: Cgroup;
  readonly #child: Child;
  readonly #program: WaitingProgram;
  readonly #stepsFd: number;
  isUsable = true;
  readonly blocksMetadata: boolean;

  constructor({ cgroup, networkNamespacePath, outputFd }: LaunchPlace) {
    this.#cgroup = cgroup;
    cgroup.make();
    this.blocksMetadata = networkNamespacePath === undefined && blockMetadataOf(cgroup);
    this.#stepsFd = openExecutableMemory('thaw-later-steps');
    try {
      using given = new GivenFds();
      assert.equal(given.add(openSync(`/proc/self/fd/${this.#stepsFd}`, 'r')), laterStepsFd);
      const networkFd =
        networkNamespacePath === undefined
          ? undefined
          : given.add(openSync(networkNamespacePath, 'r'));
      const steps = placeSteps({ networkFd, ...given.limits(cgroup.joinFiles()) });
      this.#program = waitingProgram(steps, laterStepsFd);
      this.#child = startChild(this.#program.bytes, { given, outputFd });
    } catch (thrown) {
      closeSync(this.#stepsFd);
      throw thrown;
    }
    void this.#noteEnd();
  }

  async #noteEnd(): Promise<void> {
    await this.#child.ended;
    this.isUsable = false;
    closeSync(this.#stepsFd);
  }

  async start({ spec, process, ...request }: LaunchRequest): Promise<LaunchedSandbox> {
    const cgroup = this.#cgroup;
    cgroup.setLimits({ ...spec, pidsMax });
    const steps = sandboxSteps({
      hiddenKinds: hiddenKindsHere(),
      process,
      seccompFilter,
      hostname: spec.id,
      tmpSizeBytes: spec.tmpSizeBytes,
      rootPath: request.rootPath,
      rootTarget: request.directory,
      binds: request.binds,
      cgroupOptions: limitingOptions(detectCgroups()),
    });
    const later = this.#program.continueWith(steps);
    if (this.isUsable) writeSync(this.#stepsFd, later.bytes);
    this.#child.status.write('!');
    const launched = await untilStarted(spec.id, this.#child, (report) => {
      return later.failureOf(report) ?? this.#program.failureOf(report);
    });
    const { pid } = launched;
    return {
      ...launched,
      spawn: (further) => joinSandbox({ id: spec.id, pid, cgroup }, further),
    };
  }
}

/** The host's own /proc and /sys have the same. */
function hiddenKindsHere(): HiddenKinds {
  return new Map(
    maskedPaths.flatMap((path) => {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return [];
      return [[path, stats.isDirectory() ? 'directory' : 'file'] as const];
    }),
  );
}

/** False where there is no control group of version 2, which alone can filter what is sent. */
function blockMetadataOf(cgroup: Cgroup): boolean {
  const directory = cgroup.makeUnified();
  if (directory === undefined) return false;
  blockMetadata(directory);
  return true;
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
  if (arch() !== 'x64') {
    throw new SandboxStartError(id, 'builtin', 'further processes need x86-64, or runc');
  }
  using given = new GivenFds();
  let pidNamespaceFd: number | undefined;
  try {
    pidNamespaceFd = openSync(`/proc/${pid}/ns/pid`, 'r');
    const namespaceFds = namespaces.map((name) => {
      return given.add(openSync(`/proc/${pid}/ns/${name}`, 'r'));
    });
    const limits = given.limits(cgroup.joinFiles());
    const program = launchProgram(joinSteps({ process, seccompFilter, namespaceFds, ...limits }));
    const { outputFd } = process;
    const child = startChild(program.bytes, { given, outputFd, pidNamespaceFd });
    return await untilStarted(id, child, (report) => program.failureOf(report));
  } catch (thrown) {
    if (thrown instanceof SandboxStartError) throw thrown;
    throw new SandboxStartError(id, 'builtin', 'its main process has ended', thrown);
  } finally {
    if (pidNamespaceFd !== undefined) closeSync(pidNamespaceFd);
  }
}

interface Child extends LaunchedProcess {
  readonly status: Socket;
}

interface ChildOptions {
  readonly given: GivenFds;
  readonly outputFd: number;
  /** Default: a new one. */
  readonly pidNamespaceFd?: number;
}

/** Starts what `bytes` are the executable of. */
function startChild(bytes: Uint8Array, { given, outputFd, pidNamespaceFd }: ChildOptions): Child {
  prepareToReap();
  const [ownFd, childFd] = socketPair();
  const programFd = openExecutableMemory('thaw-launch');
  const inputFd = openSync('/dev/null', 'r');
  try {
    writeSync(programFd, bytes);
    const fds = [inputFd, outputFd, outputFd, childFd, ...given.list];
    const path = `/proc/${process.pid}/fd/${programFd}`;
    const pid = withPidNamespace(pidNamespaceFd, () => spawnProgram(path, fds));
    const status = new Socket({ fd: ownFd, readable: true, writable: true });
    status.on('error', () => {}); // it may end at any moment, and says why before
    return { pid, ended: childEnd(pid), status };
  } catch (thrown) {
    closeSync(ownFd);
    throw thrown;
  } finally {
    for (const fd of [childFd, programFd, inputFd]) closeSync(fd);
  }
}

/** Resolves once the program has replaced the steps that would write to the status pipe. */
async function untilStarted(
  id: string,
  { pid, ended, status }: Child,
  failureOf: (report: Uint8Array) => StepFailure | undefined,
): Promise<LaunchedProcess> {
  const report = await buffer(status).catch(() => new Uint8Array());
  if (report.byteLength === 0) return { pid, ended };
  await ended;
  const { step, errno } = present(failureOf(report), 'step that failed');
  const texts = step.args.map((argument) => (typeof argument === 'string' ? argument : ''));
  const about = [step.call, ...texts.filter((text) => text !== '')].join(' ');
  throw new SandboxStartError(id, 'builtin', `${about}: ${errnoName(errno)}`);
}
