/** The limits of a worker's functions, where none are set: those of instances, logs and events. */

import type { EventLimits } from './running/event-queue.ts';

/** How much a worker runs and keeps. */
export interface FunctionLimits {
  /** Of all functions together, those that are just being ended included. Default 100. */
  readonly instancesMax: number;
  /** Invokes of one function at a time that has no concurrency reserved. Default 50. */
  readonly instancesPerFunctionMax: number;
  /** An instance that has served nothing for this long is ended. Default 600,000. */
  readonly idleTimeoutMs: number;
  /**
   * How long a runtime may take to ask for its first event, before it is tried again within the function's timeout; and, unless
   * that timeout is longer, a root to open. Default 10,000.
   */
  readonly initTimeoutMs: number;
  /** A function's log takes up to twice this. Default 10 MiB. */
  readonly logFileSizeMaxBytes: number;
}

/** What holds where nothing else is said. */
export const defaultLimits: FunctionLimits = {
  instancesMax: 100,
  instancesPerFunctionMax: 50,
  idleTimeoutMs: 600_000,
  initTimeoutMs: 10_000,
  logFileSizeMaxBytes: 10 * 1024 * 1024,
};
const eventsPerTenantDefaultMax = 10_000;
const eventInvokesDefaultMax = 16;

/** The limits of events on a worker with so many instances. */
export function eventLimits(chosen: Partial<EventLimits>, instancesMax: number): EventLimits {
  const half = Math.max(1, Math.floor(instancesMax / 2));
  const eventInvokesMax = chosen.eventInvokesMax ?? Math.min(half, eventInvokesDefaultMax);
  const share = Math.max(1, Math.floor((eventInvokesMax * 3) / 4));
  return {
    eventsPerTenantMax: chosen.eventsPerTenantMax ?? eventsPerTenantDefaultMax,
    eventInvokesMax,
    eventInvokesPerTenantMax: chosen.eventInvokesPerTenantMax ?? share,
  };
}
