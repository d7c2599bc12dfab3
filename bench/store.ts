/**
 * What it costs to store chunks durably in a directory: 1,000 objects of 512 KiB, new ones and such
 * as are there already, by how many puts are under way at once. `node bench/store.ts [DIRECTORY]`;
 * default: the temporary directory.
 */

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { forEachLimited } from '../src/base/index.ts';
import { chunkObjectName, openDirectoryStore } from '../src/store/index.ts';

const objectCount = 1000;
const objectSizeBytes = 512 * 1024;
const bytes = randomBytes(objectSizeBytes);
const parent = process.argv[2] ?? tmpdir();

for (const atOnce of [1, 4, 16, 64]) {
  const path = await mkdtemp(join(parent, 'thaw-bench-store-'));
  const names = Array.from({ length: objectCount }, () =>
    chunkObjectName('root', randomBytes(32).toString('hex')),
  );
  for (const outcome of ['created', 'existed']) {
    const store = await openDirectoryStore(path);
    const startMs = performance.now();
    await forEachLimited(names, atOnce, async (name) => {
      const found = await store.putIfAbsent(name, bytes);
      if (found !== outcome) throw new Error(`Expected ${outcome}, got ${found}`);
    });
    const seconds = (performance.now() - startMs) / 1000;
    const mibPerSecond = (objectCount * objectSizeBytes) / 1024 / 1024 / seconds;
    console.log(
      `${atOnce} at once, ${outcome}: ${((seconds / objectCount) * 1e6).toFixed(0)} us a put, ${mibPerSecond.toFixed(0)} MiB/s`,
    );
  }
  await rm(path, { recursive: true });
}
