/**
 * One instance of a function: a mounted root, a sandbox on it, a runtime in that. Started once,
 * invoked any number of times one after the other, frozen in between, ended once. What it holds is given back however
 * it ends, sandbox before mount.
 */

import {
  errorCode,
  errorMessage,
  present,
  type Clock,
  type Log,
  type Timers,
} from '../../base/index.ts';
import type { FunctionRecord, ImageRecord } from '../../catalog/index.ts';
import type { RootMounts } from '../../device/index.ts';
import type { ImageDocument } from '../../publish/index.ts';
import type { RuntimeApi, Sandbox, SandboxExit, SandboxFactory } from '../../sandbox/index.ts';
import { FunctionStartTimeoutError } from '../errors.ts';
import { functionProcess, logStreamName, type FunctionHost } from './function-process.ts';
import type { InvokePhase } from '../function-runs.ts';
import type { PoolInstance } from './instance-pool.ts';
import type { FunctionFailure } from './lambda-errors.ts';
import { LineBuffer, type WriteLines } from '../logs/line-buffer.ts';
import type { LogTail } from '../logs/log-tail.ts';
import type { WebServerRuntimeOptions } from '../web/web-server-runtime.ts';

/** A directory with the code of a zip function, for as long as it is held. */
export interface CodeLease extends AsyncDisposable {
  readonly path: string;
}

export interface InstanceDependencies {
  readonly mounts: RootMounts;
  readonly sandboxes: SandboxFactory;
  readonly imageDocument: (image: ImageRecord) => Promise<ImageDocument>;
  /** The code of a version whose package is a zip archive. */
  readonly openCode: (record: FunctionRecord) => Promise<CodeLease>;
  readonly webRuntime: (options: WebServerRuntimeOptions) => RuntimeApi;
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
  /** Its own, or its runtime's. */
  readonly image: ImageRecord;
  /** Gets whole lines of what the instance's processes write, and Thaw's own between them. */
  readonly writeLines: WriteLines;
}

type TimelineMs = Partial<Record<InvokePhase, number>>;

interface OpenRoot {
  readonly rootPath: string;
  readonly document: ImageDocument;
  readonly codePath?: string;
  readonly timelineMs: TimelineMs;
}

/** `failure`: the function itself did not come up. */
export interface Initialisation {
  /** From the sandbox's creation to the runtime's first request, as Lambda counts it. */
  readonly initMs: number;
  readonly failure?: FunctionFailure;
}

export interface InstanceStart extends Initialisation {
  /** With the phases up to where it failed. */
  readonly timelineMs: TimelineMs;
}

/** A value, unless the function failed to give one. */
export type Outcome<T> = { readonly value: T } | { readonly failure: FunctionFailure };

/** Why an instance is given up, as its extensions are told. */
export type EndReason = Parameters<Sandbox['shutDown']>[0];

/** What of the image cannot be run, by what creating the sandbox throws: Lambda's names for it. */
const launchErrorTypes: ReadonlyMap<string, string> = new Map([
  ['ERR_SANDBOX_ENTRYPOINT', 'Runtime.InvalidEntrypoint'],
  ['ERR_SANDBOX_EXTENSION', 'Extension.LaunchError'],
]);

export class FunctionInstance implements PoolInstance {
  readonly gone: Promise<void>;
  /** The instance's part of the function's log. */
  readonly lines: LineBuffer;
  /** Gets what is written from now on too, where it is set. */
  tail: LogTail | undefined;
  readonly #of: InstanceOf;
  readonly #deps: InstanceDependencies;
  readonly #id: string;
  /** What the sandbox stands on. */
  readonly #resources = new AsyncDisposableStack();
  readonly #resolveGone: () => void;
  #open: OpenRoot | undefined;
  #sandbox: Sandbox | undefined;
  #runtime: RuntimeApi | undefined;
  /** Of the sandbox. */
  #exit: SandboxExit | undefined;
  #hasStarted = false;
  #isSettling = false;
  #isFrozen = false;
  #ending: Promise<void> | undefined;
  #killing: Promise<void> | undefined;
  #stopReason: Error | undefined;
  /** Set while something is being waited for: ends the wait. */
  #interrupt: ((why: FunctionFailure | Error) => void) | undefined;

  constructor(deps: InstanceDependencies, of: InstanceOf) {
    this.#deps = deps;
    this.#of = of;
    this.#id = deps.newId();
    this.lines = new LineBuffer((lines, isOurs) => {
      of.writeLines(lines, isOurs);
      this.tail?.append(lines);
    });
    const gone = Promise.withResolvers<void>();
    this.gone = gone.promise;
    this.#resolveGone = gone.resolve;
  }

  get isSettling(): boolean {
    return this.#isSettling;
  }

  /**
   * Once, and to its end before `end()`. Throws what opening, mounting or starting throws,
   * `ERR_FUNCTION_NO_COMMAND`, `ERR_FUNCTION_START_TIMEOUT`, and the reason of a stop.
   */
  async start(): Promise<InstanceStart> {
    const open = await this.#untilOpen();
    this.#open = open;
    const { timelineMs, ...initialisation } = await this.#initialise(this.#deps.initTimeoutMs);
    return { ...initialisation, timelineMs: { ...open.timelineMs, ...timelineMs } };
  }

  /** A second try where the first failed, in a new sandbox. Throws as `start`. */
  async restart(limitMs: number): Promise<Initialisation> {
    await this.#removeSandbox();
    return await this.#initialise(limitMs);
  }

  /** Before `use`, where it may be frozen. Throws what thawing throws: then it is of no more use. */
  async wake(): Promise<void> {
    this.#isSettling = false;
    if (!this.#isFrozen) return;
    this.#isFrozen = false;
    await this.#sandbox?.thaw();
  }

  /**
   * Has the runtime do `work`; one at a time, after a start without failure. After a failure that the runtime did not
   * report itself, of no more use. `signal` is aborted where nobody waits for the work any longer. Throws the reason of a stop.
   */
  async use<T>(
    limitMs: number,
    work: (runtime: RuntimeApi, signal: AbortSignal) => Promise<Outcome<T>>,
  ): Promise<Outcome<T>> {
    const runtime = present(this.#runtime, 'runtime of a started instance');
    const bounded = await this.#bounded(limitMs, (signal) => work(runtime, signal));
    return 'failure' in bounded ? bounded : bounded.value;
  }

  /**
   * After an answer: waits until the runtime and the extensions are done too, and freezes them. False where
   * it cannot serve again. Never rejects.
   */
  async rest(limitMs: number): Promise<boolean> {
    const runtime = present(this.#runtime, 'runtime of a started instance');
    this.#isSettling = true;
    try {
      const settled = await this.#bounded(limitMs, (signal) => runtime.settled(signal));
      if ('failure' in settled) {
        this.kill(settled.failure.kind === 'timeout' ? 'timeout' : 'failure');
        return false;
      }
    } catch {
      return false; // stopped
    }
    this.#freeze();
    return true;
  }

  /** The most memory that it had so far, in MiB, rounded up; undefined where the machine does not count it. */
  async memoryPeakMb(): Promise<number | undefined> {
    const bytes = await this.#sandbox?.memoryPeakBytes().catch(() => undefined);
    return bytes === undefined ? undefined : Math.ceil(bytes / (1024 * 1024));
  }

  stop(reason: Error): void {
    this.#stopReason ??= reason;
    this.#interrupt?.(reason);
  }

  /** Resolves when what the runtime printed before its answer is in `lines`. */
  async outputSeen(): Promise<void> {
    await this.#deps.timers.afterInput();
  }

  /** Kills what still runs, once its extensions had their time; `end()` tidies up. */
  kill(reason: EndReason): void {
    this.#killing ??= this.#kill(reason);
  }

  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  /** An origin that stalls is not the function's failure, but keeps no start waiting for ever. */
  async #untilOpen(): Promise<OpenRoot> {
    const { initTimeoutMs } = this.#deps;
    const limitMs = Math.max(initTimeoutMs, this.#of.record.timeoutSeconds * 1000);
    const bounded = await this.#bounded(limitMs, (signal) => this.#openRoot(signal));
    if ('value' in bounded) return bounded.value;
    throw new FunctionStartTimeoutError(this.#of.record.name, limitMs);
  }

  /**
   * The image's document, its mount, and the code where that is apart, at the same time. Where one of them fails, the others are
   * given back with the instance; at once, what comes after `signal` was aborted.
   */
  async #openRoot(signal: AbortSignal): Promise<OpenRoot> {
    const { clock, imageDocument, mounts, openCode } = this.#deps;
    const { image, record } = this.#of;
    const [document, root, code] = await Promise.allSettled([
      imageDocument(image),
      this.#held(mounts.acquire(image), signal).then(
        (held) => [held, clock.monotonicMs()] as const,
      ),
      record.code.packageType === 'Zip' ? this.#held(openCode(record), signal) : undefined,
    ]);
    if (document.status === 'rejected') throw document.reason;
    if (root.status === 'rejected') throw root.reason;
    if (code.status === 'rejected') throw code.reason;
    const [{ path, timelineMs }, mountedAtMs] = root.value;
    const { open, attach, mount } = timelineMs;
    const codeMs = code.value === undefined ? 0 : clock.monotonicMs() - mountedAtMs;
    // What another acquire of the same image had done already took no time.
    const phases = Object.entries({ imageOpen: open, attach, mount, code: codeMs });
    return {
      rootPath: path,
      document: document.value,
      ...(code.value === undefined ? {} : { codePath: code.value.path }),
      timelineMs: Object.fromEntries(phases.filter(([, ms]) => ms > 0)),
    };
  }

  async #held<T extends AsyncDisposable>(acquired: Promise<T>, signal: AbortSignal): Promise<T> {
    const resource = await acquired;
    if (signal.aborted) await this.#giveBack(resource);
    else this.#resources.use(resource);
    return resource;
  }

  async #giveBack(resource: AsyncDisposable): Promise<void> {
    try {
      await resource[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#warn('give back what came too late for', thrown);
    }
  }

  /** A sandbox and a runtime in it that is ready, or why not. */
  async #initialise(limitMs: number): Promise<InstanceStart> {
    const { clock } = this.#deps;
    this.#checkStopped();
    const createdAtMs = clock.monotonicMs();
    const created = await this.#createSandbox();
    const sandboxedAtMs = clock.monotonicMs();
    const sandbox = sandboxedAtMs - createdAtMs;
    if (created !== undefined) {
      return { initMs: sandbox, failure: created, timelineMs: { sandbox } };
    }
    const ready = await this.#untilReady(limitMs);
    const readyAtMs = clock.monotonicMs();
    return {
      ...ready,
      initMs: readyAtMs - createdAtMs,
      timelineMs: { sandbox, runtimeReady: readyAtMs - sandboxedAtMs },
    };
  }

  /** A failure where the image has nothing there that can be run. */
  async #createSandbox(): Promise<FunctionFailure | undefined> {
    const { clock, host, newId, sandboxes } = this.#deps;
    const { record } = this.#of;
    const { rootPath, document, codePath } = present(this.#open, 'root of an instance');
    const logStream = logStreamName({
      nowMs: clock.nowMs(),
      id: this.#id,
      version: record.version,
    });
    const process = functionProcess({ record, document, host, logStream, codePath });
    this.#exit = undefined;
    try {
      const spec = { id: `fn-${newId()}`, rootPath, ...process };
      const sandbox = await sandboxes.create(spec, (data) => this.lines.push(data));
      this.#sandbox = sandbox;
      this.#runtime = this.#runtimeIn(sandbox, logStream);
      void sandbox.exited.then((exit) => this.#onExit(sandbox, exit));
      return undefined;
    } catch (thrown) {
      const errorType = launchErrorTypes.get(errorCode(thrown) ?? '');
      if (errorType === undefined) throw thrown;
      return { kind: 'launch', errorType, words: errorMessage(thrown) };
    }
  }

  #runtimeIn(sandbox: Sandbox, logStream: string): RuntimeApi {
    const { clock, webRuntime } = this.#deps;
    const { record } = this.#of;
    const settings = record.webServer;
    if (settings === undefined) return sandbox.runtimeApi;
    return webRuntime({ sandbox, record, settings, logStream, clock });
  }

  #onExit(sandbox: Sandbox, exit: SandboxExit): void {
    if (this.#sandbox !== sandbox) return;
    this.#exit = exit;
    this.#interrupt?.({ kind: 'exit', exit });
    if (this.#hasStarted) this.#resolveGone();
  }

  async #untilReady(limitMs: number): Promise<{ readonly failure?: FunctionFailure }> {
    const { ready } = present(this.#runtime, 'runtime of a new sandbox');
    const bounded = await this.#bounded(limitMs, () => ready);
    if ('failure' in bounded) return bounded;
    const { initError } = bounded.value;
    if (initError?.kind === 'error') return { failure: { ...initError, kind: 'reported' } };
    this.#hasStarted = true;
    return {};
  }

  /** Nothing may run on between invokes. What cannot be frozen runs on, and the log says so. */
  #freeze(): void {
    const sandbox = this.#sandbox;
    if (sandbox === undefined || !this.#deps.sandboxes.canFreeze) return;
    this.#isFrozen = true;
    sandbox.freeze().catch((thrown: unknown) => this.#warn('freeze', thrown));
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

  async #kill(reason: EndReason): Promise<void> {
    const sandbox = this.#sandbox;
    try {
      await sandbox?.shutDown(reason);
      await sandbox?.kill();
    } catch (thrown) {
      this.#warn('kill', thrown);
    }
  }

  async #removeSandbox(): Promise<void> {
    const sandbox = this.#sandbox;
    this.#sandbox = undefined;
    this.#runtime = undefined;
    try {
      await sandbox?.[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#warn('take apart', thrown);
    }
  }

  async #end(): Promise<void> {
    try {
      if (this.#exit === undefined) await this.#shutDown();
      await this.#killing;
      await this.#removeSandbox();
      await this.#resources.disposeAsync();
    } catch (thrown) {
      this.#warn('take apart', thrown);
    }
    this.lines.flush();
    this.#resolveGone();
  }

  /** Its extensions are told, where it was not given up already. */
  async #shutDown(): Promise<void> {
    const sandbox = this.#sandbox;
    if (sandbox === undefined || this.#killing !== undefined) return;
    try {
      if (this.#isFrozen) await sandbox.thaw();
      await sandbox.shutDown('spindown');
    } catch (thrown) {
      this.#warn('shut down', thrown);
    }
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
