/**
 * Seals and opens one chunk: convergent encryption, so that equal plaintext under one salt gives
 * equal ciphertext without its publishers knowing of each other. Byte rules and a test vector:
 * `docs/formats/chunk.md`. Source: paper §3.1 (construction), §3.3 (salt).
 *
 *   trimmed    = the plaintext without its trailing zeros, cut at a multiple of 4,096
 *   stored     = trimmed, or its compressed form where that is wanted and pays
 *   key        = HMAC-SHA-256(salt, label of the codec || SHA-256(stored))
 *   ciphertext = AES-256-CTR(key, IV 0, stored)
 *   name       = SHA-256(ciphertext)
 *
 * A zero IV is safe because a key belongs to the very bytes that are encrypted: two sequences under one
 * key would be a collision of SHA-256. Never derive it from what a compressor was given: two versions of it
 * give two outputs, and XOR of their ciphertexts would be XOR of those. The derivation is keyed (HMAC, not a bare hash of salt and plaintext) so
 * that who does not hold the salt cannot test a guessed plaintext against a stored ciphertext, and
 * so that keys under two salts are unrelated. The label keeps these keys apart from any other use
 * of the salt. The stored length needs no place of its own in the derivation: SHA-256 covers it.
 *
 * Pure: bytes in, bytes out; blocks for about 0.8 ms per 512 KiB (bench/seal-ways.bench.ts). `SealPool` runs
 * it in threads.
 */

import { createCipheriv, createDecipheriv, createHmac, createSecretKey, hash } from 'node:crypto';

import { InternalError, assert, toHex, viewOf } from '../base/index.ts';
import { compress, decompress } from './compressed-form.ts';
import { ChunkCorruptError, ChunkUnreadableError } from './errors.ts';
import type { ChunkCodec, ManifestChunk, ManifestHeader } from './manifest.ts';

/** Of every new image. A manifest records its own. */
export const defaultChunkSizeBytes = 512 * 1024;

/**
 * Stored lengths are multiples of this: the filesystem's block, so that a reader's unit is stored
 * or it is zeros, and so that a chunk's length says little of the file in it (lengths are all that
 * a store sees of the plaintext).
 */
export const storedLengthStepBytes = 4096;

/** What one may ask for by name, and the codec that it means for what is published now. */
export const compressions = { zstd: 'zstd-v1' } as const satisfies Record<string, ChunkCodec>;

export type Compression = keyof typeof compressions;

/** Of an AES-256 key. */
export const chunkKeySizeBytes = 32;
/** Of a SHA-256 digest. */
export const chunkDigestSizeBytes = 32;
/** Of the secret bytes that `KeyService.salt` gives. */
export const saltSizeBytes = 32;

/** ASCII, in front of the digest in the message that the salt authenticates. */
export const chunkKeyLabels = {
  none: 'thaw/chunk-key/v1',
  'zstd-v1': 'thaw/chunk-key/v1/zstd-v1',
} as const satisfies Record<ChunkCodec, string>;

/** Whether a name read from somewhere is that of a codec. */
export function isChunkCodec(name: string): name is ChunkCodec {
  return Object.hasOwn(chunkKeyLabels, name);
}

const zeroStep = Buffer.alloc(storedLengthStepBytes);
const zeroIv = Buffer.alloc(16);

export interface SealedChunk {
  readonly ciphertext: Uint8Array;
  /** SHA-256 of the ciphertext, 32 bytes. */
  readonly ciphertextDigest: Uint8Array;
  /** 32 bytes; a secret of those who had the plaintext. */
  readonly key: Uint8Array;
  /** `none` also where compressing was asked for and did not pay. */
  readonly codec: ChunkCodec;
  /** Equal to the ciphertext's length. */
  readonly storedLengthBytes: number;
}

/** What a manifest says of one chunk, as much as opening it needs. */
export interface SealedChunkRef extends Pick<
  ManifestChunk,
  'storedLengthBytes' | 'codec' | 'ciphertextDigest'
> {
  readonly key: Uint8Array;
  /** See `chunkLengthMax`. */
  readonly lengthMaxBytes: number;
}

/** What the chunk at `index` may hold at most: its size, or what the disk has left for it. */
export function chunkLengthMax(
  { chunkSizeBytes, diskSizeBytes }: Pick<ManifestHeader, 'chunkSizeBytes' | 'diskSizeBytes'>,
  index: number,
): number {
  return Math.min(chunkSizeBytes, diskSizeBytes - index * chunkSizeBytes);
}

/**
 * Bytes up to the end of the last step that is not all zeros; 0 if there is none. Compares from the
 * end, as one memcmp a step: 26 us for 512 KiB of zeros, against 56 us for a loop over a
 * BigUint64Array (bench/seal-ways.bench.ts).
 */
export function storedLength(plaintext: Uint8Array): number {
  const view = viewOf(plaintext);
  let end = view.byteLength;
  while (
    end > 0 &&
    view.compare(zeroStep, 0, storedLengthStepBytes, end - storedLengthStepBytes, end) === 0
  ) {
    end -= storedLengthStepBytes;
  }
  return end;
}

function chunkKey(stored: Uint8Array, codec: ChunkCodec, salt: Uint8Array): Buffer {
  const digest = hash('sha256', stored, 'buffer');
  return createHmac('sha256', salt).update(chunkKeyLabels[codec], 'ascii').update(digest).digest();
}

/**
 * Seals a chunk: `plaintext`, which stays the caller's, is a multiple of 4,096 bytes and at least
 * that; `salt` is the root's 32 bytes; `wanted` is the codec to use where it pays. The arrays of the result
 * are fresh. Undefined if the chunk is all zeros: such a chunk is neither stored nor listed. Throws
 * `ERR_INTERNAL` on other lengths.
 */
export function sealChunk(
  plaintext: Uint8Array,
  salt: Uint8Array,
  wanted: ChunkCodec = 'none',
): SealedChunk | undefined {
  assert(
    plaintext.byteLength > 0 && plaintext.byteLength % storedLengthStepBytes === 0,
    `A chunk must be a positive multiple of ${storedLengthStepBytes} bytes: got ${plaintext.byteLength}`,
  );
  assert(
    salt.byteLength === saltSizeBytes,
    `A salt must be ${saltSizeBytes} bytes: got ${salt.byteLength}`,
  );
  const trimmedLengthBytes = storedLength(plaintext);
  if (trimmedLengthBytes === 0) return undefined;
  const trimmed = plaintext.subarray(0, trimmedLengthBytes);
  const compressed = wanted === 'none' ? undefined : compress(trimmed);
  const codec = compressed === undefined ? 'none' : wanted;
  const stored = compressed ?? trimmed;
  const key = chunkKey(stored, codec, salt);
  const ciphertext = createCipheriv('aes-256-ctr', key, zeroIv).update(stored);
  return {
    ciphertext,
    ciphertextDigest: hash('sha256', ciphertext, 'buffer'),
    key,
    codec,
    storedLengthBytes: stored.byteLength,
  };
}

/**
 * The plaintext in a fresh array, the caller's: whole blocks, at most `ref.lengthMaxBytes`; the rest of the chunk is
 * zeros. `ciphertext` stays the caller's and may be any bytes at all: nothing is decrypted unless
 * they hash to `ref.ciphertextDigest`. That proves the plaintext too, as the key comes from the
 * same authenticated manifest. Throws `ERR_CHUNK_CORRUPT`, and `ERR_CHUNK_UNREADABLE` where the stored bytes are what was
 * published and no compressed form of that many bytes.
 */
export function openChunk(ref: SealedChunkRef, ciphertext: Uint8Array): Uint8Array {
  const fault = faultOf(ref, ciphertext);
  if (fault !== undefined) throw new ChunkCorruptError(toHex(ref.ciphertextDigest), fault);
  return openVerified(ref, ciphertext);
}

/** Whether these bytes are the chunk's, which `openChunk` asks first. */
export function isCiphertextOf(ref: SealedChunkRef, ciphertext: Uint8Array): boolean {
  return faultOf(ref, ciphertext) === undefined;
}

/** In what the bytes are not the chunk's. */
function faultOf(ref: SealedChunkRef, ciphertext: Uint8Array): string | undefined {
  if (ciphertext.byteLength !== ref.storedLengthBytes) {
    return `it is ${ciphertext.byteLength} bytes, expected ${ref.storedLengthBytes}`;
  }
  const digest = hash('sha256', ciphertext, 'buffer');
  return digest.equals(ref.ciphertextDigest) ? undefined : `contents hash to "${toHex(digest)}"`;
}

/** As `openChunk`, of bytes of which `isCiphertextOf` has just said that they are the chunk's. Of others it makes nonsense. */
export function openVerified(ref: SealedChunkRef, ciphertext: Uint8Array): Uint8Array {
  // Given as bare bytes, Node finds out by an error that they are no KeyObject: 13 us instead of 3.
  const key = createSecretKey(ref.key);
  const stored = createDecipheriv('aes-256-ctr', key, zeroIv).update(ciphertext);
  switch (ref.codec) {
    case 'none':
      return stored;
    case 'zstd-v1': {
      const plaintext = decompress(stored, ref.lengthMaxBytes);
      if (typeof plaintext !== 'string') return plaintext;
      throw new ChunkUnreadableError(toHex(ref.ciphertextDigest), plaintext);
    }
    default:
      throw new InternalError(`Cannot open a chunk coded as "${String(ref.codec)}"`);
  }
}
