/**
 * An archive under a data key of its own, in segments that open one by one: threads unpack an archive's parts at the same time,
 * and each opens the segments that its part lies in. Runs of segments are objects of the store: pieces. Bytes:
 * `docs/formats/archive.md`.
 *
 * Invariants: the key seals one archive and nothing else, so a segment's number is its nonce. Tenant, root, archive id and
 * header (with all lengths) are associated data of every segment: none opens in another's place, and none can be left out.
 */

import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';

import { toSafeNumber } from '../base/index.ts';
import type { EncryptionContext } from '../keys/index.ts';
import { archiveFormatVersion, archiveHeader, archiveMagic } from './archive-layout.ts';
import type { ArchiveRef } from './code-archives.ts';
import { ArchiveCorruptError } from './errors.ts';

const tagSizeBytes = 16;
const segmentSizeBytes = 256 * 1024;
/** The first piece has head and lists, and so many segments more. */
const firstPieceSegments = 16;
const pieceSegments = 32;
/** Far more than there is. */
const lengthMaxBytes = 2 ** 31;
/** Source: components of the key service, at most 512. */
const wrappedKeyMaxBytes = 512;

/** What is sealed, in this order. */
export interface ArchiveLengths {
  /** What the archive is, and its parts. */
  readonly headBytes: number;
  /** What to unpack in each part. */
  readonly listsBytes: number;
  /** The zip file as it was uploaded. */
  readonly zipBytes: number;
}

/** Where an archive's segments lie; crosses threads. */
export interface SealedFrame extends ArchiveLengths {
  /** Of the first segment. */
  readonly offset: number;
  /** 32 bytes that stand for all that segments are bound to. */
  readonly binding: Uint8Array;
}

/** What the data key is bound to. */
export function archiveKeyContext({ tenant, rootId, archiveId }: ArchiveRef): EncryptionContext {
  return { purpose: 'thaw/archive/v1', root: rootId, tenant, archive: archiveId };
}

function bindingOf(of: ArchiveRef, front: Uint8Array): Uint8Array {
  const identity = ['thaw/archive', archiveFormatVersion, of.tenant, of.rootId, of.archiveId];
  return createHash('sha256').update(JSON.stringify(identity)).update(front).digest();
}

function plainBytesOf({ headBytes, listsBytes, zipBytes }: ArchiveLengths): number {
  return headBytes + listsBytes + zipBytes;
}

function segmentCountOf(frame: SealedFrame): number {
  return Math.ceil(plainBytesOf(frame) / segmentSizeBytes);
}

/** Of all pieces together. */
export function sealedBytesOf(frame: SealedFrame): number {
  return frame.offset + plainBytesOf(frame) + segmentCountOf(frame) * tagSizeBytes;
}

/** Where a segment begins, or the last one ends. */
function offsetOf(frame: SealedFrame, segment: number): number {
  const offset = frame.offset + segment * (segmentSizeBytes + tagSizeBytes);
  return Math.min(offset, sealedBytesOf(frame));
}

/** A range of bytes, the end left out. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** The objects that hold an archive, in order: together the sealed bytes, each all of its segments. */
export function piecesOf(frame: SealedFrame): readonly ByteRange[] {
  const { headBytes, listsBytes } = frame;
  const count = segmentCountOf(frame);
  const first = Math.ceil((headBytes + listsBytes) / segmentSizeBytes) + firstPieceSegments;
  const pieces = [{ from: 0, to: offsetOf(frame, first) }];
  for (let segment = first; segment < count; segment += pieceSegments) {
    const [from, to] = [offsetOf(frame, segment), offsetOf(frame, segment + pieceSegments)];
    pieces.push({ from, to });
  }
  return pieces;
}

/** Where the segments lie that hold what was sealed in `range`. */
export function sealedRange(frame: SealedFrame, { from, to }: ByteRange): ByteRange {
  const [first, end] = [Math.floor(from / segmentSizeBytes), Math.ceil(to / segmentSizeBytes)];
  return { from: offsetOf(frame, first), to: offsetOf(frame, end) };
}

/** Header and wrapped key, and where the rest goes. */
export function frameArchive(
  of: ArchiveRef,
  wrapped: Uint8Array,
  lengths: ArchiveLengths,
): { readonly front: Uint8Array; readonly frame: SealedFrame } {
  const header = archiveHeader.encode({
    magic: archiveMagic,
    format_version: archiveFormatVersion,
    flags: 0,
    wrapped_key_length: wrapped.byteLength,
    segment_size: segmentSizeBytes,
    head_length: lengths.headBytes,
    lists_length: lengths.listsBytes,
    zip_length: BigInt(lengths.zipBytes),
  });
  const front = Buffer.concat([header, wrapped]);
  const binding = bindingOf(of, front);
  const frame = { ...lengths, offset: front.byteLength, binding };
  return { front, frame };
}

/** The opposite, from the first piece: where all lies, and the wrapped key. Throws `ERR_ARCHIVE_CORRUPT`. */
export function readFrame(
  of: ArchiveRef,
  piece: Uint8Array,
): { readonly wrapped: Uint8Array; readonly frame: SealedFrame } {
  if (piece.byteLength < archiveHeader.sizeBytes) throw new ArchiveCorruptError('it is cut short');
  const fields = archiveHeader.decode(piece);
  if (!archiveMagic.equals(fields.magic)) {
    throw new ArchiveCorruptError('it does not start with its magic');
  }
  if (fields.format_version !== archiveFormatVersion || fields.flags !== 0) {
    throw new ArchiveCorruptError(`it has format version ${fields.format_version}`);
  }
  const wrappedBytes = fields.wrapped_key_length;
  const offset = archiveHeader.sizeBytes + wrappedBytes;
  const lengths = [fields.head_length, fields.lists_length, Number(fields.zip_length)];
  const areLengths = wrappedBytes <= wrappedKeyMaxBytes && fields.segment_size === segmentSizeBytes;
  if (!areLengths || lengths.some((length) => length > lengthMaxBytes)) {
    throw new ArchiveCorruptError('its header has lengths that cannot be');
  }
  const frame: SealedFrame = {
    headBytes: fields.head_length,
    listsBytes: fields.lists_length,
    zipBytes: toSafeNumber(fields.zip_length, 'zip length'),
    offset,
    binding: bindingOf(of, piece.subarray(0, offset)),
  };
  checkPiece(piece, piecesOf(frame)[0]);
  return { wrapped: piece.slice(archiveHeader.sizeBytes, offset), frame };
}

/** Throws `ERR_ARCHIVE_CORRUPT` unless it is as long as it should be. */
export function checkPiece(piece: Uint8Array, range: ByteRange | undefined): void {
  const length = range === undefined ? 0 : range.to - range.from;
  if (piece.byteLength === length) return;
  throw new ArchiveCorruptError(`a piece of it has ${piece.byteLength} bytes, not ${length}`);
}

function nonceOf(segment: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(segment);
  return nonce;
}

/** All pieces in one: `front`, then the segments of `parts` one after the other. */
export function sealArchive(
  parts: readonly Uint8Array[],
  key: Uint8Array,
  { front, frame }: { readonly front: Uint8Array; readonly frame: SealedFrame },
): Uint8Array {
  const sealed = Buffer.alloc(sealedBytesOf(frame));
  sealed.set(front);
  const plain = Buffer.concat(parts);
  for (let segment = 0, at = frame.offset; segment < segmentCountOf(frame); segment += 1) {
    const from = segment * segmentSizeBytes;
    const cipher = createCipheriv('aes-256-gcm', key, nonceOf(segment));
    cipher.setAAD(frame.binding);
    const bytes = cipher.update(plain.subarray(from, from + segmentSizeBytes));
    cipher.final();
    sealed.set(bytes, at);
    sealed.set(cipher.getAuthTag(), at + bytes.byteLength);
    at += bytes.byteLength + tagSizeBytes;
  }
  return sealed;
}

/**
 * What was sealed at `from` up to `to`, verified, in a fresh array: all segments that it touches are opened. Throws
 * `ERR_ARCHIVE_CORRUPT`.
 */
export function openRange(
  sealed: Uint8Array,
  key: Uint8Array,
  frame: SealedFrame,
  { from, to }: ByteRange,
): Uint8Array {
  const size = segmentSizeBytes;
  if (from < 0 || from > to || to > plainBytesOf(frame)) {
    throw new ArchiveCorruptError('a part of it lies past its end');
  }
  const first = Math.floor(from / size);
  const end = Math.ceil(to / size);
  const plain = Buffer.allocUnsafeSlow(Math.min(end * size, plainBytesOf(frame)) - first * size);
  for (let segment = first; segment < end; segment += 1) {
    const at = offsetOf(frame, segment);
    const length = Math.min(size, plainBytesOf(frame) - segment * size);
    const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(segment), {
      authTagLength: tagSizeBytes,
    });
    decipher.setAAD(frame.binding);
    decipher.setAuthTag(sealed.subarray(at + length, at + length + tagSizeBytes));
    plain.set(decipher.update(sealed.subarray(at, at + length)), (segment - first) * size);
    try {
      decipher.final();
    } catch (thrown) {
      throw new ArchiveCorruptError('its seal does not hold', thrown);
    }
  }
  return plain.subarray(from - first * size, to - first * size);
}
