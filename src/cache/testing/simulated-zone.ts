/** A zone cache over simulated servers, in virtual time. */

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { seededRandom } from '../../store/testing/seeded-random.ts';
import { ZoneCache, type ZoneCacheOptions } from '../zone-cache.ts';
import { fillBytesPerSecondOf, type ZoneMember } from '../zone-members.ts';
import { SimulatedZoneServer, type SimulatedServerOptions } from './simulated-zone-server.ts';

export interface SimulatedZoneOptions extends Partial<Omit<ZoneCacheOptions, 'time'>> {
  readonly serverCount?: number;
  readonly seed?: number;
  readonly outstandingMax?: number;
  readonly fillBytesPerSecond?: number;
}

export class SimulatedZone {
  readonly time = new VirtualTime();
  /** All that were ever connected to; also those removed. */
  readonly servers = new Map<string, SimulatedZoneServer>();
  readonly random: () => number;
  readonly cache: ZoneCache;
  readonly #options: SimulatedZoneOptions;

  constructor(options: SimulatedZoneOptions = {}) {
    this.#options = options;
    this.random = seededRandom(options.seed ?? 1);
    this.cache = new ZoneCache({
      servers: this.members(options.serverCount ?? 5),
      connect: (member) => this.#connect(member),
      time: this.time,
      ...options,
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
