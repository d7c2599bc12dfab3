/** Runs `bin/thaw` as a user does, on a state directory of its own. */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

import { present } from '../../src/base/index.ts';

const program = join(import.meta.dirname, '../../bin/thaw');

export interface ThawRun {
  readonly status: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export class Thaw {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Starts a command, with its output to be read from the child. A server listens on a port of its own. */
  start(...args: readonly string[]): ChildProcess {
    const own =
      args.includes('serve') && !args.includes('--listen') ? ['--listen', '127.0.0.1:0'] : [];
    return spawn(program, ['--root', this.root, ...args, ...own], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Runs a command to its end, whatever its status. */
  async run(...args: readonly string[]): Promise<ThawRun> {
    return await endOf(this.start(...args));
  }

  /** Runs a command that must succeed; what it printed with `--json`. */
  async json<T>(...args: readonly string[]): Promise<T> {
    const { status, stdout, stderr } = await this.run(...args, '--json');
    if (status !== 0) {
      throw new Error(`thaw ${args.join(' ')} ended with status ${status}: ${stderr}`);
    }
    return JSON.parse(stdout) as T;
  }
}

export async function endOf(child: ChildProcess): Promise<ThawRun> {
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (data: Buffer) => (output.stdout += data.toString()));
  child.stderr?.on('data', (data: Buffer) => (output.stderr += data.toString()));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => {
      resolve({ status: status ?? undefined, signal: signal ?? undefined, ...output });
    });
  });
}

/** Until a child has logged `text`, from now on; fails with what it logged instead where it ends without. */
export async function untilLogged(child: ChildProcess, text: string): Promise<void> {
  const log = present(child.stderr, 'its standard error');
  let logged = '';
  await new Promise<void>((resolve, reject) => {
    const onEnd = (): void => reject(new Error(`It ended without "${text}": ${logged}`));
    log.once('close', onEnd);
    log.on('data', function onData(data: Buffer) {
      logged += data.toString();
      if (!logged.includes(text)) return;
      log.off('data', onData).off('close', onEnd);
      resolve();
    });
  });
}

/** A Thaw whose state goes with the test. */
export async function thawFor(t: TestContext): Promise<Thaw> {
  const root = await mkdtemp(join(tmpdir(), 'thaw-test-'));
  t.after(() => rm(root, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }));
  return new Thaw(root);
}

/** What of this Thaw the kernel still has: mounts and loop devices below its root. */
export async function leftInKernel(root: string): Promise<readonly string[]> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return mounts.split('\n').filter((line) => line.includes(root));
}
