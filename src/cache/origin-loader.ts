/**
 * Loads chunks from the origin: one fetch for all who wait for a chunk, a limited number of fetches at a time, and an
 * end to every wait.
 *
 * Invariant: a fetch that nobody waits for any longer is aborted and its place given to the next, whether or not the
 * store heeds the abort. So a store that stalls blocks nobody beyond their own deadline, nor those who come after it.
 */

import { errorCode, Semaphore, toHex, untilAborted } from '../base/index.ts';
import { openChunk, type OpenPool } from '../chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../store/index.ts';
import {
  chunkIdentity,
  type ChunkLoader,
  type ChunkRef,
  type LoadedChunk,
} from './chunk-loader.ts';
import { ChunkCorruptError, ChunkDeadlineError, ChunkMissingError } from './errors.ts';

export interface ChunkLoaderOptions {
  readonly store: ObjectStore;
  /** Opens what was fetched; stays the caller's. Default: this thread does. */
  readonly opener?: Pick<OpenPool, 'open'>;
  /** Requests to the origin at a time, and chunks being opened. Default 16. */
  readonly originConcurrency?: number;
}

/** Since the loader was made. */
export interface ChunkLoaderCounters {
  /** Fetches from the origin that gave a verified chunk, and the bytes that they moved. */
  readonly originChunks: number;
  readonly originBytes: number;
  /** Copies that were not what their name says. */
  readonly corrupt: number;
  readonly missing: number;
  readonly deadlines: number;
  /** Any other failure, of the origin or of this machine. */
  readonly failed: number;
}

export interface OriginChunkLoader extends ChunkLoader {
  counters(): ChunkLoaderCounters;
}

/** A fetch under way, and how many still wait for it. */
interface Flight {
  readonly abort: AbortController;
  readonly loaded: Promise<LoadedChunk>;
  waiters: number;
}

class OriginLoader implements OriginChunkLoader {
  readonly #store: ObjectStore;
  readonly #opener: Pick<OpenPool, 'open'>;
  readonly #places: Semaphore;
  readonly #flights = new Map<string, Flight>();
  #counters = {
    originChunks: 0,
    originBytes: 0,
    corrupt: 0,
    missing: 0,
    deadlines: 0,
    failed: 0,
  };

  constructor(options: ChunkLoaderOptions) {
    this.#store = options.store;
    this.#opener = options.opener ?? { open: async (ref, bytes) => openChunk(ref, bytes) };
    this.#places = new Semaphore(options.originConcurrency ?? 16);
  }

  counters(): ChunkLoaderCounters {
    return { ...this.#counters };
  }

  async load(chunk: ChunkRef, { deadlineMs }: { deadlineMs: number }): Promise<LoadedChunk> {
    const identity = chunkIdentity(chunk);
    const flight = this.#flights.get(identity) ?? this.#takeOff(identity, chunk);
    flight.waiters += 1;
    const deadline = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      this.#counters.deadlines += 1;
      const digestHex = toHex(chunk.ciphertextDigest);
      deadline.reject(new ChunkDeadlineError(chunk.rootId, digestHex, deadlineMs));
    }, deadlineMs);
    try {
      return await Promise.race([flight.loaded, deadline.promise]);
    } finally {
      clearTimeout(timer);
      flight.waiters -= 1;
      if (flight.waiters === 0) {
        this.#land(identity, flight);
        flight.abort.abort();
      }
    }
  }

  #takeOff(identity: string, chunk: ChunkRef): Flight {
    const abort = new AbortController();
    const loaded = this.#places.run(() =>
      untilAborted(this.#fetch(chunk, abort.signal), abort.signal),
    );
    const flight: Flight = { abort, loaded, waiters: 0 };
    this.#flights.set(identity, flight);
    // Also when nobody waits any longer, and so nobody is to be told how it ended.
    loaded.then(
      () => this.#land(identity, flight),
      () => this.#land(identity, flight),
    );
    return flight;
  }

  #land(identity: string, flight: Flight): void {
    if (this.#flights.get(identity) === flight) this.#flights.delete(identity);
  }

  async #fetch(chunk: ChunkRef, signal: AbortSignal): Promise<LoadedChunk> {
    signal.throwIfAborted();
    const digestHex = toHex(chunk.ciphertextDigest);
    const ciphertext = await this.#get(chunkObjectName(chunk.rootId, digestHex), signal);
    if (ciphertext === undefined) {
      this.#counters.missing += 1;
      throw new ChunkMissingError(chunk.rootId, digestHex);
    }
    const plaintext = await this.#open(chunk, ciphertext);
    this.#counters.originChunks += 1;
    this.#counters.originBytes += chunk.storedLengthBytes;
    return { plaintext, tier: 'origin' };
  }

  async #open(chunk: ChunkRef, ciphertext: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#opener.open(chunk, ciphertext);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ERR_CHUNK_CORRUPT') {
        this.#counters.failed += 1;
        throw thrown;
      }
      this.#counters.corrupt += 1;
      throw new ChunkCorruptError(chunk.rootId, toHex(chunk.ciphertextDigest), thrown);
    }
  }

  async #get(name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    try {
      return await this.#store.get(name, { signal });
    } catch (thrown) {
      if (!signal.aborted) this.#counters.failed += 1;
      throw thrown;
    }
  }
}

/** The loader of a worker without an L2: every chunk comes from `store`. */
export function createChunkLoader(options: ChunkLoaderOptions): OriginChunkLoader {
  return new OriginLoader(options);
}
