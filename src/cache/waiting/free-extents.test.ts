import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { FreeExtents } from './free-extents.ts';

test('memory is taken once, in the lowest place that is long enough, and all of it is whole again at the end', () => {
  const sizeBytes = 64;
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 1, max: 24 }) }, { noNullPrototype: true }),
    fc.record({ give: fc.nat(20) }, { noNullPrototype: true }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const extents = new FreeExtents(sizeBytes);
      /** A letter a byte: `.` where it is free. */
      let map = '.'.repeat(sizeBytes);
      const taken: { readonly start: number; readonly lengthBytes: number }[] = [];
      const paint = (start: number, lengthBytes: number, letter: string): void => {
        map = map.slice(0, start) + letter.repeat(lengthBytes) + map.slice(start + lengthBytes);
      };
      const give = (at: number): void => {
        for (const { start, lengthBytes } of taken.splice(at, 1)) {
          extents.give(start, lengthBytes);
          paint(start, lengthBytes, '.');
        }
      };
      for (const one of steps) {
        if ('give' in one) {
          give(one.give);
          continue;
        }
        const place = map.indexOf('.'.repeat(one.take));
        const start = extents.take(one.take);
        assert.equal(start, place === -1 ? undefined : place);
        if (start === undefined) continue;
        paint(start, one.take, 'x');
        taken.push({ start, lengthBytes: one.take });
      }
      while (taken.length > 0) give(taken.length >> 1);
      assert.equal(extents.take(sizeBytes), 0);
    }),
  );
});

test('what is not taken cannot be given back, in whole or in part', () => {
  const extents = new FreeExtents(100);
  assert.equal(extents.take(40), 0);
  extents.give(10, 10);
  for (const [start, lengthBytes] of [
    [10, 10],
    [5, 10],
    [15, 10],
    [5, 20],
    [30, 20],
    [90, 20],
    [0, 0],
  ] as const) {
    assert.throws(() => extents.give(start, lengthBytes), { code: 'ERR_INTERNAL' });
  }
  extents.give(20, 20);
  extents.give(0, 10);
  assert.equal(extents.take(100), 0);
  assert.equal(extents.take(1), undefined);
});
