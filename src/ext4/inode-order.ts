/**
 * Gives a layer's inodes their positions, so that few of them move when the layer is built anew.
 *
 * Paths that the layer names keep a number reserved, whatever became of them. Directories, which upper layers modify, have
 * tables of their own, apart from everything else. Inodes come in runs, cut where a path's hash says so, and
 * a run begins with a block of its table; tables are bins of runs, cut like bins of data. So one path more
 * moves inodes up to the end of its run, seldom to the end of its table, and more seldom those of other tables.
 */

import { roundUp, type ByteString } from '../base/index.ts';
import type { LayerCensus } from './census.ts';
import type { FilePart } from './disk-part.ts';
import { hasData } from './file-data.ts';
import { inodeTableBlocks, inodesPerBlock, inodesPerGroup } from './geometry.ts';
import type { PlannedInode } from './inode.ts';
import { cutIntoBins, type Binnable } from './packing.ts';
import { pathHash } from './path-hash.ts';
import { placementStretches, type Placeable } from './placement-order.ts';

/** Undefined for a number that nothing uses; a file part for a file that is no more. */
export type InodePosition = PlannedInode | FilePart | undefined;

/** Every `inodesPerGroup` positions are a table; the last one ends where its inodes do. */
export function orderInodes(census: LayerCensus, files: readonly FilePart[]): InodePosition[] {
  const directories = cutIntoRuns(directoryPlaces(census, files));
  const others = cutIntoRuns(otherPlaces(census, files));
  const all = [...directories, ...others];
  if (blockCount(all) <= inodeTableBlocks) return toTable(all);
  const tables = [...cutIntoBins(directories), ...cutIntoBins(others)].map(toTable);
  return tables.flatMap((table, index) => {
    if (index < tables.length - 1) table.length = inodesPerGroup;
    return [...table];
  });
}

interface InodePlace extends Placeable {
  readonly inode: InodePosition;
}

interface InodeRun extends Binnable {
  readonly inodes: InodePosition[];
}

/** One path in so many begins a new run, and so does every stretch. */
const pathsPerRun = 128;

function cutIntoRuns(places: readonly InodePlace[]): InodeRun[] {
  const runs: InodeRun[] = [];
  for (const stretch of placementStretches(places)) {
    let open: InodeRun | undefined;
    for (const { path, inode } of stretch) {
      const isFull = open?.inodes.length === inodesPerGroup;
      if (open === undefined || isFull || pathHash(path) % pathsPerRun === 0) {
        open = newRun(path);
        runs.push(open);
      }
      open.inodes.push(inode);
    }
  }
  return runs;
}

function newRun(path: ByteString): InodeRun {
  const inodes: InodePosition[] = [];
  return {
    path,
    inodes,
    get blockCount() {
      return Math.ceil(inodes.length / inodesPerBlock);
    },
  };
}

function blockCount(runs: readonly InodeRun[]): number {
  return runs.reduce((sum, run) => sum + run.blockCount, 0);
}

function toTable(runs: readonly InodeRun[]): InodePosition[] {
  const table: InodePosition[] = [];
  for (const { inodes } of runs) {
    table.length = roundUp(table.length, inodesPerBlock);
    table.push(...inodes);
  }
  return table;
}

/** The directories that the layer made, and those in which it has files. */
function directoryPlaces(census: LayerCensus, files: readonly FilePart[]): InodePlace[] {
  const places = new Map<ByteString, PlannedInode | undefined>();
  for (const { path } of files) {
    let directory = path;
    for (let end = directory.lastIndexOf('/'); end > 0; end = directory.lastIndexOf('/')) {
      directory = directory.slice(0, end) as ByteString;
      const isTop = !directory.includes('/'); // its inode lies in the head
      if (isTop || places.has(directory)) break;
      places.set(directory, undefined);
    }
  }
  for (const inode of census.directories) places.set(inode.path, inode);
  return [...places].map(([path, inode]) => ({ path, inode, modifiedSeconds: 0 }));
}

/** All others. */
function otherPlaces(census: LayerCensus, files: readonly FilePart[]): InodePlace[] {
  const withData = files.map((part): InodePlace => {
    const { path, modifiedSeconds } = part;
    return { path, modifiedSeconds, inode: part.inode ?? part };
  });
  const without = census.others
    .filter(({ node }) => node.type !== 'file' || !hasData(node.content))
    .map((inode): InodePlace => {
      const modifiedSeconds = inode.node.metadata.modified.seconds;
      return { path: inode.path, modifiedSeconds, inode };
    });
  return [...withData, ...without];
}
