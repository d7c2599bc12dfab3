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
    await this.#enter(ticket);
    const leave = (): void => {
      this.#inside.delete(ticket);
      this.review();
    };
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
    return prefetching.length < this.#places.prefetchPlaces ? prefetch : undefined;
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
