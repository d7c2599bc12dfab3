/** What client and agent, and holder and agent, say to each other. */

import {
  droppableCaches,
  type DroppableCache,
  type SlabStatus,
  type ZoneServerSetting,
} from '../../cache/index.ts';
import type { ImageRef, ReadCounters } from '../images/block-images.ts';
import { BadRequestError } from '../errors.ts';
import { allPages, type CachedWindow } from '../starts/file-windows.ts';
import { profiledWindowsMax } from '../starts/start-profile.ts';
import type { StartProfileCounters } from '../starts/start-profiles.ts';

/** Paths of the agent's calls over its control socket. */
export const agentCall = {
  status: 'GET /status',
  open: 'POST /images/open',
  close: 'POST /images/close',
  isOpen: 'POST /images/is-open',
  counters: 'POST /images/counters',
  startEnded: 'POST /images/start-ended',
  startGuide: 'POST /images/start-guide',
  cacheStatus: 'GET /cache/status',
  drop: 'POST /cache/drop',
  zoneServers: 'POST /cache/zone-servers',
  shutdown: 'POST /shutdown',
} as const;

/** An image, and on whose behalf it is opened or closed: a name that outlives processes. */
export interface ImageUse {
  readonly image: ImageRef;
  /** Such as `mount:/mnt/app`; opening twice under one name is opening once. */
  readonly user: string;
  /** For `open`: a copy-on-write image of this user's own; what is written to it is gone when it is closed. */
  readonly writable?: boolean;
  /** For `open`: a cold start follows, which is prefetched along the image's start profile and becomes part of it. */
  readonly isStart?: boolean;
}

/** Says that a start has ended; an `ImageRef` and, where it is known, what of the files that it opened is in the page cache. */
export interface StartEnding extends ImageRef {
  readonly cached?: readonly CachedWindow[] | undefined;
}

const mountUserPrefix = 'mount:';

/** The user on whose behalf an image is open that is mounted at `path`, until it is no longer. */
export function mountUser(path: string): string {
  return `${mountUserPrefix}${path}`;
}

/** The path of a `mountUser`; undefined for other users. */
export function pathOfMountUser(user: string): string | undefined {
  return user.startsWith(mountUserPrefix) ? user.slice(mountUserPrefix.length) : undefined;
}

/** The image as a file in the mount. */
export interface OpenedImage {
  readonly path: string;
  readonly diskSizeBytes: number;
}

/** What the agent serves at the moment, and what it has read since it started. */
export interface AgentStatus {
  readonly pid: number;
  readonly images: readonly {
    readonly image: ImageRef;
    readonly path: string;
    readonly isWritable: boolean;
    readonly users: readonly string[];
    readonly reads: ReadCounters;
  }[];
  readonly slab: SlabStatus;
  /** Undefined if this agent keeps no start profiles. */
  readonly profiles?: StartProfileCounters;
}

/** Over the process channel between holder and agent. */
export type HolderMessage = { readonly kind: 'ping' };
export type AgentMessage =
  /** Answers a ping. The first one says that the agent serves. */
  | { readonly kind: 'alive' }
  /** Asks the holder to unmount and end. */
  | { readonly kind: 'stop' };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function textOf(value: unknown, what: string, pattern: RegExp): string {
  if (typeof value === 'string' && pattern.test(value)) return value;
  throw new BadRequestError(`its "${what}" is missing or malformed`);
}

/** Checks what came over the socket. The manifest id becomes a file's name. Throws `ERR_DEVICE_BAD_REQUEST`. */
export function parseImageRef(body: unknown): ImageRef {
  if (!isObject(body)) throw new BadRequestError('it names no image');
  return {
    rootId: textOf(body['rootId'], 'rootId', /^[^/]{1,256}$/),
    manifestId: textOf(body['manifestId'], 'manifestId', /^[0-9a-f]{64}$/),
    tenant: textOf(body['tenant'], 'tenant', /^.{1,256}$/),
  };
}

/** As `parseImageRef`. */
export function parseDrop(body: unknown): readonly DroppableCache[] {
  const asked = isObject(body) ? body['caches'] : undefined;
  if (!Array.isArray(asked)) throw new BadRequestError('it does not say which caches to drop');
  return asked.map((cache) => {
    const known = droppableCaches.find((name) => name === cache);
    if (known === undefined) throw new BadRequestError(`there is no cache "${String(cache)}"`);
    return known;
  });
}

/** As `parseImageRef`. */
export function parseZoneServers(body: unknown): readonly ZoneServerSetting[] {
  const servers = isObject(body) ? body['servers'] : undefined;
  if (!Array.isArray(servers)) throw new BadRequestError('it names no servers');
  return servers.map((server: unknown) => {
    if (!isObject(server)) throw new BadRequestError('a server of it is no object');
    return {
      id: textOf(server['id'], 'id', /^.{1,300}:\d{1,5}$/),
      weight: positiveOf(server['weight'], 'weight'),
      fillBytesPerSecond: positiveOf(server['fillBytesPerSecond'], 'fillBytesPerSecond'),
      usesTls: server['usesTls'] === true,
    };
  });
}

function positiveOf(value: unknown, what: string): number {
  if (typeof value === 'number' && value > 0 && value < Infinity) return value;
  throw new BadRequestError(`its "${what}" is missing or no positive number`);
}

/** As `parseImageRef`. */
export function parseImageUse(body: unknown): ImageUse {
  if (!isObject(body)) throw new BadRequestError('it names no image and user');
  return {
    image: parseImageRef(body['image']),
    user: textOf(body['user'], 'user', /^.{1,4200}$/),
    writable: body['writable'] === true,
    isStart: body['isStart'] === true,
  };
}

/** As `parseImageRef`. */
export function parseStartEnding(body: unknown): StartEnding {
  const image = parseImageRef(body);
  const cached = isObject(body) ? body['cached'] : undefined;
  if (cached === undefined) return image;
  if (!Array.isArray(cached) || cached.length > profiledWindowsMax) {
    throw new BadRequestError('its "cached" is no list, or too long');
  }
  return { ...image, cached: cached.map(parseCachedWindow) };
}

function parseCachedWindow(value: unknown): CachedWindow {
  if (!isObject(value)) throw new BadRequestError('a window of it is no object');
  return {
    inode: countOf(value['inode'], 'inode', 2 ** 32 - 1),
    window: countOf(value['window'], 'window', 2 ** 32 - 1),
    pages: countOf(value['pages'], 'pages', allPages, 1),
    diskBlock: countOf(value['diskBlock'], 'diskBlock', 2 ** 32 - 1),
  };
}

function countOf(value: unknown, what: string, max: number, min = 0): number {
  if (Number.isInteger(value) && Number(value) >= min && Number(value) <= max) return Number(value);
  throw new BadRequestError(`its "${what}" is missing or no number`);
}
