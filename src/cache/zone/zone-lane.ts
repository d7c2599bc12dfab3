/**
 * The way of stripes to one server of the zone: one after the other, no faster than the server can put them on its flash, never before
 * what readers ask of it, and begun in the pauses between reads.
 *
 * Invariants: at most `queueMaxBytes` wait; a write is given up `writeDeadlineMs` after its start; a server that is down makes nobody
 * wait; every write that was added ends exactly once.
 */

import type { Clock, Timers } from '../../base/index.ts';
import type { ZoneServer } from './zone-server.ts';

/** `dropped`: given up, because nobody wants it any longer or its server was removed. */
export type WriteOutcome = 'written' | 'failed' | 'dropped';

export interface StripeWrite {
  readonly key: string;
  readonly sizeBytes: number;
  /** Makes the stripe; called when its turn has come. The parts MUST NOT change until the write has ended. */
  readonly parts: () => readonly Uint8Array[];
  readonly ended: (outcome: WriteOutcome) => void;
}

export interface LaneOptions {
  readonly server: ZoneServer;
  readonly bytesPerSecond: number;
  readonly queueMaxBytes: number;
  readonly writeDeadlineMs: number;
  /** A write that has waited since then is begun when this is 0. It is asked again after so long, and on `review`. */
  readonly pauseInMs: (sinceMs: number) => number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Enough to hide the way there and back; more would only take the connections from readers. */
const writesAtOnceMax = 2;

/** What may go out at once after a pause. memcached loses values silently when it is written faster than its flash takes them. */
const burstMs = 20;

const givenUp = new DOMException('The write is no longer wanted', 'AbortError');

export class FillLane {
  readonly server: ZoneServer;
  readonly #options: LaneOptions;
  /** Each since when. */
  readonly #waiting = new Map<StripeWrite, number>();
  #bytesPerSecond: number;
  readonly #underWay = new Map<StripeWrite, AbortController>();
  readonly #drained = Promise.withResolvers<void>();
  #waitingBytes = 0;
  /** The moment by which the server has taken all that was sent, at its rate: a token bucket that needs no refilling. */
  #paidUntilMs: number;
  #cancelTimer: (() => void) | undefined;
  #isPumping = false;
  #isClosed = false;

  constructor(options: LaneOptions) {
    this.server = options.server;
    this.#options = options;
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#paidUntilMs = options.clock.monotonicMs();
  }

  get queueBytes(): number {
    return this.#waitingBytes;
  }

  /** Whether `sizeBytes` more may wait here. A server that is down takes anything, to fail it at once. */
  hasRoom(sizeBytes: number): boolean {
    if (this.#isClosed || this.server.state === 'down') return true;
    return (
      this.#waiting.size === 0 || this.#waitingBytes + sizeBytes <= this.#options.queueMaxBytes
    );
  }

  setRate(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** The write ends later, maybe before this returns. */
  add(write: StripeWrite): void {
    this.#waiting.set(write, this.#options.clock.monotonicMs());
    this.#waitingBytes += write.sizeBytes;
    this.#pump();
  }

  /** The pause may be nearer than it was. */
  review(): void {
    this.#pump();
  }

  /** Ends a write that nobody wants any longer: at once if it waits, soon if it is under way. */
  giveUp(write: StripeWrite): void {
    if (this.#waiting.has(write)) this.#take(write).ended('dropped');
    else this.#underWay.get(write)?.abort(givenUp);
  }

  /** Drops what waits, and what is added later; resolves when what is under way has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#pump();
    if (this.#underWay.size > 0) await this.#drained.promise;
  }

  /** Sends what may be sent now, and sets the timer for the rest. */
  #pump(): void {
    if (this.#isPumping) return; // whoever is told of an end may add more
    this.#isPumping = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    for (const [write, sinceMs] of this.#waiting) {
      if (this.#isClosed) this.#take(write).ended('dropped');
      else if (this.server.state === 'down') this.#take(write).ended('failed');
      else if (this.#underWay.size >= writesAtOnceMax) break;
      else {
        const paidInMs = this.#paidUntilMs - burstMs - this.#options.clock.monotonicMs();
        const waitMs = Math.max(paidInMs, this.#options.pauseInMs(sinceMs));
        if (waitMs > 0) {
          this.#cancelTimer = this.#options.timers.after(waitMs, () => this.#pump());
          break;
        }
        void this.#write(this.#take(write));
      }
    }
    this.#isPumping = false;
  }

  #take(write: StripeWrite): StripeWrite {
    this.#waiting.delete(write);
    this.#waitingBytes -= write.sizeBytes;
    return write;
  }

  async #write(write: StripeWrite): Promise<void> {
    const { clock, timers, writeDeadlineMs } = this.#options;
    const takesMs = (write.sizeBytes / this.#bytesPerSecond) * 1000;
    this.#paidUntilMs = Math.max(this.#paidUntilMs, clock.monotonicMs()) + takesMs;
    const abort = new AbortController();
    this.#underWay.set(write, abort);
    const cancelTimer = timers.after(writeDeadlineMs, () => abort.abort());
    let outcome: WriteOutcome = 'failed';
    try {
      const request = { signal: abort.signal, priority: 'prefetch' } as const;
      // Whatever becomes of it, only when it has settled is the memory of the parts free.
      await this.server.put(write.key, write.parts(), request);
      outcome = 'written';
    } catch {
      if (abort.signal.reason === givenUp) outcome = 'dropped';
    }
    cancelTimer();
    this.#underWay.delete(write);
    if (this.#isClosed && this.#underWay.size === 0) this.#drained.resolve();
    write.ended(outcome);
    this.#pump();
  }
}
