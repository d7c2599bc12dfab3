import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';

import { launchProgram, waitingProgram, type Step } from './launch-program.ts';

const skip = process.arch === 'x64' ? false : 'needs x86-64';
const step = (call: string, args: Step['args'], mayFailWith: readonly number[] = []): Step => {
  return { call, args, mayFailWith };
};

function run(steps: readonly Step[]): { output: string; failure: string | undefined } {
  const directory = mkdtempSync(join(tmpdir(), 'thaw-launch-'));
  try {
    const program = launchProgram(steps);
    const path = join(directory, 'program');
    writeFileSync(path, program.bytes);
    chmodSync(path, 0o700);
    const result = spawnSync(path, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    const failure = program.failureOf(result.output[3] as Uint8Array<ArrayBuffer>);
    return {
      output: String(result.stdout),
      failure: failure && `${failure.step.call} ${failure.errno}`,
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const becomeShell = (script: string, ...environment: string[]): Step =>
  step('execve', [
    '/bin/sh',
    { strings: ['sh', '-c', script, 'zero', 'one'] },
    { strings: environment },
  ]);

test('launchProgram does one call after the other and becomes the program', { skip }, () => {
  const steps = [
    step('write', [1, 'first ', 6]),
    step('chdir', ['/etc']),
    becomeShell('pwd; echo $FOO $0 $1', 'FOO=bar'),
  ];
  assert.deepEqual(run(steps), { output: 'first /etc\nbar zero one\n', failure: undefined });
});

test('launchProgram stops at a failure and tells which, unless it is expected', { skip }, () => {
  const { ENOENT, ENOTDIR, EBADF } = constants.errno;
  const missing = (...errors: number[]): Step => step('chdir', ['/nowhere'], errors);
  const after = step('write', [1, 'after', 5]);
  const end = step('exit_group', [0]);
  assert.deepEqual(run([missing(), after]), { output: '', failure: `chdir ${ENOENT}` });
  assert.deepEqual(run([missing(ENOTDIR), after]), { output: '', failure: `chdir ${ENOENT}` });
  assert.deepEqual(run([missing(ENOENT), after, end]), { output: 'after', failure: undefined });
  const both = [missing(ENOTDIR, ENOENT), after, step('close', [77], [ENOENT, ENOTDIR])];
  assert.deepEqual(run(both), { output: 'after', failure: `close ${EBADF}` });
});

test('launchProgram refuses a call that x86-64 does not have', () => {
  assert.throws(() => launchProgram([step('socketcall', [])]), /socketcall/);
});

test('waitingProgram goes on with what it is given when it is told to', { skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'thaw-launch-'));
  try {
    const [path, restPath] = [join(directory, 'program'), join(directory, 'rest')];
    const started = async (
      rest: readonly Step[],
    ): Promise<{ output: string; failure: unknown }> => {
      const waiting = waitingProgram([step('write', [1, 'first ', 6])], 4);
      writeFileSync(path, waiting.bytes, { mode: 0o700 });
      writeFileSync(restPath, '');
      const restFd = openSync(restPath, 'r');
      const child = spawn(path, { stdio: ['ignore', 'pipe', 'inherit', 'pipe', restFd] });
      const [out, status] = [child.stdout, child.stdio[3] as Duplex];
      const output = out === null ? [] : [String((await once(out, 'data'))[0])];
      const more = waiting.continueWith(rest);
      if (rest.length > 0) writeFileSync(restPath, more.bytes);
      status.write('!');
      out?.on('data', (data) => output.push(String(data)));
      const [report] = await Promise.all([buffer(status), once(child, 'close')]);
      closeSync(restFd);
      const failure = more.failureOf(report) ?? waiting.failureOf(report);
      return {
        output: output.join(''),
        failure: failure && `${failure.step.call} ${failure.errno}`,
      };
    };
    const long = 'x'.repeat(100_000);
    assert.deepEqual(await started([becomeShell('echo ${#LONG} $1', `LONG=${long}`)]), {
      output: 'first 100000 one\n',
      failure: undefined,
    });
    assert.deepEqual(await started([step('chdir', ['/']), step('close', [99])]), {
      output: 'first ',
      failure: `close ${constants.errno.EBADF}`,
    });
    assert.deepEqual(await started([]), { output: 'first ', failure: undefined });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
