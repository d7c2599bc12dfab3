/** What can go wrong on a chunk's way into the worker. */

import { errorMessage, ThawError } from '../base/index.ts';

export class ChunkMissingError extends ThawError {
  constructor(rootId: string, digestHex: string) {
    super({
      code: 'ERR_CACHE_CHUNK_MISSING',
      fault: 'data',
      message: `Cannot load chunk "${digestHex}" of root "${rootId}": no tier has it; publish its image again`,
    });
  }
}

export class ChunkCorruptError extends ThawError {
  constructor(rootId: string, digestHex: string, cause: unknown) {
    super({
      code: 'ERR_CACHE_CHUNK_CORRUPT',
      fault: 'data',
      message:
        `Cannot use chunk "${digestHex}" of root "${rootId}": its copy in the last tier is not what its ` +
        'name says; delete that copy and publish its image again',
      cause,
    });
  }
}

/** No tier can help: a chunk is its name's bytes, and so the same in all of them. */
export class ChunkUnreadableError extends ThawError {
  constructor(rootId: string, digestHex: string, cause: unknown) {
    super({
      code: 'ERR_CACHE_CHUNK_UNREADABLE',
      fault: 'data',
      message:
        `Cannot open chunk "${digestHex}" of root "${rootId}": it is what its name says, but not what the ` +
        "image's manifest says of it; publish the image again",
      cause,
    });
  }
}

export class ChunkDeadlineError extends ThawError {
  constructor(rootId: string, digestHex: string, deadlineMs: number) {
    super({
      code: 'ERR_CACHE_DEADLINE',
      fault: 'environment',
      message: `Cannot load chunk "${digestHex}" of root "${rootId}" within ${deadlineMs} ms: no tier answered`,
      retryable: true,
    });
  }
}

export class TierUnavailableError extends ThawError {
  constructor(tier: string, reason: string, cause?: unknown) {
    super({
      code: 'ERR_CACHE_TIER_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot ask the ${tier} for a chunk: ${reason}`,
      retryable: true,
      cause,
    });
  }
}

export class ServerUnavailableError extends ThawError {
  constructor(serverId: string, reason: string, cause?: unknown) {
    super({
      code: 'ERR_CACHE_SERVER_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot use cache server "${serverId}": ${reason}`,
      retryable: true,
      cause,
    });
  }
}

export class ServerAddressError extends ThawError {
  /** What is wrong, without the address. */
  readonly reason: string;

  /** `address` without its password. */
  constructor(address: string, reason: string) {
    super({
      code: 'ERR_CACHE_SERVER_ADDRESS',
      fault: 'caller',
      message: `Cannot use cache server address "${address}": ${reason}; give memcached://USER:PASSWORD@HOST:PORT`,
    });
    this.reason = reason;
  }
}

export class DiskCacheInUseError extends ThawError {
  constructor(path: string) {
    super({
      code: 'ERR_CACHE_DISK_IN_USE',
      fault: 'environment',
      message: `Cannot use disk cache "${path}": another process uses it; give each worker a directory of its own`,
      retryable: true,
    });
  }
}

export class DiskCacheUnavailableError extends ThawError {
  constructor(path: string, cause: unknown) {
    super({
      code: 'ERR_CACHE_DISK_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot use disk cache "${path}": ${errorMessage(cause)}; make it a directory that can be written`,
      cause,
    });
  }
}
