import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

import { present } from './errors.ts';
import { isProcessAlive, processIdentity } from './process-identity.ts';

test('a process keeps its identity while it lives, and nobody has it afterwards', async () => {
  const child = spawn('cat');
  const ended = once(child, 'exit');
  const pid = present(child.pid, 'pid of cat');
  const identity = present(await processIdentity(pid), 'identity of cat');
  assert.equal(await processIdentity(pid), identity);
  assert.equal(await isProcessAlive(identity), true);
  child.stdin.end();
  await ended;
  assert.equal(await processIdentity(pid), undefined);
  assert.equal(await isProcessAlive(identity), false);
});

test('a later process of the same pid, and text that is no identity, are not alive', async () => {
  assert.equal(await isProcessAlive(`${process.pid}-1`), false);
  assert.equal(await isProcessAlive(String(process.pid)), false);
  for (const text of ['', 'x', '-1', '0-0', '../self']) {
    assert.equal(await isProcessAlive(text), false, text);
  }
});
