/**
 * One layer's blob to its verified, uncompressed tar. Bytes flow once through hash, decompressor, hash and disk,
 * each waiting for the next, so memory stays at a few buffers whatever the layer's size. How a blob is compressed
 * is told by its first bytes, as containerd does: media types in the wild are sometimes wrong, and whatever comes
 * out must have the diff id anyway.
 */

import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';

import { ThawError, errorCode, viewOf, type RandomAccess } from '../base/index.ts';
import { disposeBlob, streamOf, verified, type Blob, type BlobExpectation } from './blob-source.ts';
import { Digester } from './digest.ts';
import {
  OciCorruptLayerError,
  OciDiffIdMismatchError,
  OciTooLargeError,
  OciWorkDirError,
  reasonOf,
} from './errors.ts';
import { SpoolFile, type FileRange } from './file-range.ts';
import type { LayerTar } from './image-source.ts';
import { ZstdFormatError, ZstdFrameCutter } from './zstd-frames.ts';

/**
 * Size of the decompressor's output buffers. Measured with /usr/bin/node's headers and text on one core: gunzip
 * gives 119 MB/s with Node's default of 16 KiB, 268 with this, 282 with 1 MiB; zstd 134, 319 and 463.
 */
const outputChunkBytes = 256 * 1024;

export type Compression = 'none' | 'gzip' | 'zstd';

export interface UnpackOptions {
  /** Names the layer in errors. */
  readonly what: string;
  readonly blob: BlobExpectation;
  /** Undefined: whatever comes out is right (a compressed archive around the image). */
  readonly diffId: string | undefined;
  readonly workDir: string;
  /** Of the uncompressed tar: what stops a decompression bomb. */
  readonly tarBytesMax: number;
  readonly signal: AbortSignal | undefined;
  /** Called with the bytes of the blob seen so far. */
  readonly onBytes: (doneBytes: number) => void;
}

/** The magic of gzip (RFC 1952, 2.3.1), of a zstd frame or of a skippable zstd frame (RFC 8878, 3.1). */
export function detectCompression(start: Uint8Array): Compression {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  if (start.byteLength < 4) return 'none';
  const magic = viewOf(start).readUInt32LE(0);
  return magic === 0xfd2fb528 || magic >>> 4 === 0x184d2a5 ? 'zstd' : 'none';
}

/** The first bytes of a range, as many as a magic number has. */
export async function readMagic(bytes: RandomAccess): Promise<Uint8Array> {
  const start = Buffer.alloc(Math.min(4, bytes.sizeBytes));
  await bytes.read(0, start);
  return start;
}

class OpenLayerTar implements LayerTar {
  readonly diffId: string;
  readonly #range: FileRange;

  constructor(diffId: string, range: FileRange) {
    this.diffId = diffId;
    this.#range = range;
  }

  get sizeBytes(): number {
    return this.#range.sizeBytes;
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#range.read(offset, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#range[Symbol.asyncDispose]();
  }
}

/** Where the uncompressed bytes go: hashed, counted, on disk. */
class TarSink implements AsyncDisposable {
  readonly #options: UnpackOptions;
  readonly #spool: SpoolFile;
  readonly #digester = new Digester();

  private constructor(options: UnpackOptions, spool: SpoolFile) {
    this.#options = options;
    this.#spool = spool;
  }

  static async create(options: UnpackOptions): Promise<TarSink> {
    try {
      return new TarSink(options, await SpoolFile.create(options.workDir));
    } catch (thrown) {
      throw new OciWorkDirError(options.workDir, thrown);
    }
  }

  async append(bytes: Uint8Array): Promise<void> {
    const { what, tarBytesMax, workDir } = this.#options;
    if (this.#spool.sizeBytes + bytes.byteLength > tarBytesMax) {
      throw new OciTooLargeError(`${what} uncompressed`, tarBytesMax);
    }
    this.#digester.update(bytes);
    try {
      await this.#spool.append(bytes);
    } catch (thrown) {
      throw new OciWorkDirError(workDir, thrown);
    }
  }

  /** Throws `ERR_OCI_DIFF_ID_MISMATCH`. */
  finish(): FileRange {
    const { what, diffId } = this.#options;
    const actual = this.#digester.digest();
    if (diffId !== undefined && actual !== diffId) {
      throw new OciDiffIdMismatchError(what, diffId, actual);
    }
    return this.#spool.finish();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
  }
}

/** A decompressor at work, whose output runs into a sink. */
class Decompression {
  readonly #decoder: Duplex;
  readonly #cutter: ZstdFrameCutter | undefined;
  readonly #drained: Promise<void>;
  /** What went wrong behind `write`: the format (then there is no use in writing on), or the sink. */
  #failure: { readonly thrown: unknown } | undefined;

  constructor(compression: 'gzip' | 'zstd', sink: TarSink) {
    const settings = { chunkSize: outputChunkBytes };
    this.#cutter = compression === 'zstd' ? new ZstdFrameCutter() : undefined;
    this.#decoder =
      compression === 'zstd' ? createZstdDecompress(settings) : createGunzip(settings);
    this.#drained = this.#drain(sink);
  }

  async #drain(sink: TarSink): Promise<void> {
    try {
      for await (const chunk of this.#decoder) await sink.append(chunk as Buffer);
    } catch (thrown) {
      this.#failure ??= { thrown };
    }
  }

  /** Throws only what the sink threw; a broken format is kept for `finish`, as the digest has the first word. */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#failure?.thrown instanceof ThawError) throw this.#failure.thrown;
    if (this.#failure !== undefined) return;
    try {
      for (const part of this.#cutter?.cut(chunk) ?? [chunk]) await this.#push(part);
    } catch (thrown) {
      this.#failure ??= { thrown };
    }
  }

  async #push(part: Uint8Array): Promise<void> {
    if (this.#failure !== undefined || this.#decoder.write(part)) return;
    const stopWaiting = new AbortController();
    try {
      const ready = once(this.#decoder, 'drain', { signal: stopWaiting.signal });
      ready.catch(() => {}); // reported through #failure
      await Promise.race([ready, this.#drained]);
    } finally {
      stopWaiting.abort();
    }
  }

  /** Throws what broke the format, or what the sink threw. */
  async finish(): Promise<void> {
    try {
      this.#cutter?.end();
    } catch (thrown) {
      this.#failure ??= { thrown };
    }
    if (this.#failure === undefined) this.#decoder.end();
    else this.#decoder.destroy();
    await this.#drained;
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }

  async abandon(): Promise<void> {
    this.#decoder.destroy();
    await this.#drained;
  }
}

function corruptLayer(what: string, thrown: unknown): unknown {
  if (thrown instanceof ZstdFormatError) return new OciCorruptLayerError(what, thrown.message);
  const code = errorCode(thrown) ?? '';
  if (thrown instanceof ThawError || !/^(Z_|ZSTD_|ERR_ZLIB|ERR_ZSTD)/.test(code)) return thrown;
  return new OciCorruptLayerError(what, reasonOf(thrown), thrown);
}

/** Peels off what tells the compression, and gives the whole stream back with it. */
async function peek(
  chunks: AsyncGenerator<Uint8Array>,
): Promise<{ compression: Compression; head: Uint8Array }> {
  let head: Uint8Array = new Uint8Array();
  while (head.byteLength < 4) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    head = head.byteLength === 0 ? value : Buffer.concat([head, value]);
  }
  return { compression: detectCompression(head), head };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  options: UnpackOptions,
): AsyncGenerator<Uint8Array> {
  let doneBytes = 0;
  for await (const chunk of chunks) {
    options.signal?.throwIfAborted();
    doneBytes += chunk.byteLength;
    options.onBytes(doneBytes);
    yield chunk;
  }
}

async function pump(
  chunks: AsyncIterable<Uint8Array>,
  sink: TarSink,
  options: UnpackOptions,
): Promise<void> {
  const checked = verified(options.what, counted(chunks, options), options.blob);
  try {
    const { compression, head } = await peek(checked);
    if (compression === 'none') {
      if (head.byteLength > 0) await sink.append(head);
      for await (const chunk of checked) await sink.append(chunk);
      return;
    }
    const decompression = new Decompression(compression, sink);
    try {
      await decompression.write(head);
      for await (const chunk of checked) await decompression.write(chunk);
      await decompression.finish();
    } catch (thrown) {
      await decompression.abandon();
      throw corruptLayer(options.what, thrown);
    }
  } finally {
    await checked.return(undefined);
  }
}

/** Hashes an uncompressed layer where it lies; it is read there from then on. */
async function verifyInPlace(range: FileRange, options: UnpackOptions): Promise<void> {
  const { what, blob, diffId, tarBytesMax } = options;
  if (range.sizeBytes > tarBytesMax) throw new OciTooLargeError(what, tarBytesMax);
  const digester = new Digester();
  for await (const chunk of verified(what, counted(range.stream(), options), blob)) {
    if (diffId !== blob.digest) digester.update(chunk);
  }
  if (diffId === undefined || diffId === blob.digest) return;
  const actual = digester.digest();
  if (actual !== diffId) throw new OciDiffIdMismatchError(what, diffId, actual);
}

/**
 * Verifies and decompresses a blob; disposes of it. An uncompressed blob on this machine is not copied.
 * Throws `ERR_OCI_DIGEST_MISMATCH`, `ERR_OCI_SIZE_MISMATCH`, `ERR_OCI_CORRUPT_LAYER`,
 * `ERR_OCI_DIFF_ID_MISMATCH`, `ERR_OCI_TOO_LARGE`, `ERR_OCI_WORK_DIR`, and what the blob's stream throws.
 */
export async function unpackBlob(blob: Blob, options: UnpackOptions): Promise<FileRange> {
  try {
    if (blob.kind === 'range' && detectCompression(await readMagic(blob.range)) === 'none') {
      await verifyInPlace(blob.range, options);
      return blob.range.slice(0, blob.range.sizeBytes);
    }
    await using sink = await TarSink.create(options);
    await pump(streamOf(blob), sink, options);
    return sink.finish();
  } finally {
    await disposeBlob(blob);
  }
}

/** `unpackBlob` for a layer, whose diff id is known. */
export async function unpackLayer(
  blob: Blob,
  options: UnpackOptions & { readonly diffId: string },
): Promise<LayerTar> {
  return new OpenLayerTar(options.diffId, await unpackBlob(blob, options));
}
