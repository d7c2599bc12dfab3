/** Cuts reads of a disk into parts by chunk. */

import type { ReadRequest } from '../fuse/fuse-channel.ts';
import { fuseTransferMaxBytes } from '../fuse/fuse-protocol.ts';

export interface DiskShape {
  readonly diskSizeBytes: number;
  readonly chunkSizeBytes: number;
}

/** One chunk's part of a read: its bytes `start..end`. */
export interface ReadSpan {
  readonly index: number;
  readonly start: number;
  readonly end: number;
}

/** The parts of a read in order; nothing past the end of the disk, and nothing past what one read may ask for. */
export function spansOf(shape: DiskShape, { offset, size }: ReadRequest): ReadSpan[] {
  const { chunkSizeBytes, diskSizeBytes } = shape;
  const readEnd = Math.min(offset + Math.min(size, fuseTransferMaxBytes), diskSizeBytes);
  const spans: ReadSpan[] = [];
  for (let at = offset; at < readEnd;) {
    const index = Math.floor(at / chunkSizeBytes);
    const start = at - index * chunkSizeBytes;
    const end = Math.min(chunkSizeBytes, start + readEnd - at);
    spans.push({ index, start, end });
    at += end - start;
  }
  return spans;
}

/** As many zeros as one read may ask for; shared, never written. */
export const zeros: Uint8Array = new Uint8Array(fuseTransferMaxBytes);
