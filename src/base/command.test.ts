import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { runCommand } from './command.ts';

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'thaw-command-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** True while a process of that id runs; a zombie has ended. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** What a program writes there as one line; what it had said before has then been read. */
async function numberIn(path: string): Promise<number> {
  for (;;) {
    const isWritten = existsSync(path) && readFileSync(path, 'utf8').endsWith('\n');
    await nextTurn();
    await nextTurn();
    if (isWritten) return Number(readFileSync(path, 'utf8'));
  }
}

test('runCommand() gives what the program said on each stream', async () => {
  const result = await runCommand('sh', ['-c', 'echo out; echo err >&2']);
  assert.deepEqual(result, { stdout: 'out\n', stderr: 'err\n' });
});

test('runCommand() hands arguments on as they are, with no shell to read them', async () => {
  const args = ['a b', '$HOME', '*', "quote'd", 'new\nline', ''];
  const { stdout } = await runCommand('printf', ['%s|', ...args]);
  assert.equal(stdout, `${args.join('|')}|`);
});

test('runCommand() writes the input, however long, and closes it', async () => {
  const input = 'line\n'.repeat(100_000);
  const { stdout } = await runCommand('wc', ['-c'], { input });
  assert.equal(Number(stdout), input.length);
});

test('runCommand() does not mind a program that ends without reading its input', async () => {
  assert.equal((await runCommand('true', [], { input: 'x'.repeat(1_000_000) })).stdout, '');
});

test('runCommand() collects output longer than a pipe holds', async () => {
  const { stdout, stderr } = await runCommand('sh', [
    '-c',
    'head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2',
  ]);
  assert.deepEqual([stdout.length, stderr.length], [300_000, 200_000]);
});

test('runCommand() runs in the directory and the environment that it is given', async (t) => {
  const cwd = temporaryFolder(t);
  const { stdout } = await runCommand('sh', ['-c', 'pwd; echo "$THAW_TEST"; echo "${HOME-none}"'], {
    cwd,
    env: { PATH: '/usr/bin:/bin', THAW_TEST: 'set' },
  });
  assert.equal(stdout, `${cwd}\nset\nnone\n`);
});

test('runCommand() says the status and what the program said on stderr, on one line', async () => {
  await assert.rejects(runCommand('sh', ['-c', 'echo first >&2; echo second >&2; exit 3']), {
    code: 'ERR_COMMAND_FAILED',
    fault: 'environment',
    exitStatus: 3,
    stderr: 'first\nsecond\n',
    message: /failed with status 3: first; second$/,
  });
});

test('runCommand() quotes stdout in the failure of a program that said nothing on stderr', async () => {
  await assert.rejects(runCommand('sh', ['-c', 'echo reason; exit 1']), {
    message: /status 1: reason$/,
  });
});

test('runCommand() names the signal that ended the program', async () => {
  await assert.rejects(runCommand('sh', ['-c', 'kill -TERM $$']), {
    code: 'ERR_COMMAND_FAILED',
    message: /was ended by SIGTERM/,
    exitStatus: undefined,
  });
});

test('runCommand() tells a missing program from a missing directory', async () => {
  await assert.rejects(runCommand('thaw-no-such-program', []), {
    code: 'ERR_COMMAND_MISSING',
    message: /"thaw-no-such-program": no such program on PATH/,
  });
  await assert.rejects(runCommand('true', [], { cwd: '/nonexistent' }), { code: 'ENOENT' });
});

test('runCommand() kills a program that outlasts its time', async (t) => {
  const pidFile = join(temporaryFolder(t), 'pid');
  const script = `trap '' TERM; echo waiting >&2; echo $$ > '${pidFile}'; exec sleep 60`;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const outcome = assert.rejects(runCommand('sh', ['-c', script], { timeoutMs: 500 }), {
    code: 'ERR_COMMAND_FAILED',
    message: /did not end within 500 ms: waiting$/,
  });
  const pid = await numberIn(pidFile);
  t.mock.timers.tick(499);
  assert.equal(isRunning(pid), true);
  t.mock.timers.tick(1);
  await outcome;
  assert.equal(isRunning(pid), false);
});

test('runCommand() does not wait for a grandchild that holds the output of a program past its time', async (t) => {
  const pidFile = join(temporaryFolder(t), 'pid');
  const script = `sleep 60 & echo $! > '${pidFile}'; wait`;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const outcome = assert.rejects(runCommand('sh', ['-c', script], { timeoutMs: 500 }), {
    message: /did not end within/,
  });
  const grandchild = await numberIn(pidFile);
  t.mock.timers.tick(500);
  await outcome;
  process.kill(grandchild, 'SIGKILL');
});

test('runCommand() kills the program when it is aborted, and throws the reason', async (t) => {
  const pidFile = join(temporaryFolder(t), 'pid');
  const controller = new AbortController();
  const running = runCommand('sh', ['-c', `echo $$ > '${pidFile}'; exec sleep 60`], {
    signal: controller.signal,
  });
  const outcome = assert.rejects(running, /no longer wanted/);
  const pid = await numberIn(pidFile);
  controller.abort(new Error('no longer wanted'));
  await outcome;
  assert.equal(isRunning(pid), false);
});

test('runCommand() starts nothing once it is aborted', async (t) => {
  const trace = join(temporaryFolder(t), 'trace');
  const signal = AbortSignal.abort(new Error('too late'));
  await assert.rejects(runCommand('touch', [trace], { signal }), /too late/);
  assert.throws(() => readFileSync(trace), { code: 'ENOENT' });
});

test('runCommand() hands descriptors on as 3, 4, …, and leaves them open here', async (t) => {
  const path = join(temporaryFolder(t), 'shared');
  const fd = openSync(path, 'w+');
  t.after(() => closeSync(fd));
  await runCommand('sh', ['-c', 'echo three >&3; echo four >&4'], { extraFds: [fd, fd] });
  writeSync(fd, 'here\n');
  assert.equal(readFileSync(path, 'utf8'), 'three\nfour\nhere\n');
});
