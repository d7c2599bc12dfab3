/** The chunks that a start fetches, found out from one start and loaded again without it, so that only the loading is measured. */

import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { present, toHex } from '../../src/base/index.ts';
import { createTieredLoader, type ChunkRef } from '../../src/cache/index.ts';
import { chunkLengthMax, type Manifest, type OpenPool } from '../../src/chunk/index.ts';
import { openDirectoryStore } from '../../src/store/index.ts';

const deadlineMs = 60_000;

/** Of `manifest`, what was read from the store since `sinceMs`, in that order: its files keep the time when they were read. */
export async function fetchedChunks(
  storeDirectory: string,
  manifest: Manifest,
  sinceMs: number,
): Promise<readonly ChunkRef[]> {
  const { rootId } = manifest;
  const positions = new Map(
    manifest.chunks.map(({ ciphertextDigest }, position) => [toHex(ciphertextDigest), position]),
  );
  const found: { readonly atMs: number; readonly chunk: ChunkRef }[] = [];
  const directory = join(storeDirectory, rootId, 'chunks');
  for (const path of await readdir(directory, { recursive: true })) {
    const position = positions.get(basename(path));
    if (position === undefined) continue;
    const { atimeMs } = await stat(join(directory, path));
    if (atimeMs < sinceMs) continue;
    const listed = present(manifest.chunks[position], 'a chunk');
    const key = present(manifest.chunkKeys[position], 'a key');
    const lengthMaxBytes = chunkLengthMax(manifest, listed.index);
    found.push({ atMs: atimeMs, chunk: { ...listed, rootId, key, lengthMaxBytes } });
  }
  return found.toSorted((a, b) => a.atMs - b.atMs).map(({ chunk }) => chunk);
}

/** Loads the chunks as a worker does, so many at a time; milliseconds. */
export async function loadChunks(
  storeDirectory: string,
  chunks: readonly ChunkRef[],
  { opener, atATime }: { readonly opener: OpenPool; readonly atATime: number },
): Promise<number> {
  const store = await openDirectoryStore(storeDirectory);
  const loader = createTieredLoader({ store, opener });
  const startedMs = performance.now();
  const left = chunks.values();
  const next = async (): Promise<void> => {
    for (const chunk of left) await loader.load(chunk, { deadlineMs });
  };
  await Promise.all(Array.from({ length: atATime }, next));
  return performance.now() - startedMs;
}
