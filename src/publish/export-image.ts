/** Writes a published image as a raw disk file: sparse, complete or not there at all. */

import { randomUUID } from 'node:crypto';
import { link, open, unlink, type FileHandle } from 'node:fs/promises';

import {
  errorCode,
  forEachLimited,
  present,
  ThawError,
  type ProgressReporter,
} from '../base/index.ts';
import type { Manifest } from '../chunk/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { ExportTargetError, ExportTargetExistsError } from './errors.ts';
import { readStoredChunk } from './stored-image.ts';

/** Which image goes to which file. */
export interface ExportOptions {
  readonly store: ObjectStore;
  readonly manifest: Manifest;
  /** Must not exist; its directory must. */
  readonly path: string;
  readonly signal?: AbortSignal;
  readonly progress?: ProgressReporter;
}

const chunksInFlight = 8;

/**
 * The disk's bytes as a sparse file of `diskSizeBytes`. It appears under its name only when every chunk was
 * verified and written. Throws `ERR_PUBLISH_EXPORT_EXISTS`, `ERR_PUBLISH_EXPORT_FULL`, `ERR_PUBLISH_EXPORT_TARGET` and
 * what reading a chunk throws.
 */
export async function exportImage(options: ExportOptions): Promise<void> {
  const partial = `${options.path}.${randomUUID()}.partial`;
  try {
    await writeDisk(options, partial);
    await link(partial, options.path);
  } catch (thrown) {
    if (errorCode(thrown) === 'EEXIST') throw new ExportTargetExistsError(options.path);
    const isOfSystem = !(thrown instanceof ThawError) && errorCode(thrown) !== undefined;
    throw isOfSystem ? new ExportTargetError(options.path, thrown) : thrown;
  } finally {
    await unlink(partial).catch(() => {}); // not there when opening it failed
  }
}

async function writeDisk(options: ExportOptions, path: string): Promise<void> {
  const { store, manifest, signal, progress } = options;
  await using file = await open(path, 'w');
  await file.truncate(manifest.diskSizeBytes);
  let done = 0;
  await forEachLimited(manifest.chunks.entries(), chunksInFlight, async ([position, chunk]) => {
    signal?.throwIfAborted();
    const key = present(manifest.chunkKeys[position], `key ${position}`);
    const plaintext = await readStoredChunk(store, manifest, chunk, key);
    await writeAll(file, plaintext, chunk.index * manifest.chunkSizeBytes);
    done += 1;
    progress?.({ label: 'Export chunks', unit: 'chunks', done, total: manifest.chunks.length });
  });
  await file.sync();
}

/** A disk that fills up takes the front of a write without an error: only the next one is refused. */
async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, done, undefined, position + done);
    done += bytesWritten;
  }
}
