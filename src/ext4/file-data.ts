/** Which blocks of a regular file hold data, and how those bytes are found in the file's layer. */

import { firstNotBefore, assert } from '../base/index.ts';
import type { FileContent } from '../rootfs/index.ts';
import type { ContentReader } from './disk-plan.ts';
import type { LogicalRun } from './extent-tree.ts';
import { blockSizeBytes } from './geometry.ts';

/** False for an empty file, and for one that is all hole. */
export function hasData({ segments }: FileContent): boolean {
  return segments.some(({ lengthBytes }) => lengthBytes > 0);
}

/** Runs of blocks that a segment touches, rising and apart; everything else is a hole. */
export function dataRuns(content: FileContent): LogicalRun[] {
  const runs: { logicalBlock: number; blockCount: number }[] = [];
  let endBytes = 0;
  for (const { fileOffset, lengthBytes } of content.segments) {
    if (lengthBytes === 0) continue;
    assert(
      fileOffset >= endBytes && fileOffset + lengthBytes <= content.sizeBytes,
      `The segments of "${content.path}" overlap or pass its end`,
    );
    endBytes = fileOffset + lengthBytes;
    const first = Math.floor(fileOffset / blockSizeBytes);
    const end = Math.ceil(endBytes / blockSizeBytes);
    const last = runs.at(-1);
    const lastEnd = last === undefined ? -1 : last.logicalBlock + last.blockCount;
    if (last !== undefined && first <= lastEnd) last.blockCount = end - last.logicalBlock;
    else runs.push({ logicalBlock: first, blockCount: end - first });
  }
  return runs;
}

/**
 * Fills `target`, which is all zeros, with the file's data from block `dataBlock` on, holes not counted: the
 * blocks of all runs lie one after the other on the disk.
 */
export async function readDataBlocks(
  file: FileContent,
  dataBlock: number,
  target: Uint8Array,
  content: ContentReader,
): Promise<void> {
  const wantedEnd = dataBlock + target.byteLength / blockSizeBytes;
  const runs = countedRuns(file);
  for (let index = firstRunEndingAfter(runs, dataBlock); ; index += 1) {
    const run = runs[index];
    if (run === undefined || run.firstDataBlock >= wantedEnd) return;
    const from = Math.max(dataBlock, run.firstDataBlock);
    const to = Math.min(wantedEnd, run.firstDataBlock + run.blockCount);
    const fileOffset = (run.logicalBlock + from - run.firstDataBlock) * blockSizeBytes;
    const at = (from - dataBlock) * blockSizeBytes;
    const part = target.subarray(at, at + (to - from) * blockSizeBytes);
    await readSegments(file, fileOffset, part, content);
  }
}

/** A run and how many blocks of data the file has before it. */
interface CountedRun extends LogicalRun {
  readonly firstDataBlock: number;
}

/** Of files with many runs, which are read a chunk at a time and should not be counted anew for each. */
const countedBefore = new WeakMap<FileContent, readonly CountedRun[]>();
const fewSegments = 64;

function countedRuns(file: FileContent): readonly CountedRun[] {
  const known = countedBefore.get(file);
  if (known !== undefined) return known;
  let firstDataBlock = 0;
  const runs = dataRuns(file).map((run): CountedRun => {
    const counted = { ...run, firstDataBlock };
    firstDataBlock += run.blockCount;
    return counted;
  });
  if (file.segments.length > fewSegments) countedBefore.set(file, runs);
  return runs;
}

function firstRunEndingAfter(runs: readonly CountedRun[], dataBlock: number): number {
  return firstNotBefore(runs.length, (index) => {
    const run = runs[index];
    return run !== undefined && run.firstDataBlock + run.blockCount <= dataBlock;
  });
}

/** Fills `target`, which is all zeros, with the file's bytes from `offset` on. */
export async function readSegments(
  file: FileContent,
  offset: number,
  target: Uint8Array,
  content: ContentReader,
): Promise<void> {
  const end = offset + target.byteLength;
  for (let index = firstSegmentEndingAfter(file, offset); ; index += 1) {
    const segment = file.segments[index];
    if (segment === undefined || segment.fileOffset >= end) return;
    const from = Math.max(offset, segment.fileOffset);
    const to = Math.min(end, segment.fileOffset + segment.lengthBytes);
    if (from >= to) continue;
    const tarOffset = segment.tarOffset + from - segment.fileOffset;
    await content.read(file.layer, tarOffset, target.subarray(from - offset, to - offset));
  }
}

/** By bisection: a sparse file may have very many segments. */
function firstSegmentEndingAfter({ segments }: FileContent, offset: number): number {
  return firstNotBefore(segments.length, (index) => {
    const segment = segments[index];
    return segment !== undefined && segment.fileOffset + segment.lengthBytes <= offset;
  });
}
