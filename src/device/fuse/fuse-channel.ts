/**
 * Reads requests from, and writes answers to, a /dev/fuse descriptor, from any thread. One `read` gives one whole
 * request and one `writev` takes one whole answer; the kernel allows any number of threads to do so at a time.
 *
 * A request's `unique` is kept as two 32-bit halves and echoed as it is: bit 63 marks a request that was repeated.
 */

import { readSync, writevSync } from 'node:fs';

import { errorCode } from '../../base/index.ts';
import {
  FuseInHeader,
  FuseNotify,
  FuseOutHeader,
  FuseReadIn,
  fuseRequestMaxBytes,
} from './fuse-protocol.ts';

/** What an answer must carry to reach its request. */
export interface RequestId {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

/** The header of a request, for dispatch. Numbers past 2^53 come out inexact, and match nothing that we serve. */
export interface RequestHead extends RequestId {
  readonly opcode: number;
  readonly nodeId: number;
  /** Of the whole request. */
  readonly lengthBytes: number;
}

export interface ReadRequest {
  readonly offset: number;
  readonly size: number;
}

/** Where the words of a request are, in 32-bit words: the read path runs too often for a table. */
const word = {
  opcode: 1,
  uniqueLow: 2,
  uniqueHigh: 3,
  nodeIdLow: 4,
  nodeIdHigh: 5,
  readOffsetLow: 12,
  readOffsetHigh: 13,
  readSize: 14,
} as const;

const twoTo32 = 2 ** 32;

/** A thread's buffer for requests. */
export class RequestBuffer {
  readonly bytes = new Uint8Array(fuseRequestMaxBytes);
  readonly #words = new Uint32Array(this.bytes.buffer);

  /** Undefined if the first `lengthBytes` are not a request. */
  head(lengthBytes: number): RequestHead | undefined {
    if (lengthBytes < FuseInHeader.sizeBytes || this.#word(0) !== lengthBytes) return undefined;
    return {
      opcode: this.#word(word.opcode),
      uniqueLow: this.#word(word.uniqueLow),
      uniqueHigh: this.#word(word.uniqueHigh),
      nodeId: this.#word(word.nodeIdLow) + this.#word(word.nodeIdHigh) * twoTo32,
      lengthBytes,
    };
  }

  /** Of a FUSE_READ; undefined if it is cut short. */
  read(head: RequestHead): ReadRequest | undefined {
    if (head.lengthBytes < FuseInHeader.sizeBytes + FuseReadIn.sizeBytes) return undefined;
    return {
      offset: this.#word(word.readOffsetLow) + this.#word(word.readOffsetHigh) * twoTo32,
      size: this.#word(word.readSize),
    };
  }

  #word(index: number): number {
    return this.#words[index] ?? 0;
  }
}

/**
 * Waits for the next request. Its length, or undefined once the filesystem is unmounted or its connection aborted, and
 * no request will ever come. Blocks the thread.
 */
export function readRequest(fuseFd: number, buffer: RequestBuffer): number | undefined {
  for (;;) {
    try {
      return readSync(fuseFd, buffer.bytes);
    } catch (thrown) {
      const code = errorCode(thrown);
      if (code === 'ENODEV' || code === 'ECONNABORTED') return undefined;
      // ENOENT: the request was interrupted before we took it.
      if (code !== 'ENOENT' && code !== 'EINTR' && code !== 'EAGAIN') throw thrown;
    }
  }
}

/** ENOENT: its request is gone, interrupted or answered before it was repeated. ENODEV: all of them are. */
function isAnswerUnwanted(thrown: unknown): boolean {
  const code = errorCode(thrown);
  return code === 'ENOENT' || code === 'ENODEV' || code === 'ECONNABORTED';
}

/** Writes one answer: `error` is 0 or a positive errno, `parts` follow the header. */
export function reply(
  fuseFd: number,
  id: RequestId,
  error: number,
  parts: readonly Uint8Array[] = [],
): void {
  const bodyBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = new Int32Array(FuseOutHeader.sizeBytes / Int32Array.BYTES_PER_ELEMENT);
  head[0] = FuseOutHeader.sizeBytes + bodyBytes;
  head[1] = -error;
  head[2] = id.uniqueLow;
  head[3] = id.uniqueHigh;
  try {
    writevSync(fuseFd, [new Uint8Array(head.buffer), ...parts]);
  } catch (thrown) {
    if (!isAnswerUnwanted(thrown)) throw thrown;
  }
}

/** Asks the kernel to repeat every request that was handed out and not answered: our predecessor died with them. */
export function requestResend(fuseFd: number): void {
  const order = FuseOutHeader.encode({
    len: FuseOutHeader.sizeBytes,
    error: FuseNotify.FUSE_NOTIFY_RESEND,
    unique: 0n,
  });
  try {
    writevSync(fuseFd, [order]);
  } catch (thrown) {
    if (!isAnswerUnwanted(thrown)) throw thrown;
  }
}
