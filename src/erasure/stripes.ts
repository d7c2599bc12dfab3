/**
 * The 4-of-5 code: a chunk is four data stripes, its quarters in order, and a parity stripe, their XOR. So one stripe may be
 * missing, whichever it is (RAID 4; the paper, section 7, leaves the code open). The stripes say nothing of whether they
 * are right or belong together: who stores them adds that.
 */

import { InternalError, assert } from '../base/index.ts';
import { xorInto } from './xor.ts';

/** k of the code: this many stripes give the chunk. */
export const dataStripeCount = 4;
/** n of the code. Stripes have indexes 0 to 4. */
export const stripeCount = 5;
/** The stripe that is the XOR of the others. */
export const parityStripeIndex = 4;

/** A chunk's stripes, all of one length. */
export interface Stripes {
  /** The four quarters: views of the chunk's own memory. */
  readonly data: readonly Uint8Array[];
  /** Fresh memory. */
  readonly parity: Uint8Array;
}

/** What each stripe of a chunk is long. Throws `ERR_INTERNAL` if the chunk's length is no positive multiple of four. */
export function stripeLength(chunkLengthBytes: number): number {
  const isDivisible =
    Number.isInteger(chunkLengthBytes) && chunkLengthBytes % dataStripeCount === 0;
  assert(chunkLengthBytes > 0 && isDivisible, `No stripes of a chunk of ${chunkLengthBytes} bytes`);
  return chunkLengthBytes / dataStripeCount;
}

/** All five stripes. Throws as `stripeLength`. */
export function encodeStripes(chunk: Uint8Array): Stripes {
  const lengthBytes = stripeLength(chunk.byteLength);
  const data = Array.from({ length: dataStripeCount }, (_, index) =>
    chunk.subarray(index * lengthBytes, (index + 1) * lengthBytes),
  );
  // Not zeroed: the XOR writes all of it.
  const parity = Buffer.allocUnsafeSlow(lengthBytes);
  xorInto(parity, data);
  return { data, parity };
}

/**
 * The chunk, in fresh memory, from any four of its stripes; `stripes[i]` is the one of index i or undefined. The parity is read only
 * if a quarter is missing, so five do as well as four. Costs one copy, and one XOR if a quarter is missing. Who has no further use for
 * the stripes should `release` them: memory that waits for the garbage collector costs more to replace than all of this.
 *
 * Throws `ERR_INTERNAL` if more than one is missing, or if they are not of one length.
 */
export function rebuildChunk(stripes: readonly (Uint8Array | undefined)[]): Uint8Array {
  const there = stripes.filter((stripe) => stripe !== undefined);
  const lengthBytes = there[0]?.byteLength ?? 0;
  assert(there.length >= dataStripeCount, `Cannot rebuild a chunk from ${there.length} stripes`);
  assert(stripes.length <= stripeCount, `A chunk has no ${stripes.length} stripes`);
  if (there.some((stripe) => stripe.byteLength !== lengthBytes)) {
    throw new InternalError('Cannot rebuild a chunk from stripes of different lengths');
  }
  // Not zeroed: every quarter is written below.
  const chunk = Buffer.allocUnsafeSlow(lengthBytes * dataStripeCount);
  for (let index = 0; index < dataStripeCount; index += 1) {
    const stripe = stripes[index];
    if (stripe !== undefined) chunk.set(stripe, index * lengthBytes);
    else xorInto(chunk.subarray(index * lengthBytes, (index + 1) * lengthBytes), there);
  }
  return chunk;
}
