import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { firstNotBefore } from './bisection.ts';

test('firstNotBefore() finds in a sorted list what a look at each finds, and asks only of indexes there are', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 50 })), fc.nat(50), (values, wanted) => {
      const sorted = values.toSorted((a, b) => a - b);
      const found = firstNotBefore(sorted.length, (index) => {
        const value = sorted[index];
        assert.ok(value !== undefined);
        return value < wanted;
      });
      assert.equal(found, sorted.filter((value) => value < wanted).length);
    }),
  );
});
