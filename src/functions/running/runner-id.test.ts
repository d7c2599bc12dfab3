import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

import { isRunnerGone, newRunnerId } from './runner-id.ts';

test('a process is known to be gone once it was killed, and not before', async () => {
  const program = `import { newRunnerId } from ${JSON.stringify(import.meta.resolve('./runner-id.ts'))};
    process.stdout.write(newRunnerId());
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [id] = (await once(child.stdout, 'data')) as [Buffer];
  assert.equal(isRunnerGone(id.toString()), false);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  assert.equal(isRunnerGone(id.toString()), true);
});

test('a number that another process has now is not the process that had it', () => {
  const own = newRunnerId();
  assert.equal(isRunnerGone(own), false);
  assert.notEqual(newRunnerId(), own);
  const [uuid, place, pid, start] = own.split(' ');
  assert.equal(isRunnerGone([uuid, place, pid, Number(start) - 1].join(' ')), true);
});

test('of processes of another machine nothing is known', () => {
  const [uuid, , pid] = newRunnerId().split(' ');
  assert.equal(isRunnerGone([uuid, 'elsewhere', pid, '1'].join(' ')), false);
  assert.equal(isRunnerGone('some-server'), false);
});
