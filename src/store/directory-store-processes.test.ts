/**
 * Several processes and one directory store: races for a name, and writers killed at any moment.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { openDirectoryStore } from './directory-store.ts';
import { seededRandom } from './testing/seeded-random.ts';

async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-store-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** A process that stands ready; `go` lets it start, `lines` are its outcomes so far. */
async function startStoreProcess(
  path: string,
  mode: 'race' | 'flood',
  writer: number,
  count: number,
) {
  const entry = join(import.meta.dirname, 'testing', 'store-process.ts');
  const child = spawn(process.execPath, [entry, path, mode, String(writer), String(count)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => {}); // it was killed
  const closed = once(child, 'close');
  const reader = createInterface({ input: child.stdout });
  assert.equal((await once(reader, 'line'))[0], 'ready');
  const lines: string[] = [];
  reader.on('line', (line) => lines.push(line));
  return {
    lines,
    reader,
    closed,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    go: () => child.stdin.end('\n'),
    kill: () => child.kill('SIGKILL'),
  };
}

test('of processes that put one name at once exactly one creates it, and its bytes are there', async () => {
  await using directory = await makeDirectory();
  const writers = await Promise.all(
    [0, 1, 2, 3].map((writer) => startStoreProcess(directory.path, 'race', writer, 25)),
  );
  for (const { go } of writers) go();
  await Promise.all(writers.map(({ closed }) => closed));
  const store = await openDirectoryStore(directory.path);
  for (let number = 0; number < 25; number += 1) {
    const created = writers.map(({ lines }) => lines.includes(`race/${number} created`));
    const existed = writers.filter(({ lines }) => lines.includes(`race/${number} existed`));
    assert.equal(created.filter(Boolean).length, 1);
    assert.equal(existed.length, 3);
    const text = Buffer.from((await store.get(`race/${number}`)) ?? []).toString();
    const pattern = `writer ${created.indexOf(true)} object ${number};`;
    assert.ok(text.length > 0 && text === Buffer.alloc(text.length, pattern).toString());
  }
});

/**
 * Checks objects that were not checked before: each must be whole, also while its writer is at
 * work.
 */
async function checkNewObjects(path: string, checked: Set<string>): Promise<void> {
  const store = await openDirectoryStore(path);
  for await (const { name } of store.list('flood/')) {
    if (checked.has(name)) continue;
    const bytes = await store.get(name);
    assert.ok(bytes !== undefined);
    assert.equal(`flood/${hash('sha256', bytes)}`, name);
    checked.add(name);
  }
}

test('writers killed at any moment show whole objects only, and leave all that they had reported', async () => {
  await using directory = await makeDirectory();
  const random = seededRandom(11);
  const checked = new Set<string>();
  for (let round = 0; round < 4; round += 1) {
    const writers = await Promise.all(
      [0, 1].map((writer) => startStoreProcess(directory.path, 'flood', round * 2 + writer, 2000)),
    );
    const linesBeforeKill = Math.floor(random() * 16);
    for (const { go, lines, reader, kill } of writers) {
      if (linesBeforeKill === 0) setImmediate(kill);
      reader.on('line', () => {
        if (lines.length >= linesBeforeKill) kill();
      });
      go();
    }
    while (writers.some(({ isRunning }) => isRunning())) {
      await checkNewObjects(directory.path, checked);
    }
    await Promise.all(writers.map(({ closed }) => closed));
    await checkNewObjects(directory.path, checked);
    for (const line of writers.flatMap(({ lines }) => lines)) {
      assert.ok(checked.has(line.split(' ')[0] ?? ''), line);
    }
  }
  assert.ok(checked.size > 0);
});
