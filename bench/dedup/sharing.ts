/** How much of one image's disk another image's disk already holds. */

import { present } from '../../src/base/index.ts';
import type { BlockKind, DiskUse } from './block-use.ts';
import {
  blockSizeBytes,
  blocksPerChunk,
  type ChunkFacts,
  type StoredChunk,
} from './disk-chunks.ts';
import type { ImageEntry } from './layered-image.ts';

/** Of an inode of ext4 with nanoseconds. */
const inodeSizeBytes = 256;

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

function digestsOf(chunks: readonly ChunkFacts[]): ReadonlySet<string> {
  return new Set(chunks.map(({ digest }) => digest));
}

/** Chunks of `second` that `first` has not. */
export function compare(first: readonly ChunkFacts[], second: readonly ChunkFacts[]): Sharing {
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
  /** Of files whose content the first image does not have, or of inodes that it has otherwise or not at all. */
  newBytes: number;
}

/** The stored bytes of `second` by what they are for. */
export function attribute(
  first: ImageOnDisk,
  second: ImageOnDisk & { readonly use: DiskUse },
): readonly UseRow[] {
  const known = digestsOf(first.chunks);
  const isNew = newContent(first.entries, second.entries);
  const { use } = second;
  const rows = new Map<string, UseRow>();
  for (const chunk of second.chunks) {
    const isUnshared = !known.has(chunk.digest);
    for (let block = 0; block < chunk.storedBytes / blockSizeBytes; block += 1) {
      const layer = use.layerOf(chunk, block);
      const kind = use.kindOf(chunk, block);
      const row = rows.get(`${layer} ${kind}`) ?? { layer, kind, bytes: noAmount(), newBytes: 0 };
      rows.set(`${layer} ${kind}`, row);
      add(row.bytes, blockSizeBytes, isUnshared);
      if (isNew.has(use.pathOf(chunk, block))) row.newBytes += blockSizeBytes;
    }
  }
  const facts = new Map(first.entries.map((entry) => [entry.path, entry.facts]));
  for (const entry of second.entries) {
    const row = rows.get(`${entry.layer} inode table`);
    if (row !== undefined && facts.get(entry.path) !== entry.facts) row.newBytes += inodeSizeBytes;
  }
  return [...rows.values()].sort((a, b) => a.layer - b.layer || a.kind.localeCompare(b.kind));
}

/** Paths of files with content that no file of `first` has. */
function newContent(
  first: readonly ImageEntry[],
  second: readonly ImageEntry[],
): ReadonlySet<string | undefined> {
  const contents = new Set(first.map(({ file }) => file?.digest));
  return new Set(second.filter(({ file }) => !contents.has(file?.digest)).map(({ path }) => path));
}

/** A chunk that is not shared. */
export interface NewChunk {
  readonly index: number;
  readonly storedBytes: number;
  /** Of these for files whose content is new. */
  readonly newBytes: number;
  readonly kinds: readonly BlockKind[];
  readonly layers: readonly number[];
  readonly paths: readonly string[];
  /** Of them those whose content is new. */
  readonly newPaths: readonly string[];
}

export function newChunks(
  first: ImageOnDisk,
  second: ImageOnDisk & { readonly use: DiskUse },
): readonly NewChunk[] {
  const known = digestsOf(first.chunks);
  const isNew = newContent(first.entries, second.entries);
  const { use, chunks } = second;
  return chunks
    .filter(({ digest }) => !known.has(digest))
    .map((chunk) => {
      const blocks = [...Array(chunk.storedBytes / blockSizeBytes).keys()];
      const pathOfBlocks = blocks.map((block) => use.pathOf(chunk, block));
      const paths = [...new Set(pathOfBlocks)].filter((path) => path !== undefined);
      return {
        index: chunk.index,
        storedBytes: chunk.storedBytes,
        newBytes: pathOfBlocks.filter((path) => isNew.has(path)).length * blockSizeBytes,
        kinds: [...new Set(blocks.map((block) => use.kindOf(chunk, block)))],
        layers: [...new Set(blocks.map((block) => use.layerOf(chunk, block)))],
        paths,
        newPaths: paths.filter((path) => isNew.has(path)),
      };
    });
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

/** An image and its disk. */
export interface ImageOnDisk {
  readonly chunks: readonly StoredChunk[];
  readonly entries: readonly ImageEntry[];
}

/** Bytes of files of `layers` that are in both images under one path: how many lie in no chunk of `first`. */
export function equalFiles(
  first: ImageOnDisk,
  second: ImageOnDisk & { readonly use: DiskUse },
  layers: readonly number[],
): Amount {
  const known = digestsOf(first.chunks);
  const isNew = new Map(second.chunks.map(({ index, digest }) => [index, !known.has(digest)]));
  const files = new Map(first.entries.map(({ path, file }) => [path, file?.digest]));
  const sum = noAmount();
  for (const { path, layer, file } of second.entries) {
    if (file === undefined || !layers.includes(layer) || files.get(path) !== file.digest) continue;
    const { sizeBytes, extents } = present(second.use.files.get(path), `the file "${path}"`);
    for (const { logicalBlock, physicalBlock, blockCount } of extents) {
      for (let at = 0; at < blockCount; at += 1) {
        const chunk = Math.floor((physicalBlock + at) / blocksPerChunk);
        const left = sizeBytes - (logicalBlock + at) * blockSizeBytes;
        add(sum, Math.min(left, blockSizeBytes), isNew.get(chunk) ?? false);
      }
    }
  }
  return sum;
}

/**
 * What no writer of ext4 can share: blocks of files of `layers` whose content no file of `first` has, and inodes of what `first`
 * has otherwise or not at all. Its total is that of all files and inodes of the layers.
 */
export function changed(
  first: readonly ImageEntry[],
  second: readonly ImageEntry[],
  layers: readonly number[],
): Amount {
  const contents = new Set(first.map(({ file }) => file?.digest));
  const facts = new Map(first.map((entry) => [entry.path, entry.facts]));
  const sum = noAmount();
  for (const entry of second) {
    if (!layers.includes(entry.layer)) continue;
    add(sum, inodeSizeBytes, facts.get(entry.path) !== entry.facts);
    const { sizeBytes, digest } = entry.file ?? { sizeBytes: 0 };
    add(sum, roundUpToBlocks(sizeBytes), !contents.has(digest));
  }
  return sum;
}

/** The sizes of the files of `layers`, each rounded up to blocks. */
export function contentInBlocks(entries: readonly ImageEntry[], layers: readonly number[]): number {
  return entries
    .filter(({ layer }) => layers.includes(layer))
    .reduce((sum, { file }) => sum + roundUpToBlocks(file?.sizeBytes ?? 0), 0);
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
