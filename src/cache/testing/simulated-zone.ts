/** A zone cache over simulated servers, in virtual time. */

import assert from 'node:assert/strict';

import { errorCode } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { seededRandom } from '../../store/testing/seeded-random.ts';
import { ZoneCache, type ZoneCacheOptions } from '../zone/zone-cache.ts';
import { fillBytesPerSecondOf, type ZoneMember } from '../zone/zone-members.ts';
import type { NamedChunk } from './cache-tier-conformance.ts';
import { SimulatedZoneServer, type SimulatedServerOptions } from './simulated-zone-server.ts';

export interface SimulatedZoneOptions extends Partial<Omit<ZoneCacheOptions, 'time'>> {
  readonly serverCount?: number;
  readonly seed?: number;
  readonly outstandingMax?: number;
  readonly fillBytesPerSecond?: number;
  readonly time?: VirtualTime;
}

/** How a read ended: with the right bytes, with none (undefined), or with an error's code. */
export interface ReadEnd {
  readonly found: string | undefined;
  readonly tookMs: number;
}

export class SimulatedZone {
  readonly time: VirtualTime;
  /** All that were ever connected to; also those removed. */
  readonly servers = new Map<string, SimulatedZoneServer>();
  readonly random: () => number;
  readonly cache: ZoneCache;
  readonly #options: SimulatedZoneOptions;

  constructor(options: SimulatedZoneOptions = {}) {
    this.#options = options;
    this.time = options.time ?? new VirtualTime();
    this.random = seededRandom(options.seed ?? 1);
    this.cache = new ZoneCache({
      servers: this.members(options.serverCount ?? 5),
      connect: (member) => this.#connect(member),
      ...options,
      time: this.time,
    });
  }

  /** The first `count` servers of the zone, without those named. */
  members(count: number, without: readonly string[] = []): readonly ZoneMember[] {
    const { fillBytesPerSecond = fillBytesPerSecondOf(64 * 1024 * 1024) } = this.#options;
    return Array.from({ length: count }, (_, index) => `server-${index}`)
      .filter((id) => !without.includes(id))
      .map((id) => ({ id, weight: 1, fillBytesPerSecond }));
  }

  get all(): readonly SimulatedZoneServer[] {
    return [...this.servers.values()];
  }

  /** The n-th that was connected to. */
  server(index: number): SimulatedZoneServer {
    const server = this.all[index];
    if (server === undefined) throw new Error(`There is no server ${index}`);
    return server;
  }

  /** Reads a chunk. Wrong bytes fail the test. Does not move time: see `VirtualTime.until`. */
  async read({ name, ciphertext }: NamedChunk): Promise<ReadEnd> {
    const startedMs = this.time.monotonicMs();
    const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
    const end = (found: string | undefined): ReadEnd => {
      return { found, tookMs: this.time.monotonicMs() - startedMs };
    };
    try {
      const bytes = await this.cache.get(name, request);
      if (bytes !== undefined) assert.equal(Buffer.compare(bytes, ciphertext), 0);
      return end(bytes && 'right');
    } catch (thrown) {
      if (thrown instanceof assert.AssertionError) throw thrown;
      return end(errorCode(thrown) ?? 'an error without a code');
    }
  }

  /** Offers the chunks and waits until they are written or given up. */
  async fill(...chunks: readonly NamedChunk[]): Promise<void> {
    for (const { name, ciphertext } of chunks) this.cache.offer(name, ciphertext);
    await this.time.until(this.cache.idle());
  }

  #connect({ id }: ZoneMember): SimulatedZoneServer {
    const { outstandingMax } = this.#options;
    const options: SimulatedServerOptions = { id, time: this.time, random: this.random };
    const server = new SimulatedZoneServer(
      outstandingMax === undefined ? options : { ...options, outstandingMax },
    );
    this.servers.set(id, server);
    return server;
  }
}
