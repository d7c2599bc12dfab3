/**
 * Holds a disk of Thaw's own against itself, as e2fsck would and further: everything found by walking it from the root is
 * encoded again, and must give the bytes that are there. So every inode, directory, extent tree, block of attributes,
 * bitmap and descriptor and the superblock are checked in full; file data is not looked at.
 */

import {
  byteStringToPrintable,
  ThawError,
  viewOf,
  type ByteString,
  type RandomAccess,
} from '../base/index.ts';
import { checkInode, differences } from './check-inode.ts';
import {
  blockSizeBytes,
  blocksPerGroup,
  firstFreeInodeNumber,
  inodeSizeBytes,
  inodeTableBlocks,
  inodesPerGroup,
  rootInodeNumber,
  type BlockRange,
} from './geometry.ts';
import { DiskUse, encodeHead, shapeHead } from './head.ts';
import { blocksUninitialised, GroupDescriptor, Superblock, superblockOffset } from './layout.ts';
import { readInode, type Ext4Inode } from './read-inode.ts';
import { Volume } from './volume.ts';

/** What was looked at and what was found. */
export interface DiskCheck {
  /** Inodes reached from the root. */
  readonly fileCount: number;
  /** One line each, the first 100; none if all is well. */
  readonly problems: readonly string[];
}

const problemsMax = 100;

/**
 * Checks a disk that `planDisk` of this `diskFormatVersion` made; any other may be found faulty where it only differs.
 * Never throws for a bad disk; throws what the disk's own `read` throws.
 */
export async function checkDisk(disk: RandomAccess): Promise<DiskCheck> {
  const problems: string[] = [];
  let fileCount = 0;
  try {
    const check = new Check(await Volume.open(disk), problems);
    fileCount = await check.run();
  } catch (thrown) {
    problems.push(problemOf(thrown));
  }
  return { fileCount, problems: problems.slice(0, problemsMax) };
}

function problemOf(thrown: unknown): string {
  if (thrown instanceof ThawError && thrown.fault === 'data') return thrown.message;
  throw thrown;
}

/** A directory entry that leads somewhere. */
interface Step {
  readonly path: ByteString;
  readonly number: number;
  readonly parent: number;
}

class Check {
  readonly #volume: Volume;
  readonly #problems: string[];
  readonly #use: DiskUse;
  /** Of files with several names: how many are not found yet. */
  readonly #namesLeft = new Map<number, number>();
  #fileCount = 0;
  #rootBlocks = 0;

  constructor(volume: Volume, problems: string[]) {
    this.#volume = volume;
    this.#problems = problems;
    this.#use = new DiskUse(Math.max(1, Math.floor(volume.info.blockCount / blocksPerGroup)));
  }

  async run(): Promise<number> {
    const { blockCount, blockSizeBytes: blockBytes, inodeCount } = this.#volume.info;
    const { groupCount } = this.#use;
    const isOurs =
      blockBytes === blockSizeBytes &&
      blockCount === groupCount * blocksPerGroup &&
      inodeCount === groupCount * inodesPerGroup &&
      this.#volume.inodeSizeBytes === inodeSizeBytes;
    if (!isOurs) {
      this.#problems.push('The superblock describes no disk that Thaw makes');
      return 0;
    }
    await this.#findTables();
    await this.#walk();
    for (const [number, left] of this.#namesLeft) {
      if (left > 0) this.#problems.push(`Inode ${number} lacks ${left} of its names`);
    }
    await this.#checkUnusedInodes();
    await this.#checkHead();
    return this.#fileCount;
  }

  /** Groups of which anything was ever written have an inode table. */
  async #findTables(): Promise<void> {
    for (let group = 0; group < this.#use.groupCount; group += 1) {
      const { bg_flags, bg_inode_table_lo: firstBlock } = await this.#volume.descriptor(group);
      const isWritten = (bg_flags & blocksUninitialised) === 0;
      if (!isWritten && !this.#use.groups.has(group)) continue;
      if (Math.floor(firstBlock / blocksPerGroup) !== group) {
        this.#problems.push(`The inode table of group ${group} lies in another group`);
        continue;
      }
      this.#use.touch(group).tableBlock = firstBlock;
      this.#claim(
        { firstBlock, blockCount: inodeTableBlocks },
        `The inode table of group ${group}`,
      );
    }
  }

  async #walk(): Promise<void> {
    const open: Step[] = [
      { path: '' as ByteString, number: rootInodeNumber, parent: rootInodeNumber },
    ];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      if (this.#problems.length > problemsMax) return;
      try {
        // One by one: a directory may have more entries than a call takes arguments.
        for (const next of await this.#checkStep(step)) open.push(next);
      } catch (thrown) {
        this.#problems.push(`${shown(step)}: ${problemOf(thrown)}`);
      }
    }
  }

  /** Returns the steps that lead on, in the order in which a stack wants them. */
  async #checkStep(step: Step): Promise<Step[]> {
    if (this.#isKnown(step)) return [];
    const inode = await readInode(this.#volume, step.number);
    if (!this.#isNew(inode, step)) return [];
    this.#fileCount += 1;
    const { problems, uses, entries } = await checkInode(this.#volume, inode, step);
    for (const problem of problems) this.#problems.push(`${shown(step)}: ${problem}`);
    for (const range of uses) this.#claim(range, shown(step));
    if (step.path === '') this.#rootBlocks = uses.reduce((sum, use) => sum + use.blockCount, 0);
    const prefix = step.path === '' ? '' : `${step.path}/`;
    return entries.toReversed().map(({ name, inode: number }) => {
      return { path: `${prefix}${name}` as ByteString, number, parent: step.number };
    });
  }

  /** Counts one more name of a file that may have several; false if none of them was met before. */
  #isKnown(step: Step): boolean {
    const namesLeft = this.#namesLeft.get(step.number);
    if (namesLeft === undefined) return false;
    this.#namesLeft.set(step.number, namesLeft - 1);
    if (namesLeft === 0) this.#problems.push(`${shown(step)}: it has more names than links`);
    return true;
  }

  /** Counts the inode; false if it was met before and should have one name only. */
  #isNew({ number, type, linkCount }: Ext4Inode, step: Step): boolean {
    const wasFree = this.#use.useInode(number, type === 'directory');
    // The root is one of those inodes that are in use from the start.
    if (!wasFree && step.path !== '') {
      this.#problems.push(`${shown(step)}: it has more names than links`);
      return false;
    }
    if (type !== 'directory' && linkCount > 1) this.#namesLeft.set(number, linkCount - 1);
    return true;
  }

  #claim({ firstBlock, blockCount }: BlockRange, what: string): void {
    if (this.#use.useBlocks({ firstBlock, blockCount }) === blockCount) return;
    this.#problems.push(`${what}: some of the blocks from ${firstBlock} on have another use, too`);
  }

  /** e2fsck would find inodes there that no name leads to. */
  async #checkUnusedInodes(): Promise<void> {
    const zeros = Buffer.alloc(inodeSizeBytes);
    for (const [group, { inodes }] of this.#use.groups) {
      if (inodes === undefined) continue;
      for (let index = 0; index < inodesPerGroup; index += 1) {
        const number = group * inodesPerGroup + index + 1;
        const isReserved = number < firstFreeInodeNumber && number !== rootInodeNumber;
        if (inodes.has(index) && !isReserved) continue;
        const bytes = await this.#volume.inodeBytes(number);
        if (!zeros.equals(bytes)) this.#problems.push(`Inode ${number} is unused and not zero`);
      }
    }
  }

  /** Superblock, descriptors and bitmaps, as everything in use asks for them. */
  async #checkHead(): Promise<void> {
    const shape = shapeHead(this.#use, this.#rootBlocks);
    this.#claim({ firstBlock: 0, blockCount: shape.rootBlock }, 'The head of the disk');
    if (this.#use.touch(0).tableBlock !== shape.tableBlock) {
      this.#problems.push('The first inode table is not behind the root directory');
    }
    const wanted = encodeHead(this.#use, shape);
    const found = Buffer.alloc(wanted.byteLength);
    await this.#volume.read(0, 0, found);
    for (let at = 0; at < found.byteLength; at += blockSizeBytes) {
      const is = found.subarray(at, at + blockSizeBytes);
      const must = wanted.subarray(at, at + blockSizeBytes);
      if (is.equals(must)) continue;
      const block = at / blockSizeBytes;
      if (block === 0) this.#problems.push(superblockProblem(is, must));
      else if (block <= shape.descriptorBlocks) this.#descriptorProblems(block - 1, is, must);
      else this.#problems.push(`The bitmap in block ${block} does not say what is in use`);
    }
  }

  #descriptorProblems(index: number, found: Uint8Array, wanted: Uint8Array): void {
    const { sizeBytes } = GroupDescriptor;
    for (let at = 0; at < blockSizeBytes; at += sizeBytes) {
      const [is, must] = [found.subarray(at, at + sizeBytes), wanted.subarray(at, at + sizeBytes)];
      if (viewOf(is).equals(must)) continue;
      const group = (index * blockSizeBytes + at) / sizeBytes;
      const problem = differences(GroupDescriptor, is, must);
      this.#problems.push(`The descriptor of group ${group}: ${problem}`);
    }
  }
}

function superblockProblem(found: Buffer, wanted: Uint8Array): string {
  const end = superblockOffset + Superblock.sizeBytes;
  const [is, must] = [
    found.subarray(superblockOffset, end),
    wanted.subarray(superblockOffset, end),
  ];
  if (is.equals(must)) return 'The blocks around the superblock are not empty';
  return `The superblock: ${differences(Superblock, is, must)}`;
}

function shown({ path, number }: Step): string {
  return `Inode ${number}, "/${byteStringToPrintable(path)}"`;
}
