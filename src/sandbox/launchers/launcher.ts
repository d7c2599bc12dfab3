/**
 * What differs between container runtimes: how the process is started. All else is the factory's.
 */

import type { Cgroup } from '../limits/cgroups.ts';
import type { ImageUser } from '../root/image-user.ts';
import type { ProcessExit, SandboxFactory, SandboxSpec } from '../sandbox.ts';

/** A process to be started, with all that was looked up for it. */
export interface LaunchProcess {
  readonly args: readonly string[];
  /** The paths inside at which the program may be, in the order in which to try them. */
  readonly programs: readonly string[];
  /** `NAME=value`, complete. */
  readonly environment: readonly string[];
  readonly workingDir: string;
  readonly user: ImageUser;
  /** By name, as in `CAP_CHOWN`: what user 0 has, and nobody can get more than. */
  readonly capabilities: readonly string[];
  /** Gets standard output and standard error. Stays the caller's. */
  readonly outputFd: number;
}

/** What a sandbox needs whatever it runs. */
export interface LaunchPlace {
  /** Absent: the host's own network. */
  readonly networkNamespacePath?: string;
  /** Not there before `prepare`; the caller's to remove after. */
  readonly cgroup: Cgroup;
  /** Gets standard output and standard error of the main process. Stays the caller's. */
  readonly outputFd: number;
}

export interface LaunchRequest {
  readonly spec: SandboxSpec;
  readonly process: LaunchProcess;
  /** The sandbox's own, empty but for what the factory keeps there; removed with the sandbox. */
  readonly directory: string;
  /** `spec.rootPath`, or a read-only view of it that has every mount point. */
  readonly rootPath: string;
  readonly limitSwap: boolean;
  /** Files and directories of the host to show read-only inside: target to source. */
  readonly binds: ReadonlyMap<string, string>;
}

/** A process that was started. */
export interface LaunchedProcess {
  /** As this process sees it; another's once `ended` has resolved. */
  readonly pid: number;
  readonly ended: Promise<ProcessExit>;
}

/** The main process, and how to start others beside it. */
export interface LaunchedSandbox extends LaunchedProcess {
  /** Throws `ERR_SANDBOX_START`. */
  spawn(process: LaunchProcess): Promise<LaunchedProcess>;
}

/** A start as far as it goes without knowing what is started. */
export interface PreparedLaunch {
  /** False once it cannot be used any more. */
  readonly isUsable: boolean;
  /** True if it keeps a sandbox in the host's own network from metadata services. */
  readonly blocksMetadata: boolean;
  /**
   * Once. Resolves when the program has been started. Throws `ERR_SANDBOX_START`. What it leaves
   * behind in the directory, the control group and the network namespace is the caller's to remove,
   * also when it throws.
   */
  start(request: LaunchRequest): Promise<LaunchedSandbox>;
}

export interface Launcher {
  readonly runtime: SandboxFactory['runtime'];
  /** Throws `ERR_SANDBOX_START`, and leaves behind what `start` does. */
  prepare(place: LaunchPlace): Promise<PreparedLaunch>;
}
