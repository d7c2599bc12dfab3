import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { allPages, unknownUs, type ReadWindow } from './file-windows.ts';
import type { FirstRead } from './first-reads.ts';
import type { StartPack } from './start-pack.ts';
import {
  earlyStarts,
  isSettled,
  isWellPacked,
  isWorthSaving,
  mergeStart,
  pageCount,
  profiledChunksMax,
  profiledWindowsMax,
  weightMin,
  windowKey,
  type StartProfile,
} from './start-profile.ts';

const indexes = fc.uniqueArray(fc.nat(60), { maxLength: 40 });
const startsOf = fc.array(indexes, { minLength: 1, maxLength: 12 });

function readsOf(list: readonly number[]): FirstRead[] {
  return list.map((index, at) => ({ index, atMs: at * 3 }));
}

function learn(starts: readonly (readonly number[])[]): StartProfile {
  let profile: StartProfile | undefined;
  for (const start of starts) profile = mergeStart(profile, { chunks: readsOf(start) });
  assert.ok(profile !== undefined);
  return profile;
}

function indexesOf({ chunks }: StartProfile): number[] {
  return chunks.map(({ index }) => index);
}

/** Read in this order. */
function windowsOf(list: readonly number[], pages = allPages): ReadWindow[] {
  return list.map((key, at) => {
    const atUs = at * 3000;
    return { inode: 12 + (key % 3), window: key, pages, diskBlock: key * 16, atUs };
  });
}

/** Of starts that read one chunk, and these windows; undefined where it is not known which. */
function learnWindows(starts: readonly (readonly number[] | undefined)[]): StartProfile {
  let profile: StartProfile | undefined;
  for (const start of starts) {
    const windows = start === undefined ? undefined : windowsOf(start);
    profile = mergeStart(profile, { chunks: readsOf([1]), windows });
  }
  assert.ok(profile !== undefined);
  return profile;
}

/** Of that many chunks. */
function packOf(count: number): StartPack {
  const chunks = Array.from({ length: count }, (_, at) => ({
    runs: [{ diskBlock: at * 32, blockCount: 32 }],
    key: new Uint8Array(32),
    ciphertextDigest: new Uint8Array(32),
    storedLengthBytes: 4096,
    codec: 'none' as const,
  }));
  return { chunks };
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, at) => from + at);

describe('a start profile', () => {
  test('lists each chunk once, with a weight, whatever was read', () => {
    fc.assert(
      fc.property(startsOf, (starts) => {
        const profile = learn(starts);
        assert.equal(profile.starts, starts.length);
        assert.equal(new Set(indexesOf(profile)).size, profile.chunks.length);
        for (const { weight } of profile.chunks) assert.ok(weight > weightMin && weight <= 1);
      }),
    );
  });

  test('has all that the last start read, in its order', () => {
    fc.assert(
      fc.property(startsOf, (starts) => {
        const last = starts.at(-1) ?? [];
        const read = new Set(last);
        assert.deepEqual(
          indexesOf(learn(starts)).filter((index) => read.has(index)),
          last,
        );
      }),
    );
  });

  test('keeps nothing that none of the last four starts read', () => {
    fc.assert(
      fc.property(startsOf, fc.tuple(indexes, indexes, indexes, indexes), (starts, last) => {
        const read = new Set(last.flat());
        for (const index of indexesOf(learn([...starts, ...last]))) assert.ok(read.has(index));
      }),
    );
  });

  test('of starts that read the same is the same after any number of them', () => {
    fc.assert(
      fc.property(indexes, fc.integer({ min: 1, max: 30 }), (list, count) => {
        const once = learn([list]);
        const often = learn(Array.from({ length: count }, () => list));
        assert.deepEqual(often.chunks, once.chunks);
        assert.equal(isWorthSaving(once, often), false);
      }),
    );
  });

  test('forgets the fourth time what starts no longer read, and a chance read the second time', () => {
    const all = [1, 2, 3, 4];
    const some = [1, 3];
    assert.deepEqual(indexesOf(learn([all, all, some, some, some])), all);
    assert.deepEqual(indexesOf(learn([all, all, some, some, some, some])), some);
    assert.deepEqual(indexesOf(learn([some, all, some])), all);
    assert.deepEqual(indexesOf(learn([some, all, some, some])), some);
  });

  test('puts what was not read this time after what came before it earlier', () => {
    assert.deepEqual(
      indexesOf(
        learn([
          [1, 2, 3, 4, 5],
          [5, 3, 1],
        ]),
      ),
      [5, 3, 4, 1, 2],
    );
    assert.deepEqual(
      indexesOf(
        learn([
          [7, 1, 2],
          [2, 1],
        ]),
      ),
      [7, 2, 1],
    );
  });

  test('treats windows of files as chunks: what fades, what is new, what is worth a write', () => {
    fc.assert(
      fc.property(startsOf, (starts) => {
        const { windows } = learnWindows(starts);
        assert.equal(new Set(windows.map(windowKey)).size, windows.length);
        for (const { weight } of windows) assert.ok(weight > weightMin && weight <= 1);
        const keys = windows.map(({ window }) => window);
        for (const key of starts.at(-1) ?? []) assert.ok(keys.includes(key));
        const lately = new Set(starts.slice(-4).flat());
        if (starts.length > 4) for (const key of keys) assert.ok(lately.has(key));
        // Inodes come first, windows second.
        const order = windows.map(({ inode, window }) => inode * 1000 + window);
        assert.deepEqual(
          order,
          order.toSorted((one, other) => one - other),
        );
      }),
    );
    const hundred = learnWindows([numbers(0, 100)]);
    const more = { chunks: readsOf([1]), windows: windowsOf(numbers(0, 110)) };
    assert.ok(isWorthSaving(hundred, mergeStart(hundred, more)));
    assert.equal(isWorthSaving(hundred, learnWindows([numbers(0, 100), numbers(0, 100)])), false);
  });

  test('keeps its windows as they are where a start cannot tell which it had', () => {
    assert.deepEqual(
      learnWindows([[1, 2], undefined, undefined]).windows,
      learnWindows([[1, 2]]).windows,
    );
    assert.deepEqual(learnWindows([[1, 2], [], [], [], []]).windows, []);
  });

  test('is worth a write when it changed for those who find it, and not for a read by chance', () => {
    const hundred = learn([numbers(0, 100)]);
    assert.ok(isWorthSaving(undefined, hundred));
    assert.equal(isWorthSaving(undefined, { starts: 1, chunks: [], windows: [] }), false);
    const withOneMore = mergeStart(hundred, { chunks: readsOf(numbers(0, 101)) });
    assert.equal(isWorthSaving(hundred, withOneMore), false);
    assert.ok(isWorthSaving(hundred, mergeStart(hundred, { chunks: readsOf(numbers(0, 110)) })));
    assert.ok(isWorthSaving(hundred, mergeStart(hundred, { chunks: readsOf(numbers(0, 80)) })));
  });

  test('is worth a write when a window that it has was read in other pages', () => {
    const list = numbers(0, 100);
    const stored = mergeStart(undefined, {
      chunks: readsOf([1]),
      windows: windowsOf(list, 0x00ff),
    });
    const same = { chunks: readsOf([1]), windows: windowsOf(list, 0x00ff) };
    assert.equal(isWorthSaving(stored, mergeStart(stored, same)), false);
    const less = { chunks: readsOf([1]), windows: windowsOf(list, 0x000f) };
    assert.equal(isWorthSaving(stored, mergeStart(stored, less)), false, 'no page is forgotten');
    const more = { chunks: readsOf([1]), windows: windowsOf(list, 0x01ff) };
    assert.ok(isWorthSaving(stored, mergeStart(stored, more)));
  });

  test('has of a window every page that starts read since it has it', () => {
    const masks = fc.array(fc.integer({ min: 1, max: allPages }), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(masks, (list) => {
        let profile: StartProfile | undefined;
        for (const pages of list) {
          profile = mergeStart(profile, { chunks: [], windows: windowsOf([5], pages) });
        }
        const union = list.reduce((all, pages) => all | pages, 0);
        const [{ pages } = { pages: 0 }, ...others] = profile?.windows ?? [];
        assert.deepEqual(others, []);
        assert.equal(pages & union, union);
        assert.equal(Math.clz32(pages), Math.clz32(union), 'none behind the last');
        assert.equal(pages & -pages, union & -union, 'none before the first');
      }),
    );
  });

  test('has of a window the time at which the first start that had it read it, for as long as it is listed', () => {
    const readAt = (profile: StartProfile | undefined, atUs: number, pages = allPages) => {
      const windows = windowsOf([5], pages).map((window) => ({ ...window, atUs }));
      return mergeStart(profile, { chunks: [], windows });
    };
    const timesOf = ({ windows }: StartProfile): number[] => windows.map(({ atUs }) => atUs);
    const first = readAt(undefined, 7000, 0x000f);
    assert.deepEqual(timesOf(first), [7000]);
    assert.deepEqual(timesOf(readAt(first, 100)), [7000], 'read ahead along the pack');
    assert.deepEqual(timesOf(readAt(first, unknownUs)), [7000]);
    const unknown = readAt(undefined, unknownUs);
    assert.deepEqual(
      timesOf(readAt(unknown, 9000)),
      [9000],
      'a time that was not known is told later',
    );
    const missed = mergeStart(first, { chunks: [], windows: windowsOf([6]) });
    assert.deepEqual(timesOf(missed), [0, 7000]);
    assert.deepEqual(timesOf(readAt(missed, 100)), [0, 7000]);
    let forgotten = first;
    for (let start = 0; start < 4; start += 1) {
      forgotten = mergeStart(forgotten, { chunks: [], windows: [] });
    }
    assert.deepEqual(timesOf(readAt(forgotten, 100)), [100]);
  });

  test('takes pages of a window for neighbours only where they are on the disk', () => {
    const [first] = windowsOf([5], 0x00ff);
    assert.ok(first !== undefined);
    const elsewhere = { ...first, pages: 0xff00, diskBlock: 700 };
    const profile = mergeStart(undefined, { chunks: [], windows: [first] });
    const merged = mergeStart(profile, { chunks: [], windows: [elsewhere] });
    assert.deepEqual(merged.windows, [{ ...elsewhere, weight: 1 }]);
  });

  test('lists no more than the format takes, whatever a start has read', () => {
    const chunks = readsOf(numbers(0, profiledChunksMax + 10));
    const windows = windowsOf(numbers(0, profiledWindowsMax + 10));
    const profile = mergeStart(undefined, { chunks, windows });
    assert.equal(profile.chunks.length, profiledChunksMax);
    assert.equal(profile.windows.length, profiledWindowsMax);
    const others = {
      chunks: readsOf(numbers(20_000, 20_100)),
      windows: windowsOf(numbers(80_000, 80_100)),
    };
    const merged = mergeStart(profile, others);
    assert.equal(merged.chunks.length, profiledChunksMax);
    assert.equal(merged.windows.length, profiledWindowsMax);
    const kept = new Set(merged.windows.map(({ window }) => window));
    assert.ok(others.windows.every(({ window }) => kept.has(window)));
  });
});

test('pageCount() counts the bits of a mask', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: allPages }), (pages) => {
      assert.equal(pageCount(pages), pages.toString(2).replaceAll('0', '').length);
    }),
  );
});

describe('the pack of a start profile', () => {
  const pack = packOf(100);
  const packed: StartProfile = { ...learnWindows([numbers(0, 100)]), pack };
  const reads = { chunks: readsOf([1]), windows: windowsOf(numbers(0, 100)) };

  test('is kept from start to start, until it is lost', () => {
    assert.equal(mergeStart(packed, reads).pack, pack);
    assert.equal(mergeStart(packed, { ...reads, unpackedChunks: 50 }).pack, pack);
    assert.equal(mergeStart(packed, { ...reads, hasLostPack: false }).pack, pack);
    const lost = mergeStart(packed, { ...reads, hasLostPack: true });
    assert.equal(lost.pack, undefined);
    assert.deepEqual(lost.windows, packed.windows);
  });

  test('is worth a write when it was lost, and not while there is the same', () => {
    assert.ok(isWorthSaving(packed, mergeStart(packed, { ...reads, hasLostPack: true })));
    assert.equal(isWorthSaving(packed, mergeStart(packed, reads)), false);
    assert.equal(isWorthSaving({ ...packed, pack: undefined }, packed), false);
  });

  test('had what a start needed if it loaded hardly a chunk beside it', () => {
    assert.ok(isWellPacked(packed, 0));
    assert.ok(isWellPacked(packed, 5), 'a twentieth');
    assert.equal(isWellPacked(packed, 6), false);
    const small = { ...packed, pack: packOf(3) };
    assert.ok(isWellPacked(small, 1), 'by chance');
    assert.equal(isWellPacked(small, 2), false);
    assert.equal(isWellPacked({ ...packed, pack: undefined }, 0), false);
    assert.equal(isWellPacked({ ...packed, pack: packOf(0) }, 0), false);
  });

  test('settles a profile of a few starts once one had all from it, but for each sixteenth', () => {
    const settledAfter = (starts: number, unpackedChunks: number | undefined): boolean =>
      isSettled({ ...packed, starts }, unpackedChunks);
    const settled = [earlyStarts, earlyStarts + 1, 15, 17, 100];
    for (const starts of settled) assert.ok(settledAfter(starts, 0), `${starts}`);
    const looked = [1, earlyStarts - 1, 16, 32, 160];
    for (const starts of looked) assert.equal(settledAfter(starts, 0), false, `${starts}`);
    assert.ok(settledAfter(17, 5));
    assert.equal(settledAfter(17, 6), false);
    assert.equal(settledAfter(17, undefined), false, 'no start was made along it here');
    assert.equal(isSettled({ ...packed, starts: 17, pack: undefined }, 0), false);
  });
});
