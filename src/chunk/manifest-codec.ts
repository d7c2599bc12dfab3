/**
 * Bytes of a manifest to records and back. Byte tables: `manifest-layout.ts`; rules:
 * `manifest-rules.ts`.
 *
 * Everything in front of the sealed section is its associated data, so that the tenant's key proves
 * every byte. `decodeManifestHeader` needs no key and so proves nothing: it is for garbage
 * collection, which got the manifest under a name that is the hash of its bytes.
 *
 * Nothing is allocated from a length before the size of the whole was found to agree with it. Pure.
 */

import { createCipheriv, createDecipheriv, hash } from 'node:crypto';

import { assert, viewOf } from '../base/index.ts';
import type { DataKey } from '../keys/index.ts';
import { chunkKeySizeBytes } from './codec.ts';
import {
  ManifestMalformedError,
  ManifestSealError,
  ManifestSizeError,
  ManifestUnencodableError,
  ManifestUnrecognizedError,
  ManifestVersionError,
} from './errors.ts';
import {
  chunkCodecNumbers,
  chunkCountMax,
  imageDocumentSizeMaxBytes,
  manifestChunkRecord,
  manifestFormatVersion,
  manifestHeaderRecord,
  manifestMagic,
  rootIdSizeMaxBytes,
  sealNonceSizeBytes,
  sealTagSizeBytes,
  wrappedKeySizeMaxBytes,
} from './manifest-layout.ts';
import { headerComplaint, manifestComplaint } from './manifest-rules.ts';
import type { ChunkCodec, Manifest, ManifestChunk, ManifestHeader } from './manifest.ts';

export interface ManifestSeal {
  /** Of this manifest alone: the nonce does not protect a second manifest under the same key. */
  readonly dataKey: DataKey;
  /** 12 random bytes. */
  readonly nonce: Uint8Array;
}

export interface ManifestLock {
  readonly rootId: string;
  /** The data key as its key service wrapped it. */
  readonly wrappedKey: Uint8Array;
}

/** The parts of a manifest whose lengths agree with its size; views of the bytes given. */
interface ManifestParts {
  readonly fields: ReturnType<typeof manifestHeaderRecord.decode>;
  readonly chunkTable: Buffer;
  readonly wrappedKey: Buffer;
  readonly associatedData: Buffer;
  readonly sealed: Buffer;
  readonly tag: Buffer;
}

const chunkCodecs = new Map<number, ChunkCodec>(
  Object.entries(chunkCodecNumbers).map(([codec, number]) => [number, codec as ChunkCodec]),
);

/** The name of a manifest: SHA-256 of its bytes in 64 hex digits. */
export function manifestId(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

function encodeChunkTable(chunks: readonly ManifestChunk[], target: Buffer, offset: number): void {
  for (const [position, chunk] of chunks.entries()) {
    manifestChunkRecord.encodeInto(target, offset + position * manifestChunkRecord.sizeBytes, {
      chunk_index: chunk.index,
      stored_length: chunk.storedLengthBytes,
      codec: chunkCodecNumbers[chunk.codec],
      ciphertext_digest: chunk.ciphertextDigest,
    });
  }
}

function encodeHeader(manifest: Manifest, seal: ManifestSeal, sealedLength: number): Buffer {
  const rootId = Buffer.alloc(rootIdSizeMaxBytes);
  const rootIdLength = rootId.write(manifest.rootId, 'latin1');
  return manifestHeaderRecord.encode({
    magic: manifestMagic,
    format_version: manifestFormatVersion,
    flags: 0,
    disk_format_version: manifest.diskFormatVersion,
    chunk_size: manifest.chunkSizeBytes,
    disk_size: BigInt(manifest.diskSizeBytes),
    chunk_count: manifest.chunks.length,
    sealed_length: sealedLength,
    wrapped_key_length: seal.dataKey.wrapped.byteLength,
    root_id_length: rootIdLength,
    nonce: seal.nonce,
    root_id: rootId,
  });
}

/**
 * The manifest's bytes, a fresh array; all arguments stay the caller's. The same arguments give the
 * same bytes. Throws `ERR_CHUNK_MANIFEST_UNENCODABLE` when the manifest breaks a rule of the
 * format.
 */
export function encodeManifest(manifest: Manifest, seal: ManifestSeal): Uint8Array {
  const { plaintext, wrapped } = seal.dataKey;
  const complaint = manifestComplaint(manifest);
  if (complaint !== undefined) throw new ManifestUnencodableError(complaint);
  if (wrapped.byteLength < 1 || wrapped.byteLength > wrappedKeySizeMaxBytes) {
    throw new ManifestUnencodableError(
      `the wrapped data key of ${wrapped.byteLength} bytes is not within 1..${wrappedKeySizeMaxBytes}`,
    );
  }
  assert(seal.nonce.byteLength === sealNonceSizeBytes, 'A nonce must be 12 bytes');
  const secrets = Buffer.concat([...manifest.chunkKeys, manifest.imageDocument]);
  const tableOffset = manifestHeaderRecord.sizeBytes;
  const wrappedOffset = tableOffset + manifest.chunks.length * manifestChunkRecord.sizeBytes;
  const sealedOffset = wrappedOffset + wrapped.byteLength;
  const tagOffset = sealedOffset + secrets.byteLength;
  const bytes = Buffer.alloc(tagOffset + sealTagSizeBytes);
  bytes.set(encodeHeader(manifest, seal, secrets.byteLength), 0);
  encodeChunkTable(manifest.chunks, bytes, tableOffset);
  bytes.set(wrapped, wrappedOffset);
  const cipher = createCipheriv('aes-256-gcm', plaintext, seal.nonce);
  cipher.setAAD(bytes.subarray(0, sealedOffset));
  bytes.set(cipher.update(secrets), sealedOffset);
  cipher.final();
  bytes.set(cipher.getAuthTag(), tagOffset);
  secrets.fill(0);
  return bytes;
}

function checkLengths(fields: ManifestParts['fields']): void {
  if (fields.flags !== 0) throw new ManifestMalformedError(`flags ${fields.flags} are not 0`);
  if (fields.chunk_count > chunkCountMax) {
    throw new ManifestMalformedError(`it has more than ${chunkCountMax} chunks`);
  }
  if (fields.wrapped_key_length < 1 || fields.wrapped_key_length > wrappedKeySizeMaxBytes) {
    throw new ManifestMalformedError(
      `the wrapped data key of ${fields.wrapped_key_length} bytes is not within 1..${wrappedKeySizeMaxBytes}`,
    );
  }
  const documentLength = fields.sealed_length - fields.chunk_count * chunkKeySizeBytes;
  if (documentLength < 0 || documentLength > imageDocumentSizeMaxBytes) {
    throw new ManifestMalformedError(
      `a sealed section of ${fields.sealed_length} bytes does not fit ${fields.chunk_count} chunks`,
    );
  }
}

/** Finds the parts; each length is used only once the sum of all is the size of `bytes`. */
function splitManifest(bytes: Uint8Array): ManifestParts {
  const view = viewOf(bytes);
  if (!view.subarray(0, manifestMagic.byteLength).equals(manifestMagic)) {
    throw new ManifestUnrecognizedError();
  }
  if (view.byteLength < manifestHeaderRecord.sizeBytes) {
    throw new ManifestSizeError(view.byteLength, manifestHeaderRecord.sizeBytes);
  }
  const fields = manifestHeaderRecord.decode(view);
  if (fields.format_version !== manifestFormatVersion) {
    throw new ManifestVersionError(fields.format_version, manifestFormatVersion);
  }
  checkLengths(fields);
  const tableOffset = manifestHeaderRecord.sizeBytes;
  const wrappedOffset = tableOffset + fields.chunk_count * manifestChunkRecord.sizeBytes;
  const sealedOffset = wrappedOffset + fields.wrapped_key_length;
  const tagOffset = sealedOffset + fields.sealed_length;
  const end = tagOffset + sealTagSizeBytes;
  if (view.byteLength !== end) throw new ManifestSizeError(view.byteLength, end);
  return {
    fields,
    chunkTable: view.subarray(tableOffset, wrappedOffset),
    wrappedKey: view.subarray(wrappedOffset, sealedOffset),
    associatedData: view.subarray(0, sealedOffset),
    sealed: view.subarray(sealedOffset, tagOffset),
    tag: view.subarray(tagOffset, end),
  };
}

function decodeRootId(fields: ManifestParts['fields']): string {
  const rootId = viewOf(fields.root_id);
  const padding = rootId.subarray(fields.root_id_length);
  if (fields.root_id_length > rootIdSizeMaxBytes || padding.some((byte) => byte !== 0)) {
    throw new ManifestMalformedError('the root id is not padded with zeros');
  }
  return rootId.toString('latin1', 0, fields.root_id_length);
}

function decodeChunkTable(table: Buffer): readonly ManifestChunk[] {
  const copy = Buffer.from(table);
  return Array.from({ length: copy.byteLength / manifestChunkRecord.sizeBytes }, (_, position) => {
    const record = manifestChunkRecord.decode(copy, position * manifestChunkRecord.sizeBytes);
    const codec = chunkCodecs.get(record.codec);
    if (codec === undefined) {
      throw new ManifestMalformedError(`chunk ${record.chunk_index} has codec ${record.codec}`);
    }
    return {
      index: record.chunk_index,
      storedLengthBytes: record.stored_length,
      codec,
      ciphertextDigest: record.ciphertext_digest,
    };
  });
}

function decodeHeader(parts: ManifestParts): ManifestHeader {
  const { fields } = parts;
  if (fields.disk_size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ManifestMalformedError(`the disk size ${fields.disk_size} is out of range`);
  }
  const header: ManifestHeader = {
    diskFormatVersion: fields.disk_format_version,
    rootId: decodeRootId(fields),
    diskSizeBytes: Number(fields.disk_size),
    chunkSizeBytes: fields.chunk_size,
    chunks: decodeChunkTable(parts.chunkTable),
  };
  const complaint = headerComplaint(header);
  if (complaint !== undefined) throw new ManifestMalformedError(complaint);
  return header;
}

/**
 * What the manifest says in the clear, in fresh arrays; needs no key and checks no seal: compare
 * `manifestId(bytes)` with the name that the bytes came under. Throws
 * `ERR_CHUNK_MANIFEST_UNRECOGNIZED`, `_VERSION`, `_SIZE` (truncated, or bytes after the end) and
 * `_MALFORMED` (a rule of the format is broken).
 */
export function decodeManifestHeader(bytes: Uint8Array): ManifestHeader {
  return decodeHeader(splitManifest(bytes));
}

/**
 * What a key service must be told to open the manifest; nothing of it is proven yet. Fresh arrays.
 * Throws as `decodeManifestHeader` does.
 */
export function manifestLock(bytes: Uint8Array): ManifestLock {
  const parts = splitManifest(bytes);
  return { rootId: decodeRootId(parts.fields), wrappedKey: Buffer.from(parts.wrappedKey) };
}

function unseal(parts: ManifestParts, dataKey: Uint8Array): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', dataKey, parts.fields.nonce, {
    authTagLength: sealTagSizeBytes,
  });
  decipher.setAAD(parts.associatedData);
  decipher.setAuthTag(parts.tag);
  const secrets = decipher.update(parts.sealed);
  try {
    decipher.final();
  } catch {
    secrets.fill(0);
    throw new ManifestSealError();
  }
  return secrets;
}

/**
 * The whole manifest, every byte of it proven by `dataKey`, the 32 bytes that it was sealed with;
 * both arguments stay the caller's and the arrays of the result are fresh. Throws as
 * `decodeManifestHeader` does, and `ERR_CHUNK_MANIFEST_SEAL`.
 */
export function decodeManifest(bytes: Uint8Array, dataKey: Uint8Array): Manifest {
  const parts = splitManifest(bytes);
  const secrets = unseal(parts, dataKey);
  const header = decodeHeader(parts);
  const chunkKeys = header.chunks.map((_, position) =>
    secrets.subarray(position * chunkKeySizeBytes, (position + 1) * chunkKeySizeBytes),
  );
  return {
    ...header,
    chunkKeys,
    imageDocument: secrets.subarray(chunkKeys.length * chunkKeySizeBytes),
  };
}
