/**
 * L1 on the worker's disk: a directory of ciphertext chunks, bounded in bytes, from which LRU-2 evicts. It survives restarts, and trusts
 * nothing that it reads: a file of the wrong length is found here, wrong bytes by whoever verifies the chunk, and calls `forget`.
 *
 * - Files are the truth: what is there is found by listing them, in the background; until that is done, `get` asks the file system.
 * - One writer works through a bounded queue, in the pauses between the worker's reads: to write a chunk takes as much processor time as to
 *   load one, and no reader is the better for it now. Room is made before a file is written, so that the files never exceed the limit.
 * - Whatever the disk says, readers go on: a write that failed stops writing for a while, a file that cannot be read is a miss or
 *   `ERR_CACHE_TIER_UNAVAILABLE`, and where reads hang, the disk is not asked.
 *
 * Invariant: `#bytes` is the sum of the lengths of the policy's resident pages, each of which has, or had, its file.
 */

import {
  assert,
  errorCode,
  errorMessage,
  forEachLimited,
  LatencyHistogram,
  RecentLatency,
  silentLog,
  systemClock,
  systemTimers,
  type Clock,
  type LatencySnapshot,
  type Log,
  type Timers,
} from '../../base/index.ts';
import { chunkReplacement } from '../replacement/chunk-replacement.ts';
import type { CacheTier, ChunkName, TierRequest } from '../cache-tier.ts';
import { DiskCacheDirectory, isNoFile, type TryLock } from './disk-cache-directory.ts';
import { diskChunkKey, diskChunkLengthBytes, type DiskChunkKey } from './disk-chunk-name.ts';
import { decodeDiskHistory, encodeDiskHistory } from './disk-history.ts';
import { DiskCacheUnavailableError, TierUnavailableError } from '../errors.ts';
import { LruK } from '../replacement/lru-k.ts';
import { PriorityGate, type Ticket } from '../priority-gate.ts';
import {
  WaitingChunks,
  waitingDefaultMaxBytes,
  type WaitingChunk,
} from '../waiting/waiting-chunks.ts';
import { WorkerReads } from '../worker-reads.ts';

export interface DiskCacheOptions {
  /** The directory, made if absent. Another process must not use it at the same time, and files of others are left alone. */
  readonly path: string;
  /** For the chunks' files; more than 0. The 256 directories, the history (48 bytes a chunk) and the inodes come on top. */
  readonly sizeMaxBytes: number;
  readonly tryLock: TryLock;
  /**
   * Chunks that wait to be written, in bytes; beyond it, they are dropped, and from three quarters of it on written at once.
   * Default 96 MiB, which holds what the start of a Node function reads.
   */
  readonly queueMaxBytes?: number;
  /** Where they wait. Default: as large as the queue, and of this cache alone. */
  readonly waiting?: WaitingChunks;
  /** Noted here, and what is offered written in the pauses between. Default: of this cache alone. */
  readonly reads?: WorkerReads;
  readonly log?: Log;
  readonly clock?: Clock;
  readonly timers?: Timers;
}

/** Since it was opened, but for what is there now. */
export interface DiskCacheStatus {
  readonly sizeMaxBytes: number;
  /** Of the chunks that are here. */
  readonly bytes: number;
  readonly chunks: number;
  /** Chunks that were evicted and are remembered. */
  readonly remembered: number;
  /** False until all files have been listed: the figures above grow until then. */
  readonly isIndexed: boolean;
  /** Why nothing is written at present, such as `ENOSPC`. */
  readonly suspendedBy?: string;
  readonly queuedBytes: number;
  readonly hits: number;
  readonly misses: number;
  readonly bytesRead: number;
  readonly writes: number;
  readonly bytesWritten: number;
  readonly evictions: number;
  /** Calls of `forget`: copies that their reader found to be wrong. */
  readonly forgotten: number;
  /** Copies that were found to be wrong here. */
  readonly wrongLengths: number;
  /** Offers that were not kept: the queue was full; writing was suspended, or stopped with these in the queue; longer than the cache. */
  readonly dropped: {
    readonly queueFull: number;
    readonly suspended: number;
    readonly tooLong: number;
  };
  readonly readErrors: number;
  readonly writeErrors: number;
  /** Reads that were refused because earlier ones hung. */
  readonly refused: number;
  /** Entries of the directory that are not the cache's, when it was listed. */
  readonly foreignFiles: number;
  /** Of reads that found a chunk, from the call. */
  readonly latency: LatencySnapshot;
}

const mebibyte = 2 ** 20;

/** Of a chunk that is remembered: what the number of these is reckoned by. */
const typicalFileSizeBytes = mebibyte / 2;
/** Bounds the number of files, and so the memory for them, where chunks are short. */
const meanFileSizeMinBytes = mebibyte / 16;

/** Fewer than libuv has threads: one is for the writer, and some must be left to the rest of the process. */
const filesAtATime = 3;
/** Of these, for what nobody waits for yet. */
const filesAheadAtATime = 2;
/** A read that takes longer hangs. */
const stalledAfterMs = 1000;
const suspensionMs = 30_000;
const closeWaitMaxMs = 5000;
const historySaveIntervalMs = 5 * 60 * 1000;
/** Hedging: after three times the p99 of late, or so long where nothing is known. */
const hedge = { windowMs: 10_000, countMin: 100, defaultMs: 50, minMs: 10, maxMs: 200 };

interface Queued {
  readonly kept: WaitingChunk;
  readonly sinceMs: number;
}

/** Open until `close`. See `openDiskCache`. */
export class DiskCache implements CacheTier, AsyncDisposable {
  readonly #options: DiskCacheOptions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #policy: LruK<DiskChunkKey>;
  readonly #chunkCountMax: number;
  /** A read cannot be stopped: it has its thread until it ends. */
  readonly #gate = new PriorityGate({
    places: filesAtATime,
    prefetchPlaces: filesAheadAtATime,
    keepsPlaces: true,
  });
  /** When each read under way began. */
  readonly #readsSinceMs = new Set<{ readonly sinceMs: number }>();
  readonly #queue = new Map<DiskChunkKey, Queued>();
  readonly #latency = new LatencyHistogram();
  readonly #recent: RecentLatency;
  readonly #queueMaxBytes: number;
  readonly #workerReads: WorkerReads;
  readonly #waiting: WaitingChunks;
  /** Its bytes are being read by the kernel, whether or not it is still in the queue. */
  #underWay: Queued | undefined;
  #directory: DiskCacheDirectory;
  #isClosed = false;
  #dropsUnderWay = 0;
  #isIndexed = false;
  /** The directory was removed, and there is no new one yet. */
  #isGone = false;
  /** The writer at work; the only one to write and evict. */
  #writer: Promise<void> | undefined;
  /** Callers who wait for the writer's end. */
  #hurried = 0;
  /** Set while the writer waits for a pause: ends that. */
  #endPatience: () => void = () => {};
  #suspension: { readonly code: string; readonly untilMs: number } | undefined;
  #stopSaving: () => void = () => {};
  #saving: Promise<void> = Promise.resolve();
  #bytes = 0;
  #queuedBytes = 0;
  #foreignFiles = 0;
  #counters = {
    hits: 0,
    misses: 0,
    bytesRead: 0,
    writes: 0,
    bytesWritten: 0,
    evictions: 0,
    forgotten: 0,
    wrongLengths: 0,
    readErrors: 0,
    writeErrors: 0,
    refused: 0,
  };
  #dropped = { queueFull: 0, suspended: 0, tooLong: 0 };

  /** `openDiskCache` calls it. */
  constructor(options: DiskCacheOptions, directory: DiskCacheDirectory) {
    const { sizeMaxBytes } = options;
    this.#options = options;
    this.#log = options.log ?? silentLog;
    this.#clock = options.clock ?? systemClock;
    this.#directory = directory;
    this.#queueMaxBytes = options.queueMaxBytes ?? waitingDefaultMaxBytes;
    this.#workerReads = options.reads ?? new WorkerReads(this.#clock);
    this.#waiting = options.waiting ?? new WaitingChunks({ bytesMax: this.#queueMaxBytes });
    this.#recent = new RecentLatency(hedge.windowMs, () => this.#clock.monotonicMs());
    this.#chunkCountMax = 1024 + Math.floor(sizeMaxBytes / meanFileSizeMinBytes);
    this.#policy = new LruK({
      ...chunkReplacement,
      historyMax: 1024 + Math.floor(sizeMaxBytes / typicalFileSizeBytes),
    });
    this.#work();
    this.#saveLater();
  }

  async get(chunk: ChunkName, request: TierRequest): Promise<Uint8Array | undefined> {
    request.signal.throwIfAborted();
    this.#workerReads.note();
    const key = diskChunkKey(chunk);
    const queued = this.#queue.get(key);
    if (queued !== undefined) {
      this.#counters.hits += 1;
      return new Uint8Array(queued.kept.bytes);
    }
    if (this.#isClosed || (this.#isIndexed && !this.#policy.has(key))) {
      this.#counters.misses += 1;
      return undefined;
    }
    if (this.#isStalled(request)) {
      this.#counters.refused += 1;
      throw new TierUnavailableError('disk cache', `a read takes longer than ${stalledAfterMs} ms`);
    }
    const startedMs = this.#clock.monotonicMs();
    const ticket: Ticket = {
      signal: request.signal,
      get priority() {
        return request.priority;
      },
    };
    const found = await this.#gate.run(ticket, async () => this.#read(key));
    if (found === undefined) {
      this.#counters.misses += 1;
      return undefined;
    }
    const tookMs = this.#clock.monotonicMs() - startedMs;
    this.#latency.record(tookMs);
    this.#recent.record(tookMs);
    this.#counters.hits += 1;
    this.#counters.bytesRead += found.byteLength;
    return found;
  }

  offer(chunk: ChunkName, ciphertext: Uint8Array): void {
    const key = diskChunkKey(chunk);
    const { byteLength } = ciphertext;
    assert(byteLength === chunk.storedLengthBytes, 'A chunk of another length was offered');
    if (this.#isClosed || this.#dropsUnderWay > 0) return;
    if (this.#queue.has(key) || this.#policy.has(key)) return;
    this.#workerReads.note();
    if (byteLength > this.#options.sizeMaxBytes) this.#dropped.tooLong += 1;
    else if (this.#isSuspended()) this.#dropped.suspended += 1;
    else if (this.#queuedBytes + byteLength > this.#queueMaxBytes) this.#dropped.queueFull += 1;
    else {
      const kept = this.#waiting.keep(chunk, ciphertext);
      if (kept === undefined) this.#dropped.queueFull += 1;
      else this.#enqueue(key, kept);
    }
  }

  async forget(chunk: ChunkName): Promise<void> {
    this.#counters.forgotten += 1;
    const key = diskChunkKey(chunk);
    this.#dequeue(key);
    await this.#discard(key);
  }

  hedgeAfterMs(): number {
    const { countMin, defaultMs, minMs, maxMs } = hedge;
    const usualMs = this.#recent.quantileMs(0.99, countMin);
    return usualMs === undefined ? defaultMs : Math.min(maxMs, Math.max(minMs, 3 * usualMs));
  }

  review(): void {
    this.#gate.review();
  }

  status(): DiskCacheStatus {
    const suspendedBy = this.#isSuspended() ? this.#suspension?.code : undefined;
    return {
      sizeMaxBytes: this.#options.sizeMaxBytes,
      bytes: this.#bytes,
      chunks: this.#policy.residentCount,
      remembered: this.#policy.historyCount,
      isIndexed: this.#isIndexed,
      ...(suspendedBy === undefined ? {} : { suspendedBy }),
      queuedBytes: this.#queuedBytes,
      ...this.#counters,
      dropped: { ...this.#dropped },
      foreignFiles: this.#foreignFiles,
      latency: this.#latency.snapshot(),
    };
  }

  /** Resolves when the files have been listed and all that was offered is written or dropped, which waits for no pause. */
  async settled(): Promise<void> {
    this.#hurried += 1;
    this.#endPatience();
    while (this.#writer !== undefined) await this.#writer;
    this.#hurried -= 1;
  }

  /**
   * Removes every chunk, and what is known of them. What is offered meanwhile is not kept: the writer would not come to an end. Rejects
   * with a system error if files cannot be removed.
   */
  async drop(): Promise<void> {
    this.#dropsUnderWay += 1;
    try {
      this.#clearQueue();
      await this.settled();
      await forEachLimited(this.#policy.pages(), filesAtATime, async ({ key, isResident }) => {
        if (!isResident) return;
        await this.#directory.remove(key);
        this.#lose(key);
      });
      if (this.#policy.residentCount === 0) this.#policy.clear();
      await this.#directory.removeHistory();
    } finally {
      this.#dropsUnderWay -= 1;
    }
  }

  /**
   * Ends the write under way, drops the rest of the queue, saves the history; but waits no longer than a few seconds for a disk that
   * hangs. After this nothing is found or kept.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopSaving();
    this.#clearQueue();
    const late = Promise.withResolvers<void>();
    const cancel = (this.#options.timers ?? systemTimers).after(closeWaitMaxMs, late.resolve);
    await Promise.race([this.#finish(), late.promise]);
    cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #finish(): Promise<void> {
    await this.settled();
    await this.#saving;
    await this.#saveHistory();
    await this.#directory[Symbol.asyncDispose]();
  }

  async #read(key: DiskChunkKey): Promise<Uint8Array | undefined> {
    const own = { sinceMs: this.#clock.monotonicMs() };
    this.#readsSinceMs.add(own);
    try {
      const found = await this.#directory.read(key);
      if (found === undefined) {
        this.#lose(key);
        return undefined;
      }
      if (found === 'wrong length') {
        this.#counters.wrongLengths += 1;
        await this.#discard(key);
        return undefined;
      }
      if (!this.#policy.reference(key, this.#clock.monotonicMs())) this.#gain(key);
      return found;
    } catch (thrown) {
      this.#counters.readErrors += 1;
      void this.#discard(key); // where a disk is going bad, the next copy is in another place
      throw new TierUnavailableError('disk cache', errorMessage(thrown), thrown);
    } finally {
      this.#readsSinceMs.delete(own);
    }
  }

  /** True while as many reads are under way as may be, and hang: one more would only hang too, and take a thread along. */
  #isStalled({ priority }: TierRequest): boolean {
    const placeCount = priority === 'prefetch' ? filesAheadAtATime : filesAtATime;
    if (this.#readsSinceMs.size < placeCount) return false;
    const [oldest] = this.#readsSinceMs;
    return oldest !== undefined && this.#clock.monotonicMs() - oldest.sinceMs > stalledAfterMs;
  }

  /** Removes a copy that is of no use. What is known of the chunk is kept: it is as wanted as it was. Never rejects. */
  async #discard(key: DiskChunkKey): Promise<void> {
    this.#lose(key);
    await this.#directory.remove(key).catch((thrown: unknown) => {
      this.#counters.writeErrors += 1;
      this.#log.warn('cannot remove a chunk from the disk cache', { reason: errorMessage(thrown) });
    });
  }

  /** A file that was found where none was known of. */
  #gain(key: DiskChunkKey): void {
    if (this.#policy.has(key)) return;
    this.#policy.resume(key, this.#clock.monotonicMs());
    this.#bytes += diskChunkLengthBytes(key);
  }

  /** The chunk's file is gone, or about to be. */
  #lose(key: DiskChunkKey): void {
    if (!this.#policy.has(key)) return;
    this.#policy.evict(key);
    this.#bytes -= diskChunkLengthBytes(key);
  }

  #isSuspended(): boolean {
    return this.#suspension !== undefined && this.#clock.monotonicMs() < this.#suspension.untilMs;
  }

  #suspend(thrown: unknown): void {
    const code = errorCode(thrown) ?? 'unknown';
    this.#counters.writeErrors += 1;
    this.#suspension = { code, untilMs: this.#clock.monotonicMs() + suspensionMs };
    this.#dropped.suspended += this.#clearQueue();
    this.#log.warn('the disk cache writes nothing for a while', {
      path: this.#options.path,
      seconds: suspensionMs / 1000,
      reason: errorMessage(thrown),
    });
  }

  /** How many were dropped. */
  #clearQueue(): number {
    const { size } = this.#queue;
    for (const key of this.#queue.keys()) this.#dequeue(key);
    return size;
  }

  #enqueue(key: DiskChunkKey, kept: WaitingChunk): void {
    const sinceMs = this.#clock.monotonicMs();
    this.#queue.set(key, { kept, sinceMs });
    this.#queuedBytes += diskChunkLengthBytes(key);
    if (this.#pauseInMs(sinceMs) === 0) this.#endPatience();
    this.#work();
  }

  /** Of what is under way the memory is free when that has ended. */
  #dequeue(key: DiskChunkKey): void {
    const queued = this.#queue.get(key);
    if (queued === undefined) return;
    this.#queue.delete(key);
    this.#queuedBytes -= diskChunkLengthBytes(key);
    if (queued !== this.#underWay) queued.kept.done();
  }

  /** Has the writer at work. */
  #work(): void {
    this.#writer ??= this.#write().finally(() => {
      this.#writer = undefined;
      if (this.#queue.size > 0) this.#work(); // offered a moment too late for it
    });
  }

  /** Lists the files if that is still to be done, then writes until the queue is empty. Never rejects. */
  async #write(): Promise<void> {
    try {
      if (!this.#isIndexed) await this.#index();
      for (;;) {
        const [next] = this.#queue;
        if (next === undefined) return;
        const pauseInMs = this.#pauseInMs(next[1].sinceMs);
        if (pauseInMs > 0) await this.#patience(pauseInMs);
        else await this.#writeOne(...next);
      }
    } catch (thrown) {
      this.#suspend(thrown);
    }
  }

  #pauseInMs(sinceMs: number): number {
    return this.#workerReads.pauseOfQueueInMs(sinceMs, {
      bytes: this.#queuedBytes,
      bytesMax: this.#queueMaxBytes,
      isHurried: this.#hurried > 0,
    });
  }

  /** Resolves after so long, or when there is no time left to wait. */
  async #patience(forMs: number): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const { timers = systemTimers } = this.#options;
    const cancel = timers.after(forMs, ended.resolve);
    this.#endPatience = ended.resolve;
    await ended.promise;
    this.#endPatience = () => {};
    cancel();
  }

  async #writeOne(key: DiskChunkKey, queued: Queued): Promise<void> {
    this.#underWay = queued;
    try {
      await this.#writeAnew(key, queued.kept.bytes);
    } finally {
      this.#underWay = undefined;
      if (this.#queue.get(key) !== queued) queued.kept.done(); // dropped meanwhile
    }
    if (this.#queue.get(key) === queued) this.#dequeue(key);
  }

  /** Also if the directory is gone. */
  async #writeAnew(key: DiskChunkKey, ciphertext: Uint8Array): Promise<void> {
    if (this.#isGone || (await this.#directory.isGone())) await this.#reopen();
    try {
      await this.#writeFile(key, ciphertext);
    } catch (thrown) {
      if (!isNoFile(thrown)) throw thrown;
      await this.#reopen();
      await this.#writeFile(key, ciphertext);
    }
  }

  async #writeFile(key: DiskChunkKey, ciphertext: Uint8Array): Promise<void> {
    if (this.#policy.has(key)) return; // it was offered before the files were listed
    await this.#makeRoom(ciphertext.byteLength, 1);
    await this.#directory.write(key, ciphertext);
    this.#counters.writes += 1;
    this.#counters.bytesWritten += ciphertext.byteLength;
    if (this.#policy.has(key)) return; // a reader was faster to find it
    this.#policy.admit(key, this.#clock.monotonicMs());
    this.#bytes += ciphertext.byteLength;
  }

  /** Evicts until there is room for so many bytes in so many files more. */
  async #makeRoom(bytes: number, files: number): Promise<void> {
    while (
      this.#bytes + bytes > this.#options.sizeMaxBytes ||
      this.#policy.residentCount + files > this.#chunkCountMax
    ) {
      const victim = this.#policy.victim(this.#clock.monotonicMs());
      if (victim === undefined) return;
      await this.#directory.remove(victim);
      this.#lose(victim);
      this.#counters.evictions += 1;
    }
  }

  /** Lists the files. Rejects with a system error, and may then be called again. */
  async #index(): Promise<void> {
    await this.#loadHistory();
    let count = 0;
    let example: string | undefined;
    for await (const { keys, foreign } of this.#directory.scan()) {
      for (const key of keys) this.#gain(key);
      count += foreign.length;
      example ??= foreign[0];
    }
    this.#foreignFiles = count;
    if (count > 0) this.#log.info('left alone what is not of the disk cache', { count, example });
    this.#policy.trimHistory();
    this.#isIndexed = true;
    await this.#makeRoom(0, 0);
  }

  /** The directory was removed: starts over with a new one. */
  async #reopen(): Promise<void> {
    const { path, tryLock } = this.#options;
    this.#log.warn('the directory of the disk cache is gone: starting over', { path });
    this.#isGone = true;
    await this.#directory[Symbol.asyncDispose](); // or its lock would keep us out, where that is what was left
    this.#directory = await DiskCacheDirectory.open(path, tryLock);
    this.#isGone = false;
    this.#policy.clear();
    this.#bytes = 0;
    await this.#index();
  }

  async #loadHistory(): Promise<void> {
    const file = await this.#directory.readHistory().catch((thrown: unknown) => {
      this.#counters.readErrors += 1;
      this.#log.warn('cannot read the history of the disk cache', { reason: errorMessage(thrown) });
    });
    if (file === undefined) return;
    const batches = await decodeDiskHistory(file, this.#now());
    if (batches === undefined) {
      this.#log.warn('the history of the disk cache is damaged: starting without', {
        path: this.#options.path,
      });
      return;
    }
    for (const batch of batches) {
      for (const page of batch) this.#policy.restore(page.key, page);
      await this.#turn();
    }
  }

  /** Every few minutes, as long as it is open. */
  #saveLater(): void {
    const { timers = systemTimers } = this.#options;
    this.#stopSaving = timers.after(historySaveIntervalMs, () => {
      this.#saving = this.#saveHistory();
      this.#saveLater();
    });
  }

  /** Never rejects. */
  async #saveHistory(): Promise<void> {
    if (!this.#isIndexed || this.#isSuspended()) return;
    try {
      const parts = await encodeDiskHistory(this.#policy.pages(), this.#now());
      await this.#directory.writeHistory(parts);
    } catch (thrown) {
      this.#counters.writeErrors += 1;
      this.#log.warn('cannot save the history of the disk cache', { reason: errorMessage(thrown) });
    }
  }

  #now(): { readonly nowMs: number; readonly monotonicMs: number } {
    return { nowMs: this.#clock.nowMs(), monotonicMs: this.#clock.monotonicMs() };
  }

  async #turn(): Promise<void> {
    await new Promise(setImmediate);
  }
}

/**
 * Opens the cache in a directory; what is in it is found out in the background. Throws `ERR_CACHE_DISK_IN_USE` if another process has it,
 * and `ERR_CACHE_DISK_UNAVAILABLE` if it cannot be made or written.
 */
export async function openDiskCache(options: DiskCacheOptions): Promise<DiskCache> {
  assert(options.sizeMaxBytes > 0, 'A disk cache without room');
  try {
    return new DiskCache(options, await DiskCacheDirectory.open(options.path, options.tryLock));
  } catch (thrown) {
    if (errorCode(thrown) === 'ERR_CACHE_DISK_IN_USE') throw thrown;
    throw new DiskCacheUnavailableError(options.path, thrown);
  }
}
