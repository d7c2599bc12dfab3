import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import type { FirstRead } from './first-reads.ts';
import {
  isWorthSaving,
  mergeStart,
  weightMin,
  windowKey,
  type StartProfile,
  type StartWindow,
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

function windowsOf(list: readonly number[]): StartWindow[] {
  return list.map((key) => ({
    inode: 12 + (key % 3),
    window: key,
    chunk: key >> 3,
    lastChunk: key >> 3,
  }));
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
});
