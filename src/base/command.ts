/** Runs a program of the system to its end and collects what it says. */

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';

import { ThawError, errorCode } from './errors.ts';
import { programPath } from './program-path.ts';

/** What a program said, as UTF-8. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly signal?: AbortSignal;
  /** Ended with SIGKILL after this long, whatever it started and whoever holds its output. Default 60,000. */
  readonly timeoutMs?: number;
  /** Written to standard input, which is then closed. Default: nothing. */
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Descriptors handed on as 3, 4, …; they stay open here. */
  readonly extraFds?: readonly number[];
}

export class CommandMissingError extends ThawError {
  constructor(program: string, cause: unknown) {
    super({
      code: 'ERR_COMMAND_MISSING',
      fault: 'environment',
      message: `Cannot run "${program}": no such program on PATH; run "thaw doctor" for how to get it`,
      cause,
    });
  }
}

export class CommandFailedError extends ThawError {
  readonly exitStatus: number | undefined;
  readonly stderr: string;

  constructor(command: string, how: string, exitStatus: number | undefined, stderr: string) {
    const said = stderr.trim().replaceAll(/\s*\n\s*/g, '; ');
    super({
      code: 'ERR_COMMAND_FAILED',
      fault: 'environment',
      message: `"${command}" ${how}${said === '' ? '' : `: ${said.slice(-500)}`}`,
    });
    this.exitStatus = exitStatus;
    this.stderr = stderr;
  }
}

/**
 * Runs `program` with `args`, no shell between. Resolves once it has exited with status 0 and its output has ended.
 * Throws `ERR_COMMAND_MISSING`, `ERR_COMMAND_FAILED` on any other status, a signal or the timeout, or the reason
 * of `signal`; in each case the program is gone by then.
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { signal, timeoutMs = 60_000, input = '', env, cwd, extraFds = [] } = options;
  signal?.throwIfAborted();
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe', ...extraFds],
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin?.on('error', () => {}); // a program may end without reading its input
  child.stdin?.end(input);
  const stop = (): void => {
    child.kill('SIGKILL');
    // What the program started may live on and hold the pipes: nobody waits for that.
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
  };
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    stop();
  }, timeoutMs);
  signal?.addEventListener('abort', stop);
  try {
    const [status, killedBy] = await exitOf(child, program, options);
    signal?.throwIfAborted();
    if (status === 0 && !timedOut) return { stdout: stdout(), stderr: stderr() };
    const how = timedOut
      ? `did not end within ${timeoutMs} ms`
      : killedBy === null
        ? `failed with status ${status}`
        : `was ended by ${killedBy}`;
    const command = [program, ...args].join(' ');
    throw new CommandFailedError(command, how, status ?? undefined, stderr() || stdout());
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/** Keeps what a stream says, for the function returned to give. */
function collect(stream: Readable | null): () => string {
  const parts: Buffer[] = [];
  stream?.on('data', (part: Buffer) => parts.push(part));
  return () => Buffer.concat(parts).toString();
}

function isRunnable(program: string, env: NodeJS.ProcessEnv | undefined): boolean {
  return program.includes('/') ? existsSync(program) : programPath(program, env) !== undefined;
}

/** Waits for the end of the process and of its output. */
async function exitOf(
  child: ChildProcess,
  program: string,
  { cwd, env }: CommandOptions,
): Promise<[status: number | null, killedBy: NodeJS.Signals | null]> {
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, killedBy) => resolve([status, killedBy]));
    });
  } catch (thrown) {
    // A working directory that is not there gives the ENOENT of a missing program, and where PATH names a directory
    // that may not be searched, a missing program gives EACCES.
    const isPlaceThere = cwd === undefined || existsSync(cwd);
    const isUnrunnable = ['ENOENT', 'EACCES'].includes(errorCode(thrown) ?? '');
    const isMissing = isPlaceThere && isUnrunnable && !isRunnable(program, env);
    throw isMissing ? new CommandMissingError(program, thrown) : thrown;
  }
}
