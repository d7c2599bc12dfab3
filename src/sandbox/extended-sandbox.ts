/**
 * A sandbox with external extensions. They are started first, and the runtime once all of them have registered, as in Lambda.
 *
 * Process 1 of the sandbox is the first extension, since an extension may outlive the runtime, to be told of the sandbox's end,
 * and the end of process 1 is the end of all. An extension that ends before it has been told to fails the initialisation or the
 * invocation that is under way, and makes the sandbox useless.
 */

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';

import { errorMessage, present } from '../base/index.ts';
import { extensionsMax } from './runtime-api/extension-registry.ts';
import { extensionsDirectory, extensionVariables } from './runtime-api/external-extensions.ts';
import type { RunningSandbox } from './running-sandbox.ts';
import type { RuntimeApiServer } from './runtime-api/runtime-api.ts';
import type { ShutDownReason } from './runtime-api/runtime-api-contract.ts';
import { errorOutcome } from './runtime-api/runtime-api-response.ts';
import type {
  ProcessExit,
  Sandbox,
  SandboxExit,
  SandboxProcess,
  SandboxProcessSpec,
  SandboxSpec,
} from './sandbox.ts';

/** Parts of the time to end: the runtime's, as in Lambda, and what the first extension has at least, which is told last. */
const [runtimeShare, lastShare] = [0.3, 0.25] as const;
/** Within this time everything has ended after process 1 has. */
const deathOfAllMs = 1000;

export interface ExtendedParts {
  readonly spec: SandboxSpec;
  /** Of the external extensions; the first is what the sandbox runs already. */
  readonly names: readonly string[];
  readonly inner: RunningSandbox;
  readonly runtimeApi: RuntimeApiServer;
  /** From being told of the end until being killed, of all together. */
  readonly shutDownMs: number;
}

/** How an extension's process is started. */
export function extensionProcess(
  { env }: SandboxSpec,
  name: string,
): Required<Omit<SandboxProcessSpec, 'user'>> {
  const args = [`${extensionsDirectory}/${name}`];
  return { args, env: extensionVariables(env), workingDir: '/' };
}

export class ExtendedSandbox implements Sandbox {
  readonly id: string;
  readonly runtimeApi: RuntimeApiServer;
  readonly exited: Promise<SandboxExit>;
  readonly #parts: ExtendedParts;
  readonly #extensions = new Map<string, SandboxProcess>();
  readonly #runtimeExited = Promise.withResolvers<ProcessExit>();
  #runtime: SandboxProcess | undefined;
  #shuttingDown: Promise<void> | undefined;

  constructor(parts: ExtendedParts) {
    const { inner, runtimeApi } = parts;
    this.id = inner.id;
    this.runtimeApi = runtimeApi;
    this.#parts = parts;
    this.exited = this.#untilExited();
    void this.#start();
  }

  signal(name: NodeJS.Signals): void {
    this.#runtime?.signal(name);
  }

  kill: Sandbox['kill'] = () => this.#parts.inner.kill();
  freeze: Sandbox['freeze'] = () => this.#parts.inner.freeze();
  thaw: Sandbox['thaw'] = () => this.#parts.inner.thaw();
  memoryPeakBytes: Sandbox['memoryPeakBytes'] = () => this.#parts.inner.memoryPeakBytes();
  connect: Sandbox['connect'] = (port, options) => this.#parts.inner.connect(port, options);
  spawn: Sandbox['spawn'] = (process) => this.#parts.inner.spawn(process);

  shutDown(reason: ShutDownReason): Promise<void> {
    this.#shuttingDown ??= this.#shutDown(reason);
    return this.#shuttingDown;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#shuttingDown ??= Promise.resolve();
    return this.#parts.inner[Symbol.asyncDispose]();
  }

  async #start(): Promise<void> {
    const { inner, names, runtimeApi, spec } = this.#parts;
    try {
      if (names.length > extensionsMax) {
        throw new Error(`${names.length} extensions are more than ${extensionsMax}`);
      }
      for (const [index, name] of names.entries()) {
        const process = index === 0 ? inner : await inner.spawn(extensionProcess(spec, name));
        this.#extensions.set(name, process);
        void this.#watch(name, process);
      }
    } catch (thrown) {
      this.#fail('Extension.LaunchError', errorMessage(thrown));
    }
    await runtimeApi.externalRegistered();
    if (runtimeApi.hasFailed || this.#shuttingDown !== undefined) return;
    try {
      const { args, env, workingDir } = spec;
      this.#runtime = await inner.spawn({ args, env, workingDir });
      this.#runtimeExited.resolve(await this.#runtime.exited);
    } catch (thrown) {
      await within(deathOfAllMs, inner.exited);
      this.#fail('Runtime.ExitError', errorMessage(thrown));
    }
  }

  async #watch(name: string, { exited }: SandboxProcess): Promise<void> {
    const { status, signal } = await exited;
    // What was killed may have been so by the end of process 1, which is what there is to tell then.
    if (signal === 'SIGKILL') await within(deathOfAllMs, this.#parts.inner.exited);
    if (this.#shuttingDown !== undefined || this.#parts.runtimeApi.hasFailed) return;
    const how = signal === undefined ? `exit status ${status ?? 'unknown'}` : `signal: ${signal}`;
    this.#fail('Extension.Crash', `Extension ${name} exited with error: ${how}`);
  }

  /** Where nobody waits for anything, the sandbox's end is what tells. */
  #fail(errorType: string, words: string): void {
    const isTold = this.#parts.runtimeApi.fail(errorOutcome(errorType, words));
    if (!isTold) void this.kill();
  }

  /** The runtime's end, or everybody's. Whoever is told of a failure is told of that first. */
  async #untilExited(): Promise<SandboxExit> {
    const { inner } = this.#parts;
    const end = await Promise.race([this.#runtimeExited.promise, inner.exited]);
    // What was killed may have been so by the kernel, for want of memory: that is known when all have ended.
    if (end.signal === 'SIGKILL') await inner.kill();
    const outOfMemory = end.signal === 'SIGKILL' && (await inner.exited).outOfMemory;
    await nextTurn();
    return { ...end, outOfMemory };
  }

  /** First the runtime, then the extensions, the one that is process 1 last. */
  async #shutDown(reason: ShutDownReason): Promise<void> {
    const { inner, names, runtimeApi, shutDownMs } = this.#parts;
    const startedAt = performance.now();
    const deadlineMs = Date.now() + shutDownMs;
    const leftMs = (): number => Math.max(0, shutDownMs - (performance.now() - startedAt));
    const runtime = this.#runtime;
    runtime?.signal('SIGTERM');
    if (runtime !== undefined) await within(runtimeShare * shutDownMs, runtime.exited);
    runtime?.signal('SIGKILL');
    const others = names.slice(1).filter((name) => this.#extensions.has(name));
    const patient = others.filter((name) => runtimeApi.extensions.wantsShutDown(name));
    for (const name of others) {
      if (!patient.includes(name)) this.#extensions.get(name)?.signal('SIGKILL');
    }
    runtimeApi.extensions.announceShutDown(reason, deadlineMs, patient);
    const ends = patient.flatMap((name) => this.#extensions.get(name)?.exited ?? []);
    await within(leftMs() - lastShare * shutDownMs, Promise.all(ends));
    const first = present(names[0], 'first extension');
    if (!runtimeApi.extensions.wantsShutDown(first)) return;
    runtimeApi.extensions.announceShutDown(reason, deadlineMs, [first]);
    await within(leftMs(), inner.exited);
  }
}

/** Waits for `work`, but no longer than that. */
async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const limit = delay(Math.max(0, limitMs), undefined, { signal: done.signal }).catch(() => {});
  await Promise.race([work, limit]);
  done.abort();
  await nextTurn(); // others who waited for the same have acted, too
}
