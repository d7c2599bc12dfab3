/**
 * Ciphertext that waits to be written to the tiers that lack it: copied once, into memory of a known size that is used again and again, and
 * that V8 does not count. Left in arrays of their own, the chunks that wait during a start had its garbage collector look through all of its heap two
 * to five times (docs/benchmarks.md).
 *
 * Who owns what: what is given to `keep` stays the caller's, who may give its memory back at once. The copy belongs to those who have kept it, who
 * only read it, until the last of them is `done`; then its place is the next chunk's.
 *
 * Invariants: bytes that somebody has kept do not change until he is done; all that is kept is within `bytesMax`; a chunk is here once, however
 * many keep it; pages that were never needed are never touched.
 */

import { assert, toHex } from '../../base/index.ts';
import type { ChunkName } from '../cache-tier.ts';
import { FreeExtents } from './free-extents.ts';

/** A chunk that one tier has kept. */
export interface WaitingChunk {
  /** The ciphertext: to be read only, and by nobody, the kernel included, after `done`. Throws `ERR_INTERNAL` then. */
  readonly bytes: Uint8Array;
  /** To be called once: no write of these bytes is under way any longer, nor will one begin. Throws `ERR_INTERNAL` the second time. */
  readonly done: () => void;
}

/** A copy, and how many keep it. */
interface Copy {
  readonly key: string;
  readonly bytes: Uint8Array;
  keepers: number;
}

/** What may wait for one tier, where nothing else is asked for. Holds what the start of a Node function reads. */
export const waitingDefaultMaxBytes = 96 * 1024 * 1024;

/** Of one worker: its tiers share it, so that what several of them lack is here once. */
export class WaitingChunks {
  readonly #bytesMax: number;
  readonly #free: FreeExtents;
  readonly #copies = new Map<string, Copy>();
  /** Shared memory, as that is what V8 does not count; no other thread has it. Made when it is first needed. */
  #memory: SharedArrayBuffer | undefined;
  #bytes = 0;

  constructor({ bytesMax }: { readonly bytesMax: number }) {
    this.#bytesMax = bytesMax;
    this.#free = new FreeExtents(bytesMax);
  }

  /** Of the copies that are kept now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Copies a chunk of which it is certain that these are its bytes, unless it is here already; undefined if there is no room. */
  keep(chunk: ChunkName, ciphertext: Uint8Array): WaitingChunk | undefined {
    const key = toHex(chunk.ciphertextDigest);
    const copy = this.#copies.get(key) ?? this.#copy(key, ciphertext);
    if (copy === undefined) return undefined;
    assert(copy.bytes.byteLength === ciphertext.byteLength, 'A chunk has one length');
    copy.keepers += 1;
    let isDone = false;
    return {
      get bytes() {
        assert(!isDone, 'A chunk was read after it had been written');
        return copy.bytes;
      },
      done: () => {
        assert(!isDone, 'A chunk was given back twice');
        isDone = true;
        this.#leave(copy);
      },
    };
  }

  #copy(key: string, ciphertext: Uint8Array): Copy | undefined {
    const { byteLength } = ciphertext;
    const start = this.#free.take(byteLength);
    if (start === undefined) return undefined;
    this.#memory ??= new SharedArrayBuffer(this.#bytesMax);
    const bytes = new Uint8Array(this.#memory, start, byteLength);
    bytes.set(ciphertext);
    const copy: Copy = { key, bytes, keepers: 0 };
    this.#copies.set(key, copy);
    this.#bytes += byteLength;
    return copy;
  }

  #leave(copy: Copy): void {
    copy.keepers -= 1;
    if (copy.keepers > 0) return;
    const { key, bytes } = copy;
    this.#copies.delete(key);
    this.#bytes -= bytes.byteLength;
    this.#free.give(bytes.byteOffset, bytes.byteLength);
  }
}
