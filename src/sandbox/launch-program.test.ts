import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { launchProgram, type Step } from './launch-program.ts';

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
