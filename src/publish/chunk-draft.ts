/**
 * A chunk as planned, before its blocks of file data are read: its metadata as bytes, zeros where file data goes, and where that
 * data is to be had. It tells whether the chunk is a function of one layer alone, and of which part of that layer.
 */

import { createHash } from 'node:crypto';

import { viewOf } from '../base/index.ts';
import type { ContentReader, DiskPlan } from '../ext4/index.ts';

/** File data that goes into a chunk. */
export interface DataRead {
  /** Of the image, 0 the lowest. */
  readonly layer: number;
  /** In the layer's uncompressed tar. */
  readonly tarOffset: number;
  /** In the chunk. */
  readonly at: number;
  readonly lengthBytes: number;
}

export interface ChunkDraft {
  /** The array that was given to `draftChunk`. */
  readonly bytes: Uint8Array;
  /** By their place in the chunk, apart from each other. */
  readonly reads: readonly DataRead[];
  /** Undefined if the chunk holds metadata, or data of several layers. */
  readonly soleLayer: SoleLayer | undefined;
}

/** A chunk that holds nothing but one layer's file data. */
export interface SoleLayer {
  readonly layer: number;
  /**
   * SHA-256, in hex, over which bytes of the layer's tar go where in the chunk. So equal recipes of equal layers are equal chunks, whatever
   * the image, its layout or the layout's version.
   */
  readonly recipe: string;
}

export interface DraftOptions {
  /** As long as a chunk. */
  readonly bytes: Uint8Array;
  /** Reads data that does not go into the chunk as it is: a small file's, which becomes a part of its inode. */
  readonly readNow: ContentReader['read'];
}

/**
 * Plans the chunk that begins at byte `offset` of the disk. That a plan renders without looking at file data which it has read into
 * the chunk is a promise of `ContentReader`.
 */
export async function draftChunk(
  plan: DiskPlan,
  offset: number,
  { bytes, readNow }: DraftOptions,
): Promise<ChunkDraft> {
  const noted: DataRead[] = [];
  await plan.render(offset, bytes, {
    read: async (layer, tarOffset, target) => {
      if (target.buffer !== bytes.buffer) {
        await readNow(layer, tarOffset, target);
        return;
      }
      const at = target.byteOffset - bytes.byteOffset;
      noted.push({ layer, tarOffset, at, lengthBytes: target.byteLength });
    },
  });
  const reads = joined(noted);
  return { bytes, reads, soleLayer: soleLayerOf(bytes, reads) };
}

/** In order, with those that go on where the one before ends made one. */
function joined(noted: readonly DataRead[]): DataRead[] {
  const reads: DataRead[] = [];
  for (const read of noted.toSorted((a, b) => a.at - b.at)) {
    const last = reads.at(-1);
    const goesOn =
      last !== undefined &&
      last.layer === read.layer &&
      last.at + last.lengthBytes === read.at &&
      last.tarOffset + last.lengthBytes === read.tarOffset;
    if (!goesOn) reads.push(read);
    else reads[reads.length - 1] = { ...last, lengthBytes: last.lengthBytes + read.lengthBytes };
  }
  return reads;
}

let zeros = Buffer.alloc(0);

function isZero(bytes: Uint8Array): boolean {
  if (zeros.byteLength < bytes.byteLength) zeros = Buffer.alloc(bytes.byteLength);
  return viewOf(bytes).equals(zeros.subarray(0, bytes.byteLength));
}

function soleLayerOf(bytes: Uint8Array, reads: readonly DataRead[]): SoleLayer | undefined {
  const layer = reads[0]?.layer;
  if (layer === undefined || reads.some((read) => read.layer !== layer)) return undefined;
  if (!isZero(bytes)) return undefined;
  const hash = createHash('sha256');
  for (const { at, tarOffset, lengthBytes } of reads) {
    hash.update(`${at} ${tarOffset} ${lengthBytes}\n`);
  }
  return { layer, recipe: hash.digest('hex') };
}
