/**
 * One read of the zone: the same question to all servers of a chunk at once, over as soon as its outcome is certain.
 *
 * Invariants: every server is sent one request, however it and the others do (constant work; the paper, section 4.1); the race ends by
 * its deadline, whatever they do; the stripes that it gives are what they say: their checksums are right, or the chunk that they make is. Who
 * has not answered by then is abandoned, unless somebody listens to what it has to say.
 */

import { defined, release, type Clock, type Priority, type Timers } from '../../base/index.ts';
import { dataStripeCount, rebuildChunk } from '../../erasure/index.ts';
import type { ChunkName, TierRequest } from '../cache-tier.ts';
import { hasItsChecksum, readStripe } from './stripe.ts';
import type { ValueReader, ZoneServer } from './zone-server.ts';

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
  /** For a hit: by index, four of them. */
  readonly stripes: readonly (Uint8Array | undefined)[];
  /** For a hit: the chunk that they make. */
  readonly ciphertext?: Uint8Array;
  /** Whether `onLate` may still be told of the stripes. */
  readonly isHeard: boolean;
}

export type RaceServer = Pick<ZoneServer, 'state' | 'ask'>;

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
  readonly refusalPatienceMs: () => number;
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
export function raceStripes(options: RaceOptions, request: TierRequest): Promise<RaceOutcome> {
  return new StripeRace(options, request).run();
}

class StripeRace {
  readonly #options: RaceOptions;
  readonly #request: TierRequest;
  readonly #outcome = Promise.withResolvers<RaceOutcome>();
  readonly #runners: readonly Runner[];
  readonly #stripes: (Uint8Array | undefined)[] = [];
  #cancelTimer = (): void => {};
  #isOver = false;
  #isAbandoned = false;

  constructor(options: RaceOptions, request: TierRequest) {
    this.#options = options;
    this.#request = request;
    const answered = (runner: Runner): void => this.#answered(runner);
    this.#runners = options.servers.map(
      (server, position) => new Runner({ server, position, options, request, answered }),
    );
  }

  run(): Promise<RaceOutcome> {
    const { time, deadlineMs } = this.#options;
    const { signal } = this.#request;
    if (signal.aborted) {
      this.#giveUp();
    } else {
      signal.addEventListener('abort', this.#giveUp, { once: true });
      this.#cancelTimer = time.after(deadlineMs, () => {
        if (!this.#isOver) this.#end('late');
        this.#abandon();
      });
      for (const runner of this.#runners) runner.ask();
    }
    return this.#outcome.promise;
  }

  readonly #giveUp = (): void => {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#outcome.reject(this.#request.signal.reason);
    this.#abandon();
  };

  #answered(runner: Runner): void {
    const isVerified = !this.#isOver && this.#request.isRight !== undefined;
    if (!isVerified) runner.check();
    const { position, answer } = runner;
    if (this.#isOver) {
      this.#options.onLate?.(position, answer, this.#stripes);
      if (!this.#isAwaited()) this.#abandon();
      return;
    }
    if (answer.kind === 'stripe') this.#stripes[answer.index] ??= answer.payload;
    const ciphertext = this.#join();
    const verdict = ciphertext === undefined ? this.#judge() : 'hit';
    if (verdict !== undefined) this.#end(verdict, ciphertext);
  }

  /** The chunk, if there are enough stripes and none that is found broken. */
  #join(): Uint8Array | undefined {
    const { isRight } = this.#request;
    if (this.#stripeCount < dataStripeCount) return undefined;
    const ciphertext = rebuildChunk(this.#stripes);
    if (isRight === undefined || isRight(ciphertext)) return ciphertext;
    release(ciphertext);
    this.#check();
    // All of them whole and the chunk still wrong: somebody forged one. Who reads will see, and have the chunk forgotten.
    return this.#stripeCount < dataStripeCount ? undefined : rebuildChunk(this.#stripes);
  }

  /** Of different indexes. */
  get #stripeCount(): number {
    return this.#stripes.filter((stripe) => stripe !== undefined).length;
  }

  /** Keeps the stripes with the right checksum. */
  #check(): void {
    this.#stripes.length = 0;
    for (const runner of this.#runners) {
      runner.check();
      const { answer } = runner;
      if (answer.kind === 'stripe') this.#stripes[answer.index] ??= answer.payload;
    }
  }

  #end(verdict: RaceVerdict, ciphertext?: Uint8Array): void {
    if (verdict !== 'hit') this.#check();
    this.#isOver = true;
    this.#request.signal.removeEventListener('abort', this.#giveUp);
    const isHeard = verdict === 'hit' && this.#options.onLate !== undefined && this.#isAwaited();
    const answers = this.#runners.map(({ answer }) => answer);
    const stripes = this.#stripes;
    this.#outcome.resolve({ verdict, answers, stripes, isHeard, ...defined({ ciphertext }) });
    if (!isHeard) this.#abandon();
  }

  /** Nobody is heard any longer. */
  #abandon(): void {
    if (this.#isAbandoned) return;
    this.#isAbandoned = true;
    this.#cancelTimer();
    for (const runner of this.#runners) runner.stop();
    this.#options.onOver();
  }

  /** Whether a server has not answered yet. */
  #isAwaited(): boolean {
    return this.#runners.some(({ answer }) => answer.kind === 'pending');
  }

  /** Undefined as long as it can still go either way. */
  #judge(): RaceVerdict | undefined {
    const count = (kind: StripeAnswer['kind']): number =>
      this.#runners.filter(({ answer }) => answer.kind === kind).length;
    // Where none may be lost any more, it matters which are broken.
    if (this.#stripeCount + count('pending') <= dataStripeCount) this.#check();
    if (this.#stripeCount + count('pending') >= dataStripeCount) return undefined;
    const spare = this.#runners.length - dataStripeCount;
    return count('unavailable') > spare ? 'unavailable' : 'miss';
  }
}

interface RunnerOptions {
  readonly server: RaceServer;
  readonly position: number;
  readonly options: RaceOptions;
  readonly request: TierRequest;
  /** Called once, with the answer, unless it is stopped before. */
  readonly answered: (runner: Runner) => void;
}

const pending: StripeAnswer = { kind: 'pending' };

/** One server in a race: asked, and asked again while it refuses, until it has answered or is stopped. */
class Runner implements ValueReader {
  readonly position: number;
  answer: StripeAnswer = pending;
  readonly #race: RunnerOptions;
  #askedMs = 0;
  /** What it answered, until its checksum is looked at. */
  #value: Uint8Array | undefined;
  /** How long it has paused already, and will the next time. */
  #pausedMs = 0;
  #pauseMs = 1;
  /** Of the request or the pause that is under way. */
  #cancel = (): void => {};

  constructor(race: RunnerOptions) {
    this.position = race.position;
    this.#race = race;
  }

  get priority(): Priority {
    return this.#race.request.priority;
  }

  ask(): void {
    const { server, options } = this.#race;
    this.#askedMs = options.time.monotonicMs();
    this.#cancel = server.ask(options.key, this);
  }

  found(value: Uint8Array | undefined): void {
    const { chunk, time, onAnswer } = this.#race.options;
    onAnswer(this.position, time.monotonicMs() - this.#askedMs);
    this.#value = value;
    this.#end(value === undefined ? { kind: 'none' } : stripeOf(value, chunk));
  }

  failed(cause: unknown): void {
    const { server, options } = this.#race;
    const isRefused = server.state === 'up';
    if (isRefused && this.#pausedMs + this.#pauseMs <= options.refusalPatienceMs()) this.#pause();
    else this.#end({ kind: 'unavailable', cause });
  }

  /** A stripe that is not the one that was written is `corrupt` from now on. */
  check(): void {
    if (this.answer.kind !== 'stripe' || this.#value === undefined) return;
    if (!hasItsChecksum(this.#value)) this.answer = { kind: 'corrupt' };
    this.#value = undefined; // once is enough
  }

  /** Hears nothing more. */
  stop(): void {
    this.#cancel();
  }

  #end(answer: StripeAnswer): void {
    this.answer = answer;
    this.#race.answered(this);
  }

  /** Ends early when somebody waits now who did not before: servers take more of that. */
  #pause(): void {
    const { pauses, time } = this.#race.options;
    const { priority } = this;
    const goOn = (): void => {
      this.#cancel();
      this.ask();
    };
    const look = (): void => {
      if (this.priority !== priority) goOn();
    };
    const cancelTimer = time.after(this.#pauseMs, goOn);
    pauses.add(look);
    this.#cancel = () => {
      pauses.delete(look);
      cancelTimer();
    };
    this.#pausedMs += this.#pauseMs;
    this.#pauseMs *= 2;
  }
}

function stripeOf(value: Uint8Array, chunk: ChunkName): StripeAnswer {
  const stripe = readStripe(value, chunk);
  if (stripe.fault === undefined) return { kind: 'stripe', ...stripe };
  // Workers of another version of ours write what we cannot read: that is no corruption.
  return { kind: stripe.fault === 'version' ? 'none' : 'corrupt' };
}
