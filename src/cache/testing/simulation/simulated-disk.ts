/** A worker's disk in virtual time: bounded, and it rots, stalls, fills up and is wiped when it is told. */

import { toHex, untilAborted, type Timers } from '../../../base/index.ts';
import type { CacheTier, ChunkName, TierRequest } from '../../cache-tier.ts';
import { TierUnavailableError } from '../../errors.ts';
import { below, damaged, type Random } from './randomness.ts';

export class SimulatedDisk implements CacheTier {
  isFull = false;
  isStalled = false;
  isBroken = false;
  readonly #chunks = new Map<string, Uint8Array>();
  readonly #chunksMax: number;
  readonly #timers: Timers;
  readonly #random: Random;

  constructor(chunksMax: number, timers: Timers, random: Random) {
    this.#chunksMax = chunksMax;
    this.#timers = timers;
    this.#random = random;
  }

  async get(chunk: ChunkName, { signal }: TierRequest): Promise<Uint8Array | undefined> {
    const delayMs = this.isStalled ? 60_000 : 0.2;
    const waited = new Promise<void>((resolve) => this.#timers.after(delayMs, resolve));
    await untilAborted(waited, signal);
    if (this.isBroken) throw new TierUnavailableError('disk', 'simulated EIO');
    const bytes = this.#chunks.get(keyOf(chunk));
    return bytes && new Uint8Array(bytes);
  }

  offer(chunk: ChunkName, ciphertext: Uint8Array): void {
    if (this.isFull || this.isBroken) return;
    if (this.#chunks.size >= this.#chunksMax) this.#chunks.delete(this.#anyKey());
    this.#chunks.set(keyOf(chunk), new Uint8Array(ciphertext));
  }

  async forget(chunk: ChunkName): Promise<void> {
    this.#chunks.delete(keyOf(chunk));
  }

  hedgeAfterMs(): number {
    return Infinity;
  }

  /** Changes some of what is stored. */
  rot(count: number): void {
    for (let done = 0; done < count && this.#chunks.size > 0; done += 1) {
      const key = this.#anyKey();
      const bytes = this.#chunks.get(key);
      if (bytes !== undefined && bytes.byteLength > 0) {
        this.#chunks.set(key, damaged(this.#random, bytes));
      }
    }
  }

  wipe(): void {
    this.#chunks.clear();
  }

  #anyKey(): string {
    return [...this.#chunks.keys()][below(this.#random, this.#chunks.size)] ?? '';
  }
}

function keyOf({ ciphertextDigest, storedLengthBytes }: ChunkName): string {
  return `${toHex(ciphertextDigest)}/${storedLengthBytes}`;
}
