/**
 * How many cold starts may be in flight at a time. In flight is a start from the decision to make a new instance until
 * that instance is ready for its first invoke, or has failed.
 *
 * A start over the limit is refused at once and never queued. When caches are empty, starts take longer and so more of them
 * are in flight, each asking the origin for more: without a limit that feeds itself and the caches never fill again
 * (paper §4.2). Warm invokes do not come through here.
 */

import type { Clock } from '../../base/index.ts';
import { FunctionThrottledError, type ThrottleLimit } from '../errors.ts';

/** How many cold starts may be in flight, each at least 1. */
export interface ColdStartLimits {
  readonly coldStartsMax: number;
  /** Of one tenant. Less than `coldStartsMax` leaves others room, whatever the tenant does. */
  readonly coldStartsPerTenantMax: number;
}

/** A start in flight, until it is disposed of; more than once does no harm. */
export interface ColdStart extends Disposable {}

/** Since the service was made, but `inFlight` and `inFlightByTenant`: now. */
export interface StartLimitsSnapshot extends ColdStartLimits {
  readonly inFlight: number;
  /** Tenants without one are left out. */
  readonly inFlightByTenant: Readonly<Record<string, number>>;
  /** Starts let in, those in flight included. */
  readonly started: number;
  /** Invokes that were refused, by the limit that they met: the limits of instances too. */
  readonly refused: Readonly<Record<ThrottleLimit, number>>;
}

/** The paper gives no figure. */
const coldStartsDefaultMax = 16;
const retryAfterMaxSeconds = 60;

/**
 * The limits where none are set.
 *
 * 16 starts: as many as there are places at the origin, so that from empty caches every start in flight has one
 * request there and more starts would only wait for each other. And few enough for the slowest case: a Node function reads
 * about 70 MB to its first response (docs/benchmarks.md), 16 of them 9 s over 1 Gbit/s, so that all are up within
 * the 10 s of an initialisation. Two a core where that is more: when caches are warm, cores are what starts wait for, each for less
 * than one of them.
 *
 * Three quarters of these for one tenant, rounded down: however slow a tenant's starts have become, a place is left for others.
 */
export function coldStartLimits(
  chosen: Partial<ColdStartLimits>,
  machine: { readonly cores: number },
): ColdStartLimits {
  const coldStartsMax = chosen.coldStartsMax ?? Math.max(coldStartsDefaultMax, 2 * machine.cores);
  const share = Math.max(1, Math.floor((coldStartsMax * 3) / 4));
  return { coldStartsMax, coldStartsPerTenantMax: chosen.coldStartsPerTenantMax ?? share };
}

export class StartGate {
  readonly #limits: ColdStartLimits;
  readonly #clock: Clock;
  readonly #inFlight = new Map<string, number>();
  readonly #refused: Record<ThrottleLimit, number> = {
    instances_max: 0,
    instances_per_function_max: 0,
    reserved_concurrency: 0,
    unreserved_concurrency: 0,
    cold_starts_max: 0,
    cold_starts_per_tenant_max: 0,
    events_per_tenant_max: 0,
  };
  #started = 0;
  #lastStartMs = 0;

  constructor(limits: ColdStartLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** How long the start that ended last took; 0 before the first. */
  get lastStartMs(): number {
    return this.#lastStartMs;
  }

  /** Lets a start in. Throws `ERR_FUNCTION_THROTTLED`. */
  enter(of: { readonly tenant: string; readonly functionId: string }): ColdStart {
    const { coldStartsMax, coldStartsPerTenantMax } = this.#limits;
    const ofTenant = this.#inFlight.get(of.tenant) ?? 0;
    if (ofTenant >= coldStartsPerTenantMax) {
      throw this.refusal(of.functionId, 'cold_starts_per_tenant_max', coldStartsPerTenantMax);
    }
    if (this.#total() >= coldStartsMax) {
      throw this.refusal(of.functionId, 'cold_starts_max', coldStartsMax);
    }
    this.#inFlight.set(of.tenant, ofTenant + 1);
    this.#started += 1;
    return this.#coldStart(of.tenant);
  }

  /** Counts a refusal and gives its error, which says to come back after about as long as the last start took. */
  refusal(functionId: string, limit: ThrottleLimit, max: number): FunctionThrottledError {
    this.#refused[limit] += 1;
    const lastSeconds = Math.ceil(this.#lastStartMs / 1000);
    const retryAfterSeconds = Math.min(Math.max(1, lastSeconds), retryAfterMaxSeconds);
    return new FunctionThrottledError({ functionId, limit, max, retryAfterSeconds });
  }

  snapshot(): StartLimitsSnapshot {
    return {
      ...this.#limits,
      inFlight: this.#total(),
      inFlightByTenant: Object.fromEntries(this.#inFlight),
      started: this.#started,
      refused: { ...this.#refused },
    };
  }

  #total(): number {
    return [...this.#inFlight.values()].reduce((sum, count) => sum + count, 0);
  }

  #coldStart(tenant: string): ColdStart {
    const enteredMs = this.#clock.monotonicMs();
    let isInFlight = true;
    return {
      [Symbol.dispose]: () => {
        if (!isInFlight) return;
        isInFlight = false;
        this.#lastStartMs = this.#clock.monotonicMs() - enteredMs;
        const left = (this.#inFlight.get(tenant) ?? 0) - 1;
        if (left > 0) this.#inFlight.set(tenant, left);
        else this.#inFlight.delete(tenant);
      },
    };
  }
}
