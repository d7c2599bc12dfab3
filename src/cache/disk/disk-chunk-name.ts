/**
 * What the disk cache calls a chunk: by its digest and its length, both from the manifest. The root is no part of it, as
 * equal digests are equal ciphertexts whichever root they are of; nor is there a right to read in it, as who has no key
 * for a ciphertext makes nothing of it. The length is, so that files can be counted without asking for their sizes.
 */

import { assert, present } from '../../base/index.ts';
import type { ChunkName } from '../cache-tier.ts';

const blockSizeBytes = 4096;
export const diskDigestSizeBytes = 32;
/** Of a length in blocks within a key: enough for 64 GiB. */
const blockCountSizeBytes = 3;

/** The 32 bytes of the digest and the length in blocks (three bytes, little-endian) as the characters of those codes: half as long as hex. */
export type DiskChunkKey = string;

function keyFrom(digest: Buffer, blockCount: number): DiskChunkKey {
  const length = Buffer.alloc(blockCountSizeBytes);
  length.writeUIntLE(blockCount, 0, blockCountSizeBytes);
  return digest.toString('latin1') + length.toString('latin1');
}

export function diskChunkKey(chunk: ChunkName): DiskChunkKey {
  const { ciphertextDigest: digest, storedLengthBytes } = chunk;
  const blockCount = storedLengthBytes / blockSizeBytes;
  assert(digest.byteLength === diskDigestSizeBytes, 'A chunk is named by other than 32 bytes');
  assert(Number.isInteger(blockCount) && blockCount > 0, 'A chunk is no multiple of a block long');
  return keyFrom(Buffer.from(digest.buffer, digest.byteOffset, diskDigestSizeBytes), blockCount);
}

/** Of a key in bytes: digest, then length. */
export const diskChunkKeySizeBytes = diskDigestSizeBytes + blockCountSizeBytes;

/** The key whose characters have the codes that are `bytes`. */
export function diskChunkKeyOfBytes(bytes: Buffer): DiskChunkKey {
  return bytes.toString('latin1');
}

/** Of the chunk, and of its file. */
export function diskChunkLengthBytes(key: DiskChunkKey): number {
  const low = key.charCodeAt(diskDigestSizeBytes);
  const middle = key.charCodeAt(diskDigestSizeBytes + 1);
  const high = key.charCodeAt(diskDigestSizeBytes + 2);
  return (low + (middle + high * 256) * 256) * blockSizeBytes;
}

/** The two directories above a chunk's file, each of one hex digit: 256 of them, 800 files in each at 100 GiB. */
export const diskChunkDirectories: readonly string[] = Array.from({ length: 256 }, (_, index) => {
  const hex = index.toString(16).padStart(2, '0');
  return `${present(hex[0], 'a digit')}/${present(hex[1], 'a digit')}`;
});

/** `a/b/abcd….128`: the digest in hex, and the length in blocks of 4,096 bytes. */
export function diskChunkPath(key: DiskChunkKey): string {
  const hex = Buffer.from(key.slice(0, diskDigestSizeBytes), 'latin1').toString('hex');
  return `${hex.slice(0, 1)}/${hex.slice(1, 2)}/${hex}.${diskChunkLengthBytes(key) / blockSizeBytes}`;
}

const fileName = /^([0-9a-f]{64})\.([1-9][0-9]{0,6})$/;

/** The key of the chunk whose file `name` is in `directory`; undefined if it is no chunk's. */
export function diskChunkKeyOfFile(directory: string, name: string): DiskChunkKey | undefined {
  const [, hex, blocks] = fileName.exec(name) ?? [];
  if (hex === undefined || `${hex.slice(0, 1)}/${hex.slice(1, 2)}` !== directory) return undefined;
  return keyFrom(Buffer.from(hex, 'hex'), Number(blocks));
}
