/** Caches of a number of chunks, each with another rule for what goes. */

import { chunkReplacement, LruK, type LruKOptions } from '../../src/cache/index.ts';
import type { ChunkUse } from './start-trace.ts';

/** True if the chunk was there; it is afterwards. */
export type UseChunk = (use: ChunkUse) => boolean;

/** Makes an empty cache for the whole of `trace`. */
export type MakeBuffer = (size: number, trace: readonly ChunkUse[]) => UseChunk;

export const lru: MakeBuffer = (size) => {
  const chunks = new Set<number>(); // in the order of use
  return ({ chunk }) => {
    const isHit = chunks.delete(chunk);
    chunks.add(chunk);
    if (chunks.size > size) {
      const [oldest = chunk] = chunks;
      chunks.delete(oldest);
    }
    return isHit;
  };
};

/** Second chance, as the memory had it before: a flag a slot, and a hand that clears it. */
export const clock: MakeBuffer = (size) => {
  const slots: (number | undefined)[] = Array.from({ length: size });
  const touched = new Uint8Array(size);
  const slotOf = new Map<number, number>();
  let hand = 0;
  return ({ chunk }) => {
    const slot = slotOf.get(chunk);
    if (slot !== undefined) {
      touched[slot] = 1;
      return true;
    }
    while (touched[hand] === 1) {
      touched[hand] = 0;
      hand = (hand + 1) % size;
    }
    const old = slots[hand];
    if (old !== undefined) slotOf.delete(old);
    slots[hand] = chunk;
    slotOf.set(chunk, hand);
    touched[hand] = 1;
    hand = (hand + 1) % size;
    return false;
  };
};

export function lruK(options: Partial<LruKOptions> = {}): MakeBuffer {
  return (size) => {
    const policy = new LruK<number>({
      ...chunkReplacement,
      historyMax: size,
      ...options,
    });
    return ({ chunk, atMs }) => {
      if (policy.reference(chunk, atMs)) return true;
      const victim = policy.residentCount < size ? undefined : policy.victim(atMs);
      if (victim !== undefined) policy.evict(victim);
      policy.admit(chunk, atMs);
      return false;
    };
  };
}

/** What no rule can beat, as it knows the future: the chunk that is used again last goes (Belady 1966), or is not kept at all. */
export const optimal: MakeBuffer = (size, trace) => {
  const nextUse = new Int32Array(trace.length);
  const seen = new Map<number, number>();
  for (let index = trace.length - 1; index >= 0; index -= 1) {
    const chunk = trace[index]?.chunk ?? -1;
    nextUse[index] = seen.get(chunk) ?? trace.length;
    seen.set(chunk, index);
  }
  /** Next use by chunk, and the chunk of each next use, in buckets of a heap: the furthest is looked for from the end. */
  const nextOf = new Map<number, number>();
  const chunkAt = new Int32Array(trace.length + 1).fill(-1);
  const furthest = new FurthestUse(trace.length);
  let index = -1;
  return ({ chunk }) => {
    index += 1;
    const isHit = nextOf.has(chunk);
    if (isHit) furthest.remove(index);
    const next = nextUse[index] ?? trace.length;
    nextOf.delete(chunk);
    if (next === trace.length) return isHit; // never again
    nextOf.set(chunk, next);
    chunkAt[next] = chunk;
    furthest.add(next);
    if (nextOf.size > size) {
      const last = furthest.last();
      furthest.remove(last);
      nextOf.delete(chunkAt[last] ?? -1);
    }
    return isHit;
  };
};

/** A set of numbers below a bound, of which the largest is found in few steps: a bit each, and one for each 32 of these, and so on. */
class FurthestUse {
  readonly #levels: Uint32Array[] = [];

  constructor(bound: number) {
    for (let count = Math.ceil(bound / 32); ; count = Math.ceil(count / 32)) {
      this.#levels.push(new Uint32Array(count));
      if (count === 1) return;
    }
  }

  add(value: number): void {
    let at = value;
    for (const words of this.#levels) {
      words[at >>> 5] = (words[at >>> 5] ?? 0) | (1 << (at & 31));
      at >>>= 5;
    }
  }

  remove(value: number): void {
    let at = value;
    for (const words of this.#levels) {
      const left = (words[at >>> 5] ?? 0) & ~(1 << (at & 31));
      words[at >>> 5] = left;
      if (left !== 0) return;
      at >>>= 5;
    }
  }

  last(): number {
    return this.#levels.reduceRight((at, words) => at * 32 + 31 - Math.clz32(words[at] ?? 0), 0);
  }
}
