/**
 * The servers that run events of one catalog, as each sees the others. One of them runs an event: the one that has claimed it in the
 * catalog. While it runs events it gives a sign of life there every few seconds, a number that rises; whoever has seen the same number look
 * after look gives its claims back, at once where it is known that the server is gone. Looks are counted, so no two clocks are compared, and none
 * that jumps does any harm.
 *
 * So an event is run by two at a time only where its server lives and cannot reach the catalog for that long, or stood still.
 */

import { errorMessage, type Clock, type Log, type Timers } from '../../base/index.ts';
import type { EventRunner, FunctionCatalog, QueuedEvent } from '../../catalog/index.ts';

export interface EventRunnersOptions {
  readonly catalog: Pick<
    FunctionCatalog,
    'beatEventRunner' | 'claimEvents' | 'listEventRunners' | 'removeEventRunner'
  >;
  /** This server's: nobody else's, before or after. */
  readonly runnerId: string;
  /** Whether a server is known to be gone, without waiting. Default: of none it is. */
  readonly isGone?: (runnerId: string) => boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

/** What this server tells of itself. */
export interface OwnEvents {
  /** Ids of those that it runs. */
  readonly running: () => readonly string[];
  /** Called after every look at the others: there may be events to be taken up. */
  readonly looked: () => void;
}

/** Between two signs of life, and two looks at those of others. */
const beatIntervalMs = 5000;
/** Seen so often again without a sign of life, a server is taken for dead. */
const silentLooksMax = 6;
/** A claim that took longer to get is not to be relied on. */
const claimMaxMs = (silentLooksMax - 1) * beatIntervalMs;

export class EventRunners {
  readonly #options: EventRunnersOptions;
  readonly #own: OwnEvents;
  /** The last sign of life of each of the others, and how often it was seen again. */
  readonly #others = new Map<string, { readonly beat: number; readonly looks: number }>();
  #beat = 0;
  #beating: Promise<void> | undefined;
  #cancelBeat: (() => void) | undefined;
  #looksAfterOthers = false;

  constructor(options: EventRunnersOptions, own: OwnEvents) {
    this.#options = options;
    this.#own = own;
  }

  /** From now on, and at once, takes away what servers have claimed that are gone. */
  lookAfterOthers(): void {
    this.#looksAfterOthers = true;
    this.#beatIn(0);
  }

  /** Gives signs of life from now on, as long as anything runs. */
  keepAlive(): void {
    this.#beatIn(beatIntervalMs);
  }

  /** Those of `ids` that no other server was faster to claim; undefined where it took so long that others may have them by now. */
  async claim(of: {
    readonly ids: readonly string[];
    readonly nowMs: number;
  }): Promise<readonly QueuedEvent[] | undefined> {
    const { catalog, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const claimed = await catalog.claimEvents(this.#nextBeat(), of);
    return clock.monotonicMs() - startedMs < claimMaxMs ? claimed : undefined;
  }

  /** From now on others are left alone; what runs is kept. */
  stopLooking(): void {
    this.#looksAfterOthers = false;
  }

  /** Gives back at once what was claimed and not done. Never rejects. */
  async leave(): Promise<void> {
    this.#cancelBeat?.();
    await this.#beating;
    if (this.#beat === 0) return;
    try {
      await this.#options.catalog.removeEventRunner(this.#options.runnerId);
    } catch (thrown) {
      this.#warn('Cannot give events back, which other servers now take up later', thrown);
    }
  }

  #beatIn(delayMs: number): void {
    this.#cancelBeat ??= this.#options.timers.after(delayMs, () => {
      this.#beating = this.#beatAndLook().finally(() => {
        this.#cancelBeat = undefined;
        if (this.#looksAfterOthers || this.#own.running().length > 0) this.keepAlive();
      });
    });
  }

  #nextBeat(): EventRunner {
    this.#beat += 1;
    return { id: this.#options.runnerId, beat: this.#beat };
  }

  /** Never rejects. */
  async #beatAndLook(): Promise<void> {
    const { catalog } = this.#options;
    try {
      const ids = this.#own.running();
      if (ids.length > 0) await catalog.beatEventRunner(this.#nextBeat(), ids);
      if (this.#looksAfterOthers) await this.#removeDead();
    } catch (thrown) {
      this.#warn('Cannot give a sign of life to the servers that share the catalog', thrown);
    }
    if (this.#looksAfterOthers) this.#own.looked();
  }

  async #removeDead(): Promise<void> {
    const { catalog, runnerId, isGone = () => false, log } = this.#options;
    const others = (await catalog.listEventRunners()).filter(({ id }) => id !== runnerId);
    const isThere = new Set(others.map(({ id }) => id));
    for (const id of this.#others.keys()) if (!isThere.has(id)) this.#others.delete(id);
    for (const { id, beat } of others) {
      const seen = this.#others.get(id);
      const looks = seen?.beat === beat ? seen.looks + 1 : 0;
      this.#others.set(id, { beat, looks });
      if (looks < silentLooksMax && !isGone(id)) continue;
      const count = await catalog.removeEventRunner(id, beat);
      if (count > 0) log.info('took over events of a server that is gone', { count });
    }
  }

  #warn(what: string, thrown: unknown): void {
    this.#options.log.warn(what, { error: errorMessage(thrown) });
  }
}
