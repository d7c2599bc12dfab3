/**
 * The contract of the sandbox room: a process in a container of its own, and the Lambda Runtime API
 * it talks to.
 */

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
}

export interface SandboxExit {
  /** Exit status, or undefined when a signal ended it. */
  readonly status?: number;
  readonly signal?: string;
  /** True when the memory limit ended it. */
  readonly outOfMemory: boolean;
}

/** A running sandbox. Dispose of it to kill and remove everything that belongs to it. */
export interface Sandbox extends AsyncDisposable {
  readonly id: string;
  readonly runtimeApi: RuntimeApi;
  /** Resolves when the main process has ended; never rejects. */
  readonly exited: Promise<SandboxExit>;
  /** SIGKILL to every process in it. */
  kill(): Promise<void>;
}

/**
 * One invocation as it is given to the runtime. Source: AWS Lambda developer guide, "Lambda runtime
 * API".
 */
export interface Invocation {
  readonly requestId: string;
  /** The event, as bytes of JSON. */
  readonly payload: Uint8Array;
  /** Milliseconds since 1970. */
  readonly deadlineMs: number;
  readonly functionArn: string;
  readonly traceId?: string;
  readonly clientContext?: string;
  readonly cognitoIdentity?: string;
}

/**
 * What came of it. An `error`'s payload is Lambda's error object: `errorMessage`, `errorType`,
 * `stackTrace`.
 */
export type InvocationOutcome =
  | { readonly kind: 'response'; readonly payload: Uint8Array }
  | { readonly kind: 'error'; readonly payload: Uint8Array; readonly errorType: string };

export interface RuntimeApi {
  /**
   * Resolves when the runtime asks for its first invocation, or reports that its initialisation
   * failed.
   */
  readonly ready: Promise<{ readonly initError?: InvocationOutcome }>;
  /**
   * Hands one invocation to the runtime and waits for its answer; one at a time. Rejects with
   * `signal`'s reason when aborted; the sandbox must be disposed of then.
   */
  invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome>;
}

export interface SandboxFactory {
  /**
   * What runs the sandboxes here: the same isolation is not promised by all (see `thaw doctor`).
   */
  readonly runtime: 'runc' | 'crun' | 'util-linux';
  /** Resolves once the process has been started. `log` gets its stdout and stderr as they come. */
  create(spec: SandboxSpec, log: (data: Uint8Array) => void): Promise<Sandbox>;
}
