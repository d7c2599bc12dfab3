/**
 * Cuts a stream of zstd frames so that no chunk reaches over the end of a frame. Node's decompressor takes what
 * follows the first frame's end within one write for trailing garbage and drops it silently; given one frame's
 * bytes at a time it carries on through any number of frames, as a zstd stream of several must be read (zstd
 * --rsyncable, pzstd and zstd:chunked layers are such streams). Bytes are only counted here, not decompressed.
 * Source: RFC 8878, sections 3.1.1 (frames and blocks) and 3.1.2 (skippable frames).
 */

import { viewOf } from '../base/index.ts';

const frameMagic = 0xfd2fb528;
/** 0x184D2A50 to 0x184D2A5F. */
const skippableMagic = 0x184d2a5;
const magicBytes = 4;
const blockHeaderBytes = 3;
const checksumBytes = 4;
/** Bytes of Frame_Content_Size by its flag, without Single_Segment. */
const contentSizeBytes = [0, 2, 4, 8] as const;
const dictionaryIdBytes = [0, 1, 2, 4] as const;
const rleBlock = 1;

export class ZstdFormatError extends Error {}

/** A field that ends at `bytes` and tells what comes next. */
type Step = 'magic' | 'skip-size' | 'descriptor' | 'block-header';

/**
 * Walks over frames as bytes come in. A *field* is a few bytes that must be looked at (magic, descriptor, block
 * header), gathered over chunk borders; between fields there are `skipBytes` to pass over.
 */
class FrameWalker {
  #step: Step = 'magic';
  #field = Buffer.alloc(magicBytes);
  #fieldFilled = 0;
  #fieldWanted = magicBytes;
  #skipBytes = 0;
  #isChecksummed = false;
  /** After the bytes now being skipped the frame is over. */
  #endsAfterSkip = false;

  /** Between two frames, where a stream may end. */
  get isAtFrameStart(): boolean {
    return this.#step === 'magic' && this.#fieldFilled === 0 && this.#skipBytes === 0;
  }

  /** Takes bytes up to the end of the frame or of the chunk, and says how many. */
  walk(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.byteLength) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, chunk.byteLength - at);
        this.#skipBytes -= skipped;
        at += skipped;
      } else {
        const taken = Math.min(this.#fieldWanted - this.#fieldFilled, chunk.byteLength - at);
        chunk.copy(this.#field, this.#fieldFilled, at, at + taken);
        this.#fieldFilled += taken;
        at += taken;
        if (this.#fieldFilled === this.#fieldWanted) this.#readField();
      }
      if (this.#skipBytes === 0 && this.#endsAfterSkip) {
        this.#endsAfterSkip = false;
        this.#expect('magic', magicBytes);
        return at;
      }
    }
    return at;
  }

  #expect(step: Step, bytes: number): void {
    this.#step = step;
    this.#fieldWanted = bytes;
    this.#fieldFilled = 0;
  }

  #readField(): void {
    switch (this.#step) {
      case 'magic': {
        const magic = this.#field.readUInt32LE(0);
        if (magic === frameMagic) this.#expect('descriptor', 1);
        else if (magic >>> 4 === skippableMagic) this.#expect('skip-size', 4);
        else throw new ZstdFormatError('what should be a zstd frame does not begin as one');
        break;
      }
      case 'skip-size':
        this.#skipBytes = this.#field.readUInt32LE(0);
        this.#endsAfterSkip = true;
        break;
      case 'descriptor':
        this.#readDescriptor(this.#field.readUInt8(0));
        break;
      case 'block-header':
        this.#readBlockHeader(this.#field.readUIntLE(0, blockHeaderBytes));
        break;
    }
  }

  #readDescriptor(descriptor: number): void {
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const contentSizeFlag = descriptor >>> 6;
    this.#isChecksummed = (descriptor & 0x04) !== 0;
    const windowBytes = isSingleSegment ? 0 : 1;
    const sizeBytes =
      isSingleSegment && contentSizeFlag === 0 ? 1 : (contentSizeBytes[contentSizeFlag] ?? 0);
    this.#skipBytes = windowBytes + (dictionaryIdBytes[descriptor & 0x03] ?? 0) + sizeBytes;
    this.#expect('block-header', blockHeaderBytes);
  }

  #readBlockHeader(header: number): void {
    const isLast = (header & 1) === 1;
    const type = (header >>> 1) & 3;
    const blockBytes = header >>> 3;
    this.#skipBytes = type === rleBlock ? 1 : blockBytes;
    this.#expect('block-header', blockHeaderBytes);
    if (isLast) {
      this.#skipBytes += this.#isChecksummed ? checksumBytes : 0;
      this.#endsAfterSkip = true;
    }
  }
}

/**
 * The same bytes, cut at the ends of frames; the chunks are views into those of the source.
 * Throws `ZstdFormatError` where no frame begins and where the stream ends within one.
 */
export class ZstdFrameCutter {
  readonly #walker = new FrameWalker();

  *cut(chunk: Uint8Array): Generator<Buffer> {
    let rest = viewOf(chunk);
    while (rest.byteLength > 0) {
      const taken = this.#walker.walk(rest);
      yield rest.subarray(0, taken);
      rest = rest.subarray(taken);
    }
  }

  end(): void {
    if (!this.#walker.isAtFrameStart) throw new ZstdFormatError('it is truncated');
  }
}
