/**
 * One instance of a function: a mounted root, a sandbox on it, a runtime in that. Started once,
 * invoked any number of times one after the other, ended once. What it holds is given back however
 * it ends, sandbox before mount.
 */

import { errorMessage, present, type Clock, type Log, type Timers } from '../base/index.ts';
import type { FunctionRecord, ImageRecord } from '../catalog/index.ts';
import type { MountedRoot, RootMounts } from '../device/index.ts';
import type { ImageDocument } from '../publish/index.ts';
import type { Invocation, Sandbox, SandboxExit, SandboxFactory } from '../sandbox/index.ts';
import { FunctionStartTimeoutError } from './errors.ts';
import { functionProcess, logStreamName, type FunctionHost } from './function-process.ts';
import type { InvokePhase } from './function-service.ts';
import type { PoolInstance } from './instance-pool.ts';
import type { FunctionFailure } from './lambda-errors.ts';
import { LineBuffer, type WriteLines } from './line-buffer.ts';

export interface InstanceDependencies {
  readonly mounts: RootMounts;
  readonly sandboxes: SandboxFactory;
  readonly imageDocument: (image: ImageRecord) => Promise<ImageDocument>;
  readonly host: FunctionHost;
  readonly initTimeoutMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  /** A fresh UUID. */
  readonly newId: () => string;
  readonly log: Log;
}

export interface InstanceOf {
  readonly record: FunctionRecord;
  readonly image: ImageRecord;
  /** Gets whole lines of what the instance's processes write, and Thaw's own between them. */
  readonly writeLines: WriteLines;
}

type TimelineMs = Partial<Record<InvokePhase, number>>;

interface OpenRoot {
  readonly rootPath: string;
  readonly document: ImageDocument;
  readonly timelineMs: TimelineMs;
}

/** `failure`: the function itself did not come up; `timelineMs` has the phases up to there. */
export interface InstanceStart {
  readonly timelineMs: TimelineMs;
  /** From the sandbox's creation to the runtime's first request, as Lambda counts it. */
  readonly initMs: number;
  readonly failure?: FunctionFailure;
}

/** A value, unless the function failed to give one. */
export type Outcome<T> = { readonly value: T } | { readonly failure: FunctionFailure };

export class FunctionInstance implements PoolInstance {
  readonly gone: Promise<void>;
  /** The instance's part of the function's log. */
  readonly lines: LineBuffer;
  readonly #of: InstanceOf;
  readonly #deps: InstanceDependencies;
  readonly #id: string;
  readonly #resources = new AsyncDisposableStack();
  readonly #resolveGone: () => void;
  #sandbox: Sandbox | undefined;
  #exit: SandboxExit | undefined;
  #ending: Promise<void> | undefined;
  #stopReason: Error | undefined;
  /** Set while something is being waited for: ends the wait. */
  #interrupt: ((why: FunctionFailure | Error) => void) | undefined;

  constructor(deps: InstanceDependencies, of: InstanceOf) {
    this.#deps = deps;
    this.#of = of;
    this.#id = deps.newId();
    this.lines = new LineBuffer(of.writeLines);
    const gone = Promise.withResolvers<void>();
    this.gone = gone.promise;
    this.#resolveGone = gone.resolve;
  }

  /**
   * Once, and to its end before `end()`. Throws what opening, mounting or starting throws,
   * `ERR_FUNCTION_NO_COMMAND`, `ERR_FUNCTION_START_TIMEOUT`, and the reason of a stop.
   */
  async start(): Promise<InstanceStart> {
    const { clock } = this.#deps;
    const { rootPath, document, timelineMs: opening } = await this.#untilOpen();
    this.#checkStopped();
    const createdAtMs = clock.monotonicMs();
    const sandbox = await this.#createSandbox(rootPath, document);
    const sandboxedAtMs = clock.monotonicMs();
    const ready = await this.#untilReady(sandbox);
    const readyAtMs = clock.monotonicMs();
    const timelineMs = {
      ...opening,
      sandbox: sandboxedAtMs - createdAtMs,
      runtimeReady: readyAtMs - sandboxedAtMs,
    };
    return { timelineMs, initMs: readyAtMs - createdAtMs, ...ready };
  }

  /**
   * One at a time, after `start()`. After a failure that the runtime did not report itself, of no
   * more use.
   */
  async invoke(invocation: Invocation, timeoutMs: number): Promise<Outcome<Uint8Array>> {
    const { runtimeApi } = present(this.#sandbox, 'sandbox of a started instance');
    const bounded = await this.#bounded(timeoutMs, (signal) =>
      runtimeApi.invoke(invocation, signal),
    );
    if ('failure' in bounded) return bounded;
    const answer = bounded.value;
    return answer.kind === 'response'
      ? { value: answer.payload }
      : { failure: { ...answer, kind: 'reported' } };
  }

  stop(reason: Error): void {
    this.#stopReason ??= reason;
    this.#interrupt?.(reason);
  }

  /** Resolves when what the runtime printed before its answer is in `lines`. */
  async outputSeen(): Promise<void> {
    await this.#deps.timers.afterInput();
  }

  /** Kills at once whatever still runs; `end()` tidies up. */
  kill(): void {
    void this.#sandbox?.kill().catch((thrown: unknown) => this.#warn('kill', thrown));
  }

  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  /** An origin that stalls is not the function's failure, but keeps no start waiting for ever. */
  async #untilOpen(): Promise<OpenRoot> {
    const limitMs = this.#initLimitMs;
    const bounded = await this.#bounded(limitMs, (signal) => this.#openRoot(signal));
    if ('value' in bounded) return bounded.value;
    throw new FunctionStartTimeoutError(this.#of.record.name, limitMs);
  }

  /**
   * The image's document and its mount at the same time; a mount whose image has no document is
   * given back. So is, at once, one that comes after `signal` was aborted.
   */
  async #openRoot(signal: AbortSignal): Promise<OpenRoot> {
    const { image } = this.#of;
    const acquired = this.#deps.mounts.acquire(image).then(async (root) => {
      if (signal.aborted) await this.#giveBack(root);
      else this.#resources.use(root);
      return root;
    });
    const [document, root] = await Promise.allSettled([this.#deps.imageDocument(image), acquired]);
    if (document.status === 'rejected') throw document.reason;
    if (root.status === 'rejected') throw root.reason;
    const { open, attach, mount } = root.value.timelineMs;
    // What another acquire of the same image had done already took no time.
    const phases = Object.entries({ imageOpen: open, attach, mount }).filter(([, ms]) => ms > 0);
    return {
      rootPath: root.value.path,
      document: document.value,
      timelineMs: Object.fromEntries(phases),
    };
  }

  async #giveBack(root: MountedRoot): Promise<void> {
    try {
      await root[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#warn('give back the root of', thrown);
    }
  }

  async #createSandbox(rootPath: string, document: ImageDocument): Promise<Sandbox> {
    const { clock, host, sandboxes } = this.#deps;
    const { record } = this.#of;
    const logStream = logStreamName(clock.nowMs(), this.#id);
    const process = functionProcess({ record, document, host, logStream });
    const sandbox = await sandboxes.create({ id: `fn-${this.#id}`, rootPath, ...process }, (data) =>
      this.lines.push(data),
    );
    this.#resources.use(sandbox);
    this.#sandbox = sandbox;
    void sandbox.exited.then((exit) => this.#onExit(exit));
    return sandbox;
  }

  #onExit(exit: SandboxExit): void {
    this.#exit = exit;
    this.#interrupt?.({ kind: 'exit', exit });
    this.#resolveGone();
  }

  /**
   * Lambda gives an initialisation 10 s, and one that takes longer a second try within the
   * function's timeout. A runtime that needs long comes up in one try here, within the longer of
   * the two; and so long at most may its root take to open before.
   */
  get #initLimitMs(): number {
    return Math.max(this.#deps.initTimeoutMs, this.#of.record.timeoutSeconds * 1000);
  }

  async #untilReady(sandbox: Sandbox): Promise<{ readonly failure?: FunctionFailure }> {
    const bounded = await this.#bounded(this.#initLimitMs, () => sandbox.runtimeApi.ready);
    if ('failure' in bounded) return bounded;
    const { initError } = bounded.value;
    if (initError === undefined) return {};
    const errorType = initError.kind === 'error' ? initError.errorType : 'Runtime.Unknown';
    return { failure: { kind: 'reported', payload: initError.payload, errorType } };
  }

  /**
   * Waits for `work`, but not past its time, the end of the process, or a stop, whose reason is
   * thrown.
   */
  async #bounded<T>(
    limitMs: number,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<Outcome<T>> {
    this.#checkStopped();
    const controller = new AbortController();
    const interrupted = Promise.withResolvers<Outcome<T>>();
    this.#interrupt = (why) => {
      if (why instanceof Error) interrupted.reject(why);
      else interrupted.resolve({ failure: why });
    };
    const cancelTimeout = this.#deps.timers.after(limitMs, () => {
      interrupted.resolve({ failure: { kind: 'timeout' } });
    });
    if (this.#exit !== undefined) this.#interrupt({ kind: 'exit', exit: this.#exit });
    try {
      const done = work(controller.signal).then((value) => ({ value }));
      return await Promise.race([done, interrupted.promise]);
    } finally {
      cancelTimeout();
      this.#interrupt = undefined;
      controller.abort();
    }
  }

  #checkStopped(): void {
    if (this.#stopReason !== undefined) throw this.#stopReason;
  }

  async #end(): Promise<void> {
    try {
      await this.#resources.disposeAsync();
    } catch (thrown) {
      this.#warn('take apart', thrown);
    }
    this.lines.flush();
    this.#resolveGone();
  }

  #warn(what: string, thrown: unknown): void {
    const { record } = this.#of;
    this.#deps.log.warn(`Cannot ${what} an instance`, {
      tenant: record.tenant,
      function: record.name,
      instance: this.#id,
      error: errorMessage(thrown),
    });
  }
}
