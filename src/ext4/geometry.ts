/**
 * The measures of every filesystem that Thaw writes. Changing any of them changes every disk, so it means a new
 * `diskFormatVersion`.
 *
 * A group is 128 MiB of address space. Its first two chunks are its front: the inode table, exactly one
 * chunk long, begins somewhere in the first. The other 254 chunks are the group's slots.
 */

/** Raised whenever the same tree would give other bytes. */
export const diskFormatVersion = 3;

export const blockSizeBytes = 4096;
export const blocksPerGroup = 32_768;
export const inodeSizeBytes = 256;
export const inodesPerGroup = 2048;
export const inodesPerBlock = blockSizeBytes / inodeSizeBytes;
export const inodeTableBlocks = inodesPerGroup / inodesPerBlock;

/** The unit of deduplication that the layout aims at: 512 KiB. */
export const chunkBlocks = 128;
const frontBlocks = 2 * chunkBlocks;
export const slotsPerGroup = (blocksPerGroup - frontBlocks) / chunkBlocks;

/** Files of this many blocks (256 KiB) and more begin at a chunk boundary; smaller ones share chunks. */
export const largeFileBlocks = 64;

/** 512 GiB of address space, of which an image uses a few; grows when the content needs it. */
export const groupCountDefault = 4096;
/** 8 TiB: the largest power of two whose blocks 32 bits can count. */
export const groupCountMax = 65_536;

export const rootInodeNumber = 2;
/** Inodes 1 to 10 have a meaning of their own to ext4. */
export const firstFreeInodeNumber = 11;

/** As many directories in the root may have their inodes in the head, among so many numbers: seven blocks of them. */
export const topDirectoriesMax = 64;
export const topDirectoryNumbers = 112;

/** A run of blocks on the disk. */
export interface BlockRange {
  readonly firstBlock: number;
  readonly blockCount: number;
}

/** The first block of a slot, counted from the first block of slot 0's group. */
export function slotBlock(slot: number): number {
  const group = Math.floor(slot / slotsPerGroup);
  return group * blocksPerGroup + frontBlocks + (slot % slotsPerGroup) * chunkBlocks;
}

/** The blocks of something that begins at `firstBlock` and goes round the front of each group it reaches. */
export function rangesAroundFronts(firstBlock: number, blockCount: number): BlockRange[] {
  const ranges: BlockRange[] = [];
  let at = firstBlock;
  let left = blockCount;
  while (left > 0) {
    const groupEnd = (Math.floor(at / blocksPerGroup) + 1) * blocksPerGroup;
    const taken = Math.min(left, groupEnd - at);
    ranges.push({ firstBlock: at, blockCount: taken });
    left -= taken;
    at = groupEnd + frontBlocks;
  }
  return ranges;
}

/** Every disk's UUID: the same, so that equal trees give equal bytes. */
export const filesystemUuid: Uint8Array = Buffer.from('7468617700014d61a0c86469736b0001', 'hex');
export const volumeName = 'thaw';
/** What the hashes of names in directories begin from. */
export const directoryHashSeed = [0x74686177, 0x00014d61, 0xa0c86469, 0x736b0001] as const;
