import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import {
  allPages,
  pageSizeBytes,
  pagesPerWindow,
  unknownUs,
  type ReadWindow,
} from './file-windows.ts';
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

/** The most that one adds to a chunk. */
const windowBlocks = pagesPerWindow;
/** Of what a chunk may hold, it has at least. */
const shareMin = 0.625;

function windowAt(diskBlock: number, atUs = 0, pages = allPages): ReadWindow {
  return { inode: 12, window: 0, pages, diskBlock, atUs };
}

/** Windows of all pages that lie one after the other, and are read in this order. */
function windowsFrom(diskBlock: number, count: number): readonly ReadWindow[] {
  return Array.from({ length: count }, (_, at) => windowAt(diskBlock + at * windowBlocks, at));
}

/** Each a millisecond after the one before it. */
function inThisOrder(windows: readonly ReadWindow[]): readonly ReadWindow[] {
  return windows.map((window, at) => ({ ...window, atUs: at * 1000 }));
}

const masks = fc.oneof(fc.constant(allPages), fc.integer({ min: 1, max: allPages }));

/** Many of which lie across each other, and a few elsewhere on the disk; some are read at the same time. */
const windowLists = fc.array(
  fc
    .tuple(
      fc.oneof(
        fc.nat(600),
        fc.nat(600),
        fc.integer({ min: 1900, max: 2200 }),
        fc.nat(20_000),
        fc.nat(2 ** 32 - 2 * windowBlocks),
      ),
      fc.oneof(fc.nat(30), fc.nat(unknownUs), fc.constant(unknownUs)),
      masks,
    )
    .map((parts) => windowAt(...parts)),
  { maxLength: 120, size: 'max' },
);

/** None across another, each read later than the one before it. */
function apart(minLength: number, maxLength: number) {
  const places = fc.uniqueArray(fc.nat(5000), { minLength, maxLength, size: 'max' });
  return places.chain((list) =>
    fc
      .array(masks, { minLength: list.length, maxLength: list.length })
      .map((pages) =>
        inThisOrder(list.map((place, at) => windowAt(place * windowBlocks, 0, pages[at]))),
      ),
  );
}

/** The naive way: every page into a set. */
function blocksIn(windows: readonly ReadWindow[]): readonly number[] {
  const blocks = windows.flatMap(blocksOf);
  return [...new Set(blocks)].toSorted((a, b) => a - b);
}

function blocksOf({ diskBlock, pages }: ReadWindow): readonly number[] {
  const all = Array.from({ length: pagesPerWindow }, (_, page) => page);
  return all.filter((page) => (pages >> page) & 1).map((page) => diskBlock + page);
}

/** The blocks of each chunk, in the chunk's order. */
function blocksByChunk(plan: Plan): readonly (readonly number[])[] {
  return plan.map((runs) =>
    runs.flatMap(({ diskBlock, blockCount }) =>
      Array.from({ length: blockCount }, (_, at) => diskBlock + at),
    ),
  );
}

/** By the words of the format: what each window adds, of which a chunk takes what gives it the best end. */
function naivePlan(windows: readonly ReadWindow[], blocksMax: number): readonly number[][] {
  const seen = new Set<number>();
  let pieces: { readonly blocks: number[]; readonly rank: bigint }[] = [];
  for (const window of windows.toSorted((a, b) => a.atUs - b.atUs || a.diskBlock - b.diskBlock)) {
    const blocks = blocksOf(window).filter((block) => !seen.has(block));
    for (const block of blocks) seen.add(block);
    const rank = (BigInt(window.diskBlock) * 2_654_435_761n) % 2n ** 32n;
    while (blocks.length > 0) pieces.push({ blocks: blocks.splice(0, blocksMax), rank });
  }
  const chunks: number[][] = [];
  while (pieces.length > 0) {
    const lengths = pieces.map(
      (_, at) => pieces.slice(0, at + 1).flatMap((one) => one.blocks).length,
    );
    const fitting = lengths.filter((length) => length <= blocksMax).length;
    const ends = Array.from({ length: fitting }, (_, at) => at).filter(
      (at) => (lengths[at] ?? 0) >= shareMin * blocksMax,
    );
    const [best = fitting - 1] = ends.toSorted((a, b) => {
      const [one = 0n, other = 0n] = [pieces[a]?.rank, pieces[b]?.rank];
      if (one === other) return a - b;
      return one < other ? -1 : 1;
    });
    const count = fitting === pieces.length ? fitting : best + 1;
    chunks.push(
      pieces
        .slice(0, count)
        .flatMap(({ blocks }) => blocks)
        .toSorted((a, b) => a - b),
    );
    pieces = pieces.slice(count);
  }
  return chunks;
}

function packOf(plan: Plan): StartPack {
  const digest = new Uint8Array(32);
  const opening = { storedLengthBytes: 4096, codec: 'none', ciphertextDigest: digest } as const;
  return { chunks: plan.map((runs) => ({ runs, key: digest, ...opening })) };
}

function mapOf(plan: Plan): PackMap {
  return createPackMap(packOf(plan));
}

/** How many chunks of `plan` are not in `other`. */
function changedCount(plan: Plan, other: Plan): number {
  const known = new Set(other.map((runs) => JSON.stringify(runs)));
  return plan.filter((runs) => !known.has(JSON.stringify(runs))).length;
}

const sizes = fc.oneof(fc.constant(packedBlocksMax), fc.integer({ min: 1, max: packedBlocksMax }));

describe('planPack()', () => {
  test('packs every page of the windows once', () => {
    fc.assert(
      fc.property(windowLists, sizes, (windows, blocksMax) => {
        const blocks = blocksByChunk(planPack(windows, blocksMax)).flat();
        assert.deepEqual(
          blocks.toSorted((a, b) => a - b),
          blocksIn(windows),
        );
      }),
    );
  });

  test('packs the blocks of a file that ends within what would be the window of the next one', () => {
    const windows = [windowAt(92, 5, 0xf000), windowAt(100, 5, 0x000f)];
    assert.deepEqual(planPack(windows), [[{ diskBlock: 100, blockCount: 8 }]]);
  });

  test('is in the order of the first reads: no block of a chunk was read later than one of the next', () => {
    fc.assert(
      fc.property(windowLists, sizes, (windows, blocksMax) => {
        const times = new Map<number, number>();
        for (const window of windows) {
          for (const block of blocksOf(window)) {
            times.set(block, Math.min(window.atUs, times.get(block) ?? Infinity));
          }
        }
        const chunks = blocksByChunk(planPack(windows, blocksMax)).map((blocks) =>
          blocks.map((block) => times.get(block) ?? NaN),
        );
        for (const [index, inChunk] of chunks.entries()) {
          const inNext = chunks[index + 1] ?? [Infinity];
          assert.ok(Math.max(...inChunk) <= Math.min(...inNext));
        }
      }),
    );
  });

  test('makes chunks of five eighths of what they may have or more, as near as windows come to that', () => {
    fc.assert(
      fc.property(windowLists, sizes, (windows, blocksMax) => {
        const added = Math.min(windowBlocks, blocksMax);
        // A window that is too long for the rest of a chunk ends it before.
        const blocksMin = Math.min(Math.ceil(shareMin * blocksMax), blocksMax - added + 1);
        const chunks = blocksByChunk(planPack(windows, blocksMax));
        for (const [index, { length }] of chunks.entries()) {
          assert.ok(length > 0 && length <= blocksMax);
          assert.ok(length >= blocksMin || index === chunks.length - 1);
        }
      }),
    );
  });

  test('ends each chunk where the format says', () => {
    fc.assert(
      fc.property(windowLists, sizes, (windows, blocksMax) => {
        assert.deepEqual(
          blocksByChunk(planPack(windows, blocksMax)),
          naivePlan(windows, blocksMax),
        );
      }),
    );
  });

  test('has a chunk’s runs in the order of the disk, and cuts none in two', () => {
    fc.assert(
      fc.property(windowLists, sizes, (windows, blocksMax) => {
        for (const runs of planPack(windows, blocksMax)) {
          for (const [at, { diskBlock, blockCount }] of runs.entries()) {
            assert.ok(blockCount > 0);
            const before = runs[at - 1];
            if (before === undefined) continue;
            assert.ok(before.diskBlock + before.blockCount < diskBlock);
          }
        }
      }),
    );
  });

  test('lays windows out as it did when this was written', () => {
    // Of the four windows that the first chunk may end with, 51, 71, 0 and 60, block 0 has the least rank; of 42, 9, 98 and 36 block 1568.
    const places = [90, 50, 70, 91, 51, 71, 0, 60, 61, 40, 41, 42, 9, 98, 36, 44, 30];
    const windows = inThisOrder(places.map((place) => windowAt(place * windowBlocks)));
    const golden = [
      [
        { diskBlock: 0, blockCount: 16 },
        { diskBlock: 800, blockCount: 32 },
        { diskBlock: 1120, blockCount: 32 },
        { diskBlock: 1440, blockCount: 32 },
      ],
      [
        { diskBlock: 144, blockCount: 16 },
        { diskBlock: 640, blockCount: 48 },
        { diskBlock: 960, blockCount: 32 },
        { diskBlock: 1568, blockCount: 16 },
      ],
      [
        { diskBlock: 480, blockCount: 16 },
        { diskBlock: 576, blockCount: 16 },
        { diskBlock: 704, blockCount: 16 },
      ],
    ];
    assert.deepEqual(planPack(windows), golden);
    assert.deepEqual(planPack(windows.toReversed()), golden, 'in whatever order they are told');
  });

  test('orders by the disk what was read at the same time', () => {
    const windows = [7, 3, 5].map((place) => windowAt(place * 100, 9));
    const plan = planPack([...windows, windowAt(200, 10), windowAt(900, 8)], windowBlocks);
    assert.deepEqual(
      plan.map(([first]) => first?.diskBlock),
      [900, 300, 500, 700, 200],
    );
  });

  test('has a block where the first of its windows was read', () => {
    const [late, early] = [windowAt(100, 2), windowAt(108, 1)];
    assert.deepEqual(planPack([late, early], windowBlocks), [
      [{ diskBlock: 108, blockCount: 16 }],
      [{ diskBlock: 100, blockCount: 8 }],
    ]);
  });

  test('ends with the first of two windows of the least rank', () => {
    const alike = [windowAt(64, 1, 0x00ff), windowAt(64, 2, 0xff00)];
    const windows = [windowAt(800, 0), ...alike, windowAt(1600, 3)];
    assert.deepEqual(planPack(windows, 32).map(blockCountOf), [24, 24]);
  });

  test('cuts a window in pieces where a chunk cannot hold it', () => {
    const lengthsOf = (blocksMax: number): readonly number[] =>
      planPack(windowsFrom(32, 2), blocksMax).map(blockCountOf);
    assert.deepEqual(lengthsOf(1), Array(32).fill(1));
    assert.deepEqual(lengthsOf(7), [7, 7, 2, 7, 7, 2]);
    assert.deepEqual(lengthsOf(8), [8, 8, 8, 8]);
    assert.deepEqual(lengthsOf(10), [10, 6, 10, 6]);
    assert.deepEqual(lengthsOf(16), [16, 16]);
    assert.deepEqual(blocksByChunk(planPack(windowsFrom(32, 2), 12)), [
      windowsFrom(32, 2).flatMap(blocksOf).slice(0, 12),
      [44, 45, 46, 47],
      [48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59],
      [60, 61, 62, 63],
    ]);
  });

  test('stops at 512 MiB, of what is read the first, and isFull() says so', () => {
    const blocksMax = 131_072;
    const planOf = (windowCount: number): Plan =>
      planPack(windowsFrom(7, windowCount).toReversed());
    const most = planOf(blocksMax / windowBlocks);
    assert.deepEqual(
      blocksByChunk(most).flat(),
      Array.from({ length: blocksMax }, (_, at) => 7 + at),
    );
    assert.deepEqual(planOf(blocksMax / windowBlocks + 100), most);
    assert.ok(isFull(packOf(most)));
    assert.ok(!isFull(packOf(planOf(blocksMax / windowBlocks - 1))));
    // There is room for two more, which a window of one page would find; who comes later is not looked at.
    const windows = windowsFrom(0, 8739).map((window) => ({ ...window, pages: 0x7fff }));
    const almost = planPack([...windows, windowAt(2 ** 20, 8739, 1)]);
    assert.equal(blockCountOf(almost.flat()), blocksMax - 2);
    assert.ok(isFull(packOf(almost)));
    const blocks = (blockCount: number): StartPack => packOf([[{ diskBlock: 0, blockCount }]]);
    assert.deepEqual(
      [blocksMax - windowBlocks, blocksMax - windowBlocks + 1].map((count) =>
        isFull(blocks(count)),
      ),
      [false, true],
    );
  });

  test('asks of times only which was first', () => {
    const scales = fc.integer({ min: 1, max: 1000 });
    fc.assert(
      fc.property(windowLists, scales, fc.nat(10_000), (windows, scale, more) => {
        const ranks = [...new Set(windows.map(({ atUs }) => atUs))].toSorted((a, b) => a - b);
        const otherwise = windows.map((window) => ({
          ...window,
          atUs: more + scale * ranks.indexOf(window.atUs),
        }));
        assert.deepEqual(planPack(otherwise), planPack(windows));
      }),
    );
  });

  test('of starts that begin alike has the same chunks, but for what was read last before they part', () => {
    // A chunk ends with its 128th block at the latest, and for that no more than the next window is looked at.
    const lookAhead = packedBlocksMax + windowBlocks;
    fc.assert(
      fc.property(apart(60, 150), apart(0, 60), apart(0, 60), (alike, ...tails) => {
        const tailsApart = tails.map((tail) =>
          tail.map((window) => ({
            ...window,
            diskBlock: window.diskBlock + 100_000,
            atUs: window.atUs + 1e6,
          })),
        );
        const [one = [], other = []] = tailsApart.map((tail) => planPack([...alike, ...tail]));
        let blocksLeft = blockCountOf(planPack(alike).flat());
        for (const [at, runs] of one.entries()) {
          if (blocksLeft < lookAhead) return;
          assert.deepEqual(other[at], runs);
          blocksLeft -= blockCountOf(runs);
        }
      }),
    );
  });

  test('of starts that end alike has the same chunks from the first on that both have of that', () => {
    fc.assert(
      fc.property(apart(0, 60), apart(0, 60), apart(60, 150), (one, other, alike) => {
        const ending = alike.map((window) => ({
          ...window,
          diskBlock: window.diskBlock + 100_000,
          atUs: window.atUs + 1e6,
        }));
        const firstOf = ([run]: readonly PackRun[]): number => run?.diskBlock ?? NaN;
        const plans = [one, other].map((head) => planPack([...head, ...ending]));
        const [some = [], others = []] = plans;
        const isInBoth = (runs: readonly PackRun[]): boolean =>
          firstOf(runs) >= 100_000 && others.some((same) => areSameRuns(runs, same));
        const at = some.findIndex(isInBoth);
        if (at < 0) return;
        const inOthers = others.findIndex((runs) => areSameRuns(runs, some[at] ?? []));
        assert.deepEqual(others.slice(inOthers), some.slice(at));
      }),
    );
  });

  test('a window more or less, two in another order, or a page more change a few chunks of many', () => {
    const seeds = 40;
    const length = 1200;
    const places = fc.shuffledSubarray([...Array(8192).keys()], {
      minLength: length,
      maxLength: length,
    });
    const pages = fc.array(masks, { minLength: length, maxLength: length });
    const changed = { less: [], more: [], swapped: [], paged: [] } as Record<string, number[]>;
    const sequences = fc.sample(fc.tuple(places, pages), { numRuns: seeds, seed: 8 });
    for (const [list, inWindow] of sequences) {
      const windows = list.map((place, at) => windowAt(1 + place * windowBlocks, 0, inWindow[at]));
      const [one, other] = [windows[200], windows[201]];
      assert.ok(one !== undefined && other !== undefined);
      const plan = planPack(inThisOrder(windows));
      const others = {
        less: [other],
        more: [one, windowAt(500_000), other],
        swapped: [other, one],
        paged: [{ ...one, pages: one.pages ^ 1 || 2 }, other],
      };
      for (const [what, instead] of Object.entries(others)) {
        const now = planPack(inThisOrder(windows.toSpliced(200, 2, ...instead)));
        changed[what]?.push(changedCount(plan, now));
      }
    }
    // Of some 125 chunks, of which 105 lie behind the change.
    for (const [what, counts] of Object.entries(changed)) {
      const sum = counts.reduce((all, count) => all + count, 0);
      assert.equal(counts.length, seeds);
      assert.ok(sum <= 5 * seeds, `${what}: ${sum}`);
      assert.ok(
        (counts.toSorted((a, b) => a - b)[seeds / 2] ?? NaN) <= 3,
        `${what}: ${counts.join(' ')}`,
      );
    }
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
