/** Bodies of requests, read whole within limits: of one body, of all that are held at a time, and of patience. */

import type { IncomingMessage } from 'node:http';

import { tooLargeWords } from './error-reply.ts';
import { LambdaError } from './lambda-error.ts';

/**
 * How many bytes of bodies may be held at a time, of all tenants and of each: never more than are left for the others. So one tenant
 * alone holds half of all, two hold a third each, and whoever comes next always finds as much as each of them has.
 * Source: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", with a factor of 1.
 */
export class BodyBudget {
  #freeBytes: number;
  readonly #heldBytes = new Map<string, number>();

  constructor(totalBytes: number) {
    this.#freeBytes = totalBytes;
  }

  /** False if there is no room: then nothing is taken. */
  take(tenant: string, sizeBytes: number): boolean {
    const heldBytes = (this.#heldBytes.get(tenant) ?? 0) + sizeBytes;
    const freeBytes = this.#freeBytes - sizeBytes;
    if (heldBytes > freeBytes) return false;
    this.#heldBytes.set(tenant, heldBytes);
    this.#freeBytes = freeBytes;
    return true;
  }

  giveBack(tenant: string, sizeBytes: number): void {
    const heldBytes = (this.#heldBytes.get(tenant) ?? 0) - sizeBytes;
    if (heldBytes > 0) this.#heldBytes.set(tenant, heldBytes);
    else this.#heldBytes.delete(tenant);
    this.#freeBytes += sizeBytes;
  }
}

export interface BodyLimits {
  /** For the words of a refusal. */
  readonly operation: string;
  readonly sizeMaxBytes: number;
  readonly budget: BodyBudget;
  /** How long the client may send nothing. */
  readonly idleTimeoutMs: number;
}

/** A body that was read, or is being read; what it holds of the budget is given back by `release`. */
export interface RequestBody {
  /** Reads it on the first call. Throws `LambdaError`. */
  readonly bytes: () => Promise<Buffer>;
  /** Whether `bytes` was called: then it is the only way to it. */
  readonly isBegun: () => boolean;
  /** Says whose share of the budget it takes; too late once there is something of it. */
  readonly chargeTo: (tenant: string) => void;
  readonly release: () => void;
}

export function requestBody(request: IncomingMessage, limits: BodyLimits): RequestBody {
  let tenant = '';
  let heldBytes = 0;
  let reading: Promise<Buffer> | undefined;
  const hold = (sizeBytes: number): void => {
    if (!limits.budget.take(tenant, sizeBytes)) throw tooManyBytes();
    heldBytes += sizeBytes;
  };
  return {
    bytes: () => (reading ??= readBody(request, limits, hold)),
    isBegun: () => reading !== undefined,
    chargeTo: (owner) => {
      if (heldBytes === 0) tenant = owner;
    },
    release: () => {
      limits.budget.giveBack(tenant, heldBytes);
      heldBytes = 0;
    },
  };
}

/** All that the tenant may hold is held. */
export function tooManyBytes(): LambdaError {
  return new LambdaError('TooManyRequestsException', 'Rate Exceeded.', {
    reason: 'CallerRateLimitExceeded',
    retryAfterSeconds: 1,
  });
}

/** Nothing is read of a body that says itself that it is too long. What is not read, Node reads and throws away. */
async function readBody(
  request: IncomingMessage,
  { operation, sizeMaxBytes, idleTimeoutMs }: BodyLimits,
  hold: (sizeBytes: number) => void,
): Promise<Buffer> {
  const tooLarge = () =>
    new LambdaError('RequestTooLargeException', tooLargeWords(operation, sizeMaxBytes));
  if (Number(request.headers['content-length'] ?? 0) > sizeMaxBytes) throw tooLarge();
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const onData = (part: Buffer): void => {
    sizeBytes += part.byteLength;
    idle.refresh();
    try {
      if (sizeBytes > sizeMaxBytes) throw tooLarge();
      hold(part.byteLength);
      parts.push(part);
    } catch (thrown) {
      reject(thrown);
    }
  };
  const onEnd = (): void =>
    resolve(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts));
  const onCut = (): void => reject(new ClientGoneError());
  const idle = setTimeout(() => {
    reject(new LambdaError('RequestTimeoutException', 'The request was not sent whole in time'));
  }, idleTimeoutMs);
  request.on('data', onData).once('end', onEnd).once('close', onCut).once('error', onCut);
  try {
    return await promise;
  } finally {
    clearTimeout(idle);
    request.off('data', onData).off('end', onEnd).off('close', onCut).off('error', onCut);
    request.on('error', () => {}); // a body that nobody wants may break off
    request.resume();
  }
}

/** Nobody is left to be answered. */
export class ClientGoneError extends Error {
  constructor() {
    super('The client hung up');
  }
}
