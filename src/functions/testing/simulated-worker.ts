/**
 * A machine that exists only in memory: mounts and sandboxes by their contracts, with programs
 * written as functions. It keeps the books: what is mounted, what runs, and any breach of order.
 */

import { ThawError } from '../../base/index.ts';
import {
  eachTier,
  type ImageRef,
  type MountedRoot,
  type ReadCounters,
  type RootMounts,
} from '../../device/index.ts';
import type {
  Invocation,
  InvocationError,
  InvocationOutcome,
  RuntimeApi,
  Sandbox,
  SandboxExit,
  SandboxFactory,
  SandboxSpec,
} from '../../sandbox/index.ts';
import type { VirtualTime } from '../../base/testing/virtual-time.ts';

/** What a process can do besides answering. */
export interface ProcessControl {
  readonly spec: SandboxSpec;
  print(text: string): void;
  exit(exit: SandboxExit): void;
}

/** A program that speaks the Runtime API. Without `init` it is ready after 50 ms. */
export interface Program {
  init?(control: ProcessControl): Promise<{ readonly initError?: InvocationError }>;
  handle(invocation: Invocation, control: ProcessControl): Promise<InvocationOutcome>;
  /** What it and its extensions still do after an answer. Without it they ask for the next event at once. */
  settle?(control: ProcessControl): Promise<void>;
}

export function never<T>(): Promise<T> {
  return new Promise(() => {});
}

export function respond(value: unknown): Extract<InvocationOutcome, { kind: 'response' }> {
  return { kind: 'response', payload: Buffer.from(JSON.stringify(value)) };
}

function abortOf(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error));
  });
}

/** The Runtime API of a program: one invocation at a time, settled in between. */
class SimulatedRuntime implements RuntimeApi {
  readonly ready: RuntimeApi['ready'];
  readonly #sandbox: SimulatedSandbox;
  readonly #program: Program;
  readonly #worker: SimulatedWorker;
  readonly #control: ProcessControl;
  #isBusy = false;
  #settling: Promise<void> = Promise.resolve();

  constructor(
    sandbox: SimulatedSandbox,
    program: Program,
    worker: SimulatedWorker,
    control: ProcessControl,
  ) {
    this.#sandbox = sandbox;
    this.#program = program;
    this.#worker = worker;
    this.#control = control;
    this.ready = program.init?.(control) ?? worker.time.sleep(50).then(() => ({}));
  }

  get isAtWork(): boolean {
    return this.#isBusy;
  }

  async invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome> {
    const { id, isDisposed, isFrozen } = this.#sandbox;
    if (this.#isBusy) this.#worker.breach(`${id} was given two invocations at a time`);
    if (isDisposed) this.#worker.breach(`${id} was given an invocation after its end`);
    if (isFrozen) this.#worker.breach(`${id} was given an invocation while it was frozen`);
    this.#isBusy = true;
    try {
      const answered = this.#program.handle(invocation, this.#control);
      const outcome = await Promise.race([answered, abortOf(signal)]);
      this.#settling = this.#settle();
      return outcome;
    } finally {
      if (signal.aborted) this.#worker.abandonedCount += 1;
    }
  }

  async settled(signal?: AbortSignal): Promise<void> {
    await Promise.race([this.#settling, abortOf(signal)]);
  }

  async #settle(): Promise<void> {
    await this.#program.settle?.(this.#control);
    this.#isBusy = false;
  }
}

export class SimulatedSandbox implements Sandbox {
  readonly id: string;
  readonly spec: SandboxSpec;
  readonly exited: Promise<SandboxExit>;
  readonly runtimeApi: SimulatedRuntime;
  readonly exit: (exit: SandboxExit) => void;
  isDisposed = false;
  isFrozen = false;
  hasExited = false;
  readonly #worker: SimulatedWorker;

  constructor(
    spec: SandboxSpec,
    program: Program,
    worker: SimulatedWorker,
    log: (data: Uint8Array) => void,
  ) {
    this.id = spec.id;
    this.spec = spec;
    const exited = Promise.withResolvers<SandboxExit>();
    this.exited = exited.promise;
    this.exit = (exit) => {
      this.hasExited = true;
      exited.resolve(exit);
    };
    this.#worker = worker;
    const control: ProcessControl = {
      spec,
      print: (text) => log(Buffer.from(text)),
      exit: this.exit,
    };
    this.runtimeApi = new SimulatedRuntime(this, program, worker, control);
  }

  signal(): void {}

  async kill(): Promise<void> {
    this.exit({ signal: 'SIGKILL', outOfMemory: false });
  }

  /** Takes a moment; who thaws it meanwhile overtakes it. */
  async freeze(): Promise<void> {
    if (this.runtimeApi.isAtWork) this.#worker.breach(`${this.id} was frozen at work`);
    this.isFrozen = true;
    this.#worker.freezesCount += 1;
    await this.#worker.time.sleep(1);
    this.#worker.failIf('freeze');
  }

  async thaw(): Promise<void> {
    await this.#worker.time.sleep(1);
    this.#worker.failIf('thaw');
    this.isFrozen = false;
  }

  async shutDown(reason: string): Promise<void> {
    this.#worker.shutDowns.push(reason);
    if (this.isFrozen && !this.hasExited) this.#worker.breach(`${this.id} was told frozen`);
  }

  async memoryPeakBytes(): Promise<number | undefined> {
    return 33.3 * 1024 * 1024;
  }

  async connect(): Promise<never> {
    throw new Error('A simulated sandbox has no network');
  }

  async spawn(): Promise<never> {
    throw new Error('A simulated sandbox starts no further process');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isDisposed = true;
    await this.kill();
    await this.#worker.disposeSandbox(this);
  }
}

/** How long a root takes to open that stalls. */
export const stallMs = 60_000;

/** What goes wrong, by what is being done; thrown instead of doing it. `stall`: a root opens late. */
export type Fault =
  | 'stall'
  | 'acquire'
  | 'release'
  | 'create'
  | 'dispose'
  | 'counters'
  | 'entrypoint'
  | 'freeze'
  | 'thaw';

export class SimulatedWorker {
  readonly time: VirtualTime;
  readonly mounts: RootMounts;
  readonly sandboxes: SandboxFactory;
  readonly faults = new Set<Fault>();
  readonly breaches: string[] = [];
  readonly running = new Set<SimulatedSandbox>();
  sandboxesMade = 0;
  runningMax = 0;
  /** Invocations that were given up before their program answered. */
  abandonedCount = 0;
  freezesCount = 0;
  /** Why sandboxes were shut down. */
  readonly shutDowns: string[] = [];
  /** Images whose starts were told to have ended. */
  readonly startsEnded: string[] = [];
  /** How long the agent takes to tell its counters. */
  countersMs = 0;
  /** Holders by manifest id. */
  readonly held = new Map<string, number>();
  readonly #chunksRead = new Map<string, number>();

  /** `program` of a sandbox, by what it is to run. */
  constructor(time: VirtualTime, program: (spec: SandboxSpec) => Program) {
    this.time = time;
    this.mounts = {
      acquire: (image) => this.#acquire(image),
      counters: (image) => this.#counters(image),
      startEnded: async ({ manifestId }) => {
        this.startsEnded.push(manifestId);
        return { chunks: 0, saved: false };
      },
      dropCaches: async () => [],
      close: async () => {},
    };
    this.sandboxes = {
      runtime: 'runc',
      canFreeze: true,
      create: async (spec, log) => {
        await this.time.sleep(30);
        this.failIf('create');
        this.#failEntrypoint(spec);
        if (this.#holders(spec.rootPath) === 0) this.breach(`${spec.id} has no root mounted`);
        const sandbox = new SimulatedSandbox(spec, program(spec), this, log);
        this.sandboxesMade += 1;
        this.running.add(sandbox);
        this.runningMax = Math.max(this.runningMax, this.running.size);
        return sandbox;
      },
    };
  }

  breach(what: string): void {
    this.breaches.push(what);
  }

  /** An invoke reads two chunks of 1,000 bytes from the origin as it starts. */
  read(manifestId: string): void {
    this.#chunksRead.set(manifestId, (this.#chunksRead.get(manifestId) ?? 0) + 2);
  }

  async disposeSandbox(sandbox: SimulatedSandbox): Promise<void> {
    if (!this.running.has(sandbox)) this.breach(`${sandbox.id} was disposed of twice`);
    if (this.#holders(sandbox.spec.rootPath) === 0) {
      this.breach(`${sandbox.id} lost its root before its end`);
    }
    await this.time.sleep(20);
    this.running.delete(sandbox);
    this.failIf('dispose');
  }

  #failEntrypoint({ args }: SandboxSpec): void {
    if (!this.faults.has('entrypoint')) return;
    const message = `Cannot run "${args[0]}" in the image: it is not there`;
    throw new ThawError({ code: 'ERR_SANDBOX_ENTRYPOINT', fault: 'caller', message });
  }

  #holders(rootPath: string): number {
    return this.held.get(rootPath.replace('/roots/', '')) ?? 0;
  }

  async #acquire(image: ImageRef): Promise<MountedRoot> {
    await this.time.sleep(this.faults.has('stall') ? stallMs : 10);
    this.failIf('acquire');
    const { manifestId } = image;
    const before = this.held.get(manifestId) ?? 0;
    this.held.set(manifestId, before + 1);
    this.read(manifestId);
    let isHeld = true;
    const wasMounted = before > 0;
    return {
      path: `/roots/${manifestId}`,
      timelineMs: wasMounted ? { open: 0, attach: 0, mount: 0 } : { open: 6, attach: 0, mount: 4 },
      [Symbol.asyncDispose]: async () => {
        if (!isHeld) this.breach(`${manifestId} was given back twice`);
        isHeld = false;
        this.held.set(manifestId, (this.held.get(manifestId) ?? 0) - 1);
        this.failIf('release');
      },
    };
  }

  async #counters({ manifestId }: ImageRef): Promise<ReadCounters> {
    if (this.countersMs > 0) await this.time.sleep(this.countersMs);
    this.failIf('counters');
    const chunks = this.#chunksRead.get(manifestId);
    if (chunks === undefined) {
      const code = 'ERR_DEVICE_IMAGE_NOT_OPEN';
      throw new ThawError({ code, fault: 'caller', message: 'The image is not open' });
    }
    const amount = { chunks, bytes: chunks * 1000 };
    const nothing = { chunks: 0, bytes: 0 };
    return {
      ...amount,
      byTier: { ...eachTier(() => nothing), origin: amount },
      failed: 0,
      waits: { reads: 0, totalMs: 0, stalls: 0, stalledMs: 0 },
      prefetched: { ...nothing, unreadChunks: 0 },
    };
  }

  /** Throws where this fault is on. */
  failIf(fault: Fault): void {
    if (this.faults.has(fault)) throw new Error(`Simulated fault: ${fault}`);
  }

  get heldCount(): number {
    return [...this.held.values()].reduce((sum, count) => sum + count, 0);
  }
}
