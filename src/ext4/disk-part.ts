/**
 * What a disk is made of: parts that know how many blocks they need, are given a place by packing, and render themselves
 * when those blocks are asked for. A plan holds parts, not bytes, so that a million files fit into memory.
 */

import { byteStringToDisplay, present, type ByteString } from '../base/index.ts';
import type { FileContent } from '../rootfs/index.ts';
import {
  encodeDirectoryBlock,
  planDirectory,
  planInlineDirectory,
  type DirectoryShape,
  type DirectoryTarget,
} from './directory.ts';
import type { ContentReader } from './disk-plan.ts';
import { encodeExtentTree, type LogicalRun } from './extent-tree.ts';
import { dataRuns, readDataBlocks } from './file-data.ts';
import {
  blockSizeBytes,
  inodeSizeBytes,
  inodesPerBlock,
  rangesAroundFronts,
  type BlockRange,
} from './geometry.ts';
import { isInlineFile, targetOf } from './inline-data.ts';
import {
  encodeInode,
  inodeExtents,
  sortedNames,
  type ChildLookup,
  type PlannedDirectory,
  type PlannedInode,
} from './inode.ts';
import { fileTypes } from './layout.ts';
import { shortTailBlocks, type Packable } from './packing.ts';
import { encodeXattrBlock, planXattrs } from './xattr.ts';

export abstract class DiskPart implements Packable {
  abstract readonly path: ByteString;
  abstract readonly blockCount: number;
  /** Counted from the start of its layer's first group until the layer has its address, then from the disk's. */
  firstBlock = 0;
  /** False for bytes that the filesystem does not refer to: an upper layer replaced or deleted them. */
  abstract readonly live: boolean;

  get modifiedSeconds(): number {
    return 0;
  }

  /** Takes it, and all that it has elsewhere, so many blocks further. */
  moveBy(blockCount: number): void {
    this.firstBlock += blockCount;
  }

  /** Fills `target`, all zeros and a number of blocks long, with the part's blocks from `firstIndex` on. */
  abstract render(firstIndex: number, target: Uint8Array, content: ContentReader): Promise<void>;

  ranges(): BlockRange[] {
    return rangesAroundFronts(this.firstBlock, this.blockCount);
  }

  /** Where each block of the part lies. */
  blocks(): number[] {
    return this.ranges().flatMap(({ firstBlock, blockCount }) =>
      Array.from({ length: blockCount }, (_, index) => firstBlock + index),
    );
  }
}

/** A part whose blocks are made one at a time, from memory. */
abstract class MetadataPart extends DiskPart {
  abstract block(index: number): Uint8Array;

  override async render(firstIndex: number, target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.byteLength; at += blockSizeBytes) {
      target.set(this.block(firstIndex + at / blockSizeBytes), at);
    }
  }
}

/** A large file without its tail. */
class FileBody implements Packable {
  readonly blockCount: number;
  readonly #part: FilePart;

  constructor(part: FilePart, blockCount: number) {
    this.#part = part;
    this.blockCount = blockCount;
  }

  get path(): ByteString {
    return this.#part.path;
  }

  get modifiedSeconds(): number {
    return this.#part.modifiedSeconds;
  }

  get firstBlock(): number {
    return this.#part.firstBlock;
  }

  set firstBlock(block: number) {
    this.#part.firstBlock = block;
  }
}

/** The data of a regular file as its layer has it; no blocks if it lies in the inode. */
export class FilePart extends DiskPart {
  readonly content: FileContent;
  readonly blockCount: number;
  /** The inode that refers to it, if the file is still in the tree. */
  inode: PlannedInode | undefined;
  /** Of the inode that it would have if it were still in the tree. */
  number = 0;
  /** Its last blocks, if they lie apart from the others. */
  #tail: Packable | undefined;

  constructor(content: FileContent) {
    super();
    this.content = content;
    this.blockCount = isInlineFile(content)
      ? 0
      : dataRuns(content).reduce((sum: number, run: LogicalRun) => sum + run.blockCount, 0);
  }

  get path(): ByteString {
    return this.content.path;
  }

  override get modifiedSeconds(): number {
    return this.content.modified.seconds;
  }

  get live(): boolean {
    return this.inode !== undefined;
  }

  /** What packing places: the whole file, or its body and its tail. */
  pieces(): { readonly body: Packable; readonly tail?: Packable } {
    const tailBlocks = shortTailBlocks(this.blockCount);
    if (tailBlocks === 0) return { body: this };
    const { path, modifiedSeconds } = this;
    this.#tail = { path, modifiedSeconds, blockCount: tailBlocks, firstBlock: 0 };
    return { body: new FileBody(this, this.blockCount - tailBlocks), tail: this.#tail };
  }

  override moveBy(blockCount: number): void {
    super.moveBy(blockCount);
    if (this.#tail !== undefined) this.#tail.firstBlock += blockCount;
  }

  override ranges(): BlockRange[] {
    const tail = this.#tail;
    if (tail === undefined) return super.ranges();
    const body = rangesAroundFronts(this.firstBlock, this.blockCount - tail.blockCount);
    return [...body, { firstBlock: tail.firstBlock, blockCount: tail.blockCount }];
  }

  override async render(
    firstIndex: number,
    target: Uint8Array,
    content: ContentReader,
  ): Promise<void> {
    await readDataBlocks(this.content, firstIndex, target, content);
  }
}

/** A directory's entries, or those that it had at the end of a layer below. */
export class DirectoryPart extends MetadataPart {
  readonly inode: PlannedDirectory;
  readonly #past: DirectoryPast | undefined;
  readonly #shape: DirectoryShape;
  /** Kept by a directory of many blocks: to make it takes as long as reading all names. */
  #childNamed: ChildLookup | undefined;

  constructor(inode: PlannedDirectory, past?: DirectoryPast) {
    super();
    this.inode = inode;
    this.#past = past;
    this.#shape = planDirectory(this.#names(), byteStringToDisplay(inode.path));
  }

  get path(): ByteString {
    return this.inode.path;
  }

  get live(): boolean {
    return this.#past === undefined;
  }

  get blockCount(): number {
    return this.#shape.blockCount;
  }

  /** True if these entries would lie in the inode. */
  fitsInode(): boolean {
    return planInlineDirectory(this.#names()) !== undefined;
  }

  override block(index: number): Uint8Array {
    const { number, parent } = this.inode;
    const childNamed = this.#childNamed ?? this.inode.lookup();
    if (this.blockCount > 1) this.#childNamed = childNamed;
    return encodeDirectoryBlock(this.#shape, index, {
      self: number,
      parent: parent.number,
      names: () => this.#names(),
      resolve: (name) => this.#lostTarget(name) ?? targetOf(childNamed(name)),
    });
  }

  #lostTarget(name: ByteString): DirectoryTarget | undefined {
    const lost = this.#past?.lost.get(name);
    return lost && { inode: lost.number, entryType: fileTypes.file.entryType };
  }

  #names(): ByteString[] {
    const { node } = this.inode;
    const names = sortedNames(node);
    const past = this.#past;
    if (past === undefined) return names;
    const kept = names.filter((name) => (node.entries.get(name)?.layer ?? 0) <= past.layer);
    return [...new Set([...kept, ...past.lost.keys()])].sort();
  }
}

/**
 * What a directory was at the end of a layer that others have changed it since: what it has now from that layer and those
 * below, and what it has lost. Images without the upper layers have just this, so the two share the chunk; nobody
 * reads it here, so it need not be exact (what was lost besides that layer's own files is not known).
 */
export interface DirectoryPast {
  readonly layer: number;
  readonly lost: ReadonlyMap<ByteString, FilePart>;
}

/** A part that belongs to one inode and is as live as that. */
abstract class InodePart extends MetadataPart {
  readonly inode: PlannedInode;
  readonly live = true;

  constructor(inode: PlannedInode) {
    super();
    this.inode = inode;
  }

  get path(): ByteString {
    return this.inode.path;
  }
}

/** The text of a symlink that is too long for its inode. */
export class SymlinkPart extends InodePart {
  readonly blockCount = 1;

  override block(): Uint8Array {
    const block = Buffer.alloc(blockSizeBytes);
    if (this.inode.node.type === 'symlink') block.write(this.inode.node.target, 0, 'latin1');
    return block;
  }
}

/** The extended attributes that are too many for their inode. */
export class XattrPart extends InodePart {
  readonly blockCount = 1;

  override block(): Uint8Array {
    return encodeXattrBlock(planXattrs(this.inode).inBlock);
  }
}

/** The blocks of an extent tree that does not fit into its inode. */
export class ExtentNodesPart extends InodePart {
  readonly blockCount: number;
  #nodes: readonly Uint8Array[] | undefined;

  constructor(inode: PlannedInode, blockCount: number) {
    super(inode);
    this.blockCount = blockCount;
  }

  override block(index: number): Uint8Array {
    this.#nodes ??= encodeExtentTree(inodeExtents(this.inode), this.blocks()).nodes;
    return present(this.#nodes[index], 'a node of an extent tree');
  }
}

/** The part of a group's inode table that is in use. */
export class InodeTablePart extends DiskPart {
  readonly path = '' as ByteString;
  readonly live = true;
  /** Position in the table to inode; gaps are unused inodes. */
  readonly inodes: readonly (PlannedInode | undefined)[];

  constructor(inodes: readonly (PlannedInode | undefined)[]) {
    super();
    this.inodes = inodes;
  }

  get blockCount(): number {
    return Math.ceil(this.inodes.length / inodesPerBlock);
  }

  override async render(
    firstIndex: number,
    target: Uint8Array,
    content: ContentReader,
  ): Promise<void> {
    const first = firstIndex * inodesPerBlock;
    const count = target.byteLength / inodeSizeBytes;
    for (let index = 0; index < count; index += 1) {
      const inode = this.inodes[first + index];
      if (inode === undefined) continue;
      const inlineBytes = await inode.inline?.bytes(content);
      encodeInode(inode, inlineBytes, target, index * inodeSizeBytes);
    }
  }
}

/** Bytes that are ready. */
export class BytesPart extends DiskPart {
  readonly path = '' as ByteString;
  readonly live = true;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, firstBlock: number) {
    super();
    this.#bytes = bytes;
    this.firstBlock = firstBlock;
  }

  get blockCount(): number {
    return this.#bytes.byteLength / blockSizeBytes;
  }

  override async render(firstIndex: number, target: Uint8Array): Promise<void> {
    const start = firstIndex * blockSizeBytes;
    target.set(this.#bytes.subarray(start, start + target.byteLength));
  }
}
