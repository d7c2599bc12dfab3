/**
 * The contract of the sandbox room: a process in a container of its own, and the Lambda Runtime API
 * it talks to.
 */

import type { Socket } from 'node:net';

import type { RuntimeApi, ShutDownReason } from './runtime-api/runtime-api-contract.ts';

export * from './runtime-api/runtime-api-contract.ts';

/** A directory of the host that a sandbox sees, without devices and set-user-id programs, read-only. */
export interface SandboxBind {
  /** An absolute path on the host. */
  readonly source: string;
  /** An absolute path inside; made where the root lacks it. */
  readonly target: string;
}

/**
 * `none`: loopback with the Runtime API. `nat`: out through the host over IPv4, without the host's
 * own addresses, metadata services and other sandboxes. `host`: the host's own network.
 */
export type SandboxNetwork = 'none' | 'nat' | 'host';

export interface SandboxSpec {
  /** 1..64 characters of `a-z 0-9 -`; names the container, its cgroup and its directory. */
  readonly id: string;
  /**
   * A mounted root filesystem; stays read-only. `/tmp` is a fresh tmpfs, and so are /dev, /dev/shm,
   * /proc.
   */
  readonly rootPath: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string;
  /**
   * As in an image's configuration; looked up in the root's own /etc/passwd and /etc/group. Empty:
   * root.
   */
  readonly user: string;
  readonly memoryBytes: number;
  /** Of the writable /tmp. */
  readonly tmpSizeBytes: number;
  /** CPU time in cores, e.g. 0.5. */
  readonly cpus: number;
  readonly binds?: readonly SandboxBind[];
  /** Default `none`. */
  readonly network?: SandboxNetwork;
  /** False to leave the executables in /opt/extensions alone. Default true. */
  readonly startsExtensions?: boolean;
  /** 12 digits; told to extensions that ask for it. */
  readonly accountId?: string;
}

export interface ProcessExit {
  /** Exit status, or undefined when a signal ended it. */
  readonly status?: number;
  readonly signal?: string;
}

export interface SandboxExit extends ProcessExit {
  /** True when the memory limit ended it. */
  readonly outOfMemory: boolean;
}

/** A further process of a sandbox: in the same container, under the same limits. */
export interface SandboxProcessSpec {
  readonly args: readonly string[];
  /** Complete, but for HOME and AWS_LAMBDA_RUNTIME_API, as for the main process. */
  readonly env: Readonly<Record<string, string>>;
  /** Default `/`. */
  readonly workingDir?: string;
  /** Default: the sandbox's. */
  readonly user?: string;
}

export interface SandboxProcess {
  /**
   * Resolves when it has ended and all its output has been handed on, at the latest when the
   * sandbox has; never rejects.
   */
  readonly exited: Promise<ProcessExit>;
  /** To this process alone; nothing once it has ended. */
  signal(name: NodeJS.Signals): void;
}

/** A running sandbox. Dispose of it to kill and remove everything that belongs to it. */
export interface Sandbox extends AsyncDisposable {
  readonly id: string;
  readonly runtimeApi: RuntimeApi;
  /** Resolves when the main process has ended; never rejects. */
  readonly exited: Promise<SandboxExit>;
  /** To the main process alone; nothing once it has ended. */
  signal(name: NodeJS.Signals): void;
  /**
   * Gives extensions the time to end that Lambda gives them, 500 ms or 2 s, and the runtime its share of it, where there are
   * any; resolves at once where not. To be called before disposing, and not while frozen. Never rejects.
   */
  shutDown(reason: ShutDownReason): Promise<void>;
  /** SIGKILL to every process in it, frozen or not. */
  kill(): Promise<void>;
  /**
   * Stops every process in it where it is. Resolves once the kernel says so, or once `thaw` or the
   * sandbox's end has overtaken it; at once where the factory's `canFreeze` is false.
   */
  freeze(): Promise<void>;
  /** Lets the processes go on. */
  thaw(): Promise<void>;
  /**
   * The most memory that its processes have had at one time, with the files that the kernel kept
   * for them; undefined where the kernel does not count it, and once the sandbox is gone.
   */
  memoryPeakBytes(): Promise<number | undefined>;
  /**
   * A connection to 127.0.0.1:`port` inside the sandbox. Rejects with `ERR_SANDBOX_CONNECT`, whose
   * `errno` is `ECONNREFUSED` at once where nobody listens, `ETIMEDOUT` after `timeoutMs` (default
   * 1,000).
   */
  connect(port: number, options?: { readonly timeoutMs?: number }): Promise<Socket>;
  /**
   * Starts a further process, whose output goes where that of the main process goes. Rejects with
   * `ERR_SANDBOX_ENTRYPOINT`, `ERR_SANDBOX_USER`, `ERR_SANDBOX_SPEC` and `ERR_SANDBOX_START`.
   */
  spawn(process: SandboxProcessSpec): Promise<SandboxProcess>;
}

export interface SandboxFactory {
  /**
   * What runs the sandboxes here: the same isolation is not promised by all (see `thaw doctor`).
   */
  readonly runtime: 'builtin' | 'runc' | 'crun' | 'util-linux';
  /** False where the machine has no cgroup freezer: then `freeze` does nothing. */
  readonly canFreeze: boolean;
  /** Resolves once the process has been started. `log` gets its stdout and stderr as they come. */
  create(spec: SandboxSpec, log: (data: Uint8Array) => void): Promise<Sandbox>;
}
