import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { ByteString } from '../base/index.ts';
import { placementStretches } from './placement-order.ts';

type Item = readonly [path: string, modifiedSeconds: number];
const stretches = (...items: Item[]): string[][] =>
  placementStretches(
    items.map(([path, modifiedSeconds]) => ({ path: path as ByteString, modifiedSeconds })),
  ).map((stretch) => stretch.map(({ path }) => path));
const order = (...items: Item[]): string =>
  stretches(...items)
    .flat()
    .join(' ');

test('files of one time lie together, where the first of them would lie', () => {
  const files: Item[] = [
    ['a', 0],
    ['b', 90_000],
    ['c', 0],
    ['d', 500_000],
    ['e', 90_000],
  ];
  assert.equal(order(...files), 'a c b e d');
  assert.equal(order(...files.toReversed()), 'a c b e d');
});

test('times less than an hour apart are one arrival, however long the chain', () => {
  const files = 'abcdefgh'
    .split('')
    .map((name, index): Item => [name, (index * 5 * 3599) % 28_792]);
  assert.equal(order(...files), 'a b c d e f g h');
  assert.equal(order(['a', 0], ['b', 3600], ['c', 0]), 'a c b');
});

test('an installer that sets no times gives one order, whenever and how fast it ran', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3599), { minLength: 1, maxLength: 9 }),
      fc.integer({ min: -(2 ** 31), max: 2 ** 33 }),
      (delays, start) => {
        const files = delays.map((delay, index): Item => [`${index}`, start + delay]);
        assert.equal(order(...files), files.map(([path]) => path).join(' '));
      },
    ),
  );
});

test('what a start hardly reads comes after everything that it may read', () => {
  const read = [
    'app/index.js',
    'app/lib/docs.js',
    'lib/libc.so.6',
    'p/__pycache__/m.pyc',
    'p/docs',
    'p/package.json',
  ];
  const seldom = [
    'app/README.md',
    'app/dist/index.d.ts',
    'app/docs/x.js',
    'node_modules/p/dist/esm/x.js',
    'usr/share/man/a.1',
  ];
  const files = [...read, ...seldom].sort().map((path): Item => [path, 0]);
  assert.equal(order(...files), [...read, ...seldom].join(' '));
});

test('what an edit moves lies in the stretch of the edit', () => {
  const files = Array.from({ length: 20_000 }, (_, index): Item => [`p${index % 300}/${index}`, 0]);
  const before = new Set(stretches(...files).map((stretch) => stretch.join(' ')));
  const after = stretches(...files, ['p7/added', 0]).map((stretch) => stretch.join(' '));
  assert.ok(before.size > 20, `${before.size} stretches`);
  assert.equal(after.filter((stretch) => !before.has(stretch)).length, 1);
});
