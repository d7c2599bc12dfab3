/**
 * The agent: the process that serves the mount's files. It may be killed at any moment: its holder keeps the mount and
 * starts another, which finds the open images in the state file and gets every unanswered read again.
 *
 * Invariant: while the threads block in /dev/fuse this process can end only by unmounting or by a signal: `process.exit`
 * and an uncaught exception would leave it hanging, with readers behind it. So every way out that is not the clean
 * stop is a SIGKILL to itself.
 */

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  SingleFlight,
  defined,
  errorMessage,
  serveUnixJson,
  toHex,
  type Log,
  type UnixCall,
  type UnixRoutes,
} from '../../base/index.ts';
import {
  ChunkSlab,
  slabNoteIntervalMs,
  type CacheStatus,
  type DroppableCache,
  type StartsStatus,
  type WorkerCaches,
  type ZoneServerSetting,
} from '../../cache/index.ts';
import type { Manifest } from '../../chunk/index.ts';
import type { KeyService } from '../../keys/index.ts';
import {
  agentCall,
  parseDrop,
  parseImageRef,
  parseImageUse,
  parseStartEnding,
  parseZoneServers,
  pathOfMountUser,
  type AgentMessage,
  type AgentStatus,
  type ImageUse,
  type OpenedImage,
  type StartEnding,
} from './agent-calls.ts';
import { AgentState } from './agent-state.ts';
import type { ImageRef, ReadCounters, StartEnd } from '../images/block-images.ts';
import { AgentStoppingError, ImageNotOpenError, WrongTenantError } from '../errors.ts';
import { FuseServer } from '../fuse/fuse-server.ts';
import { ImageReader } from '../images/image-reader.ts';
import { ImageStarts, type StartMode } from '../starts/image-starts.ts';
import { listMountsSync } from '../mounts/mounts.ts';
import { Overlay, newOverlayKey } from '../images/overlay.ts';
import { packedChunkRef } from '../starts/open-pack.ts';
import { Prefetcher } from '../starts/prefetcher.ts';
import { RecentManifests } from '../images/recent-manifests.ts';
import { runPaths } from './run-paths.ts';
import { OpenImage, ServedImage, type ImageEntry } from '../images/served-image.ts';
import type { StartProfile } from '../starts/start-profile.ts';
import { StartProfiles, type ProfileStore } from '../starts/start-profiles.ts';

/** Where manifests come from. */
export interface ManifestSource {
  /** The sealed manifest's bytes, from the origin; they are kept, and MUST NOT change. Whatever it throws reaches who opens the image. */
  fetch(image: ImageRef): Promise<Uint8Array>;
  /** Opens it with the tenant's key. Also called when an agent is started again, with a local copy. */
  open(image: ImageRef, sealed: Uint8Array): Promise<Manifest>;
}

export interface AgentOptions {
  /** As the holder's. */
  readonly runDir: string;
  readonly manifests: ManifestSource;
  /** Where start profiles are kept, and who seals them and gives their packs the salts of roots. Left out: starts are neither recorded nor prefetched. */
  readonly profiles?: { readonly store: ProfileStore; readonly keys: KeyService };
  /** Chunks that are prefetched at a time, of all images together. Default 16. */
  readonly prefetchAtATime?: number;
  /** What is behind the memory. Stays the caller's. */
  readonly caches: WorkerCaches;
  /** For chunks in memory; what is allocated is never more. */
  readonly memoryBytes: number;
  /** The longest chunk of an image that can be served. Default 512 KiB. */
  readonly chunkSizeMaxBytes?: number;
  /** After this a read that could not be answered ends in EIO. Default 10,000. */
  readonly readDeadlineMs?: number;
  /**
   * Where what is written to writable images is kept, encrypted; this agent's alone. Default: in the run directory, which is
   * usually in memory.
   */
  readonly overlayDir?: string;
  /** Threads that take requests. Default 2. */
  readonly workerCount?: number;
  /** Ends, and the holder with it, soon after the last image was closed. Default false. */
  readonly exitWhenIdle?: boolean;
  readonly log: Log;
}

/** The descriptor at which the holder hands on its /dev/fuse. */
export const agentFuseFd = 3;

/** How long an agent without images waits for one before it ends, where it ends when idle. */
const idleMs = 1000;
const firstImageMs = 15_000;
const reapIntervalMs = 2000;

/** Sealed, of images that were open: those of a hundred large ones. */
const manifestsKeptMaxBytes = 16 * 2 ** 20;

type StartTotals = Omit<StartsStatus, 'profiles'>;

const noStarts: StartTotals = {
  prefetched: { chunks: 0, bytes: 0, unreadChunks: 0 },
  waits: { reads: 0, totalMs: 0 },
};

function plusStarts(
  { prefetched, waits }: StartTotals,
  more: Pick<ReadCounters, 'prefetched' | 'waits'>,
): StartTotals {
  return {
    prefetched: {
      chunks: prefetched.chunks + more.prefetched.chunks,
      bytes: prefetched.bytes + more.prefetched.bytes,
      unreadChunks: prefetched.unreadChunks + more.prefetched.unreadChunks,
    },
    waits: {
      reads: waits.reads + more.waits.reads,
      totalMs: waits.totalMs + more.waits.totalMs,
    },
  };
}

class Agent {
  readonly #options: AgentOptions;
  readonly #state: AgentState;
  readonly #manifests: RecentManifests;
  readonly #slab: ChunkSlab;
  readonly #server: FuseServer;
  readonly #profiles: StartProfiles | undefined;
  readonly #starts: ImageStarts | undefined;
  /** By `keyOf`. */
  readonly #images = new Map<string, ServedImage>();
  readonly #opens = new SingleFlight<string, ServedImage>();
  #nextNodeId = 0;
  /** Of images that are closed. */
  #closedTotals = noStarts;
  #stopping = false;
  #idleTimer: NodeJS.Timeout | undefined;
  /** Users whose images were found mounted, and have not been closed since. */
  #mounted = new Set<string>();

  constructor(options: AgentOptions, state: AgentState) {
    const { caches, memoryBytes, log } = options;
    this.#options = options;
    this.#state = state;
    this.#manifests = new RecentManifests({
      fetch: async (image) => options.manifests.fetch(image),
      bytesMax: manifestsKeptMaxBytes,
    });
    this.#slab = new ChunkSlab({
      memoryBytes,
      slotSizeBytes: options.chunkSizeMaxBytes ?? 512 * 1024,
    });
    const shared = { fuseFd: agentFuseFd, slab: this.#slab.memory, log };
    const readDeadlineMs = options.readDeadlineMs ?? 10_000;
    const reader = new ImageReader({
      loader: caches.loader,
      slab: this.#slab,
      readDeadlineMs,
      log,
    });
    this.#server = new FuseServer({ ...shared, reader, workerCount: options.workerCount ?? 2 });
    if (options.profiles === undefined) return;
    const { keys } = options.profiles;
    this.#profiles = new StartProfiles({ ...options.profiles, log });
    const prefetcher = new Prefetcher({
      loader: caches.loader,
      slab: this.#slab,
      deadlineMs: readDeadlineMs,
      ...defined({ atATime: options.prefetchAtATime }),
      log,
    });
    this.#starts = new ImageStarts({
      prefetcher,
      slab: this.#slab,
      profiles: this.#profiles,
      sharePack: (served, pack) => this.#server.sharePack(served, pack),
      packSource: async (served) => ({
        read: async (offset, size) => reader.bytes(served, { offset, size }),
        chunkSizeBytes: served.shape.chunkSizeBytes,
        salt: await keys.salt(served.image.rootId),
        codec: (await served.open()).codec,
        readBack: async (packed) => {
          const chunk = packedChunkRef(packed, served.image.rootId);
          const loading = { deadlineMs: readDeadlineMs, priority: 'prefetch' } as const;
          (await caches.loader.load(chunk, loading)).done();
        },
      }),
    });
  }

  /** Resolves when the mount is gone. */
  async run(): Promise<void> {
    const { nextNodeId, images, mounted } = await this.#state.load();
    await this.#restoreZoneServers();
    this.#nextNodeId = nextNodeId;
    this.#mounted = new Set(mounted);
    await this.#removeOldOverlays(images);
    for (const entry of images) this.#serve(this.#servedImage(entry));
    const ended = this.#server.run();
    await using _control = await serveUnixJson(
      runPaths(this.#options.runDir).controlSocket,
      this.#routes(),
    );
    // Reads that were repeated to us open what they need; this spares the first of them the wait.
    for (const image of this.#images.values()) image.open().catch(() => {});
    this.#talkToHolder();
    this.#waitForImages(firstImageMs);
    const reaping = setInterval(() => void this.#closeUnmounted(), reapIntervalMs);
    const noting = setInterval(() => this.#slab.noteReads(), slabNoteIntervalMs);
    await ended;
    this.#stopping = true;
    clearInterval(reaping);
    clearInterval(noting);
    clearTimeout(this.#idleTimer);
    for (const served of this.#images.values()) this.#starts?.abandon(served);
    await this.#profiles?.settled();
  }

  #talkToHolder(): void {
    process.on('message', () => tellHolder({ kind: 'alive' }));
    process.on('disconnect', () => {
      if (this.#stopping) return;
      this.#options.log.error('the holder is gone; ending, so that readers get errors at once');
      process.kill(process.pid, 'SIGKILL');
    });
    tellHolder({ kind: 'alive' });
  }

  #routes(): UnixRoutes {
    return {
      [agentCall.status]: async () => this.#status(),
      [agentCall.open]: async (body) => this.#open(parseImageUse(body)),
      [agentCall.close]: async (body) => this.#close(parseImageUse(body)),
      [agentCall.isOpen]: async (body) => this.#isOpen(parseImageUse(body)),
      [agentCall.counters]: async (body) => this.#counters(parseImageRef(body)),
      [agentCall.startEnded]: async (body) => this.#startEnded(parseStartEnding(body)),
      [agentCall.startGuide]: async (body, call) => this.#guideStart(parseImageRef(body), call),
      [agentCall.cacheStatus]: async () => this.#cacheStatus(),
      [agentCall.drop]: async (body) => this.#drop(parseDrop(body)),
      [agentCall.zoneServers]: async (body) => this.#setZoneServers(parseZoneServers(body)),
      [agentCall.shutdown]: async () => this.#shutdown(),
    };
  }

  async #status(): Promise<AgentStatus> {
    await this.#closeUnmounted();
    const images = [...this.#images.values()].map((served) => ({
      image: served.image,
      path: this.#pathOf(served),
      isWritable: served.isWritable,
      users: [...served.users],
      reads: served.counters(),
    }));
    const profiles = this.#profiles?.counters;
    return { pid: process.pid, images, slab: this.#slab.status, ...defined({ profiles }) };
  }

  #cacheStatus(): CacheStatus {
    const profiles = this.#profiles?.counters;
    return {
      memory: this.#slab.status,
      ...this.#options.caches.status(),
      ...(profiles !== undefined && { starts: { profiles, ...this.#startTotals() } }),
    };
  }

  #startTotals(): StartTotals {
    return [...this.#images.values()].reduce(
      (totals, served) => plusStarts(totals, served.counters()),
      this.#closedTotals,
    );
  }

  async #drop(caches: readonly DroppableCache[]): Promise<{ dropped: readonly DroppableCache[] }> {
    const dropped: DroppableCache[] = [];
    if (caches.includes('memory')) {
      this.#slab.clear();
      this.#manifests.clear();
      this.#profiles?.refetch();
      dropped.push('memory');
    }
    if (caches.includes('disk') && (await this.#options.caches.dropDisk())) dropped.push('disk');
    return { dropped };
  }

  async #setZoneServers(servers: readonly ZoneServerSetting[]): Promise<void> {
    this.#options.caches.setZoneServers(servers); // first: what it refuses must not be kept for the next agent
    this.#state.saveZoneServers(servers);
  }

  /** As the agent before was told. Never throws: whoever reads can do without a zone, but not without an agent. */
  async #restoreZoneServers(): Promise<void> {
    try {
      const servers = await this.#state.loadZoneServers();
      if (servers !== undefined) this.#options.caches.setZoneServers(servers);
    } catch (thrown) {
      const reason = errorMessage(thrown);
      this.#options.log.error('serving without the servers that the zone was given', { reason });
    }
  }

  async #open(use: ImageUse): Promise<OpenedImage> {
    const { image, user } = use;
    if (this.#stopping) throw new AgentStoppingError();
    clearTimeout(this.#idleTimer);
    try {
      // At the same time as the manifest; it never rejects, and nobody waits for it.
      const isRecorded = use.isStart === true && use.writable !== true; // what is written is nobody else's
      const profile = isRecorded ? this.#profiles?.load(image) : undefined;
      const served =
        this.#images.get(keyOf(use)) ??
        (await this.#opens.run(keyOf(use), () => this.#openNew(use)));
      if (served.image.tenant !== image.tenant || served.image.rootId !== image.rootId) {
        throw new WrongTenantError(image.manifestId, image.tenant);
      }
      served.users.add(user);
      this.#save();
      // Now: what is prefetched keeps this thread busy, and who opens waits for the answer.
      if (profile !== undefined) void this.#beginStart(served, profile);
      return { path: this.#pathOf(served), diskSizeBytes: served.shape.diskSizeBytes };
    } finally {
      this.#waitForImages(idleMs);
    }
  }

  /** Never rejects. */
  async #beginStart(
    served: ServedImage,
    profile: Promise<StartProfile | undefined>,
  ): Promise<void> {
    try {
      await this.#starts?.begin(served, profile);
    } catch (thrown) {
      const { manifestId } = served.image;
      const reason = errorMessage(thrown);
      this.#options.log.warn('starting without prefetching', { image: manifestId, reason });
    }
  }

  async #openNew(use: ImageUse): Promise<ServedImage> {
    const { image } = use;
    const sealed = await this.#manifests.get(image);
    const manifest = await this.#options.manifests.open(image, sealed);
    const nodeId = this.#nextNodeId;
    this.#nextNodeId += 1;
    this.#state.saveManifest(nodeId, sealed);
    const { diskSizeBytes, chunkSizeBytes } = manifest;
    const isWritable = use.writable === true;
    const fileName = `${image.manifestId}${isWritable ? `.${nodeId}.rw` : ''}.img`;
    const entry = { nodeId, fileName, image, users: [use.user], diskSizeBytes, chunkSizeBytes };
    const overlay = {
      path: join(this.#overlayDir, fileName),
      keyHex: toHex(newOverlayKey()),
    };
    const served = this.#servedImage(isWritable ? { ...entry, overlay } : entry, manifest);
    await served.open();
    this.#serve(served);
    return served;
  }

  /** `manifest`: if it is open already; else it is opened, from the local copy, when it is first needed. */
  #servedImage(entry: ImageEntry, manifest?: Manifest): ServedImage {
    const { image } = entry;
    const open = async (): Promise<OpenImage> => {
      const opened =
        manifest ??
        (await this.#options.manifests.open(image, await this.#state.loadManifest(entry.nodeId)));
      const openImage = new OpenImage(opened, image, this.#slab, await this.#openOverlay(entry));
      // The threads know nothing of overlays: every read of a writable image comes to the main thread.
      if (!served.isWritable) this.#server.share(served, openImage);
      return openImage;
    };
    const served = new ServedImage(entry, open);
    return served;
  }

  async #openOverlay({ overlay, diskSizeBytes }: ImageEntry): Promise<Overlay | undefined> {
    if (overlay === undefined) return undefined;
    await mkdir(this.#overlayDir, { recursive: true, mode: 0o700 });
    return Overlay.open(overlay.path, Buffer.from(overlay.keyHex, 'hex'), diskSizeBytes);
  }

  get #overlayDir(): string {
    return this.#options.overlayDir ?? runPaths(this.#options.runDir).overlayDir;
  }

  /** Removes what writable images of another mount have left: nobody has their keys. */
  async #removeOldOverlays(images: readonly ImageEntry[]): Promise<void> {
    if (images.length > 0) return;
    await rm(this.#overlayDir, { recursive: true, force: true });
  }

  #serve(served: ServedImage): void {
    const { image, isWritable: writable } = served;
    const [user = ''] = served.users;
    this.#images.set(keyOf({ image, user, writable }), served);
    this.#server.add(served);
  }

  async #close({ image, user }: ImageUse): Promise<void> {
    for (const [key, served] of this.#images) {
      if (served.image.manifestId !== image.manifestId || !served.users.delete(user)) continue;
      this.#mounted.delete(user);
      if (served.users.size > 0) continue;
      this.#images.delete(key);
      await this.#remove(served);
    }
    this.#save();
    this.#waitForImages(idleMs);
  }

  async #remove(served: ServedImage): Promise<void> {
    this.#starts?.abandon(served);
    this.#closedTotals = plusStarts(this.#closedTotals, served.counters());
    this.#server.remove(served);
    const open = await served.open().catch(() => undefined);
    for (const target of [open, open?.pack]) {
      if (target !== undefined) this.#slab.dropTable(target.table);
    }
    await open?.overlay?.remove();
    await this.#state.removeManifest(served.nodeId);
  }

  /**
   * Closes what a plain `umount` has unmounted. Only what was once found mounted, by this agent or one before it, since a
   * mount under way is not there yet, and one in another mount namespace never is. Decided without giving way: an image
   * closed and opened again meanwhile, on the same directory, would be taken for the one that was unmounted.
   */
  async #closeUnmounted(): Promise<void> {
    const users = [...this.#images.values()].flatMap((served) => [...served.users]);
    if (users.every((user) => pathOfMountUser(user) === undefined)) return; // sandboxes' are never
    const mountPoints = new Set(listMountsSync().map(({ mountPoint }) => mountPoint));
    const knownCount = this.#mounted.size;
    const unmounted: ImageUse[] = [];
    for (const { image, users } of this.#images.values()) {
      for (const user of users) {
        const path = pathOfMountUser(user);
        if (path === undefined) continue;
        if (mountPoints.has(path)) this.#mounted.add(user);
        else if (this.#mounted.has(user)) unmounted.push({ image, user });
      }
    }
    const isNews = this.#mounted.size > knownCount;
    await Promise.all(unmounted.map(async (use) => this.#close(use)));
    if (isNews) this.#save();
  }

  #isOpen(use: ImageUse): boolean {
    return this.#images.get(keyOf(use))?.users.has(use.user) === true;
  }

  #counters(image: ImageRef): ReadCounters {
    return this.#openImage(image).counters();
  }

  async #startEnded({ cached, ...image }: StartEnding): Promise<StartEnd> {
    const served = this.#openImage(image);
    return (await this.#starts?.end(served, cached)) ?? { chunks: 0, saved: false };
  }

  async #guideStart(image: ImageRef, { emit, signal }: UnixCall): Promise<void> {
    const served = this.#openImage(image);
    emit((await this.#starts?.mode(served)) ?? noStart);
    for await (const runs of this.#starts?.pages(served, signal) ?? []) emit(runs);
  }

  #openImage({ manifestId }: ImageRef): ServedImage {
    const served = this.#images.get(manifestId);
    if (served === undefined) throw new ImageNotOpenError(manifestId);
    return served;
  }

  #shutdown(): void {
    this.#stopping = true;
    tellHolder({ kind: 'stop' });
  }

  #save(): void {
    const images = [...this.#images.values()].map(({ entry }) => entry);
    this.#state.save({ nextNodeId: this.#nextNodeId, images, mounted: [...this.#mounted] });
  }

  #pathOf(served: ServedImage): string {
    return join(runPaths(this.#options.runDir).imagesDir, served.fileName);
  }

  #waitForImages(forMs: number): void {
    if (this.#options.exitWhenIdle !== true || this.#stopping) return;
    clearTimeout(this.#idleTimer);
    if (this.#images.size + this.#opens.size > 0) return;
    this.#idleTimer = setTimeout(() => this.#shutdown(), forMs);
  }
}

/** A read-only image is one for all; a writable one is its user's own. */
function keyOf({ image, user, writable }: ImageUse): string {
  return writable === true ? `${image.manifestId} ${user}` : image.manifestId;
}

/** Of an image that is not being started: there is nothing to look at. */
const noStart: StartMode = { isLookedAt: false, isPacked: false };

function tellHolder(message: AgentMessage): void {
  process.send?.(message);
}

/**
 * Serves the mount whose descriptor the holder handed on as `agentFuseFd`, until it is unmounted. To be the whole of its
 * process: it takes over uncaught exceptions and the process channel, and ends the process by SIGKILL if it fails.
 */
export async function runAgent(options: AgentOptions): Promise<void> {
  const fail = (thrown: unknown): void => {
    options.log.error('agent failed', { reason: errorMessage(thrown) });
    process.kill(process.pid, 'SIGKILL');
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  try {
    await new Agent(options, await AgentState.open(runPaths(options.runDir).stateDir)).run();
    process.disconnect?.();
  } catch (thrown) {
    fail(thrown);
  }
}
