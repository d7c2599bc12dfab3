/**
 * A door that lets so many in at a time, and of those whom nobody waits for yet, fewer: so that background work can
 * neither go before a reader nor hold every place when one comes.
 *
 * Invariant: who gives up leaves at once, whether he was waiting or inside, and whether or not his work heeds it; but his place is
 * free only when his work has ended where that is what takes the place.
 */

import { assert, untilAborted, type Priority } from '../base/index.ts';

/** One who wants in; each time another object. */
export interface Ticket {
  /** May rise to `foreground` at any time; `review` must then be called. */
  readonly priority: Priority;
  readonly signal: AbortSignal;
}

export interface GatePlaces {
  /** At least 1. */
  readonly places: number;
  /** Of these, for prefetch at most so many: 1 up to `places`. */
  readonly prefetchPlaces: number;
}

export interface PriorityGateOptions extends GatePlaces {
  /** Work that was given up takes its place until it has ended: for work that cannot be stopped and takes what is scarce. Default false. */
  readonly keepsPlaces?: boolean;
}

export class PriorityGate {
  #places: GatePlaces;
  readonly #keepsPlaces: boolean;
  readonly #inside = new Set<Ticket>();
  /** In order of arrival, each with what lets him in. */
  readonly #waiting = new Map<Ticket, () => void>();

  constructor(options: PriorityGateOptions) {
    this.#places = checked(options);
    this.#keepsPlaces = options.keepsPlaces ?? false;
  }

  get insideCount(): number {
    return this.#inside.size;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** From now on so many: who is inside stays. */
  resize(places: GatePlaces): void {
    this.#places = checked(places);
    this.review();
  }

  /** Runs `work` as soon as there is a place. Rejects with the signal's reason as soon as that is aborted. */
  async run<T>(ticket: Ticket, work: () => Promise<T>): Promise<T> {
    ticket.signal.throwIfAborted();
    if (!this.tryEnter(ticket)) await this.#waitFor(ticket);
    const leave = (): void => this.leave(ticket);
    let kept: Promise<unknown> | undefined;
    try {
      ticket.signal.throwIfAborted();
      const working = work();
      if (this.#keepsPlaces) kept = working;
      return await untilAborted(working, ticket.signal);
    } finally {
      if (kept === undefined) leave();
      else kept.then(leave, leave);
    }
  }

  /** True if there is a place, which is the ticket's until it is to `leave`. */
  tryEnter(ticket: Ticket): boolean {
    const { places, prefetchPlaces } = this.#places;
    if (this.#inside.size >= places) return false;
    // Who waits although there is a place is prefetch, and these are all taken.
    if (ticket.priority === 'prefetch' && this.#prefetchCount() >= prefetchPlaces) return false;
    this.#inside.add(ticket);
    return true;
  }

  /**
   * Waits for a place, which there must not be just now: `admit` is called when the ticket has it. What this returns gives the waiting up,
   * whatever the ticket's signal says.
   */
  queue(ticket: Ticket, admit: () => void): () => void {
    this.#waiting.set(ticket, admit);
    return () => void this.#waiting.delete(ticket);
  }

  /** Gives the place back. */
  leave(ticket: Ticket): void {
    this.#inside.delete(ticket);
    this.review();
  }

  /** Lets in who may come in now. To be called when a ticket's priority has risen. */
  review(): void {
    while (this.#inside.size < this.#places.places) {
      const next = this.#first();
      if (next === undefined) return;
      const admit = this.#waiting.get(next);
      this.#waiting.delete(next);
      this.#inside.add(next);
      admit?.();
    }
  }

  async #waitFor(ticket: Ticket): Promise<void> {
    const admitted = Promise.withResolvers<void>();
    const giveUp = this.queue(ticket, admitted.resolve);
    try {
      await untilAborted(admitted.promise, ticket.signal);
    } catch (thrown) {
      giveUp();
      if (this.#inside.has(ticket)) this.leave(ticket);
      throw thrown;
    }
  }

  #first(): Ticket | undefined {
    let prefetch: Ticket | undefined;
    for (const ticket of this.#waiting.keys()) {
      if (ticket.priority === 'foreground') return ticket;
      prefetch ??= ticket;
    }
    return this.#prefetchCount() < this.#places.prefetchPlaces ? prefetch : undefined;
  }

  #prefetchCount(): number {
    let count = 0;
    for (const { priority } of this.#inside) if (priority === 'prefetch') count += 1;
    return count;
  }
}

function checked(options: GatePlaces): GatePlaces {
  const { places, prefetchPlaces } = options;
  assert(Number.isInteger(places) && places >= 1, `A gate needs a place: got ${places}`);
  assert(
    prefetchPlaces >= 1 && prefetchPlaces <= places,
    `A gate of ${places} places cannot have ${prefetchPlaces} for prefetch`,
  );
  return options;
}
