/**
 * Ways to keep a chunk in the zone, over the same client and the same servers: four data stripes and a parity, of which any four are
 * waited for; four data stripes, all of which are; one copy in one piece.
 */

import { setTimeout as delay } from 'node:timers/promises';

import {
  present,
  systemClock,
  systemTimers,
  toHex,
  type Clock,
  type Timers,
} from '../../src/base/index.ts';
import {
  MemcachedServer,
  TierUnavailableError,
  ZoneCache,
  type ChunkName,
  type TierRequest,
  type ZoneServer,
} from '../../src/cache/index.ts';
import type { BenchChunk } from './chunks.ts';
import type { ZoneServerPlace } from './zone.ts';

/** As the zone cache's. */
const readDeadlineMs = 250;
const recoveryTimeoutMs = 30_000;
const writesAtATime = 8;
const agedMs = 20 * 60_000;

export interface Contender extends AsyncDisposable {
  readonly name: string;
  /** Undefined or `ERR_CACHE_TIER_UNAVAILABLE`: the reader must go to the origin. */
  get(chunk: ChunkName, request: TierRequest): Promise<Uint8Array | undefined>;
  /** Writes a chunk, no faster than servers bear. False: try again. */
  write(chunk: ChunkName, ciphertext: Uint8Array): Promise<boolean>;
  /** From now on it reads as it does when it has run for a while: a new one hears the fifth server of every read. */
  age(): void;
  /** Resolves when every server is asked again. */
  recovered(): Promise<void>;
}

/** A connection of its own to each server, by id. */
function connectAll(places: readonly ZoneServerPlace[]): ReadonlyMap<string, ZoneServer> {
  return new Map(
    places.map(({ id, port }) => {
      return [id, new MemcachedServer({ address: { host: '127.0.0.1', port }, id })];
    }),
  );
}

async function untilUp(servers: Iterable<ZoneServer>): Promise<void> {
  const deadlineMs = performance.now() + recoveryTimeoutMs;
  for (const server of servers) {
    while (server.state === 'down') {
      if (performance.now() > deadlineMs) throw new Error(`Server ${server.id} stays down`);
      await delay(20);
    }
  }
}

/** A client that several zone caches share: none of them may close it. */
function shared(server: ZoneServer): ZoneServer {
  return {
    id: server.id,
    get state() {
      return server.state;
    },
    get: (key, request) => server.get(key, request),
    ask: (key, reader) => server.ask(key, reader),
    put: (key, parts, request) => server.put(key, parts, request),
    delete: (key, request) => server.delete(key, request),
    flush: (request) => server.flush(request),
    status: () => server.status(),
    close: async () => {},
  };
}

/** The machine's time, which can be set forward. */
class AgingTime implements Clock, Timers {
  #aheadMs = 0;

  nowMs(): number {
    return systemClock.nowMs() + this.#aheadMs;
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.#aheadMs;
  }

  after(delayMs: number, run: () => void): () => void {
    return systemTimers.after(delayMs, run);
  }

  afterInput(): Promise<void> {
    return systemTimers.afterInput();
  }

  setForward(byMs: number): void {
    this.#aheadMs += byMs;
  }
}

/** Any four of five: Thaw's own. */
export function fourOfFive(places: readonly ZoneServerPlace[]): Contender {
  const servers = connectAll(places);
  const time = new AgingTime();
  const zone = new ZoneCache({
    servers: places,
    connect: ({ id }) => present(servers.get(id), `server "${id}"`),
    readDeadlineMs,
    time,
  });
  return {
    name: '4 of 5',
    age: () => time.setForward(agedMs),
    get: (chunk, request) => zone.get(chunk, request),
    write: (chunk, ciphertext) =>
      zone.prime(chunk, ciphertext, { signal: new AbortController().signal }),
    recovered: () => untilUp(servers.values()),
    [Symbol.asyncDispose]: () => zone.close(),
  };
}

/** Chunks lie on four of the five servers each, evenly: for each server there is a zone cache without it. */
export function fourOfFour(places: readonly ZoneServerPlace[]): Contender {
  const servers = connectAll(places);
  const time = new AgingTime();
  const zones = places.map(
    (left) =>
      new ZoneCache({
        servers: places.filter((place) => place !== left),
        connect: ({ id }) => shared(present(servers.get(id), `server "${id}"`)),
        readDeadlineMs,
        time,
      }),
  );
  const zoneOf = (chunk: ChunkName): ZoneCache =>
    present(zones[(chunk.ciphertextDigest[0] ?? 0) % zones.length], 'a zone');
  return {
    name: '4 of 4',
    age: () => time.setForward(agedMs),
    get: (chunk, request) => zoneOf(chunk).get(chunk, request),
    write: (chunk, ciphertext) =>
      zoneOf(chunk).prime(chunk, ciphertext, { signal: new AbortController().signal }),
    recovered: () => untilUp(servers.values()),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(zones.map((zone) => zone.close()));
      await Promise.all([...servers.values()].map((server) => server.close()));
    },
  };
}

function wholeKey({ ciphertextDigest }: ChunkName): string {
  return `whole/${toHex(ciphertextDigest)}`;
}

/** The whole chunk as one value on one server, with the zone cache's deadline. */
export function oneCopy(places: readonly ZoneServerPlace[]): Contender {
  const servers = [...connectAll(places).values()];
  const serverOf = (chunk: ChunkName): ZoneServer =>
    present(servers[(chunk.ciphertextDigest[0] ?? 0) % servers.length], 'a server');
  return {
    name: 'one copy',
    age: () => {},
    get: async (chunk, { priority }) => {
      const signal = AbortSignal.timeout(readDeadlineMs);
      try {
        return await serverOf(chunk).get(wholeKey(chunk), { signal, priority });
      } catch (thrown) {
        throw new TierUnavailableError('zone', 'its one server does not answer', thrown);
      }
    },
    write: async (chunk, ciphertext) => {
      const { fillBytesPerSecond = 1 } = places[0] ?? {};
      const bytesPerMs = (fillBytesPerSecond * servers.length) / 1000;
      await delay((ciphertext.byteLength / bytesPerMs) * writesAtATime);
      const request = { signal: AbortSignal.timeout(5000), priority: 'prefetch' } as const;
      try {
        await serverOf(chunk).put(wholeKey(chunk), [ciphertext], request);
      } catch {
        return false; // too much at a time for one server
      }
      return true;
    },
    recovered: () => untilUp(servers),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}

/** Roots of their own, so that stripes of one way are not found by another. */
export function nameOf(contender: Pick<Contender, 'name'>, chunk: BenchChunk): ChunkName {
  const { ciphertextDigest, storedLengthBytes } = chunk;
  return { rootId: contender.name.replaceAll(' ', '-'), ciphertextDigest, storedLengthBytes };
}

const fillRoundsMax = 10;

/** Writes whatever the contender cannot read, until it can read all: values are lost while servers are filled. */
export async function fill(contender: Contender, chunks: readonly BenchChunk[]): Promise<void> {
  const signal = new AbortController().signal;
  for (let round = 0; round < fillRoundsMax; round += 1) {
    let writtenCount = 0;
    const left = chunks.values();
    const next = async (): Promise<void> => {
      for (const chunk of left) {
        const name = nameOf(contender, chunk);
        const request = { signal, priority: 'foreground' } as const;
        const found = await contender.get(name, request).catch(() => undefined);
        if (found !== undefined) continue;
        writtenCount += 1;
        await contender.write(name, chunk.ciphertext);
      }
    };
    await Promise.all(Array.from({ length: writesAtATime }, next));
    if (writtenCount === 0) {
      contender.age();
      return;
    }
  }
  throw new Error(`The servers do not keep what "${contender.name}" writes`);
}
