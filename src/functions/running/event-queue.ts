/**
 * Asynchronous invokes: events that wait in the catalog until an invoke of each has succeeded, or enough have failed.
 * Source: AWS Lambda developer guide, "Understanding retry behavior in Lambda" and "How Lambda handles errors and
 * retries with asynchronous invocation".
 *
 * Invariants: an event is in the catalog from before its caller is told until after its last invoke; whatever ends this
 * process, the next one takes the event up again, so an event is run at least once. A bounded number of events run, fewer of one
 * tenant, and of the tenants that have events due, the one with the fewest running is next. Of servers that share a catalog one runs an
 * event: see `event-runners.ts`.
 */

import { errorCode, errorMessage } from '../../base/index.ts';
import {
  defaultEventInvoke,
  type FunctionCatalog,
  type FunctionSettings,
  type QueuedEvent,
} from '../../catalog/index.ts';
import { EventRunners, type EventRunnersOptions } from './event-runners.ts';

/** How many events wait and run. */
export interface EventLimits {
  /** Waiting and running. Default 10,000. */
  readonly eventsPerTenantMax: number;
  /** That run at a time. Default: half of the instances. */
  readonly eventInvokesMax: number;
  /** Of one tenant. Default: three quarters of these. */
  readonly eventInvokesPerTenantMax: number;
}

export interface EventQueueOptions extends EventRunnersOptions {
  readonly catalog: EventRunnersOptions['catalog'] &
    Pick<
      FunctionCatalog,
      | 'addEvent'
      | 'countEvents'
      | 'dueEvents'
      | 'findFunctionSettings'
      | 'nextEventDueMs'
      | 'postponeEvent'
      | 'removeEvent'
    >;
  /** One invoke; says whether the function failed. Throws where it did not get to run. */
  readonly run: (event: QueuedEvent) => Promise<{ readonly isFailed: boolean }>;
  /** The error of a queue that is full. */
  readonly refusal: (event: QueuedEvent, max: number) => Error;
  readonly limits: EventLimits;
}

/** Before the first retry of an event that the function failed on, and before the second. */
const retryDelaysMs = [60_000, 120_000] as const;
/** Of an event that did not get to run: doubled each time. */
const backoffMinMs = 1000;
const backoffMaxMs = 300_000;
/** Of how many events it is known how often they did not get to run: those of a function that was removed are never heard of again. */
const refusedCountsKeptMax = 10_000;
/** How soon the catalog is asked again after it failed. */
const catalogRetryMs = 1000;
/** What becomes of an event after an invoke: gone, or when the next one may be. */
type Verdict = 'remove' | Pick<QueuedEvent, 'dueAtMs' | 'failedAttempts'>;

type DueEvent = Pick<QueuedEvent, 'id' | 'tenant'>;

export class EventQueue {
  readonly #options: EventQueueOptions;
  /** With the tenant whose event it is. */
  readonly #running = new Map<string, { readonly tenant: string; readonly done: Promise<void> }>();
  /** How often an event did not get to run, in a row; forgotten with the process. */
  readonly #refusedCounts = new Map<string, number>();
  readonly #runners: EventRunners;
  #pumping: Promise<void> | undefined;
  #isAskedAgain = false;
  #cancelWait = (): void => {};
  #isClosed = false;

  constructor(options: EventQueueOptions) {
    this.#options = options;
    this.#runners = new EventRunners(options, {
      running: () => [...this.#running.keys()],
      looked: () => this.#wake(),
    });
  }

  /** Takes up what earlier processes left, and from now on what others leave that are killed. */
  start(): void {
    this.#runners.lookAfterOthers();
    this.#wake();
  }

  /** Durable when it resolves. Throws the refusal of a full queue, and what the catalog throws. */
  async add(event: QueuedEvent): Promise<void> {
    const { catalog, limits, refusal } = this.#options;
    if ((await catalog.countEvents(event.tenant)) >= limits.eventsPerTenantMax) {
      throw refusal(event, limits.eventsPerTenantMax);
    }
    await catalog.addEvent(event);
    this.#wake();
  }

  /** Begins no further invoke; resolves when those under way have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#runners.stopLooking();
    this.#cancelWait();
    await this.#pumping;
    await Promise.all([...this.#running.values()].map(({ done }) => done));
    await this.#runners.leave();
  }

  #wake(): void {
    if (this.#isClosed) return;
    this.#isAskedAgain = true;
    this.#pumping ??= this.#pump();
  }

  async #pump(): Promise<void> {
    this.#cancelWait();
    while (this.#isAskedAgain && !this.#isClosed) {
      this.#isAskedAgain = false;
      try {
        await this.#runDue();
      } catch (thrown) {
        this.#warn('Cannot look for events that are due', thrown);
        this.#wakeAfter(catalogRetryMs);
      }
    }
    this.#pumping = undefined;
  }

  async #runDue(): Promise<void> {
    const { catalog, clock, limits, runnerId } = this.#options;
    const nowMs = clock.nowMs();
    const { eventInvokesPerTenantMax: ofEachTenantMax } = limits;
    const due = await catalog.dueEvents({ runnerId, nowMs, ofEachTenantMax });
    if (this.#isClosed) return;
    const waiting = due.filter(({ id }) => !this.#running.has(id));
    for (const event of await this.#claim(this.#chosenOf(waiting), nowMs)) this.#begin(event);
    const nextDueMs = await catalog.nextEventDueMs(nowMs);
    if (nextDueMs !== undefined) this.#wakeAfter(nextDueMs - clock.nowMs());
  }

  /** What may run now, each of the tenant that then has the fewest running. */
  #chosenOf(waiting: readonly DueEvent[]): readonly DueEvent[] {
    const { eventInvokesMax, eventInvokesPerTenantMax } = this.#options.limits;
    const left = [...waiting];
    const chosen: DueEvent[] = [];
    while (this.#running.size + chosen.length < eventInvokesMax) {
      const counts = new Map<string, number>();
      for (const { tenant } of [...this.#running.values(), ...chosen]) {
        counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
      }
      const next = ofFewest(left, counts, eventInvokesPerTenantMax);
      if (next === undefined) break;
      left.splice(left.indexOf(next), 1);
      chosen.push(next);
    }
    return chosen;
  }

  /** Those that no other server was faster to claim. */
  async #claim(chosen: readonly DueEvent[], nowMs: number): Promise<readonly QueuedEvent[]> {
    if (chosen.length === 0) return [];
    const claimed = await this.#runners.claim({ ids: chosen.map(({ id }) => id), nowMs });
    if (this.#isClosed) return [];
    if (claimed === undefined) this.#isAskedAgain = true;
    return claimed ?? [];
  }

  #wakeAfter(delayMs: number): void {
    if (this.#isClosed) return;
    this.#cancelWait();
    this.#cancelWait = this.#options.timers.after(Math.max(0, delayMs), () => this.#wake());
  }

  #begin(event: QueuedEvent): void {
    const done = this.#settle(event).finally(() => {
      this.#running.delete(event.id);
      this.#wake();
    });
    this.#running.set(event.id, { tenant: event.tenant, done });
    this.#runners.keepAlive();
  }

  /** Runs an event and writes down what became of it. Never rejects: what could not be written happens again. */
  async #settle(event: QueuedEvent): Promise<void> {
    const { catalog, runnerId } = this.#options;
    const of = { id: event.id, runnerId };
    try {
      const verdict = await this.#run(event);
      if (verdict === undefined) return;
      if (verdict === 'remove') {
        await catalog.removeEvent(of);
        this.#refusedCounts.delete(event.id);
      } else {
        await catalog.postponeEvent(of, verdict);
      }
    } catch (thrown) {
      this.#warn('Cannot write down what became of an event', thrown, event);
      await new Promise<void>((resolve) => {
        this.#options.timers.after(catalogRetryMs, resolve);
      });
    }
  }

  /** Undefined: as it was, for the next process. */
  async #run(event: QueuedEvent): Promise<Verdict | undefined> {
    const { catalog, clock, run } = this.#options;
    const settings = await catalog.findFunctionSettings(event.tenant, event.functionName);
    if (settings === undefined || isTooOld(event, settings, clock.nowMs())) return 'remove';
    try {
      const { isFailed } = await run(event);
      this.#refusedCounts.delete(event.id);
      return isFailed ? retryOf(event, settings, clock.nowMs()) : 'remove';
    } catch (thrown) {
      const code = errorCode(thrown);
      if (code === 'ERR_FUNCTION_STOPPED' && this.#isClosed) return undefined;
      if (isHopeless(code, settings)) return 'remove';
      return this.#backoffOf(event, settings);
    }
  }

  #backoffOf(event: QueuedEvent, settings: FunctionSettings): Verdict {
    const refusedCount = this.#refusedCounts.get(event.id) ?? 0;
    const delayMs = Math.min(backoffMinMs * 2 ** refusedCount, backoffMaxMs);
    const dueAtMs = this.#options.clock.nowMs() + delayMs;
    if (isTooOld(event, settings, dueAtMs)) return 'remove';
    this.#refusedCounts.delete(event.id);
    this.#refusedCounts.set(event.id, refusedCount + 1);
    const [oldest] = this.#refusedCounts.keys();
    if (this.#refusedCounts.size > refusedCountsKeptMax && oldest !== undefined) {
      this.#refusedCounts.delete(oldest);
    }
    return { dueAtMs, failedAttempts: event.failedAttempts };
  }

  #warn(what: string, thrown: unknown, event?: QueuedEvent): void {
    this.#options.log.warn(what, {
      ...(event === undefined ? {} : { tenant: event.tenant, function: event.functionName }),
      error: errorMessage(thrown),
    });
  }
}

/** The first of those whose tenant has the fewest running, below `max`. */
function ofFewest(
  waiting: readonly DueEvent[],
  counts: ReadonlyMap<string, number>,
  max: number,
): DueEvent | undefined {
  let next: DueEvent | undefined;
  let fewest = max;
  for (const event of waiting) {
    const count = counts.get(event.tenant) ?? 0;
    if (count >= fewest) continue;
    next = event;
    fewest = count;
  }
  return next;
}

function rulesOf({ qualifier = '' }: QueuedEvent, { eventInvoke }: FunctionSettings) {
  return eventInvoke[qualifier] ?? defaultEventInvoke;
}

function isTooOld(event: QueuedEvent, settings: FunctionSettings, atMs: number): boolean {
  return atMs - event.acceptedAtMs > rulesOf(event, settings).eventAgeMaxSeconds * 1000;
}

/** After the function failed. */
function retryOf(event: QueuedEvent, settings: FunctionSettings, nowMs: number): Verdict {
  const delayMs = retryDelaysMs[event.failedAttempts];
  if (delayMs === undefined || event.failedAttempts >= rulesOf(event, settings).retriesMax) {
    return 'remove';
  }
  const dueAtMs = nowMs + delayMs;
  if (isTooOld(event, settings, dueAtMs)) return 'remove';
  return { dueAtMs, failedAttempts: event.failedAttempts + 1 };
}

/** Never to run, however often it is tried: its version is gone, or its owner has stopped the function. */
function isHopeless(code: string | undefined, settings: FunctionSettings): boolean {
  if (code === 'ERR_FUNCTION_THROTTLED') return settings.reservedConcurrency === 0;
  return code === 'ERR_FUNCTION_NOT_FOUND';
}
