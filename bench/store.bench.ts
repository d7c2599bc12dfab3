/**
 * What it costs to store chunks durably in a directory, by how many puts are under way at once; beside it the same bytes
 * written and synced one file after the other, which is what durability costs without any of ours.
 */

import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { forEachLimited } from '../src/base/index.ts';
import { chunkObjectName, openDirectoryStore } from '../src/store/index.ts';
import type { Bench } from './harness.ts';

const objectsPerRun = 200;
const objectSizeBytes = 512 * 1024;

function freshNames(): string[] {
  return Array.from({ length: objectsPerRun }, () =>
    chunkObjectName('root', randomBytes(32).toString('hex')),
  );
}

export const bench: Bench = {
  title: `Store ${objectsPerRun} objects of ${objectSizeBytes / 1024} KiB durably`,
  rounds: 7,
  prepare: async () => {
    const directory = await mkdtemp(join(tmpdir(), 'thaw-bench-store-'));
    const store = await openDirectoryStore(join(directory, 'store'));
    const bytes = randomBytes(objectSizeBytes);
    const put = async (names: readonly string[], atOnce: number): Promise<void> => {
      await forEachLimited(names, atOnce, async (name) => {
        await store.putIfAbsent(name, bytes);
      });
    };
    const existing = freshNames();
    await put(existing, 16);
    const writeFiles = async (): Promise<void> => {
      for (let i = 0; i < objectsPerRun; i += 1) {
        await using file = await open(join(directory, randomUUID()), 'wx');
        await file.writeFile(bytes);
        await file.sync();
      }
    };
    return {
      bytesPerRun: objectsPerRun * objectSizeBytes,
      dispose: () => rm(directory, { recursive: true }),
      contenders: [
        { name: 'plain files, write and fsync one by one', run: writeFiles },
        ...[1, 4, 16, 64].map((atOnce) => ({
          name: `putIfAbsent of new objects, ${atOnce} at once`,
          run: () => put(freshNames(), atOnce),
        })),
        { name: 'putIfAbsent of what is there, 16 at once', run: () => put(existing, 16) },
      ],
    };
  },
};
