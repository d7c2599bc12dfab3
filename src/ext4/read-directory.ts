/** Directories as they are read: all entries, or one by its hash. Source: kernel Documentation/filesystems/ext4/directory.rst. */

import { viewOf, type ByteString } from '../base/index.ts';
import { Ext4CorruptError } from './errors.ts';
import type { Extent } from './extent-tree.ts';
import { halfMd4 } from './half-md4.ts';
import {
  DirectoryEntryHead,
  HashTreeCount,
  HashTreeEntry,
  HashTreeInfo,
  InodeFlags,
  hashHalfMd4,
  inlineBlockFieldBytes,
  inlineParentBytes,
} from './layout.ts';
import { firstExtentEndingAfter, readExtents } from './read-data.ts';
import { readInlineData } from './read-inline.ts';
import type { Ext4Inode } from './read-inode.ts';
import type { Volume } from './volume.ts';

/** One name in a directory; `.` and `..` are left out. */
export interface Ext4DirectoryEntry {
  readonly name: ByteString;
  readonly inode: number;
}

/** A directory's blocks in order; the two parts of one that lies in its inode count as blocks. */
class DirectoryBlocks {
  readonly count: number;
  readonly directory: Ext4Inode;
  readonly #volume: Volume;
  readonly #extents: readonly Extent[];
  readonly #inline: readonly Uint8Array[] | undefined;

  private constructor(volume: Volume, directory: Ext4Inode, extents: readonly Extent[]) {
    this.#volume = volume;
    this.#extents = extents;
    this.directory = directory;
    this.#inline = this.#inlineParts();
    this.count = this.#inline?.length ?? directory.sizeBytes / volume.info.blockSizeBytes;
  }

  static async open(volume: Volume, directory: Ext4Inode): Promise<DirectoryBlocks> {
    if (directory.type !== 'directory') {
      throw new Ext4CorruptError(`Inode ${directory.number} is no directory`);
    }
    const blocks = new DirectoryBlocks(volume, directory, await readExtents(volume, directory));
    if (blocks.#inline !== undefined) return blocks;
    const mapped = blocks.#extents.reduce((sum, extent) => sum + extent.blockCount, 0);
    blocks.expect(Number.isInteger(blocks.count) && blocks.count > 0, 'has an odd size');
    blocks.expect(blocks.count <= mapped, 'has holes');
    return blocks;
  }

  #inlineParts(): Uint8Array[] | undefined {
    const bytes = readInlineData(this.directory);
    if (bytes === undefined) return undefined;
    this.expect(bytes.byteLength === this.directory.sizeBytes, 'has an odd size');
    const front = bytes.subarray(inlineParentBytes, inlineBlockFieldBytes);
    const back = bytes.subarray(inlineBlockFieldBytes);
    return back.byteLength === 0 ? [front] : [front, back];
  }

  async block(index: number): Promise<Uint8Array> {
    const part = this.#inline?.[index];
    if (part !== undefined) return part;
    const extent = this.#extents[firstExtentEndingAfter(this.#extents, index)];
    if (extent === undefined || extent.logicalBlock > index) return this.fail('has holes');
    const number = extent.physicalBlock + index - extent.logicalBlock;
    return await this.#volume.block(number, `Directory ${this.directory.number}`);
  }

  /** The entries of one block, unused ones and the two dots left out. */
  async entries(index: number): Promise<Ext4DirectoryEntry[]> {
    const block = viewOf(await this.block(index));
    const entries: Ext4DirectoryEntry[] = [];
    let at = 0;
    while (at < block.byteLength) {
      const nameAt = at + DirectoryEntryHead.sizeBytes;
      this.expect(nameAt <= block.byteLength, 'has an entry cut short');
      // By hand rather than by the table: a lookup goes over every entry of a block.
      const inode = block.readUInt32LE(at);
      const recordBytes = recordLength(block.readUInt16LE(at + 4), block.byteLength);
      const nameBytes = block.readUInt8(at + 6);
      const fits = recordBytes % 4 === 0 && at + recordBytes <= block.byteLength;
      this.expect(fits && nameAt + nameBytes <= at + recordBytes, 'has an entry of odd length');
      const name = block.toString('latin1', nameAt, nameAt + nameBytes) as ByteString;
      at += recordBytes;
      if (inode === 0 || name === '.' || name === '..') continue;
      this.expect(name !== '' && !/[/\0]/.test(name), 'has an entry with an impossible name');
      entries.push({ name, inode });
    }
    return entries;
  }

  expect(holds: boolean, otherwise: string): void {
    if (!holds) this.fail(otherwise);
  }

  fail(problem: string): never {
    throw new Ext4CorruptError(`Directory ${this.directory.number} ${problem}`);
  }
}

/** 64 KiB do not fit into the field: there, 0 and 65,535 stand for a record that fills the block. */
function recordLength(field: number, blockBytes: number): number {
  return blockBytes === 65_536 && (field === 0 || field === 65_535) ? blockBytes : field;
}

/** All entries but `.` and `..`, in byte order of the names. */
export async function readDirectory(
  volume: Volume,
  directory: Ext4Inode,
): Promise<Ext4DirectoryEntry[]> {
  const blocks = await DirectoryBlocks.open(volume, directory);
  const entries = new Map<ByteString, Ext4DirectoryEntry>();
  for (let index = 0; index < blocks.count; index += 1) {
    for (const entry of await blocks.entries(index)) {
      blocks.expect(!entries.has(entry.name), 'has two entries of one name');
      entries.set(entry.name, entry);
    }
  }
  return [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The inode number that `name` stands for, found through the hash tree if there is one. */
export async function findInDirectory(
  volume: Volume,
  directory: Ext4Inode,
  name: ByteString,
): Promise<number | undefined> {
  const blocks = await DirectoryBlocks.open(volume, directory);
  const candidates =
    (directory.flags & InodeFlags.index) === 0
      ? Array.from({ length: blocks.count }, (_, index) => index)
      : await findLeaves(volume, blocks, name);
  for (const index of candidates) {
    for (const entry of await blocks.entries(index)) {
      if (entry.name === name) return entry.inode;
    }
  }
  return undefined;
}

const dotsBytes = 24;
const levelsMax = 2;

/** The leaves in which `name` would be: mostly one, more where names of one hash fill several. */
async function findLeaves(
  volume: Volume,
  blocks: DirectoryBlocks,
  name: ByteString,
): Promise<number[]> {
  const root = await blocks.block(0);
  const info = HashTreeInfo.decode(root, dotsBytes);
  blocks.expect(info.info_length === HashTreeInfo.sizeBytes, 'has a damaged hash tree');
  blocks.expect(info.indirect_levels <= levelsMax, 'has too deep a hash tree');
  if (info.hash_version !== hashHalfMd4) {
    // Some other hash: the leaves, like all blocks of the tree, read as a plain directory.
    return Array.from({ length: blocks.count }, (_, index) => index);
  }
  const hash = halfMd4(name, volume.hashSeed, volume.hashSigned);
  let level = childrenFor(blocks, root, dotsBytes + HashTreeInfo.sizeBytes, hash);
  for (let depth = 0; depth < info.indirect_levels; depth += 1) {
    const below: number[] = [];
    for (const index of level) {
      const node = await blocks.block(index);
      below.push(...childrenFor(blocks, node, DirectoryEntryHead.sizeBytes, hash));
    }
    blocks.expect(below.length <= blocks.count, 'has a damaged hash tree');
    level = below;
  }
  return level;
}

/** The children of a node that may hold `hash`: the last that begins at or below it, and those that continue it. */
function childrenFor(
  blocks: DirectoryBlocks,
  node: Uint8Array,
  startAt: number,
  hash: number,
): number[] {
  const { limit, count } = HashTreeCount.decode(node, startAt);
  const room = Math.floor((node.byteLength - startAt) / HashTreeEntry.sizeBytes);
  blocks.expect(count >= 1 && count <= limit && limit <= room, 'has a damaged hash tree');
  const children: number[] = [];
  for (let entry = 0; entry < count; entry += 1) {
    const at = startAt + entry * HashTreeEntry.sizeBytes;
    const child = HashTreeEntry.decode(node, at);
    const firstHash = entry === 0 ? 0 : child.hash;
    if (firstHash > hash + 1) break;
    // One that begins at the hash itself replaces those before it; one that continues the hash joins them.
    if (firstHash <= hash) children.length = 0;
    children.push(child.block);
  }
  return children;
}
