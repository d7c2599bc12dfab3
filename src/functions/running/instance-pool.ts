/**
 * Who serves which invoke: several warm instances a version, one invoke an instance at a time.
 *
 * Invariants: an instance is in exactly one of the states busy, idle and ending; at most
 * `instancesMax` exist, ending ones included, because those still hold memory and mounts; of a function, and of what a
 * tenant has not reserved, at most as many are busy as their concurrency allows. An instance is busy until it rests: past its
 * answer, where its runtime or its extensions still work. No instance of a function that has been
 * stopped outlives `stop()`, and none outlives `close()`. Whoever needs a new instance has gone through the start gate
 * first, and is in flight until the instance is ready.
 */

import type { Timers } from '../../base/index.ts';
import type { ThrottleLimit } from '../errors.ts';
import type { ColdStart, StartGate } from './start-gate.ts';

export interface PoolInstance {
  /** Resolves when it can serve no more, for reasons of its own. Never rejects. */
  readonly gone: Promise<void>;
  /** It has answered, and rests or will soon: waiting for it is less than a cold start. */
  readonly isSettling: boolean;
  /** Makes the work under way reject with `reason` soon. */
  stop(reason: Error): void;
  /** Gives everything back. Never rejects; once only. */
  end(): Promise<void>;
}

export interface InstancePoolOptions {
  readonly instancesMax: number;
  readonly instancesPerFunctionMax: number;
  readonly idleTimeoutMs: number;
  readonly timers: Timers;
  readonly starts: StartGate;
}

/** Whose invoke it is. */
export interface TicketOf {
  readonly tenant: string;
  readonly functionId: string;
  /** As the caller gave it. */
  readonly qualifier?: string;
}

/** What is stopped: all of a function, or one version of it. */
export interface StopOf {
  readonly functionId: string;
  readonly version?: string;
}

/**
 * One invoke, from before its function is looked up until it has an instance. Through it `stop()` reaches
 * an invoke that read a function's record just before the function was removed, and has no instance
 * yet.
 */
export interface Ticket extends TicketOf, Disposable {
  /** Set once the function has been stopped or the pool closed. */
  readonly stopReason: Error | undefined;
}

interface OpenTicket extends Ticket {
  stopReason: Error | undefined;
}

interface Slot<Instance> {
  readonly tenant: string;
  readonly functionId: string;
  readonly version: string;
  /** What the function looked like when the instance was made. */
  readonly revision: string;
  readonly instance: Instance;
  readonly ended: Promise<void>;
  readonly resolveEnded: () => void;
  state: 'busy' | 'idle' | 'ending';
  isGone: boolean;
  /** While it was busy. */
  isStopped: boolean;
  /** Of the invoke that it serves. */
  isReserved: boolean;
  /** Resolves when it is busy no longer. */
  released: PromiseWithResolvers<void>;
  /** Rises with every slot that becomes idle. */
  idleOrder: number;
  cancelIdleTimeout: () => void;
}

export interface Served<T> {
  readonly value: T;
  /**
   * Resolves when the instance is done with this invoke, with whether it may serve again. It is busy until then. Never
   * rejects.
   */
  readonly rested: Promise<boolean>;
}

/** How many invokes may run at a time. Source: AWS Lambda developer guide, "Understanding reserved concurrency". */
export interface Concurrency {
  /** Of the function, all versions together; 0: none. Undefined: it shares what its tenant has not reserved. */
  readonly reserved?: number;
  /** Of all functions of the tenant that have nothing reserved. */
  readonly unreservedMax: number;
}

export interface ServeRequest<Instance, T> {
  readonly version: string;
  /** An instance of this version made for another revision is not used. */
  readonly revision: string;
  readonly concurrency: Concurrency;
  /** Not to be served by an instance that is there. */
  readonly isAlwaysCold?: boolean;
  readonly create: () => Instance;
  /** `coldStart` of a new instance is its to dispose of, as soon as the instance is ready or cannot become so. */
  readonly serve: (instance: Instance, coldStart: ColdStart | undefined) => Promise<Served<T>>;
}

/**
 * How long an invoke waits for an instance that settles, before it starts another: a tenth of what the last start took, which tells
 * how busy the machine is too, but at least so long.
 */
const settleWaitMinMs = 10;
const settleWaitStartShare = 0.1;
/** How long somebody who ends what is unused waits for it. */
const settlingEndWaitMs = 1000;

/** One invoke's, from when it first waits. */
interface Patience extends Disposable {
  readonly over: Promise<void>;
  readonly isOver: boolean;
}

interface Claim<Instance> {
  readonly slot: Slot<Instance>;
  readonly coldStart?: ColdStart;
}

export class InstancePool<Instance extends PoolInstance> {
  readonly #options: InstancePoolOptions;
  readonly #slots = new Set<Slot<Instance>>();
  readonly #tickets = new Set<OpenTicket>();
  #idleCount = 0;
  #closeReason: Error | undefined;

  constructor(options: InstancePoolOptions) {
    this.#options = options;
  }

  /** Dispose of the ticket where the invoke never comes to `use`. */
  enter(of: TicketOf): Ticket {
    const ticket: OpenTicket = {
      ...of,
      stopReason: this.#closeReason,
      [Symbol.dispose]: () => void this.#tickets.delete(ticket),
    };
    this.#tickets.add(ticket);
    return ticket;
  }

  /**
   * Serves with the idle instance used last, or a new one. Where the worker is full, the instance
   * of any function that has been idle longest makes room. Disposes of the ticket. Throws `ERR_FUNCTION_THROTTLED`, the
   * reason of a stop, and what `serve` throws.
   */
  async use<T>(ticket: Ticket, request: ServeRequest<Instance, T>): Promise<T> {
    const { slot, coldStart } = await this.#claim(ticket, request).finally(() =>
      ticket[Symbol.dispose](),
    );
    try {
      const { value, rested } = await request.serve(slot.instance, coldStart);
      void rested.then((isReusable) => this.#release(slot, isReusable));
      return value;
    } catch (thrown) {
      coldStart?.[Symbol.dispose]();
      this.#release(slot, false);
      throw thrown;
    }
  }

  /**
   * Ends what is under way for the function or one version, and all its instances; resolves when nothing of them is
   * left.
   */
  async stop(of: StopOf, reason: Error): Promise<void> {
    const { functionId, version } = of;
    const isOfVersion = (other: string | undefined): boolean =>
      version === undefined || version === other;
    await this.#stopWhere(
      {
        ticket: (one) => one.functionId === functionId && isOfVersion(one.qualifier),
        slot: (one) => one.functionId === functionId && isOfVersion(one.version),
      },
      reason,
    );
  }

  /**
   * Ends every instance that serves nothing; resolves when they have ended. One that still settles after its last answer ends
   * then, and is waited for no longer than a second.
   */
  async endIdle(): Promise<void> {
    const unused = [...this.#slots].filter(({ state, instance }) => {
      return state === 'idle' || (state === 'busy' && instance.isSettling);
    });
    for (const slot of unused) {
      if (slot.state === 'idle') this.#end(slot);
      else slot.isStopped = true;
    }
    const late = Promise.withResolvers<void>();
    const cancel = this.#options.timers.after(settlingEndWaitMs, late.resolve);
    await Promise.race([Promise.all(unused.map((slot) => slot.ended)), late.promise]);
    cancel();
  }

  /** Stops everything, now and for ever. */
  async close(reason: Error): Promise<void> {
    this.#closeReason = reason;
    await this.#stopWhere({ ticket: () => true, slot: () => true }, reason);
  }

  async #stopWhere(
    matches: {
      readonly ticket: (of: TicketOf) => boolean;
      readonly slot: (of: Slot<Instance>) => boolean;
    },
    reason: Error,
  ): Promise<void> {
    for (const ticket of this.#tickets) {
      if (matches.ticket(ticket)) ticket.stopReason ??= reason;
    }
    const slots = [...this.#slots].filter(matches.slot);
    for (const slot of slots) {
      if (slot.state === 'busy') {
        slot.isStopped = true;
        slot.instance.stop(reason);
      }
      if (slot.state === 'idle') this.#end(slot);
    }
    await Promise.all(slots.map((slot) => slot.ended));
  }

  async #claim<T>(ticket: Ticket, request: ServeRequest<Instance, T>): Promise<Claim<Instance>> {
    using waiting = new DisposableStack();
    using coldStarts = new DisposableStack();
    let coldStart: ColdStart | undefined;
    let patience: Patience | undefined;
    for (;;) {
      if (ticket.stopReason !== undefined) throw ticket.stopReason;
      const idle = this.#findIdle(ticket.functionId, request);
      const settling = idle === undefined ? this.#findSettling(ticket.functionId, request) : [];
      if (settling.length > 0) {
        patience ??= waiting.use(this.#beginPatience());
        if (!patience.isOver) {
          await Promise.race([patience.over, ...settling.map(({ released }) => released.promise)]);
          continue;
        }
      }
      this.#checkConcurrency(ticket, request.concurrency);
      if (idle !== undefined) return { slot: this.#take(idle, request.concurrency) };
      coldStart ??= coldStarts.use(this.#options.starts.enter(ticket));
      if (this.#slots.size < this.#options.instancesMax) {
        const slot = this.#open(ticket, request);
        coldStarts.move(); // in flight until it is ready
        return { slot, coldStart };
      }
      await this.#makeRoom(ticket.functionId);
    }
  }

  /** The one used last; those of another revision are ended. */
  #findIdle<T>(
    functionId: string,
    { version, revision, isAlwaysCold }: ServeRequest<Instance, T>,
  ): Slot<Instance> | undefined {
    const own = this.#idleSlots(
      (slot) => slot.functionId === functionId && slot.version === version,
    );
    for (const slot of own) if (slot.revision !== revision) this.#end(slot);
    if (isAlwaysCold === true) return undefined;
    return own.findLast((slot) => slot.revision === revision);
  }

  /** Those that an invoke of this version may soon have. */
  #findSettling<T>(
    functionId: string,
    { version, revision, isAlwaysCold }: ServeRequest<Instance, T>,
  ): Slot<Instance>[] {
    if (isAlwaysCold === true) return [];
    return [...this.#slots].filter(
      (slot) =>
        slot.functionId === functionId &&
        slot.version === version &&
        slot.revision === revision &&
        slot.state === 'busy' &&
        !slot.isStopped &&
        slot.instance.isSettling,
    );
  }

  #beginPatience(): Patience {
    const over = Promise.withResolvers<void>();
    const { timers, starts } = this.#options;
    const waitMs = Math.max(settleWaitMinMs, starts.lastStartMs * settleWaitStartShare);
    const lose = async (): Promise<void> => {
      // Where this process was kept busy, it may have been told meanwhile that one rests.
      await timers.afterInput();
      patience.isOver = true;
      over.resolve();
    };
    const cancel = timers.after(waitMs, () => void lose());
    const patience = { over: over.promise, isOver: false, [Symbol.dispose]: cancel };
    return patience;
  }

  /** Ends the instance that is idle longest; resolves when any has ended. */
  async #makeRoom(functionId: string): Promise<void> {
    const [longestIdle] = this.#idleSlots(() => true);
    if (longestIdle !== undefined) this.#end(longestIdle);
    const ending = [...this.#slots].filter((slot) => slot.state === 'ending');
    if (ending.length === 0) {
      const { instancesMax, starts } = this.#options;
      throw starts.refusal(functionId, 'instances_max', instancesMax);
    }
    await Promise.race(ending.map((slot) => slot.ended));
  }

  #checkConcurrency(
    { tenant, functionId }: Ticket,
    { reserved, unreservedMax }: Concurrency,
  ): void {
    const { instancesPerFunctionMax } = this.#options;
    const ofFunction = this.#busyCount((slot) => slot.functionId === functionId);
    if (reserved !== undefined) {
      this.#checkLimit(functionId, 'reserved_concurrency', ofFunction, reserved);
      return;
    }
    this.#checkLimit(functionId, 'instances_per_function_max', ofFunction, instancesPerFunctionMax);
    const unreserved = this.#busyCount((slot) => slot.tenant === tenant && !slot.isReserved);
    this.#checkLimit(functionId, 'unreserved_concurrency', unreserved, unreservedMax);
  }

  #checkLimit(functionId: string, limit: ThrottleLimit, count: number, max: number): void {
    if (count >= max) throw this.#options.starts.refusal(functionId, limit, max);
  }

  #busyCount(matches: (slot: Slot<Instance>) => boolean): number {
    let count = 0;
    for (const slot of this.#slots) if (slot.state === 'busy' && matches(slot)) count += 1;
    return count;
  }

  /** Idle longest first. */
  #idleSlots(matches: (slot: Slot<Instance>) => boolean): Slot<Instance>[] {
    return [...this.#slots]
      .filter((slot) => slot.state === 'idle' && matches(slot))
      .sort((a, b) => a.idleOrder - b.idleOrder);
  }

  #open<T>(
    { tenant, functionId }: Ticket,
    { version, revision, concurrency, create }: ServeRequest<Instance, T>,
  ): Slot<Instance> {
    const ended = Promise.withResolvers<void>();
    const slot: Slot<Instance> = {
      tenant,
      functionId,
      version,
      revision,
      instance: create(),
      ended: ended.promise,
      resolveEnded: ended.resolve,
      state: 'busy',
      isGone: false,
      isStopped: false,
      isReserved: concurrency.reserved !== undefined,
      released: Promise.withResolvers(),
      idleOrder: 0,
      cancelIdleTimeout: () => {},
    };
    this.#slots.add(slot);
    void slot.instance.gone.then(() => this.#onGone(slot));
    return slot;
  }

  #onGone(slot: Slot<Instance>): void {
    slot.isGone = true;
    if (slot.state === 'idle') this.#end(slot);
  }

  #take(slot: Slot<Instance>, { reserved }: Concurrency): Slot<Instance> {
    slot.cancelIdleTimeout();
    slot.state = 'busy';
    slot.isReserved = reserved !== undefined;
    slot.released = Promise.withResolvers();
    return slot;
  }

  #release(slot: Slot<Instance>, isReusable: boolean): void {
    if (!isReusable || slot.isGone || slot.isStopped) {
      this.#end(slot);
    } else {
      slot.state = 'idle';
      this.#idleCount += 1;
      slot.idleOrder = this.#idleCount;
      const { idleTimeoutMs, timers } = this.#options;
      slot.cancelIdleTimeout = timers.after(idleTimeoutMs, () => this.#end(slot));
    }
    slot.released.resolve();
  }

  /** Its slot is free for others once it has ended. */
  #end(slot: Slot<Instance>): void {
    slot.cancelIdleTimeout();
    slot.state = 'ending';
    void slot.instance.end().then(() => this.#onEnded(slot));
  }

  #onEnded(slot: Slot<Instance>): void {
    this.#slots.delete(slot);
    slot.resolveEnded();
  }
}
