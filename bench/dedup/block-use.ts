/** What each block of a disk is for, and on whose behalf, found out by reading the filesystem: any writer's. */

import type { RandomAccess } from '../../src/base/index.ts';
import { openFilesystem, type Ext4Reader, type Extent } from '../../src/ext4/index.ts';
import { walkTree, type Node, type RootTree } from '../../src/rootfs/index.ts';
import { blockSizeBytes, blocksPerChunk, type Disk, type StoredChunk } from './disk-chunks.ts';
import type { LayeredImage } from './layered-image.ts';

/** The order is that of `BlockUse.kind`. */
export const blockKinds = [
  'dead or free',
  'gap',
  'head',
  'inode table',
  'directory',
  'other metadata',
  'small file',
  'large file',
] as const;

export type BlockKind = (typeof blockKinds)[number];

/** Files of this size and more count as large. */
const largeFileBytes = 256 * 1024;

export interface FileBlocks {
  readonly sizeBytes: number;
  readonly extents: readonly Extent[];
}

export interface DiskUse {
  kindOf(chunk: StoredChunk, block: number): BlockKind;
  /** Index of the layer; the number of layers for what belongs to none. */
  layerOf(chunk: StoredChunk, block: number): number;
  /** The file or directory whose data it holds. */
  pathOf(chunk: StoredChunk, block: number): string | undefined;
  /** By path, of several the first in `walkTree`. */
  readonly files: ReadonlyMap<string, FileBlocks>;
}

interface Marks {
  readonly kind: Uint8Array;
  readonly path: (string | undefined)[];
  readonly layer: Uint8Array;
}

type Mark = (block: number, kind: BlockKind, layer: number, path?: string) => void;

const unmarkedLayer = 255;

export async function readDiskUse(
  disk: Disk,
  chunks: readonly StoredChunk[],
  image: LayeredImage,
): Promise<DiskUse> {
  const marks = new Map<number, Marks>();
  for (const { index } of chunks) {
    marks.set(index, {
      kind: new Uint8Array(blocksPerChunk),
      path: [],
      layer: new Uint8Array(blocksPerChunk).fill(unmarkedLayer),
    });
  }
  const mark: Mark = (block, kind, layer, path) => {
    const found = marks.get(Math.floor(block / blocksPerChunk));
    if (found === undefined) return;
    found.kind[block % blocksPerChunk] = blockKinds.indexOf(kind);
    found.layer[block % blocksPerChunk] = layer;
    found.path[block % blocksPerChunk] = path;
  };
  const files = await markAll(disk, image, mark);
  const layerCount = image.layers.length;
  const owners = layersByGroup(marks, await readFrame(disk));
  return {
    files,
    kindOf: (chunk, block) => {
      const kind = blockKinds[marks.get(chunk.index)?.kind[block] ?? 0] ?? 'dead or free';
      if (kind !== 'dead or free') return kind;
      if (chunk.used[block] === 0) return 'gap';
      return chunk.index === 0 ? 'head' : kind;
    },
    pathOf: (chunk, block) => marks.get(chunk.index)?.path[block],
    layerOf: (chunk, block) => {
      const layer = marks.get(chunk.index)?.layer[block] ?? unmarkedLayer;
      return layer === unmarkedLayer ? (owners.get(chunk.index) ?? layerCount) : layer;
    },
  };
}

async function markAll(
  disk: Disk,
  { tree, layers }: LayeredImage,
  mark: Mark,
): Promise<Map<string, FileBlocks>> {
  const owners = ownersByPath(tree);
  const frame = await readFrame(disk);
  const files = new Map<string, FileBlocks>();
  const reader: Ext4Reader = await openFilesystem(cached(disk));
  for await (const { path, inode } of reader.walk()) {
    const nobody = { path, layer: layers.length, contentLayer: layers.length };
    const owner = owners.get(path) ?? nobody;
    if (files.has(owner.path)) continue; // another name of a file
    mark(await frame.inodeBlock(inode.number), 'inode table', owner.layer);
    if (inode.xattrBlock !== 0) mark(inode.xattrBlock, 'other metadata', owner.layer);
    if (inode.type !== 'file' && inode.type !== 'directory') continue;
    const extents = await reader.extents(inode);
    const kind = kindOf(inode);
    for (const { physicalBlock, blockCount } of extents) {
      for (let at = 0; at < blockCount; at += 1) {
        mark(physicalBlock + at, kind, owner.contentLayer, owner.path);
      }
    }
    if (inode.type === 'file') files.set(owner.path, { sizeBytes: inode.sizeBytes, extents });
  }
  return files;
}

interface Owner {
  /** The first of a file's names. */
  readonly path: string;
  readonly layer: number;
  readonly contentLayer: number;
}

function ownersByPath({ root }: RootTree): ReadonlyMap<string, Owner> {
  const byNode = new Map<Node, Owner>();
  const byPath = new Map<string, Owner>();
  for (const { path, node } of walkTree(root)) {
    const { layer } = node;
    let contentLayer = layer;
    if (node.type === 'file') contentLayer = node.content.layer;
    if (node.type === 'directory') contentLayer = node.changedByLayers.at(-1) ?? layer;
    const owner = byNode.get(node) ?? { path, layer, contentLayer };
    byNode.set(node, owner);
    byPath.set(path, owner);
  }
  return byPath;
}

function kindOf({ type, sizeBytes }: { type: string; sizeBytes: number }): BlockKind {
  if (type === 'directory') return 'directory';
  return sizeBytes >= largeFileBytes ? 'large file' : 'small file';
}

/** Metadata is read in small pieces that lie together. */
function cached(disk: RandomAccess): RandomAccess {
  const blocks = new Map<number, Buffer>();
  return {
    sizeBytes: disk.sizeBytes,
    read: async (offset, target) => {
      const number = Math.floor(offset / blockSizeBytes);
      const within = offset - number * blockSizeBytes;
      if (within + target.byteLength > blockSizeBytes) {
        await disk.read(offset, target);
        return;
      }
      let block = blocks.get(number);
      if (block === undefined) {
        block = Buffer.alloc(blockSizeBytes);
        await disk.read(number * blockSizeBytes, block);
        if (blocks.size > 4096) blocks.clear();
        blocks.set(number, block);
      }
      target.set(block.subarray(within, within + target.byteLength));
    },
  };
}

interface Frame {
  readonly blocksPerGroup: number;
  inodeBlock(number: number): Promise<number>;
}

/** Of the superblock what says where inodes are. Source: kernel Documentation/filesystems/ext4/super.rst, group_descr.rst. */
async function readFrame(disk: RandomAccess): Promise<Frame> {
  const superblock = Buffer.alloc(1024);
  await disk.read(1024, superblock);
  const inodesPerGroup = superblock.readUInt32LE(0x28);
  const inodeSizeBytes = superblock.readUInt16LE(0x58);
  const is64bit = (superblock.readUInt32LE(0x60) & 0x80) !== 0;
  const descriptorBytes = is64bit ? superblock.readUInt16LE(0xfe) : 32;
  const tables = new Map<number, number>();
  const tableOf = async (group: number): Promise<number> => {
    const known = tables.get(group);
    if (known !== undefined) return known;
    const descriptor = Buffer.alloc(32);
    await disk.read(blockSizeBytes + group * descriptorBytes, descriptor);
    const table = descriptor.readUInt32LE(8);
    tables.set(group, table);
    return table;
  };
  return {
    blocksPerGroup: superblock.readUInt32LE(0x20),
    inodeBlock: async (number) => {
      const group = Math.floor((number - 1) / inodesPerGroup);
      const index = (number - 1) % inodesPerGroup;
      return (await tableOf(group)) + Math.floor((index * inodeSizeBytes) / blockSizeBytes);
    },
  };
}

/** For each chunk the layer that most of its own marked blocks belong to, else most of its group's. */
function layersByGroup(
  marks: ReadonlyMap<number, Marks>,
  { blocksPerGroup }: Frame,
): Map<number, number> {
  const perGroup = blocksPerGroup / blocksPerChunk;
  const inGroup = new Map<number, Map<number, number>>();
  const inChunk = new Map<number, Map<number, number>>();
  for (const [index, { layer }] of marks) {
    const group = Math.floor(index / perGroup);
    const groupCounts = inGroup.get(group) ?? new Map<number, number>();
    const counts = new Map<number, number>();
    for (const owner of layer) {
      if (owner === unmarkedLayer) continue;
      groupCounts.set(owner, (groupCounts.get(owner) ?? 0) + 1);
      counts.set(owner, (counts.get(owner) ?? 0) + 1);
    }
    inGroup.set(group, groupCounts);
    inChunk.set(index, counts);
  }
  const owners = new Map<number, number>();
  for (const [index, counts] of inChunk) {
    if (index === 0) continue;
    const own = mostFrequent(counts) ?? mostFrequent(inGroup.get(Math.floor(index / perGroup)));
    if (own !== undefined) owners.set(index, own);
  }
  return owners;
}

function mostFrequent(counts: ReadonlyMap<number, number> | undefined): number | undefined {
  let best: number | undefined;
  let most = 0;
  for (const [value, count] of counts ?? []) {
    if (count > most) [best, most] = [value, count];
  }
  return best;
}
