import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createLog, silentLog } from '../../base/index.ts';
import { FunctionLog } from './function-log.ts';

async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-function-log-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function lines(from: number, to: number): Buffer {
  let text = '';
  for (let number = from; number < to; number += 1) text += `${String(number).padStart(9, '0')}\n`;
  return Buffer.from(text);
}

async function textOf(log: FunctionLog, maxBytes = 1_000_000): Promise<string> {
  return Buffer.from(await log.read(maxBytes)).toString();
}

test('FunctionLog keeps what was written, over several openings', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'tenant', 'name.log');
  const options = { path, fileSizeMaxBytes: 1000, log: silentLog };
  const first = new FunctionLog(options);
  assert.equal(await textOf(first), '');
  first.append(Buffer.from('one\n'));
  first.append(Buffer.from('two\n'));
  await first.flush();
  const second = new FunctionLog(options);
  second.append(Buffer.from('three\n'));
  assert.equal(await textOf(second), 'one\ntwo\nthree\n');
  assert.equal(await textOf(second, 8), 'o\nthree\n');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('FunctionLog keeps the last lines in two files of bounded size', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'name.log');
  const log = new FunctionLog({ path, fileSizeMaxBytes: 1000, log: silentLog });
  for (let number = 0; number < 1000; number += 7) {
    log.append(lines(number, Math.min(1000, number + 7)));
    if (number % 3 === 0) await log.flush();
  }
  const text = await textOf(log);
  assert.ok(text.length >= 1000, 'at least one whole file');
  assert.equal(text, lines(1000 - text.length / 10, 1000).toString());
  for (const name of await readdir(directory.path)) {
    assert.ok((await stat(join(directory.path, name))).size <= 1000, name);
  }
});

test('FunctionLog drops what comes faster than the disk takes it, and says how much', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'name.log');
  const log = new FunctionLog({ path, fileSizeMaxBytes: 10_000_000, log: silentLog });
  for (let count = 0; count < 3000; count += 1) log.append(Buffer.alloc(1000, 'x'));
  log.append(Buffer.from('END\n'), true);
  const text = await textOf(log, 10_000_000);
  const dropped = Number(/\[(\d+) bytes of output dropped\]\n$/.exec(text)?.[1]);
  assert.ok(text.length < 1024 * 1024 + 1200, `${text.length} bytes kept`);
  assert.equal(text.indexOf('END') + dropped, 3_000_000);
});

test('FunctionLog that cannot write says so once, and works when it can again', async () => {
  await using directory = await temporaryDirectory();
  const blocked = join(directory.path, 'tenant');
  await writeFile(blocked, 'a file where the directory should be');
  const warnings: string[] = [];
  const log = new FunctionLog({
    path: join(blocked, 'name.log'),
    fileSizeMaxBytes: 1000,
    log: createLog({ write: (line) => warnings.push(line) }),
  });
  for (const text of ['lost\n', 'lost too\n']) {
    log.append(Buffer.from(text));
    await log.flush();
  }
  assert.equal(warnings.length, 1);
  await rm(blocked);
  log.append(Buffer.from('kept\n'));
  assert.equal(await textOf(log), 'kept\n');
});

test('FunctionLog that was removed leaves no file behind', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'name.log');
  const log = new FunctionLog({ path, fileSizeMaxBytes: 15, log: silentLog });
  log.append(lines(0, 3));
  await log.flush();
  log.append(lines(3, 4));
  await log.remove();
  log.append(lines(4, 5));
  await log.flush();
  assert.deepEqual(await readdir(directory.path), []);
});
