/**
 * Pieces of a layer's uncompressed tar that its record keeps, so that chunks made anew in every image (inode tables with small files
 * in them) can be made without the layer. Held in a few arrays, as there may be very many pieces of a few bytes.
 */

import { firstNotBefore, viewOf } from '../base/index.ts';
import { CompactWriter, type CompactReader } from './compact-bytes.ts';

/** Of one layer. What goes beyond is not kept, and the layer is opened where it is needed. */
const keptBytesMax = 32 * 2 ** 20;

export class KeptDataWriter {
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  readonly #known = new Set<number>();
  readonly #bytes = new CompactWriter();

  /** Keeps the bytes at `tarOffset`, which stay the caller's, unless there are too many already. */
  add(tarOffset: number, bytes: Uint8Array): void {
    if (this.#bytes.lengthBytes + bytes.byteLength > keptBytesMax) return;
    if (this.#known.has(tarOffset)) return;
    this.#known.add(tarOffset);
    this.#offsets.push(tarOffset);
    this.#lengths.push(bytes.byteLength);
    this.#bytes.raw(bytes);
  }

  /** Writes all pieces, by their offset. */
  writeTo(to: CompactWriter): void {
    const bytes = this.#bytes.take();
    let end = 0;
    const starts = this.#lengths.map((length) => (end += length) - length);
    const order = [...this.#offsets.keys()].sort((a, b) => this.#offset(a) - this.#offset(b));
    to.number(order.length);
    let before = 0;
    for (const piece of order) {
      to.number(this.#offset(piece) - before);
      to.number(this.#lengths[piece] ?? 0);
      before = this.#offset(piece);
    }
    for (const piece of order) {
      const start = starts[piece] ?? 0;
      to.raw(bytes.subarray(start, start + (this.#lengths[piece] ?? 0)));
    }
  }

  #offset(piece: number): number {
    return this.#offsets[piece] ?? 0;
  }
}

export class KeptData {
  readonly #offsets: Float64Array;
  /** Where each piece begins in `#bytes`, and after the last where it ends. */
  readonly #starts: Float64Array;
  readonly #bytes: Buffer;

  private constructor(offsets: Float64Array, starts: Float64Array, bytes: Uint8Array) {
    this.#offsets = offsets;
    this.#starts = starts;
    this.#bytes = viewOf(bytes);
  }

  /** Reads what `KeptDataWriter` wrote. Throws `ERR_PUBLISH_LAYER_RECORD`. */
  static readFrom(from: CompactReader): KeptData {
    const count = from.count();
    const offsets = new Float64Array(count);
    const starts = new Float64Array(count + 1);
    let offset = 0;
    let start = 0;
    for (let piece = 0; piece < count; piece += 1) {
      offset += from.number();
      offsets[piece] = offset;
      start += from.number();
      starts[piece + 1] = start;
    }
    return new KeptData(offsets, starts, from.raw(start));
  }

  /** Fills `target` from the piece that has all of it; false if none has. */
  fill(tarOffset: number, target: Uint8Array): boolean {
    const piece = this.#lastPieceUpTo(tarOffset);
    if (piece < 0) return false;
    const start = (this.#starts[piece] ?? 0) + tarOffset - (this.#offsets[piece] ?? 0);
    const end = start + target.byteLength;
    if (end > (this.#starts[piece + 1] ?? 0)) return false;
    target.set(this.#bytes.subarray(start, end));
    return true;
  }

  #lastPieceUpTo(tarOffset: number): number {
    const offsets = this.#offsets;
    return firstNotBefore(offsets.length, (index) => (offsets[index] ?? 0) <= tarOffset) - 1;
  }
}
