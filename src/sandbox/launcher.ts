/**
 * What differs between container runtimes: how the process is started. All else is the factory's.
 */

import type { Cgroup } from './cgroups.ts';
import type { ChildEnd } from './child-reaper.ts';
import type { ImageUser } from './image-user.ts';
import type { SandboxFactory, SandboxSpec } from './sandbox.ts';

export interface LaunchRequest {
  readonly spec: SandboxSpec;
  /** The sandbox's own, empty but for what the factory keeps there; removed with the sandbox. */
  readonly directory: string;
  /** `spec.rootPath`, or a read-only view of it that has every mount point. */
  readonly rootPath: string;
  readonly user: ImageUser;
  /** `NAME=value`, complete. */
  readonly environment: readonly string[];
  readonly networkNamespacePath: string;
  readonly cgroup: Cgroup;
  readonly cgroupName: string;
  readonly limitSwap: boolean;
  /** Host files to show read-only inside: target to source. */
  readonly files: ReadonlyMap<string, string>;
  /** Gets standard output and standard error. Stays the caller's. */
  readonly outputFd: number;
}

export interface Launcher {
  readonly runtime: SandboxFactory['runtime'];
  /**
   * Resolves when the program has been started. Throws `ERR_SANDBOX_START`. What it leaves behind
   * in the directory, the control group and the network namespace is the caller's to remove, also
   * when it throws.
   */
  start(request: LaunchRequest): Promise<{ readonly ended: Promise<ChildEnd> }>;
}
