import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ByteString } from '../base/index.ts';
import { cutStretches, shortTailBlocks } from './packing.ts';
import { isOftenRewritten } from './start-hints.ts';

interface Item {
  readonly path: ByteString;
  readonly blockCount: number;
}

const stretch = (name: string, ...blockCounts: number[]): Item[] =>
  blockCounts.map((blockCount, index) => {
    return { path: `${name}${index}` as ByteString, blockCount };
  });
const sizes = (bins: readonly (readonly Item[])[]): number[] =>
  bins.map((bin) => bin.reduce((sum, { blockCount }) => sum + blockCount, 0));

test('a file of more than a chunk has a short tail if less than half a chunk is left of it', () => {
  assert.deepEqual(
    [63, 127, 128, 129, 191, 192, 256, 257].map(shortTailBlocks),
    [0, 0, 0, 1, 63, 0, 0, 1],
  );
});

test('in a small layer the last bins of stretches are joined while they fit into a chunk', () => {
  const stretches = [stretch('a', 60), stretch('b', 60), stretch('c', 60), stretch('d', 60)];
  assert.deepEqual(sizes(cutStretches(stretches)), [120, 120]);
});

test('in a larger layer no bin has items of two stretches', () => {
  const long = stretch('long', ...Array.from({ length: 161 }, () => 64));
  const bins = cutStretches([long, stretch('a', 10), stretch('b', 10)]);
  assert.deepEqual(sizes(bins).slice(-2), [10, 10]);
});

test('what package managers keep of what is installed is often rewritten, packages are not', () => {
  const isRewritten = (path: string): boolean => isOftenRewritten(path as ByteString);
  const rewritten =
    'var/lib/dpkg/status var/log/dpkg.log etc/ld.so.cache etc/passwd- lib/apk/db/installed ' +
    'app/package.json package-lock.json app/node_modules/.package-lock.json';
  assert.deepEqual(
    rewritten.split(' ').filter((path) => !isRewritten(path)),
    [],
  );
  const kept =
    'var/lib/dpkg/info/tzdata.list app/node_modules/zod/package.json srv/var/log/a etc/passwd.d/a ' +
    'app/node_modules/@a/b/package.json app/other-package.json';
  assert.deepEqual(kept.split(' ').filter(isRewritten), []);
});
