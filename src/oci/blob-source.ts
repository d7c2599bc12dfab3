/**
 * Where an image's documents and blobs come from: a layout or a registry. A source checks nothing; whoever reads
 * through `readDocument` or `unpackLayer` gets verified bytes only.
 */

import { errorCode } from '../base/index.ts';
import { Digester, digestAlgorithm } from './digest.ts';
import { documentBytesMax, type Descriptor } from './documents.ts';
import { OciDigestMismatchError, OciSizeMismatchError, OciTooLargeError } from './errors.ts';
import type { FileRange } from './file-range.ts';

/** A blob as its source has it, not yet verified. */
export type Blob =
  /** On this machine, readable at any offset. The receiver disposes of it. */
  | { readonly kind: 'range'; readonly range: FileRange }
  /** From afar, once, in order; ending the iteration early ends the transfer. */
  | { readonly kind: 'stream'; readonly chunks: AsyncIterable<Uint8Array> };

/** What a blob must turn out to be. */
export interface BlobExpectation {
  /** Undefined where the source has no digests of its blobs (docker-archive). */
  readonly digest: string | undefined;
  readonly sizeBytes: number;
}

export interface BlobSource extends AsyncDisposable {
  /** True if a second try may bring other bytes. */
  readonly isRemote: boolean;
  /** What the reference names: the choice is by platform where there are several. */
  roots(): Promise<readonly Descriptor[]>;
  /** An index or manifest. Throws `ERR_OCI_NOT_FOUND`. */
  openManifest(descriptor: Descriptor): Promise<Blob>;
  /** A configuration or layer. Throws `ERR_OCI_NOT_FOUND`. */
  openBlob(descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>): Promise<Blob>;
  /** True if the source has the blob in that size and would give it to us; nothing of it is read. */
  hasBlob(descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>): Promise<boolean>;
}

/**
 * Passes a blob's bytes on while it hashes and counts them. Throws `ERR_OCI_SIZE_MISMATCH` as soon as there is
 * a byte too many, and it or `ERR_OCI_DIGEST_MISMATCH` at the end: until the iteration has ended well, nothing
 * that was passed on may be trusted.
 */
export async function* verified(
  what: string,
  chunks: AsyncIterable<Uint8Array>,
  expected: BlobExpectation,
): AsyncGenerator<Uint8Array> {
  const { digest, sizeBytes } = expected;
  const digester = digest === undefined ? undefined : new Digester(digestAlgorithm(digest));
  let seenBytes = 0;
  for await (const chunk of chunks) {
    seenBytes += chunk.byteLength;
    if (seenBytes > sizeBytes) {
      throw new OciSizeMismatchError(what, sizeBytes, `${seenBytes} or more`);
    }
    digester?.update(chunk);
    yield chunk;
  }
  if (seenBytes !== sizeBytes) throw new OciSizeMismatchError(what, sizeBytes, `${seenBytes}`);
  const actual = digester?.digest();
  if (digest !== undefined && actual !== undefined && actual !== digest) {
    throw new OciDigestMismatchError(what, digest, actual);
  }
}

export function streamOf(blob: Blob): AsyncIterable<Uint8Array> {
  return blob.kind === 'range' ? blob.range.stream() : blob.chunks;
}

export async function disposeBlob(blob: Blob): Promise<void> {
  if (blob.kind === 'range') await blob.range[Symbol.asyncDispose]();
}

/** Throws `ERR_OCI_TOO_LARGE` before anything of an oversized document is read. */
export function checkDocumentSize(what: string, sizeBytes: number): void {
  if (sizeBytes > documentBytesMax) throw new OciTooLargeError(what, documentBytesMax);
}

/** The whole of a small blob, verified; disposes of it. */
export async function readDocument(
  what: string,
  blob: Blob,
  expected: BlobExpectation,
): Promise<Uint8Array> {
  try {
    checkDocumentSize(what, expected.sizeBytes);
    const parts: Uint8Array[] = [];
    for await (const part of verified(what, streamOf(blob), expected)) parts.push(part);
    return Buffer.concat(parts);
  } finally {
    await disposeBlob(blob);
  }
}

/** The whole of a small file whose digest nobody states. */
export async function readSmallFile(what: string, range: FileRange): Promise<Uint8Array> {
  checkDocumentSize(what, range.sizeBytes);
  const bytes = Buffer.alloc(range.sizeBytes);
  await range.read(0, bytes);
  return bytes;
}

/** Copies of one blob fetched before a wrong one is believed to be what the registry has. */
const copiesMax = 3;

/** Runs work that reads a blob of a source, again with another copy where a remote one came damaged. */
export async function withFreshCopies<T>(
  source: Pick<BlobSource, 'isRemote'>,
  work: () => Promise<T>,
): Promise<T> {
  for (let copy = 1; ; copy += 1) {
    try {
      return await work();
    } catch (thrown) {
      const code = errorCode(thrown);
      const isDamaged = code === 'ERR_OCI_DIGEST_MISMATCH' || code === 'ERR_OCI_SIZE_MISMATCH';
      if (!source.isRemote || !isDamaged || copy === copiesMax) throw thrown;
    }
  }
}
