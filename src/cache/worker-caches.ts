/**
 * The tiers behind one worker's memory, put together: its disk and its zone where it has them, and the origin.
 *
 * Invariant: a tier that cannot be had is left out, logged and shown by the status; it never keeps a worker from serving.
 */

import {
  defined,
  errorMessage,
  present,
  systemClock,
  systemTimers,
  type Log,
} from '../base/index.ts';
import type { OptionalTier, TiersStatus } from './cache-status.ts';
import type { ChunkLoader } from './search/chunk-loader.ts';
import type { DiskCache } from './disk/disk-cache.ts';
import { TierUnavailableError } from './errors.ts';
import {
  createTieredLoader,
  type LoaderTier,
  type TieredLoader,
  type TieredLoaderOptions,
} from './search/tiered-loader.ts';
import { WaitingChunks, waitingDefaultMaxBytes } from './waiting/waiting-chunks.ts';
import { WorkerReads } from './worker-reads.ts';
import { ZoneCache } from './zone/zone-cache.ts';
import type { ZoneMember } from './zone/zone-members.ts';
import type { ZoneServer } from './zone/zone-server.ts';

/** A server of the zone as the configuration has it. */
export interface ZoneServerSetting extends ZoneMember {
  readonly usesTls: boolean;
}

export interface ZoneSettings {
  /** None: no zone until there are some. */
  readonly servers: readonly ZoneServerSetting[];
  readonly connect: (server: ZoneServerSetting) => ZoneServer;
}

export interface WorkerCachesOptions extends Omit<TieredLoaderOptions, 'tiers'> {
  /**
   * Left out: no disk. What it throws is logged, and there is none until a later try succeeds. `reads` and `waiting`: the worker's, which all its
   * tiers share, see `DiskCacheOptions`.
   */
  readonly openDisk?: (reads: WorkerReads, waiting: WaitingChunks) => Promise<DiskCache>;
  /** Left out: no zone. What it throws is logged, and there is none. */
  readonly zoneSettings?: () => Promise<ZoneSettings>;
  readonly log: Log;
}

/** Between tries to open a disk cache that could not be opened. */
const diskRetryMs = 5000;

/** What can be emptied of a worker. The zone belongs to all workers: none empties it. */
export const droppableCaches = ['memory', 'disk'] as const;
export type DroppableCache = (typeof droppableCaches)[number];

/** Disposing of it closes the tiers. */
export interface WorkerCaches extends AsyncDisposable {
  readonly loader: ChunkLoader;
  status(): TiersStatus;
  /**
   * The zone's servers from now on; none: no zone. Reads under way end where they began. Throws
   * `ERR_CACHE_TIER_UNAVAILABLE` if this worker knows no way to reach them. After a throw the servers are those of before.
   */
  setZoneServers(servers: readonly ZoneServerSetting[]): void;
  /** Resolves when all that was offered to the tiers is written or given up, which waits for no pause between reads. */
  settled(): Promise<void>;
  /** Forgets every chunk on disk. False if there is no disk, or none that could be opened. */
  dropDisk(): Promise<boolean>;
}

/** A part that was asked for, or why there is none. */
type Part<Value> = { readonly value: Value } | { readonly reason: string | undefined };

/** What the tiers of a worker share. */
interface Shared {
  readonly reads: WorkerReads;
  readonly waiting: WaitingChunks;
}

interface Parts {
  readonly shared: Shared;
  readonly disk: Part<DiskCache>;
  readonly zone: Part<ZoneSettings>;
}

class AssembledCaches implements WorkerCaches {
  readonly loader: TieredLoader;
  readonly #options: WorkerCachesOptions;
  readonly #shared: Shared;
  #disk: Part<DiskCache>;
  readonly #zone: Part<ZoneCache>;
  #zoneServers: ReadonlyMap<string, ZoneServerSetting> = new Map();
  #isClosed = false;
  #cancelRetry = (): void => {};
  #retrying: Promise<void> | undefined;

  constructor(options: WorkerCachesOptions, { shared, disk, zone }: Parts) {
    this.#options = options;
    this.#shared = shared;
    this.#disk = disk;
    this.#zone = 'value' in zone ? { value: this.#zoneOf(options, zone.value) } : zone;
    this.loader = createTieredLoader({ ...options, tiers: this.#tiers() });
    if ('reason' in disk && disk.reason !== undefined) this.#retryDiskLater();
  }

  status(): TiersStatus {
    const hasServers = this.#zoneServers.size > 0;
    return {
      loader: this.loader.status(),
      disk: statusOf(this.#disk, (disk) => disk.status()),
      zone: statusOf(this.#zone, (zone) => (hasServers ? zone.status() : undefined)),
    };
  }

  setZoneServers(servers: readonly ZoneServerSetting[]): void {
    if (!('value' in this.#zone)) {
      throw new TierUnavailableError('zone', this.#zone.reason ?? 'this worker has none');
    }
    const before = this.#zoneServers;
    this.#zoneServers = byId(servers); // `connect` looks them up
    try {
      this.#zone.value.setServers(servers);
    } catch (thrown) {
      this.#zoneServers = before;
      throw thrown;
    }
    this.loader.setTiers(this.#tiers());
  }

  async settled(): Promise<void> {
    if ('value' in this.#disk) await this.#disk.value.settled();
    if ('value' in this.#zone) await this.#zone.value.idle();
  }

  async dropDisk(): Promise<boolean> {
    if (!('value' in this.#disk)) return false;
    await this.#disk.value.drop();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry();
    await this.#retrying;
    this.loader.setTiers([]);
    if ('value' in this.#disk) await this.#disk.value.close();
    if ('value' in this.#zone) await this.#zone.value.close();
  }

  /** The agent before this one may not quite have ended, and still hold the directory; or the disk comes back. */
  #retryDiskLater(): void {
    const { time = systemTimers } = this.#options;
    this.#cancelRetry = time.after(diskRetryMs, () => {
      this.#retrying = this.#retryDisk();
    });
  }

  async #retryDisk(): Promise<void> {
    const { log } = this.#options;
    const disk = await diskOf(this.#options, this.#shared);
    if (this.#isClosed) {
      if ('value' in disk) await disk.value.close();
      return;
    }
    this.#disk = disk;
    if ('value' in disk) {
      log.info('serving with the disk cache again');
      this.loader.setTiers(this.#tiers());
    } else {
      this.#retryDiskLater();
    }
  }

  #zoneOf({ time }: WorkerCachesOptions, { servers, connect }: ZoneSettings): ZoneCache {
    this.#zoneServers = byId(servers);
    return new ZoneCache({
      servers,
      connect: ({ id }) => connect(present(this.#zoneServers.get(id), 'the setting of a server')),
      ...this.#shared,
      ...defined({ time }),
    });
  }

  #tiers(): readonly LoaderTier[] {
    const tiers: LoaderTier[] = [];
    if ('value' in this.#disk) tiers.push({ tier: 'l1-disk', cache: this.#disk.value });
    if ('value' in this.#zone && this.#zoneServers.size > 0) {
      tiers.push({ tier: 'l2', cache: this.#zone.value });
    }
    return tiers;
  }
}

function byId(servers: readonly ZoneServerSetting[]): ReadonlyMap<string, ZoneServerSetting> {
  return new Map(servers.map((server) => [server.id, server]));
}

function statusOf<Value, Status extends object>(
  part: Part<Value>,
  status: (value: Value) => Status | undefined,
): OptionalTier<Status> {
  if (!('value' in part)) return { state: 'off', ...defined({ reason: part.reason }) };
  const told = status(part.value);
  return told === undefined ? { state: 'off' } : { state: 'on', ...told };
}

async function partOf<Value>(open: (() => Promise<Value>) | undefined): Promise<Part<Value>> {
  if (open === undefined) return { reason: undefined };
  try {
    return { value: await open() };
  } catch (thrown) {
    return { reason: errorMessage(thrown) };
  }
}

function diskOf(
  { openDisk }: WorkerCachesOptions,
  { reads, waiting }: Shared,
): Promise<Part<DiskCache>> {
  return partOf(openDisk && (() => openDisk(reads, waiting)));
}

/** A zone of these servers, such as who publishes needs; the caller closes it. */
export function openZone({ servers, connect }: ZoneSettings): ZoneCache {
  const settings = byId(servers);
  return new ZoneCache({
    servers,
    connect: ({ id }) => connect(present(settings.get(id), 'the setting of a server')),
  });
}

/** Opens what was asked for. Does not throw. */
export async function openWorkerCaches(options: WorkerCachesOptions): Promise<WorkerCaches> {
  const shared = {
    reads: new WorkerReads(options.time ?? systemClock),
    // For both queues: a disk that hangs keeps nothing from the zone. As a rule they wait for the same chunks, and half of it is never touched.
    waiting: new WaitingChunks({ bytesMax: 2 * waitingDefaultMaxBytes }),
  };
  const disk = await diskOf(options, shared);
  const zone = await partOf(options.zoneSettings);
  for (const [name, part] of Object.entries({ 'disk cache': disk, zone })) {
    if (!('reason' in part) || part.reason === undefined) continue;
    options.log.error(`serving without the ${name}`, { reason: part.reason });
  }
  return new AssembledCaches(options, { shared, disk, zone });
}
