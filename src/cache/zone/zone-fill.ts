/**
 * What is to be written to the zone: chunks that readers fetched from the origin, chunks that are published, and stripes that were
 * found missing. A lane for each server does the writing; here is what all of them together may hold.
 *
 * Nothing of it is begun while the worker reads, unless much waits already or somebody waits for it: to write a chunk takes more processor
 * time than to read one, and no reader is the better for it now.
 *
 * Invariants: what is queued holds at most `queueMaxBytes` of memory; a chunk is queued at most once; every chunk that was
 * offered is counted once as written, dropped, failed or repeated.
 */

import { dataStripeCount } from '../../erasure/index.ts';
import type { WorkerReads } from '../worker-reads.ts';
import type { FillLane, StripeWrite } from './zone-lane.ts';

/** One stripe and the lane of the server that it is for. */
export interface StripeToWrite {
  readonly lane: FillLane;
  readonly sizeBytes: number;
  /** Called when it is sent. The parts MUST NOT change until the chunk is written. */
  readonly parts: () => readonly Uint8Array[];
}

export interface ChunkToWrite {
  readonly key: string;
  /** Memory that is kept until the last of its stripes is written. */
  readonly heldBytes: number;
  readonly stripes: readonly StripeToWrite[];
  /** Called once it is certain of its place in the queue, before anything of it is sent; false: there is no memory for it. */
  readonly keep?: () => boolean;
  /** Called when nothing of what it has kept is read any longer: all of its stripes have ended. */
  readonly ended?: () => void;
}

/** Chunks, since the zone cache was made; but `queueBytes`: now. */
export interface FillStatus {
  readonly offered: number;
  /** Enough stripes to read it were stored, as their servers say. */
  readonly written: number;
  /** Not queued, because there was no room; or given up before they were written. */
  readonly dropped: number;
  /** Of their stripes so many could not be written that they cannot be read. */
  readonly failed: number;
  /** Offered while they were queued already. */
  readonly repeated: number;
  readonly queueBytes: number;
}

/** What became of a chunk's stripes. */
interface Written {
  readonly written: number;
  readonly dropped: number;
}

interface Job {
  readonly writes: Map<StripeWrite, FillLane>;
  readonly done: Promise<Written>;
}

interface Waiter {
  readonly chunk: ChunkToWrite;
  start(): void;
}

export interface ZoneFillOptions {
  readonly queueMaxBytes: number;
  /** Between which to write. Left out: what is offered is written at once. */
  readonly reads?: WorkerReads;
}

export class ZoneFill {
  readonly #queueMaxBytes: number;
  readonly #reads: WorkerReads | undefined;
  readonly #jobs = new Map<string, Job>();
  readonly #waiters = new Set<Waiter>();
  #queueBytes = 0;
  /** Callers who wait for what is queued. */
  #hurried = 0;
  #idle = Promise.withResolvers<void>();
  readonly #counters = { offered: 0, written: 0, dropped: 0, failed: 0, repeated: 0 };

  constructor({ queueMaxBytes, reads }: ZoneFillOptions) {
    this.#queueMaxBytes = queueMaxBytes;
    this.#reads = reads;
    this.#idle.resolve();
  }

  get status(): FillStatus {
    return { ...this.#counters, queueBytes: this.#queueBytes };
  }

  /** How long a lane is to wait before it looks again whether it may begin a write that has waited since then; 0: it may. */
  pauseInMs(sinceMs: number): number {
    const queue = {
      bytes: this.#queueBytes,
      bytesMax: this.#queueMaxBytes,
      isHurried: this.#hurried > 0,
    };
    return this.#reads?.pauseOfQueueInMs(sinceMs, queue) ?? 0;
  }

  /** Queues those stripes whose servers have room, or drops the chunk if it could not be read from them. */
  offer(chunk: ChunkToWrite): void {
    this.#counters.offered += 1;
    const stripes = chunk.stripes.filter(({ lane, sizeBytes }) => lane.hasRoom(sizeBytes));
    if (this.#jobs.has(chunk.key)) this.#counters.repeated += 1;
    else if (stripes.length < dataStripeCount || !this.#hasRoom(chunk)) this.#counters.dropped += 1;
    else if (chunk.keep?.() === false) this.#counters.dropped += 1;
    else void this.#start({ ...chunk, stripes }, (ended) => this.#count(ended));
  }

  /**
   * Queues the chunk as soon as there is room for all of it, and resolves when its stripes are written or failed: true if
   * enough are stored to read it. Waits for no pause. Rejects with the signal's reason, having given the chunk up: when nothing of it is
   * being sent any longer.
   */
  async prime(chunk: ChunkToWrite, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    this.#counters.offered += 1;
    const turn = Promise.withResolvers<Written>();
    const waiter = { chunk, start: () => turn.resolve(this.#startOrJoin(chunk)) };
    const giveUp = (): void => {
      if (!this.#waiters.delete(waiter)) return this.cancel(chunk.key);
      this.#counters.dropped += 1;
      turn.reject(signal.reason);
      this.#admitWaiters();
    };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#waiters.add(waiter);
    this.#hurry();
    this.#admitWaiters();
    try {
      const { written } = await turn.promise;
      signal.throwIfAborted();
      return written >= dataStripeCount;
    } finally {
      this.#hurried -= 1;
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** Queues a stripe of a chunk that is there but for it; false if there is no room. Calls `onWritten` when it is stored. */
  repair(chunk: ChunkToWrite, onWritten: () => void): boolean {
    if (this.#jobs.has(chunk.key) || !this.#hasRoomForAll(chunk)) return false;
    void this.#start(chunk, ({ written }) => {
      if (written > 0) onWritten();
    });
    return true;
  }

  /** Whether stripes of the chunk are queued or being sent. */
  has(key: string): boolean {
    return this.#jobs.has(key);
  }

  /** Gives up what is queued for the chunk; it may be queued anew at once. */
  cancel(key: string): void {
    const job = this.#jobs.get(key);
    this.#jobs.delete(key);
    for (const [write, lane] of job?.writes ?? []) lane.giveUp(write);
  }

  /** Gives up all that is queued. */
  cancelAll(): void {
    for (const key of this.#jobs.keys()) this.cancel(key);
  }

  /** Resolves when nothing waits or is under way, which waits for no pause. */
  async idle(): Promise<void> {
    this.#hurry();
    await this.#idle.promise;
    this.#hurried -= 1;
  }

  #hurry(): void {
    this.#hurried += 1;
    if (this.#hurried > 1) return;
    const lanes = new Set(
      Array.from(this.#jobs.values(), ({ writes }) => [...writes.values()]).flat(),
    );
    for (const lane of lanes) lane.review();
  }

  /** A chunk that is larger than the whole queue may go alone. */
  #hasRoom({ heldBytes }: ChunkToWrite): boolean {
    return this.#queueBytes === 0 || this.#queueBytes + heldBytes <= this.#queueMaxBytes;
  }

  #hasRoomForAll(chunk: ChunkToWrite): boolean {
    const lanesHaveRoom = chunk.stripes.every(({ lane, sizeBytes }) => lane.hasRoom(sizeBytes));
    return lanesHaveRoom && this.#hasRoom(chunk);
  }

  /** In order, so that a large chunk is not overtaken for ever. */
  #admitWaiters(): void {
    for (const waiter of this.#waiters) {
      if (!this.#hasRoomForAll(waiter.chunk)) return;
      this.#waiters.delete(waiter);
      waiter.start();
    }
  }

  async #startOrJoin(chunk: ChunkToWrite): Promise<Written> {
    const joined = this.#jobs.get(chunk.key);
    if (joined !== undefined) {
      this.#counters.repeated += 1;
      return joined.done;
    }
    return this.#start(chunk, (ended) => this.#count(ended));
  }

  /** `onEnd` is called when the last stripe has ended, before anybody can see that the queue is shorter. */
  #start(
    { key, heldBytes, stripes, ended }: ChunkToWrite,
    onEnd: (ended: Written) => void,
  ): Promise<Written> {
    const done = Promise.withResolvers<Written>();
    const job: Job = { writes: new Map(), done: done.promise };
    const counts = { written: 0, dropped: 0, failed: 0 };
    const end = (): void => {
      if (this.#jobs.get(key) === job) this.#jobs.delete(key);
      ended?.();
      onEnd(counts);
      this.#holdMore(-heldBytes);
      done.resolve(counts);
    };
    for (const { lane, sizeBytes, parts } of stripes) {
      const write: StripeWrite = {
        key,
        sizeBytes,
        parts,
        ended: (outcome) => {
          counts[outcome] += 1;
          job.writes.delete(write);
          if (job.writes.size === 0) end();
          this.#admitWaiters();
        },
      };
      job.writes.set(write, lane);
    }
    this.#jobs.set(key, job);
    this.#holdMore(heldBytes);
    for (const [write, lane] of job.writes) lane.add(write);
    return done.promise;
  }

  #holdMore(heldBytes: number): void {
    if (this.#queueBytes === 0) this.#idle = Promise.withResolvers();
    this.#queueBytes += heldBytes;
    if (this.#queueBytes === 0) this.#idle.resolve();
  }

  #count({ written, dropped }: Written): void {
    if (written >= dataStripeCount) this.#counters.written += 1;
    else if (dropped > 0) this.#counters.dropped += 1;
    else this.#counters.failed += 1;
  }
}
