import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { silentLog } from '../../base/index.ts';
import { ChunkSlab, type ChunkLoader, type ChunkRef, type LoadOptions } from '../../cache/index.ts';
import { FirstReads } from './first-reads.ts';
import { Prefetcher, type PrefetchTarget } from './prefetcher.ts';

const slotSizeBytes = 4096;

/** Loads only when told to, chunk by chunk. */
class HeldLoader implements ChunkLoader {
  readonly asked: { readonly index: number; readonly options: LoadOptions }[] = [];
  readonly #held = new Map<number, PromiseWithResolvers<Uint8Array>>();

  async load(chunk: ChunkRef, options: LoadOptions) {
    const index = chunk.storedLengthBytes; // by which these tests tell chunks apart
    this.asked.push({ index, options });
    const held = Promise.withResolvers<Uint8Array>();
    this.#held.set(index, held);
    return { plaintext: await held.promise, tier: 'l2' as const, done: () => {} };
  }

  get askedIndexes(): number[] {
    return this.asked.map(({ index }) => index);
  }

  async give(...indexes: readonly number[]): Promise<void> {
    for (const index of indexes) this.#held.get(index)?.resolve(new Uint8Array(slotSizeBytes));
    await delay(0);
  }

  async refuse(...indexes: readonly number[]): Promise<void> {
    for (const index of indexes) this.#held.get(index)?.reject(new Error('The tiers are away'));
    await delay(0);
  }
}

function imageOf(
  slab: ChunkSlab,
  chunkCount: number,
  name = 'image',
): PrefetchTarget & {
  readonly firstReads: FirstReads;
} {
  const indexes = Array.from({ length: chunkCount }, (_, index) => index + 1);
  const listed = new Map(indexes.map((index) => [index, index]));
  return {
    table: slab.createTable(chunkCount + 1, indexes),
    firstReads: new FirstReads(chunkCount + 1, listed),
    chunk: (index) => {
      if (!listed.has(index)) return undefined;
      const none = new Uint8Array(32);
      const chunk = { rootId: 'r', ciphertextDigest: none, key: none, codec: 'none' } as const;
      const lengths = { storedLengthBytes: index, lengthMaxBytes: slotSizeBytes };
      return { chunk: { ...chunk, ...lengths }, identity: `${name}/${index}` };
    },
  };
}

function setUp(slots: number, atATime: number) {
  const slab = new ChunkSlab({ memoryBytes: slots * slotSizeBytes, slotSizeBytes });
  const loader = new HeldLoader();
  const clock = { nowMs: () => 0, monotonicMs: () => 0 }; // no load is slower than another
  const limits = { atATime, deadlineMs: 1000 };
  const prefetcher = new Prefetcher({ loader, slab, ...limits, clock, log: silentLog });
  return { slab, loader, prefetcher };
}

describe('a prefetch', () => {
  test('loads in the order of the profile, so many at a time, nobody waiting', async () => {
    const { slab, loader, prefetcher } = setUp(64, 3);
    const image = imageOf(slab, 9);
    const run = prefetcher.start(image, [5, 4, 9, 1, 2]);
    assert.deepEqual(loader.askedIndexes, [5, 4, 9]);
    await loader.give(4);
    assert.deepEqual(loader.askedIndexes, [5, 4, 9, 1]);
    await loader.give(5, 9, 1);
    await loader.give(2);
    const came = [...run.arrived()].map(({ identity }) => identity);
    assert.deepEqual(
      came,
      [4, 5, 9, 1, 2].map((index) => `image/${index}`),
    );
    assert.ok(loader.asked.every(({ options }) => options.priority === 'prefetch'));
    assert.ok([1, 2, 4, 5, 9].every((index) => Atomics.load(image.table.entries, index) > 0));
  });

  test('passes over what the disk does not have, what was read, and what memory has', async () => {
    const { slab, loader, prefetcher } = setUp(64, 8);
    const image = imageOf(slab, 9);
    image.firstReads.note(3, 0, 1);
    slab.insert('image/4', new Uint8Array(slotSizeBytes));
    const run = prefetcher.start(image, [0, 3, 4, 77, 2 ** 32 - 1, 5]);
    assert.deepEqual(loader.askedIndexes, [5]);
    const chunk = { tier: 'l1', storedLengthBytes: 4 };
    assert.deepEqual([...run.arrived()], [{ identity: 'image/4', chunk, isRead: false }]);
    image.firstReads.note(4, 0, 1);
    assert.deepEqual([...run.arrived()], [{ identity: 'image/4', chunk, isRead: true }]);
  });

  test('keeps its distance to a reader who is slow, and goes on when he does', async () => {
    const { slab, loader, prefetcher } = setUp(8, 16);
    const image = imageOf(slab, 9);
    const run = prefetcher.start(image, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(loader.askedIndexes, [1, 2, 3, 4], 'half of the slots');
    await loader.give(1, 2, 3, 4);
    assert.equal(loader.asked.length, 4);
    image.firstReads.note(1, 0, 1); // as a thread does that tells nobody
    while (loader.asked.length < 5) await delay(1);
    assert.equal(loader.askedIndexes.at(-1), 5);
    prefetcher.stop(run);
  });

  test('takes turns with those of other images', async () => {
    const { slab, loader, prefetcher } = setUp(64, 2);
    prefetcher.start(imageOf(slab, 5, 'one'), [1, 2, 3, 4, 5]);
    prefetcher.start(imageOf(slab, 25, 'other'), [21, 22, 23]);
    for (const index of [1, 2, 3, 21, 4, 22]) await loader.give(index);
    assert.deepEqual(loader.askedIndexes, [1, 2, 3, 21, 4, 22, 5, 23]);
  });

  test('that is stopped begins nothing more and keeps nothing more', async () => {
    const { slab, loader, prefetcher } = setUp(64, 2);
    const run = prefetcher.start(imageOf(slab, 5), [1, 2, 3]);
    await loader.give(1);
    prefetcher.stop(run);
    await loader.give(2, 3);
    assert.deepEqual(
      [...run.arrived()].map(({ identity }) => identity),
      ['image/1'],
    );
    assert.equal(slab.status.chunks, 1);
    assert.deepEqual(loader.askedIndexes, [1, 2, 3], 'the third was under way');
  });

  test('gives up when one chunk after the other cannot be had, and leaves others alone', async () => {
    const { slab, loader, prefetcher } = setUp(64, 1);
    prefetcher.start(imageOf(slab, 30), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await loader.refuse(1);
    await loader.refuse(2);
    await loader.give(3);
    for (const index of [4, 5, 6, 7]) await loader.refuse(index);
    assert.deepEqual(loader.askedIndexes, [1, 2, 3, 4, 5, 6, 7]);
    prefetcher.start(imageOf(slab, 30, 'other'), [20]);
    assert.equal(loader.askedIndexes.at(-1), 20);
  });
});
