/**
 * The compressed form of a chunk: what is encrypted instead of its bytes where that pays. Byte
 * table and reasons: `docs/formats/chunk.md`; what its length tells an observer: `docs/security.md`.
 *
 *   header (8) | one zstd frame (RFC 8878) | zeros up to a multiple of `compressedStepBytes`
 *
 * Deterministic: every parameter is pinned, so that equal chunks have equal forms. Another version of
 * zstd may choose other bytes all the same. That costs deduplication and nothing else: any frame is
 * read, and the key is derived from the form itself (`codec.ts`).
 *
 * Invariant: reading one allocates at most what its chunk may hold and the decoder's window of the same size,
 * whatever the bytes say. Pure.
 */

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import { errorMessage, layout, viewOf } from '../base/index.ts';

/** Lengths of compressed forms are multiples of this, so that they tell less of what is in them. `docs/security.md` has the choice. */
export const compressedStepBytes = 16 * 1024;

/** A form pays if it is at most so much of what it stands for, padding counted: what is not fetched must outweigh the unpacking. */
const shareMax = 7 / 8;

/** `plaintext_length` counts the chunk's bytes without its trailing zero blocks, `frame_length` those of the zstd frame. */
export const compressedHeaderRecord = layout('compressed_header', 8, [
  [0x0, 'u32', 'plaintext_length'],
  [0x4, 'u32', 'frame_length'],
]);

/**
 * Codec `zstd-v1`. All of zstd's parameters are given, so that the table of its levels may change; they are near its level
 * 3. A change of any is a new codec.
 */
const parameters = {
  [constants.ZSTD_c_strategy]: constants.ZSTD_dfast,
  [constants.ZSTD_c_windowLog]: 19,
  [constants.ZSTD_c_hashLog]: 17,
  [constants.ZSTD_c_chainLog]: 16,
  [constants.ZSTD_c_searchLog]: 1,
  [constants.ZSTD_c_minMatch]: 5,
  [constants.ZSTD_c_targetLength]: 0,
  [constants.ZSTD_c_enableLongDistanceMatching]: 0,
  [constants.ZSTD_c_contentSizeFlag]: 1,
  [constants.ZSTD_c_checksumFlag]: 0, // the ciphertext's digest proves every byte
  [constants.ZSTD_c_dictIDFlag]: 0,
  [constants.ZSTD_c_nbWorkers]: 0,
};

const zeroStep = Buffer.alloc(compressedStepBytes);

/** Of the filesystem: plaintexts are whole blocks. */
const blockSizeBytes = 4096;

/** The window that a frame of so many bytes can make use of, as a power of two: all that a decoder shall allocate. */
function windowLogOf(lengthBytes: number): number {
  return Math.ceil(Math.log2(lengthBytes));
}

/**
 * The compressed form of `plaintext`, which stays the caller's, in a fresh array whose buffer it fills; undefined where it does
 * not pay.
 */
export function compress(plaintext: Uint8Array): Uint8Array | undefined {
  const frame = zstdCompressSync(plaintext, {
    chunkSize: plaintext.byteLength + 4096, // one piece: a frame that is longer is of no use anyway
    params: parameters,
  });
  const { sizeBytes } = compressedHeaderRecord;
  const steps = Math.ceil((sizeBytes + frame.byteLength) / compressedStepBytes);
  const lengthBytes = steps * compressedStepBytes;
  if (lengthBytes > plaintext.byteLength * shareMax) return undefined;
  const form = Buffer.alloc(lengthBytes);
  compressedHeaderRecord.encodeInto(form, 0, {
    plaintext_length: plaintext.byteLength,
    frame_length: frame.byteLength,
  });
  form.set(frame, sizeBytes);
  return form;
}

/** The zstd frame of a form and the length of what is in it; in words what is wrong with the form instead. */
function readHeader(form: Buffer, lengthMaxBytes: number) {
  const { sizeBytes } = compressedHeaderRecord;
  if (form.byteLength < sizeBytes) return `its ${form.byteLength} bytes hold no header`;
  const { plaintext_length: lengthBytes, frame_length } = compressedHeaderRecord.decode(form);
  if (lengthBytes === 0 || lengthBytes % blockSizeBytes !== 0 || lengthBytes > lengthMaxBytes) {
    return `it says that it holds ${lengthBytes} bytes where at most ${lengthMaxBytes} in whole blocks may be`;
  }
  const frameEnd = sizeBytes + frame_length;
  if (frameEnd > form.byteLength) return `its frame of ${frame_length} bytes is cut short`;
  const paddingBytes = form.byteLength - frameEnd;
  if (
    paddingBytes >= compressedStepBytes ||
    !form.subarray(frameEnd).equals(zeroStep.subarray(0, paddingBytes))
  ) {
    return 'its frame is not followed by zeros to the next step';
  }
  return { frame: form.subarray(sizeBytes, frameEnd), lengthBytes };
}

/**
 * What `form`, any bytes at all, stands for: a fresh array of whole blocks, at most `lengthMaxBytes`. Says
 * in words what is wrong with the form where it is none.
 */
export function decompress(form: Uint8Array, lengthMaxBytes: number): Uint8Array | string {
  const header = readHeader(viewOf(form), lengthMaxBytes);
  if (typeof header === 'string') return header;
  const { frame, lengthBytes } = header;
  try {
    const plaintext = zstdDecompressSync(frame, {
      // A byte more than there should be, so that the decoder needs no second piece to find the end.
      chunkSize: lengthBytes + 1,
      maxOutputLength: lengthBytes,
      rejectGarbageAfterEnd: true,
      params: { [constants.ZSTD_d_windowLogMax]: windowLogOf(lengthBytes) },
    });
    if (plaintext.byteLength === lengthBytes) return plaintext;
    return `it holds ${plaintext.byteLength} bytes and says ${lengthBytes}`;
  } catch (thrown) {
    return `it does not unpack to ${lengthBytes} bytes: ${errorMessage(thrown)}`;
  }
}
