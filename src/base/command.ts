/** Runs a program of the system to its end and collects what it says. */

import { spawn } from 'node:child_process';

import { ThawError, errorCode } from './errors.ts';

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly signal?: AbortSignal;
  /** Ended with SIGKILL after this long. Default 60,000. */
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
 * Runs `program` with `args`, no shell between. Resolves once it has exited with status 0.
 * Throws `ERR_COMMAND_MISSING`, or `ERR_COMMAND_FAILED` on any other status, a signal or the timeout.
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const command = [program, ...args].join(' ');
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe', ...(options.extraFds ?? [])],
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    timeout: options.timeoutMs ?? 60_000,
    killSignal: 'SIGKILL',
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on('data', (data: Buffer) => stdout.push(data));
  child.stderr?.on('data', (data: Buffer) => stderr.push(data));
  child.stdin?.on('error', () => {}); // a program may end without reading its input
  child.stdin?.end(options.input ?? '');
  const [status, killedBy] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve([code, signal]));
    },
  ).catch((thrown: unknown) => {
    if (errorCode(thrown) === 'ENOENT') throw new CommandMissingError(program, thrown);
    throw thrown;
  });
  const result = {
    stdout: Buffer.concat(stdout).toString(),
    stderr: Buffer.concat(stderr).toString(),
  };
  if (status === 0) return result;
  const how = killedBy === null ? `failed with status ${status}` : `was ended by ${killedBy}`;
  throw new CommandFailedError(command, how, status ?? undefined, result.stderr || result.stdout);
}
