/** A published image read back without a device: its manifest opened, its chunks verified and put together. */

import { present, ReadPastEndError, toHex, type RandomAccess } from '../base/index.ts';
import {
  chunkLengthMax,
  openChunk,
  openManifest,
  type Manifest,
  type ManifestChunk,
} from '../chunk/index.ts';
import type { KeyService } from '../keys/index.ts';
import { chunkObjectName, manifestObjectName, type ObjectStore } from '../store/index.ts';
import { ChunkMissingError, ManifestMissingError } from './errors.ts';

/** Where images lie, and who opens them. */
export interface StoredImageDependencies {
  readonly store: ObjectStore;
  readonly keys: KeyService;
}

/** Which manifest, and whose key opens it; an `ImageRecord` will do. */
export interface StoredImageRef {
  readonly rootId: string;
  readonly manifestId: string;
  readonly tenant: string;
}

/** Throws `ERR_PUBLISH_MANIFEST_MISSING`, `ERR_CHUNK_MANIFEST_*`, `ERR_KEYS_UNWRAP_REFUSED`, `ERR_STORE_*`. */
export async function openStoredManifest(
  deps: StoredImageDependencies,
  ref: StoredImageRef,
): Promise<Manifest> {
  const bytes = await deps.store.get(manifestObjectName(ref.rootId, ref.manifestId));
  if (bytes === undefined) throw new ManifestMissingError(ref.manifestId, ref.rootId);
  return await openManifest(bytes, {
    tenant: ref.tenant,
    keyService: deps.keys,
    manifestId: ref.manifestId,
  });
}

/**
 * One stored chunk of an image, verified and opened: a fresh array of what the chunk holds in front of its zeros.
 * Throws `ERR_PUBLISH_CHUNK_MISSING`, `ERR_CHUNK_CORRUPT`, `ERR_CHUNK_UNREADABLE`, `ERR_STORE_*`.
 */
export async function readStoredChunk(
  store: ObjectStore,
  manifest: Manifest,
  chunk: ManifestChunk,
  key: Uint8Array,
): Promise<Uint8Array> {
  const name = chunkObjectName(manifest.rootId, toHex(chunk.ciphertextDigest));
  const ciphertext = await store.get(name);
  if (ciphertext === undefined) {
    throw new ChunkMissingError(name, chunk.index * manifest.chunkSizeBytes);
  }
  const lengthMaxBytes = chunkLengthMax(manifest, chunk.index);
  return openChunk({ ...chunk, key, lengthMaxBytes }, ciphertext);
}

/** The chunks of one codec. */
export interface CodecShare {
  readonly chunks: number;
  readonly storedBytes: number;
}

/** The image's chunks by how they are coded. Codecs that none has are left out. */
export function chunksByCodec(manifest: Manifest): Readonly<Record<string, CodecShare>> {
  const byCodec = Map.groupBy(manifest.chunks, ({ codec }) => codec);
  return Object.fromEntries(
    [...byCodec].map(([codec, chunks]) => [
      codec,
      {
        chunks: chunks.length,
        storedBytes: chunks.reduce((sum, chunk) => sum + chunk.storedLengthBytes, 0),
      },
    ]),
  );
}

const chunksKept = 16;

/**
 * A published disk as `RandomAccess`, for tools that look into an image without mounting it. Keeps the last
 * few chunks, so that small reads close together cost one fetch.
 */
export function storedDisk(store: ObjectStore, manifest: Manifest): RandomAccess {
  const positions = new Map(manifest.chunks.map((chunk, position) => [chunk.index, position]));
  const kept = new Map<number, Promise<Uint8Array>>();
  const load = (position: number): Promise<Uint8Array> => {
    const chunk = present(manifest.chunks[position], `chunk ${position}`);
    const key = present(manifest.chunkKeys[position], `key ${position}`);
    return readStoredChunk(store, manifest, chunk, key);
  };
  const keep = (position: number): Promise<Uint8Array> => {
    const loading = kept.get(position) ?? load(position);
    kept.delete(position);
    kept.set(position, loading);
    loading.catch(() => kept.delete(position));
    const [oldest] = kept.keys();
    if (kept.size > chunksKept && oldest !== undefined) kept.delete(oldest);
    return loading;
  };
  const { chunkSizeBytes, diskSizeBytes } = manifest;
  return {
    sizeBytes: diskSizeBytes,
    read: async (offset, target) => {
      const end = offset + target.byteLength;
      if (end > diskSizeBytes) throw new ReadPastEndError('published disk', end, diskSizeBytes);
      for (let at = offset; at < end;) {
        const index = Math.floor(at / chunkSizeBytes);
        const within = at - index * chunkSizeBytes;
        const length = Math.min(chunkSizeBytes - within, end - at);
        const into = target.subarray(at - offset, at - offset + length);
        const position = positions.get(index);
        into.fill(0);
        if (position !== undefined) {
          into.set((await keep(position)).subarray(within, within + length));
        }
        at += length;
      }
    },
  };
}
