/** What starts came to and what the tiers did meanwhile, phase by phase. */

import { setTimeout as delay } from 'node:timers/promises';

import { errorCode } from '../../src/base/index.ts';
import type { CacheStatus } from '../../src/cache/index.ts';
import type { BenchFunction, Fleet } from './fleet.ts';

/** What came of invokes since a phase began. */
export interface Outcomes {
  readonly coldMs: number[];
  warm: number;
  readonly refusedMs: number[];
  /** By error. */
  readonly failed: Map<string, number>;
}

/** Reads of the tiers between two moments. */
export interface TierCounts {
  readonly zoneHits: number;
  readonly zoneAsked: number;
  readonly originReads: number;
}

export interface PhaseReport extends TierCounts {
  readonly name: string;
  readonly elapsedMs: number;
  readonly outcomes: Outcomes;
  readonly originTakenMax: number;
  readonly originPlaces: number;
  readonly originWaitingMax: number;
}

/** A client that was refused comes back after this and up to as much again. */
const retryMs = 200;
/** Instances that are idle are ended so often: whoever comes next starts cold. */
const endIdleMs = 100;
export const sampleMs = 100;

function noOutcomes(): Outcomes {
  return { coldMs: [], warm: 0, refusedMs: [], failed: new Map() };
}

function countsOf({ loader }: CacheStatus): TierCounts {
  const zone = loader.tiers.find(({ tier }) => tier === 'l2')?.outcomes;
  const origin = loader.tiers.find(({ tier }) => tier === 'origin')?.outcomes;
  const asked = Object.values(zone ?? {}).reduce((sum, count) => sum + count, 0);
  return { zoneHits: zone?.hit ?? 0, zoneAsked: asked, originReads: origin?.hit ?? 0 };
}

export function difference(later: TierCounts, earlier: TierCounts): TierCounts {
  return {
    zoneHits: later.zoneHits - earlier.zoneHits,
    zoneAsked: later.zoneAsked - earlier.zoneAsked,
    originReads: later.originReads - earlier.originReads,
  };
}

/** Clients that invoke random functions, all of them cold, for as long as it is open. */
export class Pressure implements AsyncDisposable {
  readonly #fleet: Fleet;
  readonly #running: readonly Promise<void>[];
  #outcomes = noOutcomes();
  #isOver = false;

  constructor(fleet: Fleet, clients: number) {
    this.#fleet = fleet;
    const all = Array.from({ length: clients }, () => this.#client());
    this.#running = [...all, this.#endIdle()];
  }

  /** Watches until `isDone`, told the counts since the phase began every `sampleMs`, says so. */
  async phase(
    name: string,
    isDone: (since: TierCounts, elapsedMs: number) => boolean,
  ): Promise<PhaseReport> {
    this.#outcomes = noOutcomes();
    const startedMs = performance.now();
    const first = countsOf(await this.#status());
    let originTakenMax = 0;
    let originWaitingMax = 0;
    for (;;) {
      await delay(sampleMs);
      const status = await this.#status();
      const { taken, waiting, total } = status.loader.originPlaces;
      originTakenMax = Math.max(originTakenMax, taken);
      originWaitingMax = Math.max(originWaitingMax, waiting);
      const since = difference(countsOf(status), first);
      const elapsedMs = performance.now() - startedMs;
      if (!isDone(since, elapsedMs)) continue;
      const origin = { originTakenMax, originWaitingMax, originPlaces: total };
      return { name, elapsedMs, outcomes: this.#outcomes, ...since, ...origin };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #status(): Promise<CacheStatus> {
    const status = await this.#fleet.worker.cacheStatus();
    if (status === undefined) throw new Error('The agent is gone');
    return status;
  }

  async #client(): Promise<void> {
    const { functions } = this.#fleet;
    while (!this.#isOver) {
      const one = functions[Math.floor(Math.random() * functions.length)];
      if (one !== undefined) await this.#invoke(one);
    }
  }

  async #invoke({ tenant, name }: BenchFunction): Promise<void> {
    const startedMs = performance.now();
    const fail = (why: string): void => {
      this.#outcomes.failed.set(why, (this.#outcomes.failed.get(why) ?? 0) + 1);
    };
    try {
      const result = await this.#fleet.worker.invokeFunction({ tenant, name, payload: '{}' });
      if (result.functionError !== undefined) fail(result.payload);
      else if (result.coldStart) this.#outcomes.coldMs.push(performance.now() - startedMs);
      else this.#outcomes.warm += 1;
    } catch (thrown) {
      if (errorCode(thrown) !== 'ERR_FUNCTION_THROTTLED') {
        fail(errorCode(thrown) ?? String(thrown));
        return;
      }
      this.#outcomes.refusedMs.push(performance.now() - startedMs);
      await delay(retryMs * (1 + Math.random()));
    }
  }

  async #endIdle(): Promise<void> {
    while (!this.#isOver) {
      await this.#fleet.worker.dropCaches({ caches: ['memory'] });
      await delay(endIdleMs);
    }
  }
}
