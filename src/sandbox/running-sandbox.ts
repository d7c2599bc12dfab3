/** A sandbox whose main process has been started: what can be done with it until its end. */

import { setTimeout as delay } from 'node:timers/promises';

import type { Socket } from 'node:net';

import { errorCode } from '../base/index.ts';
import type { Cgroup } from './limits/cgroups.ts';
import { checkProcess } from './check-spec.ts';
import type { LaunchedProcess, LaunchedSandbox } from './launchers/launcher.ts';
import { lookUpProcess } from './root/look-up-process.ts';
import { connectLoopback } from './network/loopback-connection.ts';
import { OutputPipe } from './launchers/output-pipe.ts';
import type { SandboxLink } from './network/sandbox-network.ts';
import type { RuntimeApiServer } from './runtime-api/runtime-api.ts';
import type {
  ProcessExit,
  Sandbox,
  SandboxExit,
  SandboxProcess,
  SandboxProcessSpec,
  SandboxSpec,
} from './sandbox.ts';
import { openTcpSocket } from './syscalls.ts';

/** A killed process may hang in the kernel, on a read of its root: then removal goes on and says so. */
const exitTimeoutMs = 10_000;
const connectTimeoutMs = 1000;
/** What Lambda gives a runtime with internal extensions to end. */
const shutDownMs = 500;

export interface RunningParts {
  readonly spec: SandboxSpec;
  readonly runtimeApi: RuntimeApiServer;
  readonly runtimeApiAddress: string;
  readonly link: SandboxLink;
  readonly cgroup: Cgroup;
  readonly launched: LaunchedSandbox;
  readonly output: (data: Uint8Array) => void;
  /** Of the main process and its children. */
  readonly outputEnded: Promise<void>;
  /** All that was made for the sandbox; the sandbox's from now on. */
  readonly resources: AsyncDisposableStack;
}

export class RunningSandbox implements Sandbox {
  readonly id: string;
  readonly runtimeApi: RuntimeApiServer;
  readonly exited: Promise<SandboxExit>;
  readonly #parts: RunningParts;
  readonly #signalMain: (name: NodeJS.Signals) => void;
  #disposing: Promise<void> | undefined;

  constructor(parts: RunningParts) {
    const { spec, runtimeApi, launched, outputEnded, cgroup } = parts;
    this.id = spec.id;
    this.runtimeApi = runtimeApi;
    this.#parts = parts;
    this.#signalMain = signaller(launched);
    this.exited = exitOf(launched.ended, outputEnded, cgroup);
  }

  signal(name: NodeJS.Signals): void {
    this.#signalMain(name);
  }

  async kill(): Promise<void> {
    this.#parts.cgroup.killMembers();
  }

  freeze(): Promise<void> {
    return this.#parts.cgroup.freeze();
  }

  async thaw(): Promise<void> {
    this.#parts.cgroup.thaw();
  }

  memoryPeakBytes(): Promise<number | undefined> {
    return this.#parts.cgroup.memoryPeakBytes();
  }

  connect(port: number, options: { readonly timeoutMs?: number } = {}): Promise<Socket> {
    const { link } = this.#parts;
    return connectLoopback(
      () => link.within(openTcpSocket),
      port,
      options.timeoutMs ?? connectTimeoutMs,
    );
  }

  async spawn(wanted: SandboxProcessSpec): Promise<SandboxProcess> {
    const { spec, launched, output, runtimeApiAddress } = this.#parts;
    const process = { workingDir: '/', user: spec.user, ...wanted };
    checkProcess(process);
    const found = lookUpProcess({ ...spec, ...process }, runtimeApiAddress);
    using pipe = new OutputPipe();
    const started = await launched.spawn({ ...found, outputFd: pipe.writeFd });
    return {
      exited: endOf(started.ended, pipe.readTo(output)),
      signal: signaller(started),
    };
  }

  /** Internal extensions end with the runtime, which is all that is told. */
  async shutDown(): Promise<void> {
    if (!this.runtimeApi.extensions.hasRegistered) return;
    this.signal('SIGTERM');
    await Promise.race([this.exited, delay(shutDownMs, undefined, { ref: false })]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    this.#parts.cgroup.killMembers();
    await Promise.race([this.exited, delay(exitTimeoutMs, undefined, { ref: false })]);
    await this.#parts.resources.disposeAsync();
  }
}

async function endOf(
  ended: Promise<ProcessExit>,
  outputEnded: Promise<void>,
): Promise<ProcessExit> {
  const end = await ended;
  await outputEnded;
  return end;
}

/**
 * How it ended, told once all its output has been handed on and before its control group can be
 * removed.
 */
async function exitOf(
  ended: Promise<ProcessExit>,
  outputEnded: Promise<void>,
  cgroup: Cgroup,
): Promise<SandboxExit> {
  const end = await endOf(ended, outputEnded);
  return { ...end, outOfMemory: await cgroup.ranOutOfMemory() };
}

/** Sends signals to a process as long as its pid is its own. */
function signaller({ pid, ended }: LaunchedProcess): (name: NodeJS.Signals) => void {
  let isEnded = false;
  const noteEnd = async (): Promise<void> => {
    await ended;
    isEnded = true;
  };
  void noteEnd();
  return (name) => {
    if (isEnded) return;
    try {
      process.kill(pid, name);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ESRCH') throw thrown;
    }
  };
}
