/**
 * One read of the zone: the same question to all servers of a chunk at once, over as soon as its outcome is certain.
 *
 * Invariants: every server is sent one request, however it and the others do (constant work; the paper, section 4.1); the race ends by
 * its deadline, whatever they do; the stripes that it gives are what they say. Who has not answered by then is abandoned, unless
 * somebody listens to what it has to say.
 */

import { untilAborted, type Clock, type Priority, type Timers } from '../base/index.ts';
import { dataStripeCount } from '../erasure/index.ts';
import type { ChunkName, TierRequest } from './cache-tier.ts';
import { parseStripe } from './stripe.ts';
import type { ZoneServer } from './zone-server.ts';

/** What a server had to say: `none`, that it has no stripe; `pending`, nothing before the race was over. */
export type StripeAnswer =
  | { readonly kind: 'pending' | 'none' | 'corrupt' }
  | { readonly kind: 'unavailable'; readonly cause: unknown }
  | { readonly kind: 'stripe'; readonly index: number; readonly payload: Uint8Array };

/**
 * `miss`: servers said that they have none, so that there are not four. `unavailable`: so many could not say that there would not
 * be four even if all of the others had theirs. `late`: at the deadline nothing was certain.
 */
export type RaceVerdict = 'hit' | 'miss' | 'unavailable' | 'late';

export interface RaceOutcome {
  readonly verdict: RaceVerdict;
  /** One a server, in the order of the servers. */
  readonly answers: readonly StripeAnswer[];
  /** For a hit: by index, four of them or five. */
  readonly stripes: readonly (Uint8Array | undefined)[];
  /** Whether `onLate` may still be told of the stripes. */
  readonly isHeard: boolean;
}

export type RaceServer = Pick<ZoneServer, 'state' | 'get'>;

export interface RaceOptions {
  readonly servers: readonly RaceServer[];
  readonly key: string;
  readonly chunk: ChunkName;
  readonly deadlineMs: number;
  readonly time: Clock & Timers;
  /**
   * A server that is up and refuses, because it has much to answer as it is, is tried again for so long: two that lag behind the others for
   * a moment would fail the race otherwise.
   */
  readonly refusalPatienceMs: number;
  /** Told of each answer, be it a stripe or none, how long after it was asked for it was there. */
  readonly onAnswer: (position: number, tookMs: number) => void;
  /** While a server that refused is not yet tried again, what to call when the priority of a request has risen. */
  readonly pauses: Set<() => void>;
  /** Called once, when no server is heard any longer. */
  readonly onOver: () => void;
  /**
   * Left out: after a hit those who have not answered are abandoned. Else they have until the deadline, and this is told what they
   * say, and of the stripes of the hit.
   */
  readonly onLate?: (
    position: number,
    answer: StripeAnswer,
    stripes: RaceOutcome['stripes'],
  ) => void;
}

/** Rejects with the signal's reason, and for no other. */
export async function raceStripes(
  options: RaceOptions,
  request: TierRequest,
): Promise<RaceOutcome> {
  return new StripeRace(options, request).run();
}

/** One for all: making one takes longer than sending a request. */
const notHeard = new DOMException('The race is over', 'AbortError');

class StripeRace {
  readonly #options: RaceOptions;
  readonly #request: TierRequest;
  readonly #abort = new AbortController();
  readonly #outcome = Promise.withResolvers<RaceOutcome>();
  readonly #answers: StripeAnswer[];
  readonly #stripes: (Uint8Array | undefined)[] = [];
  #cancelTimer = (): void => {};
  #isOver = false;

  constructor(options: RaceOptions, request: TierRequest) {
    this.#options = options;
    this.#request = request;
    this.#answers = options.servers.map(() => ({ kind: 'pending' }));
  }

  async run(): Promise<RaceOutcome> {
    const { servers, time, deadlineMs } = this.#options;
    const { signal } = this.#request;
    const giveUp = (): void => {
      this.#abandon();
      this.#outcome.reject(signal.reason);
    };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#cancelTimer = time.after(deadlineMs, () => {
      if (!this.#isOver) this.#end('late');
      this.#abandon();
    });
    if (signal.aborted) giveUp();
    else for (const [position, server] of servers.entries()) void this.#hear(position, server);
    try {
      return await this.#outcome.promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  async #hear(position: number, server: RaceServer): Promise<void> {
    const answer = await this.#answerOf(position, server);
    if (this.#abort.signal.aborted) return;
    this.#answers[position] = answer;
    if (this.#isOver) {
      this.#options.onLate?.(position, answer, this.#stripes);
      if (!this.#isAwaited()) this.#abandon();
      return;
    }
    if (answer.kind === 'stripe') this.#stripes[answer.index] ??= answer.payload;
    const verdict = this.#judge();
    if (verdict !== undefined) this.#end(verdict);
  }

  #end(verdict: RaceVerdict): void {
    this.#isOver = true;
    const isHeard = verdict === 'hit' && this.#options.onLate !== undefined && this.#isAwaited();
    const answers = [...this.#answers];
    this.#outcome.resolve({ verdict, answers, stripes: this.#stripes, isHeard });
    if (!isHeard) this.#abandon();
  }

  /** Nobody is heard any longer. */
  #abandon(): void {
    if (this.#abort.signal.aborted) return;
    this.#isOver = true;
    this.#cancelTimer();
    this.#abort.abort(notHeard);
    this.#options.onOver();
  }

  /** Whether a server has not answered yet. */
  #isAwaited(): boolean {
    return this.#answers.some(({ kind }) => kind === 'pending');
  }

  async #answerOf(position: number, server: RaceServer): Promise<StripeAnswer> {
    let waitedMs = 0;
    for (let waitMs = 1; ; waitMs *= 2) {
      const answer = await this.#ask(position, server);
      const isRefused = answer.kind === 'unavailable' && server.state === 'up';
      if (!isRefused || waitedMs + waitMs > this.#options.refusalPatienceMs) return answer;
      await this.#pause(waitMs);
      waitedMs += waitMs;
    }
  }

  async #ask(position: number, server: RaceServer): Promise<StripeAnswer> {
    const { key, chunk, time, onAnswer } = this.#options;
    const request = this.#request;
    const askedMs = time.monotonicMs();
    const asked = {
      signal: this.#abort.signal,
      get priority(): Priority {
        return request.priority;
      },
    };
    try {
      const bytes = await untilAborted(server.get(key, asked), this.#abort.signal);
      // Whoever is not heard any longer is not worth a checksum.
      if (this.#abort.signal.aborted) return { kind: 'pending' };
      onAnswer(position, time.monotonicMs() - askedMs);
      if (bytes === undefined) return { kind: 'none' };
      const stripe = parseStripe(bytes, chunk);
      if (stripe.fault === undefined) return { kind: 'stripe', ...stripe };
      // Workers of another version of ours write what we cannot read: that is no corruption.
      return { kind: stripe.fault === 'version' ? 'none' : 'corrupt' };
    } catch (cause) {
      return { kind: this.#abort.signal.aborted ? 'pending' : 'unavailable', cause };
    }
  }

  /** Ends early when nobody is heard any longer, or when somebody waits now: servers take more of that. */
  async #pause(delayMs: number): Promise<void> {
    const { pauses, time } = this.#options;
    const over = Promise.withResolvers<void>();
    const { priority } = this.#request;
    const look = (): void => {
      if (this.#request.priority !== priority) over.resolve();
    };
    const cancelTimer = time.after(delayMs, over.resolve);
    this.#abort.signal.addEventListener('abort', () => over.resolve(), { once: true });
    pauses.add(look);
    await over.promise;
    pauses.delete(look);
    cancelTimer();
  }

  /** Undefined as long as it can still go either way. */
  #judge(): RaceVerdict | undefined {
    const count = (kind: StripeAnswer['kind']): number =>
      this.#answers.filter((answer) => answer.kind === kind).length;
    const distinct = this.#stripes.filter((stripe) => stripe !== undefined).length;
    if (distinct >= dataStripeCount) return 'hit';
    if (distinct + count('pending') >= dataStripeCount) return undefined;
    const spare = this.#answers.length - dataStripeCount;
    return count('unavailable') > spare ? 'unavailable' : 'miss';
  }
}
