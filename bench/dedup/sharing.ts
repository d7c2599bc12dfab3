/** How much of one image's disk another image's disk already holds. */

import { present } from '../../src/base/index.ts';
import type { BlockKind, DiskUse } from './block-use.ts';
import { blockSizeBytes, blocksPerChunk, type StoredChunk } from './disk-chunks.ts';
import type { ImageFile } from './layered-image.ts';

export interface Amount {
  total: number;
  /** Of these not in the first image. */
  unshared: number;
}

export interface Sharing {
  readonly chunks: Amount;
  readonly storedBytes: Amount;
}

export function sharedShare({ total, unshared }: Amount): number {
  return total === 0 ? 1 : 1 - unshared / total;
}

export function digestsOf(chunks: readonly StoredChunk[]): ReadonlySet<string> {
  return new Set(chunks.map(({ digest }) => digest));
}

/** Chunks of `second` that `first` has not. */
export function compare(first: readonly StoredChunk[], second: readonly StoredChunk[]): Sharing {
  const known = digestsOf(first);
  const sharing = { chunks: noAmount(), storedBytes: noAmount() };
  for (const { digest, storedBytes } of second) {
    add(sharing.chunks, 1, !known.has(digest));
    add(sharing.storedBytes, storedBytes, !known.has(digest));
  }
  return sharing;
}

export interface UseRow {
  /** Index of the layer; the number of layers for what belongs to none. */
  readonly layer: number;
  readonly kind: BlockKind;
  /** Stored bytes. */
  readonly bytes: Amount;
}

/** The stored bytes of `second` by what they are for. */
export function attribute(
  first: readonly StoredChunk[],
  second: readonly StoredChunk[],
  use: DiskUse,
): readonly UseRow[] {
  const known = digestsOf(first);
  const rows = new Map<string, UseRow>();
  for (const chunk of second) {
    const isUnshared = !known.has(chunk.digest);
    for (let block = 0; block < chunk.storedBytes / blockSizeBytes; block += 1) {
      const layer = use.layerOf(chunk, block);
      const kind = use.kindOf(chunk, block);
      const row = rows.get(`${layer} ${kind}`) ?? { layer, kind, bytes: noAmount() };
      rows.set(`${layer} ${kind}`, row);
      add(row.bytes, blockSizeBytes, isUnshared);
    }
  }
  return [...rows.values()].sort((a, b) => a.layer - b.layer || a.kind.localeCompare(b.kind));
}

/** The stored bytes of those layers. */
export function ofLayers(rows: readonly UseRow[], layers: readonly number[]): Amount {
  const sum = noAmount();
  for (const { layer, bytes } of rows) {
    if (!layers.includes(layer)) continue;
    sum.total += bytes.total;
    sum.unshared += bytes.unshared;
  }
  return sum;
}

/** Bytes of files of `layers` that are in both images under one path: how many lie in no chunk of `first`. */
export function equalFiles(options: {
  readonly first: { readonly chunks: readonly StoredChunk[]; readonly files: readonly ImageFile[] };
  readonly second: {
    readonly chunks: readonly StoredChunk[];
    readonly files: readonly ImageFile[];
    readonly use: DiskUse;
  };
  readonly layers: readonly number[];
}): Amount {
  const { first, second, layers } = options;
  const known = digestsOf(first.chunks);
  const shared = new Set(
    second.chunks.filter(({ digest }) => known.has(digest)).map(({ index }) => index),
  );
  const stored = new Set(second.chunks.map(({ index }) => index));
  const files = new Map(first.files.map(({ path, digest }) => [path, digest]));
  const sum = noAmount();
  for (const { path, layer, digest } of second.files) {
    if (!layers.includes(layer) || files.get(path) !== digest) continue;
    const { sizeBytes, extents } = present(second.use.files.get(path), `the file "${path}"`);
    for (const { logicalBlock, physicalBlock, blockCount } of extents) {
      for (let at = 0; at < blockCount; at += 1) {
        const chunk = Math.floor((physicalBlock + at) / blocksPerChunk);
        const left = sizeBytes - (logicalBlock + at) * blockSizeBytes;
        add(sum, Math.min(left, blockSizeBytes), stored.has(chunk) && !shared.has(chunk));
      }
    }
  }
  return sum;
}

/** Blocks of the files of `layers`, and of those whose content no file of `first` has: no writer shares more. */
export function changedFiles(
  first: readonly ImageFile[],
  second: readonly ImageFile[],
  layers: readonly number[],
): Amount {
  const known = new Set(first.map(({ digest }) => digest));
  const sum = noAmount();
  for (const { layer, sizeBytes, digest } of second) {
    if (!layers.includes(layer)) continue;
    add(sum, roundUpToBlocks(sizeBytes), !known.has(digest));
  }
  return sum;
}

/** The files' sizes, each rounded up to blocks. */
export function contentInBlocks(files: readonly ImageFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + roundUpToBlocks(sizeBytes), 0);
}

function roundUpToBlocks(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockSizeBytes) * blockSizeBytes;
}

function noAmount(): Amount {
  return { total: 0, unshared: 0 };
}

function add(amount: Amount, count: number, isUnshared: boolean): void {
  amount.total += count;
  if (isUnshared) amount.unshared += count;
}
