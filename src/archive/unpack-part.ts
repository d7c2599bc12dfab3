/** Writes files of an archive below a directory. Runs on a thread of its own, and therefore waits for the disk. */

import {
  closeSync,
  fchmodSync,
  futimesSync,
  chmodSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

import { errorCode } from '../base/index.ts';
import {
  decodeList,
  type PlannedDirectory,
  type PlannedFile,
  type PlannedLink,
  type PlannedPart,
} from './archive-plan.ts';
import { openRange, type SealedFrame } from './archive-seal.ts';
import { inflateAtOnce, inflateEntry } from './inflate-entry.ts';

/** Of directories that the archive does not name. */
const directoryMode = 0o755;
const umask = process.umask();

/** Whether files are made with less than `mode` here. */
function isMasked(mode: number): boolean {
  return (mode & umask) !== 0;
}

/** A sealed archive and the key that opens it. */
export interface OpenableArchive {
  readonly sealed: Uint8Array;
  readonly frame: SealedFrame;
  readonly key: Uint8Array;
}

/**
 * The files of one part, with the directories that they need. Nothing below `directory` may be a link yet. Throws
 * `ERR_ARCHIVE_CORRUPT` and what the disk says.
 */
export async function unpackPart(
  { sealed, frame, key }: OpenableArchive,
  part: PlannedPart,
  directory: string,
): Promise<void> {
  const listFrom = frame.headBytes + part.listOffset;
  const list = openRange(sealed, key, frame, { from: listFrom, to: listFrom + part.listBytes });
  const zipFrom = frame.headBytes + frame.listsBytes;
  const data = openRange(sealed, key, frame, {
    from: zipFrom + part.from,
    to: zipFrom + part.to,
  });
  const made = new Set<string>();
  for (const file of decodeList(list)) {
    const path = `${directory}/${file.path}`;
    makeDirectory(dirname(path), made);
    const from = file.offset - part.from;
    await writeFile(path, file, data.subarray(from, from + file.compressedBytes));
  }
}

/** What comes when all files are there: links, and what the archive says of its directories. */
export function finishTree(
  of: {
    readonly directories: readonly PlannedDirectory[];
    readonly links: readonly PlannedLink[];
  },
  directory: string,
): void {
  const made = new Set<string>();
  for (const { path } of of.directories) makeDirectory(`${directory}/${path}`, made);
  for (const { path, target, modifiedSeconds } of of.links) {
    const link = `${directory}/${path}`;
    makeDirectory(dirname(link), made);
    symlinkSync(target, link);
    lutimesSync(link, modifiedSeconds, modifiedSeconds);
  }
  for (const { path, mode, modifiedSeconds } of of.directories) {
    chmodSync(`${directory}/${path}`, mode);
    utimesSync(`${directory}/${path}`, modifiedSeconds, modifiedSeconds);
  }
}

/** Other threads may make the same one; `made` are those known to be there. */
function makeDirectory(path: string, made: Set<string>): void {
  if (made.has(path)) return;
  try {
    mkdirSync(path, directoryMode);
    if (isMasked(directoryMode)) chmodSync(path, directoryMode);
  } catch (thrown) {
    const code = errorCode(thrown);
    if (code === 'ENOENT') {
      makeDirectory(dirname(path), made);
      makeDirectory(path, made);
    } else if (code !== 'EEXIST') throw thrown;
  }
  made.add(path);
}

async function writeFile(path: string, file: PlannedFile, data: Uint8Array): Promise<void> {
  const fd = openSync(path, 'wx', file.mode);
  try {
    const content = inflateAtOnce(data, file.method, file.sizeBytes);
    if (content !== undefined) writeWhole(fd, content);
    else {
      for await (const piece of inflateEntry(data, file.method, file.sizeBytes)) {
        writeWhole(fd, piece);
      }
    }
    if (isMasked(file.mode)) fchmodSync(fd, file.mode);
    futimesSync(fd, file.modifiedSeconds, file.modifiedSeconds);
  } finally {
    closeSync(fd);
  }
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.byteLength;) at += writeSync(fd, bytes, at);
}
