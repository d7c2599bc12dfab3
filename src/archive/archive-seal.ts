/**
 * An archive under a data key of its own, in segments that open one by one: threads unpack an archive's parts at the same time,
 * and each opens the segments that its part lies in. Bytes: `docs/formats/archive.md`.
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
  readonly segmentSizeBytes: number;
  /** Of the first segment in the object. */
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
  return Math.ceil(plainBytesOf(frame) / frame.segmentSizeBytes);
}

function sealedBytesOf(frame: SealedFrame): number {
  return frame.offset + plainBytesOf(frame) + segmentCountOf(frame) * tagSizeBytes;
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
  const frame = { ...lengths, segmentSizeBytes, offset: front.byteLength, binding };
  return { front, frame };
}

/** The opposite: where the segments of a stored archive are, and its wrapped key. Throws `ERR_ARCHIVE_CORRUPT`. */
export function readFrame(
  of: ArchiveRef,
  sealed: Uint8Array,
): { readonly wrapped: Uint8Array; readonly frame: SealedFrame } {
  if (sealed.byteLength < archiveHeader.sizeBytes) throw new ArchiveCorruptError('it is cut short');
  const fields = archiveHeader.decode(sealed);
  if (!archiveMagic.equals(fields.magic)) {
    throw new ArchiveCorruptError('it does not start with its magic');
  }
  if (fields.format_version !== archiveFormatVersion || fields.flags !== 0) {
    throw new ArchiveCorruptError(`it has format version ${fields.format_version}`);
  }
  const wrappedBytes = fields.wrapped_key_length;
  const offset = archiveHeader.sizeBytes + wrappedBytes;
  if (wrappedBytes > wrappedKeyMaxBytes || fields.zip_length > 2n ** 40n) {
    throw new ArchiveCorruptError('its header has lengths that cannot be');
  }
  const frame: SealedFrame = {
    headBytes: fields.head_length,
    listsBytes: fields.lists_length,
    zipBytes: toSafeNumber(fields.zip_length, 'zip length'),
    segmentSizeBytes: Math.max(fields.segment_size, 1),
    offset,
    binding: bindingOf(of, sealed.subarray(0, offset)),
  };
  if (sealed.byteLength !== sealedBytesOf(frame)) {
    throw new ArchiveCorruptError(`it has ${sealed.byteLength} bytes, not ${sealedBytesOf(frame)}`);
  }
  return { wrapped: sealed.slice(archiveHeader.sizeBytes, offset), frame };
}

function nonceOf(segment: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(segment);
  return nonce;
}

/** The whole object: `front`, then the segments of `parts` one after the other. */
export function sealArchive(
  parts: readonly Uint8Array[],
  key: Uint8Array,
  { front, frame }: { readonly front: Uint8Array; readonly frame: SealedFrame },
): Uint8Array {
  const sealed = Buffer.alloc(sealedBytesOf(frame));
  sealed.set(front);
  const plain = Buffer.concat(parts);
  for (let segment = 0, at = frame.offset; segment < segmentCountOf(frame); segment += 1) {
    const from = segment * frame.segmentSizeBytes;
    const cipher = createCipheriv('aes-256-gcm', key, nonceOf(segment));
    cipher.setAAD(frame.binding);
    const bytes = cipher.update(plain.subarray(from, from + frame.segmentSizeBytes));
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
  { from, to }: { readonly from: number; readonly to: number },
): Uint8Array {
  const { segmentSizeBytes: size, offset } = frame;
  if (from < 0 || from > to || to > plainBytesOf(frame)) {
    throw new ArchiveCorruptError('a part of it lies past its end');
  }
  const first = Math.floor(from / size);
  const end = Math.ceil(to / size);
  const plain = Buffer.allocUnsafeSlow(Math.min(end * size, plainBytesOf(frame)) - first * size);
  for (let segment = first; segment < end; segment += 1) {
    const at = offset + segment * (size + tagSizeBytes);
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
