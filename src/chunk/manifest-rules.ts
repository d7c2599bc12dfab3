/**
 * The rules that every manifest keeps, in one place: held before one is written and after one is
 * read.
 */

import { chunkDigestSizeBytes, chunkKeySizeBytes, storedLengthStepBytes } from './codec.ts';
import { compressedStepBytes } from './compressed-form.ts';
import {
  chunkCountMax,
  chunkSizeMaxBytes,
  imageDocumentSizeMaxBytes,
  rootIdSizeMaxBytes,
} from './manifest-layout.ts';
import type { ChunkCodec, Manifest, ManifestChunk, ManifestHeader } from './manifest.ts';

const u32Max = 2 ** 32 - 1;
const rootIdPattern = /^[A-Za-z0-9._-]+$/;

function isMultiple(value: number, step: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && value % step === 0;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}

/** A root id is the first part of object names, so it must be a name part of an object store. */
function isRootId(rootId: string): boolean {
  return (
    rootId.length <= rootIdSizeMaxBytes &&
    rootIdPattern.test(rootId) &&
    rootId !== '.' &&
    rootId !== '..'
  );
}

function storedLengthStep(codec: ChunkCodec): number {
  return codec === 'none' ? storedLengthStepBytes : compressedStepBytes;
}

function chunkComplaint(
  chunk: ManifestChunk,
  previousIndex: number,
  header: ManifestHeader,
): string | undefined {
  const { index, storedLengthBytes } = chunk;
  const step = storedLengthStep(chunk.codec);
  if (!Number.isInteger(index) || index > u32Max || index <= previousIndex) {
    return `chunk index ${index} does not rise from ${previousIndex}`;
  }
  if (!isMultiple(storedLengthBytes, step)) {
    return `chunk ${index} stores ${storedLengthBytes} bytes, not a positive multiple of ${step}`;
  }
  if (storedLengthBytes > header.chunkSizeBytes) {
    return `chunk ${index} stores ${storedLengthBytes} bytes, more than a chunk's ${header.chunkSizeBytes}`;
  }
  if (index * header.chunkSizeBytes + storedLengthBytes > header.diskSizeBytes) {
    return `chunk ${index} ends past the disk's ${header.diskSizeBytes} bytes`;
  }
  if (chunk.ciphertextDigest.byteLength !== chunkDigestSizeBytes) {
    return `chunk ${index} has a digest of ${chunk.ciphertextDigest.byteLength} bytes`;
  }
  return undefined;
}

/** The first rule that `header` breaks, in words; undefined if it keeps all. */
export function headerComplaint(header: ManifestHeader): string | undefined {
  const { diskFormatVersion, rootId, diskSizeBytes, chunkSizeBytes, chunks } = header;
  if (!Number.isInteger(diskFormatVersion) || diskFormatVersion < 0 || diskFormatVersion > u32Max) {
    return `the disk format version ${diskFormatVersion} is out of range`;
  }
  if (!isRootId(rootId)) {
    return `the root id is not 1..${rootIdSizeMaxBytes} characters of "a-z A-Z 0-9 . _ -"`;
  }
  if (
    !isPowerOfTwo(chunkSizeBytes) ||
    chunkSizeBytes < storedLengthStepBytes ||
    chunkSizeBytes > chunkSizeMaxBytes
  ) {
    return `the chunk size ${chunkSizeBytes} is not a power of two of ${storedLengthStepBytes}..${chunkSizeMaxBytes}`;
  }
  if (!isMultiple(diskSizeBytes, storedLengthStepBytes)) {
    return `the disk size ${diskSizeBytes} is not a positive multiple of ${storedLengthStepBytes}`;
  }
  if (chunks.length > chunkCountMax) return `it has more than ${chunkCountMax} chunks`;
  let previousIndex = -1;
  for (const chunk of chunks) {
    const complaint = chunkComplaint(chunk, previousIndex, header);
    if (complaint !== undefined) return complaint;
    previousIndex = chunk.index;
  }
  return undefined;
}

/** The first rule that `manifest` breaks, in words; undefined if it keeps all. */
export function manifestComplaint(manifest: Manifest): string | undefined {
  const { chunks, chunkKeys, imageDocument } = manifest;
  if (chunkKeys.length !== chunks.length) {
    return `it has ${chunkKeys.length} keys for ${chunks.length} chunks`;
  }
  if (chunkKeys.some((key) => key.byteLength !== chunkKeySizeBytes)) {
    return `a chunk key is not ${chunkKeySizeBytes} bytes`;
  }
  if (imageDocument.byteLength > imageDocumentSizeMaxBytes) {
    return `the image document of ${imageDocument.byteLength} bytes is over ${imageDocumentSizeMaxBytes}`;
  }
  return headerComplaint(manifest);
}
