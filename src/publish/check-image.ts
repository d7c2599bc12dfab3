/** Checks a published image from end to end: every chunk against the manifest, then the filesystem in them. */

import {
  errorMessage,
  forEachLimited,
  present,
  ThawError,
  type ProgressReporter,
} from '../base/index.ts';
import type { Manifest } from '../chunk/index.ts';
import { checkDisk, diskFormatVersion, openFilesystem } from '../ext4/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { readStoredChunk, storedDisk } from './stored-image.ts';

/** Which image to check, through which store. */
export interface CheckOptions {
  readonly store: ObjectStore;
  readonly manifest: Manifest;
  readonly signal?: AbortSignal;
  readonly progress?: ProgressReporter;
}

/** What was looked at and what was found. */
export interface CheckReport {
  readonly chunksChecked: number;
  readonly bytesChecked: number;
  /** Files reached from the filesystem's root; 0 when chunks were bad and it was not walked. */
  readonly filesWalked: number;
  /** One line each; empty when the image is whole. */
  readonly problems: readonly string[];
}

const chunksInFlight = 8;

/** Never throws for a bad image, which is in `problems`; throws when the store itself fails. */
export async function checkImage(options: CheckOptions): Promise<CheckReport> {
  const problems = await checkChunks(options);
  const { chunks } = options.manifest;
  const filesWalked = problems.length === 0 ? await checkFilesystem(options, problems) : 0;
  return {
    chunksChecked: chunks.length,
    bytesChecked: chunks.reduce((sum, chunk) => sum + chunk.storedLengthBytes, 0),
    filesWalked,
    problems,
  };
}

async function checkChunks(options: CheckOptions): Promise<string[]> {
  const { store, manifest, signal, progress } = options;
  const problems: string[] = [];
  let done = 0;
  await forEachLimited(manifest.chunks.entries(), chunksInFlight, async ([position, chunk]) => {
    signal?.throwIfAborted();
    const key = present(manifest.chunkKeys[position], `key ${position}`);
    try {
      await readStoredChunk(store, manifest, chunk, key);
    } catch (thrown) {
      problems.push(problemOrThrow(thrown));
    }
    done += 1;
    progress?.({ label: 'Check chunks', unit: 'chunks', done, total: manifest.chunks.length });
  });
  return problems;
}

/** A disk of another format than this version writes is only walked: what it must look like is not known here. */
async function checkFilesystem(options: CheckOptions, problems: string[]): Promise<number> {
  const disk = storedDisk(options.store, options.manifest);
  if (options.manifest.diskFormatVersion === diskFormatVersion) {
    const found = await checkDisk(disk);
    problems.push(...found.problems);
    return found.fileCount;
  }
  let files = 0;
  try {
    const filesystem = await openFilesystem(disk);
    for await (const _entry of filesystem.walk()) files += 1;
  } catch (thrown) {
    problems.push(problemOrThrow(thrown));
  }
  return files;
}

/** The message of a failure that the image's bytes are to blame for; any other is thrown on. */
function problemOrThrow(thrown: unknown): string {
  if (thrown instanceof ThawError && thrown.fault === 'data') return errorMessage(thrown);
  throw thrown;
}
