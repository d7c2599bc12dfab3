/** Buffers that are read into, handed on in pieces, and used again once every piece is done: fresh memory costs more than copying. */

const bufferBytes = 256 * 1024;
/** A read of less is copied, so that it does not hold a whole buffer. */
const copiedBelowBytes = 16 * 1024;

export class BufferPool {
  readonly #free: Buffer<ArrayBuffer>[] = [];
  /** Bytes handed out of each buffer that are not done yet. */
  readonly #outBytes = new Map<ArrayBufferLike, number>();

  take(): Buffer<ArrayBuffer> {
    return this.#free.pop() ?? Buffer.from(new ArrayBuffer(bufferBytes));
  }

  /** The first `sizeBytes` of a taken buffer, to be given back in any pieces; the rest is not used. */
  filled(buffer: Buffer<ArrayBuffer>, sizeBytes: number): Buffer {
    if (sizeBytes < copiedBelowBytes) {
      const copy = Buffer.copyBytesFrom(buffer, 0, sizeBytes);
      this.#free.push(buffer);
      return copy;
    }
    this.#outBytes.set(buffer.buffer, sizeBytes);
    return buffer.subarray(0, sizeBytes);
  }

  /** Of any memory; what is not of this pool is ignored. */
  done(piece: Uint8Array): void {
    const outBytes = this.#outBytes.get(piece.buffer);
    if (outBytes === undefined) return;
    const leftBytes = outBytes - piece.byteLength;
    if (leftBytes > 0) {
      this.#outBytes.set(piece.buffer, leftBytes);
      return;
    }
    this.#outBytes.delete(piece.buffer);
    this.#free.push(Buffer.from(piece.buffer as ArrayBuffer));
  }
}
