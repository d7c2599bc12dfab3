import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { readTextInRoot } from './root-files.ts';

/** Renames a file and back until it is ended. */
const renamer = `
  const { renameSync, writeFileSync } = require('node:fs');
  const { parentPort, workerData: path } = require('node:worker_threads');
  writeFileSync(path, '');
  parentPort.postMessage('begun');
  for (;;) {
    renameSync(path, path + '.moved');
    renameSync(path + '.moved', path);
  }
`;

test('readTextInRoot follows ".." whatever is renamed elsewhere meanwhile', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-root-files-'));
  await using made = new AsyncDisposableStack();
  made.defer(() => rm(directory, { recursive: true }));
  const root = join(directory, 'root');
  await mkdir(join(root, 'a/b'), { recursive: true });
  await writeFile(join(root, 'accounts'), 'inside');
  await symlink('../../../../accounts', join(root, 'a/b/link'));
  for (const name of ['x', 'y']) {
    const worker = new Worker(renamer, { eval: true, workerData: join(directory, name) });
    made.defer(async () => void (await worker.terminate()));
    await once(worker, 'message');
  }
  // One open in a thousand or so collides with a rename.
  for (let count = 0; count < 20_000; count += 1) {
    assert.equal(readTextInRoot(root, 'a/b/link'), 'inside');
  }
});
