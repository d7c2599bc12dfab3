/**
 * Who serves which invoke: several warm instances a function, one invoke an instance at a time.
 *
 * Invariants: an instance is in exactly one of the states busy, idle and ending; at most
 * `instancesMax` exist, ending ones included, because those still hold memory and mounts; at most
 * `instancesPerFunctionMax` of a function are busy or idle. No instance of a function that has been
 * stopped outlives `stop()`, and none outlives `close()`. Whoever needs a new instance has gone through the start gate
 * first, and is in flight until the instance is ready.
 */

import type { Timers } from '../base/index.ts';
import type { ColdStart, StartGate } from './start-gate.ts';

export interface PoolInstance {
  /** Resolves when it can serve no more, for reasons of its own. Never rejects. */
  readonly gone: Promise<void>;
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
}

/**
 * One invoke, from before its function is looked up until it is done. Through it `stop()` reaches
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
  readonly functionId: string;
  /** What the function looked like when the instance was made. */
  readonly revision: string;
  readonly instance: Instance;
  readonly ended: Promise<void>;
  readonly resolveEnded: () => void;
  state: 'busy' | 'idle' | 'ending';
  isGone: boolean;
  /** Rises with every slot that becomes idle. */
  idleOrder: number;
  cancelIdleTimeout: () => void;
}

export interface Served<T> {
  readonly value: T;
  /** False where the instance must not serve again. */
  readonly isReusable: boolean;
}

export interface ServeRequest<Instance, T> {
  /** An instance made for another revision is not used. */
  readonly revision: string;
  readonly create: () => Instance;
  /** `coldStart` of a new instance: to be disposed of as soon as the instance is ready, or else when `serve` is done. */
  readonly serve: (instance: Instance, coldStart: ColdStart | undefined) => Promise<Served<T>>;
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

  /** Dispose of the ticket when the invoke is done. */
  enter({ tenant, functionId }: TicketOf): Ticket {
    const ticket: OpenTicket = {
      tenant,
      functionId,
      stopReason: this.#closeReason,
      [Symbol.dispose]: () => void this.#tickets.delete(ticket),
    };
    this.#tickets.add(ticket);
    return ticket;
  }

  /**
   * Serves with the idle instance used last, or a new one. Where the worker is full, the instance
   * of any function that has been idle longest makes room. Throws `ERR_FUNCTION_THROTTLED`, the
   * reason of a stop, and what `serve` throws.
   */
  async use<T>(ticket: Ticket, request: ServeRequest<Instance, T>): Promise<T> {
    const { slot, coldStart } = await this.#claim(ticket, request);
    let isReusable = false;
    try {
      const served = await request.serve(slot.instance, coldStart);
      isReusable = served.isReusable && ticket.stopReason === undefined;
      return served.value;
    } finally {
      coldStart?.[Symbol.dispose]();
      this.#release(slot, isReusable);
    }
  }

  /**
   * Ends what is under way for the function and all its instances; resolves when nothing of them is
   * left.
   */
  async stop(functionId: string, reason: Error): Promise<void> {
    await this.#stopWhere((of) => of.functionId === functionId, reason);
  }

  /** Ends every instance that is idle now; resolves when they have ended. */
  async endIdle(): Promise<void> {
    const idle = [...this.#slots].filter((slot) => slot.state === 'idle');
    for (const slot of idle) this.#end(slot);
    await Promise.all(idle.map((slot) => slot.ended));
  }

  /** Stops everything, now and for ever. */
  async close(reason: Error): Promise<void> {
    this.#closeReason = reason;
    await this.#stopWhere(() => true, reason);
  }

  async #stopWhere(
    matches: (of: { readonly functionId: string }) => boolean,
    reason: Error,
  ): Promise<void> {
    for (const ticket of this.#tickets) {
      if (matches(ticket)) ticket.stopReason ??= reason;
    }
    const slots = [...this.#slots].filter(matches);
    for (const slot of slots) {
      if (slot.state === 'busy') slot.instance.stop(reason);
      if (slot.state === 'idle') this.#end(slot);
    }
    await Promise.all(slots.map((slot) => slot.ended));
  }

  async #claim<T>(ticket: Ticket, request: ServeRequest<Instance, T>): Promise<Claim<Instance>> {
    using waiting = new DisposableStack();
    let coldStart: ColdStart | undefined;
    for (;;) {
      if (ticket.stopReason !== undefined) throw ticket.stopReason;
      const idle = this.#findIdle(ticket.functionId, request.revision);
      if (idle !== undefined) return { slot: this.#take(idle) };
      this.#checkFunctionLimit(ticket.functionId);
      coldStart ??= waiting.use(this.#options.starts.enter(ticket));
      if (this.#slots.size < this.#options.instancesMax) {
        const slot = this.#open(ticket.functionId, request);
        waiting.move(); // in flight until it is ready
        return { slot, coldStart };
      }
      await this.#makeRoom(ticket.functionId);
    }
  }

  /** The one used last; those of another revision are ended. */
  #findIdle(functionId: string, revision: string): Slot<Instance> | undefined {
    this.#endOutdated(functionId, revision);
    return this.#idleSlots((slot) => slot.functionId === functionId).at(-1);
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

  #checkFunctionLimit(functionId: string): void {
    const { instancesPerFunctionMax, starts } = this.#options;
    const own = [...this.#slots].filter(
      (slot) => slot.functionId === functionId && slot.state !== 'ending',
    );
    if (own.length < instancesPerFunctionMax) return;
    throw starts.refusal(functionId, 'instances_per_function_max', instancesPerFunctionMax);
  }

  /** Idle longest first. */
  #idleSlots(matches: (slot: Slot<Instance>) => boolean): Slot<Instance>[] {
    return [...this.#slots]
      .filter((slot) => slot.state === 'idle' && matches(slot))
      .sort((a, b) => a.idleOrder - b.idleOrder);
  }

  #endOutdated(functionId: string, revision: string): void {
    const isOutdated = (slot: Slot<Instance>): boolean =>
      slot.functionId === functionId && slot.revision !== revision;
    for (const slot of this.#idleSlots(isOutdated)) this.#end(slot);
  }

  #open<T>(functionId: string, request: ServeRequest<Instance, T>): Slot<Instance> {
    const ended = Promise.withResolvers<void>();
    const slot: Slot<Instance> = {
      functionId,
      revision: request.revision,
      instance: request.create(),
      ended: ended.promise,
      resolveEnded: ended.resolve,
      state: 'busy',
      isGone: false,
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

  #take(slot: Slot<Instance>): Slot<Instance> {
    slot.cancelIdleTimeout();
    slot.state = 'busy';
    return slot;
  }

  #release(slot: Slot<Instance>, isReusable: boolean): void {
    if (!isReusable || slot.isGone) {
      this.#end(slot);
      return;
    }
    slot.state = 'idle';
    this.#idleCount += 1;
    slot.idleOrder = this.#idleCount;
    const { idleTimeoutMs, timers } = this.#options;
    slot.cancelIdleTimeout = timers.after(idleTimeoutMs, () => this.#end(slot));
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
