/** The content of one entry, piece by piece, so that a file of any size takes little memory. */

import { createInflateRaw, inflateRawSync } from 'node:zlib';

/** How an entry's data lie in the zip file. Source: APPNOTE.TXT 4.4.5. */
export type Method = 'stored' | 'deflated';

/** Below this it costs less to unpack at once than to set up a stream; it is also the memory that it may take. */
const atOnceMaxBytes = 8 * 2 ** 20;
const pieceSizeBytes = 256 * 1024;

/** Content that is not as long as its entry says. */
export class EntrySizeError extends Error {
  constructor(sizeBytes: number) {
    super(`its content does not have the ${sizeBytes} bytes that it should`);
  }
}

/**
 * Never more than `sizeBytes` in all. Throws `EntrySizeError` where there would be more, or are less, and zlib's own errors; what came
 * before is then of no use.
 */
export async function* inflateEntry(
  data: Uint8Array,
  method: Method,
  sizeBytes: number,
): AsyncGenerator<Uint8Array> {
  let leftBytes = sizeBytes;
  for await (const piece of piecesOf(data, method, sizeBytes)) {
    leftBytes -= piece.byteLength;
    if (leftBytes < 0) break;
    yield piece;
  }
  if (leftBytes !== 0) throw new EntrySizeError(sizeBytes);
}

/** The same for content that is small enough to be had at once; undefined where it is not. */
export function inflateAtOnce(
  data: Uint8Array,
  method: Method,
  sizeBytes: number,
): Uint8Array | undefined {
  if (method === 'deflated' && sizeBytes > atOnceMaxBytes) return undefined;
  const content =
    method === 'stored'
      ? data
      : inflateRawSync(data, {
          // A byte more than it should have, to notice what has more.
          maxOutputLength: sizeBytes + 1,
          chunkSize: Math.max(sizeBytes + 1, 64),
        });
  if (content.byteLength !== sizeBytes) throw new EntrySizeError(sizeBytes);
  return content;
}

async function* piecesOf(
  data: Uint8Array,
  method: Method,
  sizeBytes: number,
): AsyncIterable<Uint8Array> {
  const whole = inflateAtOnce(data, method, sizeBytes);
  if (whole !== undefined) {
    yield whole;
    return;
  }
  const inflate = createInflateRaw({ chunkSize: pieceSizeBytes });
  inflate.end(data);
  for await (const piece of inflate) yield piece as Uint8Array;
}
