/**
 * What was found out about a zip file when it was accepted: what to unpack from where. It is sealed with the file, so that a
 * start parses and checks nothing again. Bytes: `docs/formats/archive.md`.
 */

import type { ArchiveFacts } from './code-archives.ts';
import type { Method } from './inflate-entry.ts';

/** A regular file. Times are whole seconds since 1970. */
export interface PlannedFile {
  readonly path: string;
  readonly method: Method;
  /** In the zip file. */
  readonly offset: number;
  readonly compressedBytes: number;
  readonly sizeBytes: number;
  /** Permission bits, as they are set. */
  readonly mode: number;
  readonly modifiedSeconds: number;
}

export interface PlannedDirectory {
  readonly path: string;
  readonly mode: number;
  readonly modifiedSeconds: number;
}

export interface PlannedLink {
  readonly path: string;
  readonly target: string;
  readonly modifiedSeconds: number;
}

/** Files whose data lie next to each other in the zip file: one thread's work. */
export interface PlannedPart {
  /** In the zip file: all of its files' data, and little else. */
  readonly from: number;
  readonly to: number;
  /** Of its list, in the lists. */
  readonly listOffset: number;
  readonly listBytes: number;
}

/** The head of a sealed archive. */
export interface PlanHead extends ArchiveFacts {
  /** What it takes of a disk, in blocks of 4 KiB. */
  readonly diskBytes: number;
  readonly parts: readonly PlannedPart[];
  /** Those that the archive names; others are made as they are needed. */
  readonly directories: readonly PlannedDirectory[];
  readonly links: readonly PlannedLink[];
}

/** A plan as it is sealed. */
export interface EncodedPlan {
  readonly head: Uint8Array;
  readonly lists: Uint8Array;
}

type FileRow = readonly [string, 0 | 1, number, number, number, number, number];

/** Beyond this much work the next thread takes over. */
const partWorkMax = 8 * 2 ** 20;
/** To make a file costs about as much as to unpack this many bytes. */
const workPerFile = 16 * 1024;
export const diskBlockBytes = 4096;

/** Cuts what was found into parts. `files` in the order of their data. */
export function encodePlan(
  facts: ArchiveFacts,
  found: {
    readonly files: readonly PlannedFile[];
    readonly directories: readonly PlannedDirectory[];
    readonly links: readonly PlannedLink[];
    readonly diskBytes: number;
  },
): EncodedPlan {
  const lists: Buffer[] = [];
  const parts: PlannedPart[] = [];
  let listOffset = 0;
  for (const files of runsOf(found.files)) {
    const list = Buffer.from(JSON.stringify(files.map(rowOf)));
    lists.push(list);
    const from = files[0]?.offset ?? 0;
    const to = Math.max(...files.map(({ offset, compressedBytes }) => offset + compressedBytes));
    parts.push({ from, to, listOffset, listBytes: list.byteLength });
    listOffset += list.byteLength;
  }
  const { directories, links, diskBytes } = found;
  const head: PlanHead = { ...facts, diskBytes, parts, directories, links };
  return { head: Buffer.from(JSON.stringify(head)), lists: Buffer.concat(lists) };
}

/** Sealed by us: what it holds was checked when it was made. */
export function decodeHead(bytes: Uint8Array): PlanHead {
  return JSON.parse(Buffer.from(bytes).toString()) as PlanHead;
}

/** The files of one part. */
export function decodeList(bytes: Uint8Array): PlannedFile[] {
  const rows = JSON.parse(Buffer.from(bytes).toString()) as FileRow[];
  return rows.map(
    ([path, method, offset, compressedBytes, sizeBytes, mode, modifiedSeconds]): PlannedFile => ({
      path,
      method: method === 0 ? 'stored' : 'deflated',
      offset,
      compressedBytes,
      sizeBytes,
      mode,
      modifiedSeconds,
    }),
  );
}

function rowOf(file: PlannedFile): FileRow {
  const { path, method, offset, compressedBytes, sizeBytes, mode, modifiedSeconds } = file;
  const number = method === 'stored' ? 0 : 1;
  return [path, number, offset, compressedBytes, sizeBytes, mode, modifiedSeconds];
}

function* runsOf(files: readonly PlannedFile[]): Generator<PlannedFile[]> {
  let run: PlannedFile[] = [];
  let work = 0;
  for (const file of files) {
    run.push(file);
    work += file.sizeBytes + workPerFile;
    if (work < partWorkMax) continue;
    yield run;
    run = [];
    work = 0;
  }
  if (run.length > 0) yield run;
}
