/**
 * A door that lets so many in at a time, and of those whom nobody waits for yet, fewer: so that background work can
 * neither go before a reader nor hold every place when one comes.
 *
 * Invariant: who gives up leaves at once, whether he was waiting or inside, and whether or not his work heeds it.
 */

import { assert, untilAborted, type Priority } from '../base/index.ts';

/** One who wants in; each time another object. */
export interface Ticket {
  /** May rise to `foreground` at any time; `review` must then be called. */
  readonly priority: Priority;
  readonly signal: AbortSignal;
}

export interface PriorityGateOptions {
  /** At least 1. */
  readonly places: number;
  /** Of these, for prefetch at most so many: 1 up to `places`. */
  readonly prefetchPlaces: number;
}

export class PriorityGate {
  readonly #options: PriorityGateOptions;
  readonly #inside = new Set<Ticket>();
  /** In order of arrival, each with what lets him in. */
  readonly #waiting = new Map<Ticket, () => void>();

  constructor(options: PriorityGateOptions) {
    const { places, prefetchPlaces } = options;
    assert(Number.isInteger(places) && places >= 1, `A gate needs a place: got ${places}`);
    assert(
      prefetchPlaces >= 1 && prefetchPlaces <= places,
      `A gate of ${places} places cannot have ${prefetchPlaces} for prefetch`,
    );
    this.#options = options;
  }

  get insideCount(): number {
    return this.#inside.size;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Runs `work` as soon as there is a place. Rejects with the signal's reason as soon as that is aborted. */
  async run<T>(ticket: Ticket, work: () => Promise<T>): Promise<T> {
    await this.#enter(ticket);
    try {
      ticket.signal.throwIfAborted();
      return await untilAborted(work(), ticket.signal);
    } finally {
      this.#inside.delete(ticket);
      this.review();
    }
  }

  /** Lets in who may come in now. To be called when a ticket's priority has risen. */
  review(): void {
    while (this.#inside.size < this.#options.places) {
      const next = this.#first();
      if (next === undefined) return;
      const admit = this.#waiting.get(next);
      this.#waiting.delete(next);
      this.#inside.add(next);
      admit?.();
    }
  }

  async #enter(ticket: Ticket): Promise<void> {
    const { signal } = ticket;
    signal.throwIfAborted();
    const admitted = Promise.withResolvers<void>();
    this.#waiting.set(ticket, admitted.resolve);
    this.review();
    try {
      await untilAborted(admitted.promise, signal);
    } catch (thrown) {
      this.#waiting.delete(ticket);
      if (this.#inside.delete(ticket)) this.review();
      throw thrown;
    }
  }

  #first(): Ticket | undefined {
    let prefetch: Ticket | undefined;
    for (const ticket of this.#waiting.keys()) {
      if (ticket.priority === 'foreground') return ticket;
      prefetch ??= ticket;
    }
    const prefetching = [...this.#inside].filter(({ priority }) => priority === 'prefetch');
    return prefetching.length < this.#options.prefetchPlaces ? prefetch : undefined;
  }
}
