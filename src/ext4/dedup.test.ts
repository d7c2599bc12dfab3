/** How much disks share: what the layout is for. Shares are of chunks that hold anything, compared by content. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { planDisk } from './index.ts';
import { chunkDigests, testImage, type EntryInWords } from './testing/images.ts';

type Layer = readonly EntryInWords[];

async function chunksOf(...layers: Layer[]): Promise<string[]> {
  const image = await testImage(layers);
  return [...(await chunkDigests(planDisk(image.tree), image.content)).values()];
}

/** How many chunks of `second` are not in `first`. */
function newChunks(first: readonly string[], second: readonly string[]): number {
  const known = new Set(first);
  return second.filter((digest) => !known.has(digest)).length;
}

function sharedShare(first: readonly string[], second: readonly string[]): number {
  return 1 - newChunks(first, second) / second.length;
}

/** Sizes as packages have them: mostly a few KiB, some large. Equal seeds and indexes give equal bytes. */
function packageFiles(root: string, count: number, seed: number): EntryInWords[] {
  return Array.from({ length: count }, (_, index) => {
    const size = index % 40 === 0 ? 700_000 + index * 1000 : 500 + ((index * 7919) % 16_000);
    const path = `${root}/package-${index % 50}/lib/file-${index}.js`;
    return { path, data: size, seed: seed + index };
  });
}

const base: Layer = [
  ...packageFiles('usr/lib', 1500, 0),
  ...packageFiles('usr/share', 1500, 10_000),
  { path: 'usr/bin/sh', type: 'symlink', target: 'dash' },
];
const runtime: Layer = packageFiles('opt/runtime', 800, 20_000);
const dependencies: Layer = packageFiles('var/task/node_modules', 2000, 30_000);
const app = (sizeBytes: number, seed = 40_000): Layer => [
  { path: 'var/task/app.js', data: sizeBytes, seed },
  { path: 'var/task/package.json', data: 300, seed: seed + 1 },
];

test('the same image again shares everything', async () => {
  const image = await chunksOf(base, runtime, dependencies, app(9000));
  assert.equal(newChunks(image, await chunksOf(base, runtime, dependencies, app(9000))), 0);
});

test('another app on the same layers brings its own chunk and at most two more', async () => {
  const one = await chunksOf(base, runtime, dependencies, app(9000));
  const same = await chunksOf(base, runtime, dependencies, app(9000, 50_000));
  assert.ok(newChunks(one, same) <= 3, `${newChunks(one, same)} new chunks`);
  const longer = await chunksOf(base, runtime, dependencies, app(13_000));
  assert.ok(newChunks(one, longer) <= 3, `${newChunks(one, longer)} new chunks`);
  const elsewhere: Layer = [{ path: 'srv/other/main.py', data: 20_000, seed: 60_000 }];
  const other = await chunksOf(base, runtime, dependencies, elsewhere);
  assert.ok(newChunks(one, other) <= 3, `${newChunks(one, other)} new chunks`);
});

test('an image of the lower layers alone shares all but its head', async () => {
  const whole = await chunksOf(base, runtime, dependencies, app(9000));
  const lower = await chunksOf(base, runtime);
  assert.ok(newChunks(whole, lower) <= 1, `${newChunks(whole, lower)} new chunks`);
});

test('the same layers in another order share 97 % at least', async () => {
  const one = await chunksOf(base, runtime, dependencies, app(9000));
  const other = await chunksOf(base, dependencies, runtime, app(9000));
  assert.ok(sharedShare(one, other) >= 0.97, `${sharedShare(one, other)} shared`);
});

test('a layer that overwrites and deletes files below leaves their layer’s data chunks alone', async () => {
  const patch: Layer = [
    { path: 'usr/lib/package-7/lib/file-7.js', data: 5000, seed: 70_000 },
    { path: 'usr/lib/package-8/lib/.wh.file-8.js' },
  ];
  const plain = await chunksOf(base, runtime);
  const patched = await chunksOf(base, runtime, patch);
  // Head, patch, and of the base: the inodes of directories, those of the two files.
  assert.ok(newChunks(plain, patched) <= 4, `${newChunks(plain, patched)} new chunks`);
});

test('one small file more in a layer of 2,000 keeps 95 % of the chunks', async () => {
  const added = { path: 'var/task/node_modules/package-9/lib/new.js', data: 850, seed: 80_000 };
  const one = await chunksOf(base, runtime, dependencies, app(9000));
  const other = await chunksOf(base, runtime, [...dependencies, added], app(9000));
  assert.ok(sharedShare(one, other) >= 0.95, `${sharedShare(one, other)} shared`);
});

test('the same packages over another base share 95 % of their chunks', async () => {
  const otherBase: Layer = packageFiles('usr/libexec', 2500, 90_000);
  const one = await chunksOf(base, dependencies);
  const other = await chunksOf(otherBase, dependencies);
  const own = (await chunksOf(otherBase)).length;
  const unshared = newChunks(one, other) - own;
  assert.ok(
    unshared <= (other.length - own) * 0.05,
    `${unshared} of ${other.length - own} unshared`,
  );
});
