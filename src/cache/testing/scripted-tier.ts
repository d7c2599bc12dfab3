/** A tier that does what a test tells it, in the test's time, and writes down what it was asked. */

import { StoreUnavailableError } from '../../store/index.ts';
import { untilAborted } from '../../base/index.ts';
import type { VirtualTime } from '../../base/testing/virtual-time.ts';
import type { CacheTier, ChunkName, TierRequest } from '../cache-tier.ts';
import { TierUnavailableError } from '../errors.ts';

/** What a tier answers. `never`: nothing, ever, unless it is aborted; `deaf`: not even then. */
export const scriptedAnswers = [
  'hit',
  'miss',
  'unavailable',
  'flipped',
  'short',
  'throws',
  'never',
  'deaf',
] as const;
export type ScriptedAnswer = (typeof scriptedAnswers)[number];

export interface TierScript {
  readonly answer: ScriptedAnswer;
  readonly afterMs: number;
  /** Default: never. */
  readonly hedgeAfterMs?: number;
}

export class ScriptedTier implements CacheTier {
  readonly gets: TierRequest[] = [];
  readonly offers: Uint8Array[] = [];
  forgets = 0;
  reviews = 0;
  readonly #time: VirtualTime;
  readonly #ciphertext: Uint8Array;
  script: TierScript;

  constructor(time: VirtualTime, ciphertext: Uint8Array, script: TierScript) {
    this.#time = time;
    this.#ciphertext = ciphertext;
    this.script = script;
  }

  async get(_: ChunkName, request: TierRequest): Promise<Uint8Array | undefined> {
    this.gets.push(request);
    const { answer, afterMs } = this.script;
    if (answer === 'deaf') return await new Promise(() => {});
    if (answer === 'never') return await untilAborted(new Promise(() => {}), request.signal);
    await this.#wait(afterMs, request.signal);
    switch (answer) {
      case 'hit':
        return new Uint8Array(this.#ciphertext);
      case 'miss':
        return undefined;
      case 'flipped':
        return this.#ciphertext.map((byte, index) => (index === 5 ? byte ^ 1 : byte));
      case 'short':
        return this.#ciphertext.slice(0, 100);
      case 'unavailable':
        throw new TierUnavailableError('scripted tier', 'it was told so');
      case 'throws':
        throw new TypeError('The tier was told to break its contract');
    }
  }

  offer(_: ChunkName, ciphertext: Uint8Array): void {
    this.offers.push(new Uint8Array(ciphertext));
  }

  async forget(): Promise<void> {
    this.forgets += 1;
  }

  review(): void {
    this.reviews += 1;
  }

  hedgeAfterMs(): number {
    return this.script.hedgeAfterMs ?? Infinity;
  }

  async #wait(delayMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const stop = this.#time.after(delayMs, resolve);
      signal.addEventListener('abort', () => {
        stop();
        reject(signal.reason as Error);
      });
    });
  }
}

/** The same as an origin. */
export class ScriptedOrigin {
  readonly tier: ScriptedTier;

  constructor(tier: ScriptedTier) {
    this.tier = tier;
  }

  async get(_: string, { signal }: { signal?: AbortSignal } = {}): Promise<Uint8Array | undefined> {
    const request = { signal: signal ?? new AbortController().signal, priority: 'foreground' };
    try {
      return await this.tier.get({} as ChunkName, request as TierRequest);
    } catch (thrown) {
      if (!(thrown instanceof TierUnavailableError)) throw thrown;
      throw new StoreUnavailableError('read a chunk', thrown);
    }
  }
}
