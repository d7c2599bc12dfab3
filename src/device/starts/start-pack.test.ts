import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { allPages, pageSizeBytes, pagesPerWindow, type CachedWindow } from './file-windows.ts';
import {
  areSameRuns,
  blockCountOf,
  createPackMap,
  isFull,
  packedBlocksMax,
  packedSpans,
  planPack,
  type PackMap,
  type PackRun,
  type PackSpan,
  type StartPack,
} from './start-pack.ts';

type Plan = readonly (readonly PackRun[])[];

const stretchBlocks = 2048;

function windowAt(diskBlock: number, pages = allPages): CachedWindow {
  return { inode: 12, window: 0, pages, diskBlock };
}

/** Windows of all pages that lie one after the other. */
function windowsFrom(diskBlock: number, count: number): readonly CachedWindow[] {
  return Array.from({ length: count }, (_, at) => windowAt(diskBlock + at * pagesPerWindow));
}

/** Many of which lie across each other, and a few in other stretches of the disk. */
const windowLists = fc.array(
  fc
    .tuple(
      fc.oneof(fc.nat(600), fc.nat(600), fc.integer({ min: 1900, max: 2200 }), fc.nat(20_000)),
      fc.oneof(fc.constant(allPages), fc.integer({ min: 1, max: allPages })),
    )
    .map(([diskBlock, pages]) => windowAt(diskBlock, pages)),
  { maxLength: 120, size: 'max' },
);

/** The naive way: every page into a set. */
function blocksIn(windows: readonly CachedWindow[]): readonly number[] {
  const pages = Array.from({ length: pagesPerWindow }, (_, page) => page);
  const blocks = windows.flatMap((window) =>
    pages.filter((page) => (window.pages >> page) & 1).map((page) => window.diskBlock + page),
  );
  return [...new Set(blocks)].toSorted((a, b) => a - b);
}

/** The blocks of each chunk, in the chunk's order. */
function blocksByChunk(plan: Plan): readonly (readonly number[])[] {
  return plan.map((runs) =>
    runs.flatMap(({ diskBlock, blockCount }) =>
      Array.from({ length: blockCount }, (_, at) => diskBlock + at),
    ),
  );
}

function stretchOf(block: number | undefined): number {
  assert.ok(block !== undefined);
  return Math.floor(block / stretchBlocks);
}

function packOf(plan: Plan): StartPack {
  const digest = new Uint8Array(32);
  const opening = { storedLengthBytes: 4096, codec: 'none', ciphertextDigest: digest } as const;
  return { chunks: plan.map((runs) => ({ runs, key: digest, ...opening })) };
}

function mapOf(plan: Plan): PackMap {
  return createPackMap(packOf(plan));
}

describe('planPack()', () => {
  test('packs every page of the windows once, in the order of the disk', () => {
    fc.assert(
      fc.property(windowLists, (windows) => {
        assert.deepEqual(blocksByChunk(planPack(windows)).flat(), blocksIn(windows));
      }),
    );
  });

  test('packs the blocks of a file that ends within what would be the window of the next one', () => {
    const windows = [windowAt(92, 0xf000), windowAt(100, 0x000f)];
    assert.deepEqual(planPack(windows), [[{ diskBlock: 100, blockCount: 8 }]]);
  });

  test('begins a chunk where one is full, and at the next stretch once it has 32 blocks', () => {
    fc.assert(
      fc.property(windowLists, (windows) => {
        const chunks = blocksByChunk(planPack(windows));
        for (const [index, blocks] of chunks.entries()) {
          assert.ok(blocks.length > 0 && blocks.length <= packedBlocksMax);
          for (const [at, block] of blocks.entries()) {
            if (at >= 32) assert.equal(stretchOf(block), stretchOf(blocks[at - 1]));
          }
          const next = chunks[index + 1];
          if (next === undefined || blocks.length === packedBlocksMax) continue;
          assert.ok(blocks.length >= 32);
          assert.notEqual(stretchOf(next[0]), stretchOf(blocks.at(-1)));
        }
      }),
    );
  });

  test('cuts no run in two but where a chunk ends', () => {
    fc.assert(
      fc.property(windowLists, (windows) => {
        for (const runs of planPack(windows)) {
          for (const [at, { diskBlock }] of runs.entries()) {
            const before = runs[at - 1];
            if (before === undefined) continue;
            assert.ok(before.diskBlock + before.blockCount < diskBlock);
          }
        }
      }),
    );
  });

  test('begins anew at 8 MiB, unless the chunk has fewer than 32 blocks', () => {
    const crossing = (blocksBefore: number): Plan =>
      planPack([...windowsFrom(stretchBlocks - blocksBefore, 2), ...windowsFrom(stretchBlocks, 1)]);
    assert.deepEqual(crossing(32), [
      [{ diskBlock: 2016, blockCount: 32 }],
      [{ diskBlock: 2048, blockCount: 16 }],
    ]);
    assert.deepEqual(crossing(31), [[{ diskBlock: 2017, blockCount: 47 }]]);
  });

  test('stops at 512 MiB, of the disk the first, and isFull() says so', () => {
    const blocksMax = 131_072;
    const planOf = (windowCount: number): Plan =>
      planPack(windowsFrom(7, windowCount).toReversed());
    const most = planOf(blocksMax / pagesPerWindow);
    assert.equal(blockCountOf(most.flat()), blocksMax);
    assert.deepEqual(most[0], [{ diskBlock: 7, blockCount: packedBlocksMax }]);
    assert.deepEqual(planOf(blocksMax / pagesPerWindow + 100), most);
    assert.ok(isFull(packOf(most)));
    assert.ok(!isFull(packOf(planOf(blocksMax / pagesPerWindow - 1))));
  });

  test('a page more or less changes the chunks of its stretch alone, where no chunk goes on past one', () => {
    const stretchCount = 4;
    /** 3..7 whole windows, or 10..15: one or two chunks that have 32 blocks, with a page more too. */
    const windowPlaces = (minLength: number, maxLength: number) =>
      fc.subarray([...Array(stretchBlocks / pagesPerWindow).keys()], { minLength, maxLength });
    const places = fc.oneof(windowPlaces(3, 7), windowPlaces(10, 15));
    const stretches = fc.array(places, { minLength: stretchCount, maxLength: stretchCount });
    fc.assert(
      fc.property(stretches, fc.nat(stretchCount * stretchBlocks - 1), (byStretch, block) => {
        const windows = byStretch.flatMap((inStretch, stretch) =>
          inStretch.map((place) => windowAt(stretch * stretchBlocks + place * pagesPerWindow)),
        );
        const elsewhere = (plan: Plan): Plan =>
          plan.filter(([first]) => stretchOf(first?.diskBlock) !== stretchOf(block));
        const [less, more] = [planPack(windows), planPack([...windows, windowAt(block, 1)])];
        assert.deepEqual(elsewhere(more), elsewhere(less));
      }),
    );
  });

  test('of no windows is of no chunks', () => {
    assert.deepEqual(planPack([]), []);
  });
});

describe('packedSpans()', () => {
  /** What the disk has at each byte of the spans: its own address. */
  function* addressesOf(plan: Plan, spans: readonly PackSpan[]): Generator<number> {
    const chunks = blocksByChunk(plan);
    for (const { index, start, end } of spans) {
      for (let at = start; at < end; at += 1) {
        const block = chunks[index]?.[Math.floor(at / pageSizeBytes)];
        assert.ok(block !== undefined, `chunk ${index} has no byte ${at}`);
        yield block * pageSizeBytes + (at % pageSizeBytes);
      }
    }
  }

  test('finds just the ranges of which every block is packed, byte for byte', () => {
    const ranges = fc.record({
      near: fc.nat(),
      shift: fc.nat(3 * pageSizeBytes),
      size: fc.integer({ min: 1, max: 12 * pageSizeBytes }),
    });
    fc.assert(
      fc.property(windowLists, fc.array(ranges, { maxLength: 8 }), (windows, asked) => {
        const plan = planPack(windows);
        const map = mapOf(plan);
        const blocks = blocksIn(windows);
        const packed = new Set(blocks);
        for (const { near, shift, size } of asked) {
          const offset = (blocks[near % blocks.length] ?? 0) * pageSizeBytes + shift;
          const spans = packedSpans(map, offset, offset + size);
          let isPacked = true;
          for (let at = offset; at < offset + size; at += 1) {
            isPacked &&= packed.has(Math.floor(at / pageSizeBytes));
          }
          assert.equal(spans !== undefined, isPacked);
          if (spans === undefined) continue;
          let expected = offset;
          for (const address of addressesOf(plan, spans)) {
            if (address !== expected) assert.fail(`${address} in place of ${expected}`);
            expected += 1;
          }
          assert.equal(expected, offset + size);
        }
      }),
      { numRuns: 60 },
    );
  });

  /** Blocks 10..12 and 14 in a chunk, 15..16 in the next. */
  const map = mapOf([
    [
      { diskBlock: 10, blockCount: 3 },
      { diskBlock: 14, blockCount: 1 },
    ],
    [{ diskBlock: 15, blockCount: 2 }],
  ]);
  const blocks = (from: number, to: number): readonly PackSpan[] | undefined =>
    packedSpans(map, from * pageSizeBytes, to * pageSizeBytes);

  test('gives one span for each run that the range is in', () => {
    assert.deepEqual(blocks(10, 13), [{ index: 0, start: 0, end: 3 * 4096 }]);
    assert.deepEqual(packedSpans(map, 11 * 4096 + 5, 12 * 4096 + 1), [
      { index: 0, start: 4096 + 5, end: 2 * 4096 + 1 },
    ]);
    assert.deepEqual(packedSpans(map, 15 * 4096 - 1, 17 * 4096 - 1), [
      { index: 0, start: 4 * 4096 - 1, end: 4 * 4096 },
      { index: 1, start: 0, end: 2 * 4096 - 1 },
    ]);
  });

  test('has nothing of a range in front of the first run, past the last one, or with a hole in it', () => {
    for (const [from, to] of [
      [0, 1],
      [9, 11],
      [12, 15],
      [13, 14],
      [16, 18],
      [17, 18],
      [2 ** 33, 2 ** 33 + 1],
    ] as const) {
      assert.equal(blocks(from, to), undefined, `${from}..${to}`);
    }
    assert.equal(packedSpans(map, 17 * 4096 - 1, 17 * 4096 + 1), undefined);
    assert.equal(packedSpans(map, 10 * 4096 - 1, 10 * 4096 + 1), undefined);
  });

  test('has nothing in an empty pack', () => {
    assert.equal(packedSpans(mapOf([]), 0, 4096), undefined);
  });

  test('reads a map that threads share', () => {
    assert.ok(map.buffer instanceof SharedArrayBuffer);
    assert.deepEqual([...map], [10, 3, 0, 0, 14, 1, 0, 3, 15, 2, 1, 0]);
  });
});

test('areSameRuns() tells lists of runs apart by any number and by their length', () => {
  const run = { diskBlock: 5, blockCount: 2 };
  const runs = [run, { diskBlock: 9, blockCount: 1 }];
  assert.ok(areSameRuns(runs, structuredClone(runs)));
  assert.ok(areSameRuns([], []));
  for (const others of [
    [],
    [run],
    [...runs, run],
    [run, { diskBlock: 9, blockCount: 2 }],
    [run, { diskBlock: 8, blockCount: 1 }],
  ]) {
    assert.ok(!areSameRuns(runs, others));
    assert.ok(!areSameRuns(others, runs));
  }
});
