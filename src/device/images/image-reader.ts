/**
 * Answers reads that a worker thread could not: loads what is missing and keeps it in the slab. Runs on the main thread.
 *
 * Invariant: every read is answered, with the image's bytes or with EIO, within the deadline and a little.
 */

import { ThawError, assert, errorCode, errorMessage, present, type Log } from '../../base/index.ts';
import {
  SlabView,
  type ChunkLoader,
  type ChunkRef,
  type ChunkSlab,
  type LoadedChunk,
  type SlabTable,
} from '../../cache/index.ts';
import { ReadDeadlineError } from '../errors.ts';
import type { ReadRequest } from '../fuse/fuse-channel.ts';
import { Errno } from '../fuse/fuse-protocol.ts';
import { spansOf, zeros, type ReadSpan } from './read-spans.ts';
import type { ListedChunk, OpenImage, ServedImage } from './served-image.ts';
import type { OpenPack } from '../starts/open-pack.ts';
import type { PackSpan } from '../starts/start-pack.ts';

export interface ImageReaderOptions {
  readonly loader: ChunkLoader;
  readonly slab: ChunkSlab;
  /** From the moment a read is taken until it is answered with EIO. */
  readonly readDeadlineMs: number;
  readonly log: Log;
}

/** Gets the answer: an errno or 0, and the bytes, which it must be done with when it returns. */
export type AnswerRead = (error: number, parts: readonly Uint8Array[]) => void;

/** Settles as `work` does, or rejects at `endsAtMs` on the monotonic clock. */
async function within<T>(work: Promise<T>, what: string, endsAtMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const leftMs = Math.max(0, endsAtMs - performance.now());
  const timer = setTimeout(() => late.reject(new ReadDeadlineError(what)), leftMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A read that ended in EIO comes back at once, and again: the loop device and the filesystem each try once more, in
 * smaller pieces. They get the same answer for so long, else a process would wait three times the deadline.
 */
const lateMemoryMs = 100;

function isLate(thrown: unknown): thrown is ThawError {
  return thrown instanceof ThawError && thrown.code === 'ERR_CACHE_DEADLINE';
}

/** A part of a chunk, of the disk's or of its pack's. */
interface ChunkPart extends ReadSpan {
  /** In which the slab tells of the chunk. */
  readonly table: SlabTable;
  readonly listed: ListedChunk;
}

/** One read on its way. */
interface Reading {
  readonly startedAtMs: number;
  readonly endsAtMs: number;
  /** Slots to give back, and loaded chunks. */
  readonly pinned: number[];
  readonly loaded: LoadedChunk[];
  /** Set once it has to wait for a chunk. */
  endWait: ((nowMs: number) => void) | undefined;
}

export class ImageReader {
  readonly #options: ImageReaderOptions;
  readonly #view: SlabView;
  /** Chunks whose time ran out a moment ago, by identity. */
  readonly #lateChunks = new Map<string, ThawError>();
  readonly #logged = new WeakSet<Error>();

  constructor(options: ImageReaderOptions) {
    this.#options = options;
    this.#view = new SlabView(options.slab.memory);
  }

  /** Reads and answers, once; never throws. `sinceMs`: how long ago the read was taken. */
  async read(
    image: ServedImage,
    request: ReadRequest,
    answer: AnswerRead,
    sinceMs = 0,
  ): Promise<void> {
    const startedAtMs = performance.now() - sinceMs;
    const endsAtMs = startedAtMs + this.#options.readDeadlineMs;
    const held = { pinned: [], loaded: [] };
    const reading: Reading = { startedAtMs, endsAtMs, ...held, endWait: undefined };
    try {
      const open = await within(image.open(), 'the manifest', endsAtMs);
      // Every pin is taken in this line, none later: so the `finally` below gives all of them back.
      const pieces = [...this.#pieces(image, open, request, reading)];
      const parts = await within(Promise.all(pieces), 'chunks', endsAtMs);
      answer(0, parts.flat());
    } catch (thrown) {
      this.#fail(image, request, thrown);
      answer(Errno.EIO, []);
    } finally {
      reading.endWait?.(performance.now());
      for (const slot of reading.pinned) this.#view.unpin(slot);
      for (const chunk of reading.loaded) chunk.done();
    }
  }

  /**
   * Keeps what was written to a writable image. Throws `ERR_DEVICE_DEADLINE` if what the block held cannot be read in
   * time, and system errors such as ENOSPC.
   */
  async write(image: ServedImage, offset: number, bytes: Uint8Array): Promise<void> {
    const { overlay } = await image.open();
    assert(overlay !== undefined, 'A write came to an image without an overlay');
    await overlay.write(offset, bytes, async (range) => this.bytes(image, range));
  }

  /** The bytes of `range`, the caller's. Throws `ERR_DEVICE_DEADLINE` if they cannot be had in time. */
  async bytes(
    image: ServedImage,
    range: Pick<ReadRequest, 'offset' | 'size'>,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      void this.read(image, range, (error, parts) => {
        if (error === 0) resolve(Buffer.concat(parts)); // a copy: the parts are lent
        else reject(new ReadDeadlineError('a block to be changed'));
      });
    });
  }

  /** The parts of a read in order, from the overlay where that has been written to. */
  *#pieces(
    image: ServedImage,
    open: OpenImage,
    request: ReadRequest,
    reading: Reading,
  ): Iterable<Promise<Uint8Array[]>> {
    const { offset } = request;
    const size = Math.max(0, Math.min(request.size, image.shape.diskSizeBytes - offset));
    const whole = { isWritten: false, offset, size };
    for (const run of open.overlay?.runs({ offset, size }) ?? [whole]) {
      if (run.isWritten && open.overlay !== undefined) {
        yield open.overlay.read(run).then((bytes) => [bytes]);
        continue;
      }
      for (const span of spansOf(image.shape, run)) {
        yield this.#piece(image, open, span, reading);
      }
    }
  }

  /** One span's bytes. What is in the slab is pinned before this returns its promise. */
  async #piece(
    image: ServedImage,
    open: OpenImage,
    span: ReadSpan,
    reading: Reading,
  ): Promise<Uint8Array[]> {
    const { index, start, end } = span;
    const listed = open.chunk(index);
    if (listed === undefined) return [zeros.subarray(0, end - start)];
    open.firstReads.note(index, start, end);
    const part = { ...span, table: open.table, listed };
    const held = this.#held(image, part, reading);
    if (held !== undefined) return [held];
    const { pack } = open;
    const packed = pack?.spans(index * image.shape.chunkSizeBytes + start, end - start);
    if (pack === undefined) return this.#load(image, part, reading);
    if (packed === undefined) {
      open.unpackedReads.add(index);
      return this.#load(image, part, reading);
    }
    try {
      return await this.#packedPiece(image, pack, packed, reading);
    } catch (thrown) {
      if (isLate(thrown)) throw thrown; // there is no time left for another chunk
      this.#losePack(image, open, pack, thrown);
      return this.#load(image, part, reading);
    }
  }

  /** One span's bytes, put together from the start pack's. As in `read`: every pin is taken before this returns its promise. */
  async #packedPiece(
    image: ServedImage,
    pack: OpenPack,
    spans: readonly PackSpan[],
    reading: Reading,
  ): Promise<Uint8Array[]> {
    const pieces = spans.map(async (span) => {
      pack.firstReads.note(span.index, span.start, span.end);
      const listed = present(pack.chunk(span.index), 'a chunk of the pack');
      const part = { ...span, table: pack.table, listed };
      const held = this.#held(image, part, reading);
      return held === undefined ? this.#load(image, part, reading) : [held];
    });
    return (await Promise.all(pieces)).flat();
  }

  /** The part's bytes in the slab; pinned then. */
  #held(
    image: ServedImage,
    { table, listed, index, start, end }: ChunkPart,
    reading: Reading,
  ): Uint8Array | undefined {
    // Another image may have brought it in.
    this.#options.slab.publish(table, index, listed.identity);
    const slot = this.#view.pin(table.entries, index);
    if (typeof slot !== 'number') return undefined;
    reading.pinned.push(slot);
    this.#view.countHits(1);
    image.tally.chunk(listed, 'l1');
    return this.#view.bytes(slot, start, end);
  }

  /** The same where it is not in the slab: loads its chunk. */
  async #load(
    image: ServedImage,
    { table, listed, index, start, end }: ChunkPart,
    reading: Reading,
  ): Promise<Uint8Array[]> {
    const { slab } = this.#options;
    const { chunk, identity } = listed;
    this.#view.countMiss();
    reading.endWait ??= image.tally.waits.begin(reading.startedAtMs);
    const loaded = await this.#loadChunk(chunk, identity, reading.endsAtMs);
    reading.loaded.push(loaded);
    const { plaintext, tier } = loaded;
    image.tally.chunk(listed, tier);
    if (slab.insert(identity, plaintext)) slab.publish(table, index, identity);
    const storedEnd = Math.min(end, plaintext.byteLength);
    const stored = plaintext.subarray(start, Math.max(start, storedEnd));
    return [stored, zeros.subarray(0, end - start - stored.byteLength)];
  }

  async #loadChunk(chunk: ChunkRef, identity: string, endsAtMs: number): Promise<LoadedChunk> {
    const known = this.#lateChunks.get(identity);
    if (known !== undefined) throw known;
    const deadlineMs = Math.max(1, endsAtMs - performance.now());
    try {
      return await this.#options.loader.load(chunk, { deadlineMs });
    } catch (thrown) {
      if (isLate(thrown)) {
        this.#lateChunks.set(identity, thrown);
        setTimeout(() => this.#lateChunks.delete(identity), lateMemoryMs);
      }
      throw thrown;
    }
  }

  /** Of the reads that find a chunk of it missing at the same time the first drops it. */
  #losePack({ image }: ServedImage, open: OpenImage, pack: OpenPack, thrown: unknown): void {
    if (open.pack !== pack) return;
    this.#options.log.warn('a start goes on without its start pack', {
      image: image.manifestId,
      code: errorCode(thrown),
      reason: errorMessage(thrown),
    });
    open.losePack();
  }

  /** One line in the log for one failure, however many reads it ends. */
  #fail(image: ServedImage, request: ReadRequest, thrown: unknown): void {
    image.tally.failure();
    if (thrown instanceof Error) {
      if (this.#logged.has(thrown)) return;
      this.#logged.add(thrown);
    }
    this.#options.log.warn('read failed', {
      image: image.image.manifestId,
      offset: request.offset,
      size: request.size,
      code: errorCode(thrown),
      reason: errorMessage(thrown),
    });
  }
}
