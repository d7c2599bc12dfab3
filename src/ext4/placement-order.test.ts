import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { inOrderOfArrival } from './placement-order.ts';

type Item = readonly [name: string, seconds: number];
const order = (...items: Item[]): string =>
  inOrderOfArrival(items, ([, seconds]) => seconds)
    .map(([name]) => name)
    .join('');

test('files of one time lie together, where the first of them would lie', () => {
  assert.equal(order(['a', 0], ['b', 90_000], ['c', 0], ['d', 500_000], ['e', 90_000]), 'acbed');
});

test('times less than an hour apart are one arrival, however long the chain', () => {
  const files = 'abcdefgh'
    .split('')
    .map((name, index): Item => [name, (index * 5 * 3599) % 28_792]);
  assert.equal(order(...files), 'abcdefgh');
  assert.equal(order(['a', 0], ['b', 3600], ['c', 0]), 'acb');
});

test('an installer that sets no times gives one order, whenever and how fast it ran', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3599), { minLength: 1 }),
      fc.integer({ min: -(2 ** 31), max: 2 ** 33 }),
      (delays, start) => {
        const files = delays.map((delay, index): Item => [`${index},`, start + delay]);
        assert.equal(order(...files), files.map(([name]) => name).join(''));
      },
    ),
  );
});
