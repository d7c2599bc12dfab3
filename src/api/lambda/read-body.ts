/** Bodies of requests, read whole within limits: of one body, of all that are held at a time, and of patience. */

import type { IncomingMessage } from 'node:http';

import { tooLargeWords } from './error-reply.ts';
import { LambdaError } from './lambda-error.ts';

/** How many bytes of bodies may be held at a time. */
export class BodyBudget {
  #freeBytes: number;

  constructor(totalBytes: number) {
    this.#freeBytes = totalBytes;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** False if there is no room: then nothing is taken. */
  take(sizeBytes: number): boolean {
    if (sizeBytes > this.#freeBytes) return false;
    this.#freeBytes -= sizeBytes;
    return true;
  }

  giveBack(sizeBytes: number): void {
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
  readonly release: () => void;
}

export function requestBody(request: IncomingMessage, limits: BodyLimits): RequestBody {
  let heldBytes = 0;
  let reading: Promise<Buffer> | undefined;
  const hold = (sizeBytes: number): void => {
    if (!limits.budget.take(sizeBytes)) throw tooManyBytes();
    heldBytes += sizeBytes;
  };
  return {
    bytes: () => (reading ??= readBody(request, limits, hold)),
    isBegun: () => reading !== undefined,
    release: () => {
      limits.budget.giveBack(heldBytes);
      heldBytes = 0;
    },
  };
}

/** All that may be held is held. */
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
