import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import {
  createFirstReadTimes,
  FirstReads,
  noteRead,
  nowUs,
  type FirstReadTimes,
} from './first-reads.ts';

const kib = 1024;
const chunkSizeBytes = 512 * kib;
const partSizeBytes = 64 * kib;
const partsPerChunk = 8;

function listedOf(...indexes: readonly number[]): ReadonlyMap<number, number> {
  return new Map(indexes.map((index) => [index, index]));
}

/** As if the part had been read `us` after the base: tests cannot wait for the clock. */
function setTime({ times }: FirstReadTimes, part: number, us: number): void {
  times[part] = 1 + us;
}

/** The parts that were read. */
function notedParts({ times }: FirstReadTimes): number[] {
  return [...times.entries()].filter(([, time]) => time !== 0).map(([part]) => part);
}

describe('FirstReads', () => {
  test('tells what was read first in its order, from when it was restarted', () => {
    const reads = new FirstReads(10, listedOf(3, 5, 8, 9), chunkSizeBytes);
    for (const index of [5, 3, 5]) reads.note(index, 0, 1);
    const indexes = (): Set<number> => new Set(reads.list().map(({ index }) => index));
    assert.deepEqual(indexes(), new Set([3, 5]));
    setTime(reads.shared, 3 * partsPerChunk, 9000);
    setTime(reads.shared, 5 * partsPerChunk, 4000);
    assert.deepEqual(reads.list(), [
      { index: 5, atMs: 4 },
      { index: 3, atMs: 9 },
    ]);
    reads.restart();
    assert.deepEqual(reads.list(), []);
    assert.deepEqual(notedParts(reads.shared), []);
    noteRead(reads.shared, 8, 0, 1); // as a thread does
    reads.note(3, 0, 1);
    const again = reads.list();
    assert.deepEqual(indexes(), new Set([3, 8]));
    assert.ok(again.every(({ atMs }) => atMs >= 0));
    assert.deepEqual(
      [3, 5, 8].map((index) => reads.has(index)),
      [true, false, true],
    );
  });

  test('keeps the time of each part that a read touches, and no other', () => {
    const reads = new FirstReads(4, listedOf(0, 1, 2), chunkSizeBytes);
    const ranges: readonly (readonly [index: number, from: number, to: number, parts: number[]])[] =
      [
        [0, 0, 1, [0]],
        [0, partSizeBytes - 1, partSizeBytes, [0]],
        [0, partSizeBytes, partSizeBytes + 1, [1]],
        [0, partSizeBytes - 1, partSizeBytes + 1, [0, 1]],
        [0, chunkSizeBytes - 1, chunkSizeBytes, [7]],
        [1, 0, 4096, [8]],
        [1, 3 * partSizeBytes, 5 * partSizeBytes, [11, 12]],
        [2, 0, chunkSizeBytes, [16, 17, 18, 19, 20, 21, 22, 23]],
      ];
    for (const [index, from, to, parts] of ranges) {
      reads.restart();
      reads.note(index, from, to);
      assert.deepEqual(notedParts(reads.shared), parts, `${index}: ${from}..${to}`);
    }
  });

  test('keeps the first time of a part, whatever of it is read later', () => {
    const reads = new FirstReads(2, listedOf(0, 1), chunkSizeBytes);
    setTime(reads.shared, 2, -2000); // no clock says so
    reads.note(0, 0, chunkSizeBytes);
    assert.equal(reads.shared.times[2], -1999);
    assert.equal(notedParts(reads.shared).length, partsPerChunk, 'those behind it, too');
  });

  test('says of a chunk when the first of its parts was read', () => {
    const reads = new FirstReads(2, listedOf(0, 1), chunkSizeBytes);
    for (const [part, us] of [
      [6, 500],
      [2, 700],
      [7, 900],
      [8, 600],
    ] as const) {
      setTime(reads.shared, part, us);
    }
    assert.deepEqual(reads.list(), [
      { index: 0, atMs: 0.5 },
      { index: 1, atMs: 0.6 },
    ]);
  });

  test('says of a range of the disk when the first of its parts was read, across parts and chunks', () => {
    const reads = new FirstReads(3, listedOf(0, 1, 2), chunkSizeBytes);
    setTime(reads.shared, 7, 300); // the last of the first chunk
    setTime(reads.shared, 8, 200);
    setTime(reads.shared, 11, 0); // in the very first microsecond
    const atUs = (fromKib: number, toKib: number): number | undefined =>
      reads.atUs(fromKib * kib, toKib * kib);
    assert.equal(atUs(448, 512), 300);
    assert.equal(atUs(508, 512), 300);
    assert.equal(atUs(512, 516), 200);
    assert.equal(atUs(508, 516), 200);
    assert.equal(atUs(444, 452), 300);
    assert.equal(atUs(444, 448), undefined);
    assert.equal(atUs(576, 580), undefined);
    assert.equal(atUs(700, 704), undefined);
    assert.equal(atUs(704, 708), 0);
    assert.equal(atUs(0, 1536), 0);
    assert.equal(reads.atUs(448 * kib - 1, 448 * kib), undefined);
    assert.equal(reads.atUs(448 * kib - 1, 448 * kib + 1), 300);
    assert.equal(atUs(1532, 1600), undefined, 'past the end');
  });

  test('counts from the restart, however long the image was open before', () => {
    const reads = new FirstReads(2, listedOf(0, 1), chunkSizeBytes);
    const { base } = reads.shared;
    base[0] = nowUs() - 3_600_000_000; // the image has been open for an hour
    const beforeUs = nowUs();
    reads.restart();
    const afterUs = nowUs();
    assert.ok((base[0] ?? 0) >= beforeUs && (base[0] ?? Infinity) <= afterUs);
    reads.note(1, 0, 1);
    const us = reads.atUs(chunkSizeBytes, chunkSizeBytes + 1);
    assert.ok(us !== undefined && us >= 0 && us <= nowUs() - beforeUs);
    base[0] = nowUs() + 1_000_000; // and is restarted while a read is noted
    reads.note(0, 0, 1);
    assert.equal(reads.atUs(0, 4096), 0);
    assert.deepEqual(reads.list()[0], { index: 0, atMs: 0 });
  });

  test('forgets a chunk with all its parts, and no other', () => {
    const reads = new FirstReads(3, listedOf(0, 1, 2), chunkSizeBytes);
    for (const index of [0, 1, 2]) reads.note(index, 0, chunkSizeBytes);
    reads.forget(1);
    assert.deepEqual(
      [0, 1, 2].map((index) => reads.has(index)),
      [true, false, true],
    );
    assert.equal(notedParts(reads.shared).length, 2 * partsPerChunk);
    assert.equal(reads.atUs(chunkSizeBytes, 2 * chunkSizeBytes), undefined);
    reads.note(1, partSizeBytes, 2 * partSizeBytes);
    assert.ok(reads.has(1));
    assert.deepEqual(notedParts(reads.shared).slice(8, -8), [9]);
  });

  test('restarts with every part of every chunk that is listed', () => {
    const reads = new FirstReads(3, listedOf(0, 2), chunkSizeBytes);
    reads.note(0, chunkSizeBytes - 1, chunkSizeBytes);
    reads.note(2, 0, chunkSizeBytes);
    reads.restart();
    assert.deepEqual(notedParts(reads.shared), []);
    assert.equal(reads.has(0), false);
  });

  test('of chunks of 64 KiB or less has one time for each, as it has where no size is told', () => {
    for (const size of [4 * kib, 32 * kib, 64 * kib, 127 * kib]) {
      const reads = new FirstReads(4, listedOf(0, 1, 3), size);
      assert.equal(reads.shared.times.length, 4);
      reads.note(1, 0, size);
      reads.note(3, size - 1, size);
      assert.deepEqual(notedParts(reads.shared), [1, 3]);
      assert.notEqual(reads.atUs(size, size + 1), undefined);
      assert.notEqual(reads.atUs(2 * size - 1, 2 * size), undefined);
      assert.equal(reads.atUs(2 * size, 3 * size), undefined);
      assert.equal(reads.atUs(0, size), undefined);
    }
    const ofPack = new FirstReads(3, listedOf(0, 1, 2));
    ofPack.note(1, 0, 4096);
    ofPack.note(2, chunkSizeBytes - 1, chunkSizeBytes);
    assert.deepEqual(notedParts(ofPack.shared), [1, 2]);
  });

  test('finds any range that was read again, and nothing that no read came near', () => {
    const chunks = fc.constantFrom(4, 64, 128, 512, 1024, 4096).map((size) => size * kib);
    const range = fc.tuple(fc.nat(7), fc.nat(2 ** 30), fc.integer({ min: 1, max: 2 ** 20 }));
    fc.assert(
      fc.property(chunks, fc.array(range, { maxLength: 6 }), range, (size, noted, asked) => {
        const part = Math.min(size, partSizeBytes);
        const reads = new FirstReads(8, listedOf(0, 1, 2, 3, 4, 5, 6, 7), size);
        const bytesOf = ([index, at, length]: typeof asked) => {
          const start = at % size;
          const end = Math.min(size, start + length);
          return { index, start, end, from: index * size + start, to: index * size + end };
        };
        const spans = noted.map(bytesOf);
        for (const { index, start, end } of spans) reads.note(index, start, end);
        for (const { from, to } of spans) assert.notEqual(reads.atUs(from, to), undefined);
        const { from, to } = bytesOf(asked);
        const isNear = spans.some(
          (span) =>
            Math.floor(span.from / part) <= Math.floor((to - 1) / part) &&
            Math.floor(from / part) <= Math.floor((span.to - 1) / part),
        );
        assert.equal(reads.atUs(from, to) !== undefined, isNear);
      }),
    );
  });
});

test('noteRead() keeps a moment long after the base', () => {
  const reads = createFirstReadTimes(2);
  reads.base[0] = -1e12;
  noteRead(reads, 1, 0, 1);
  assert.deepEqual([reads.times[0], reads.times[1]], [0, 2 ** 31 - 1]);
});

test('createFirstReadTimes() gives memory that threads share', () => {
  const { times } = createFirstReadTimes(3, chunkSizeBytes);
  assert.ok(times.buffer instanceof SharedArrayBuffer);
  assert.equal(times.length, 3 * partsPerChunk);
});
