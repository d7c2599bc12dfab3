/**
 * Starts a sandbox with an OCI runtime: one process, `run --detach`, that is gone once the sandbox
 * runs.
 */

import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { childEnd, prepareToReap, type ChildEnd } from './child-reaper.ts';
import { SandboxStartError } from './errors.ts';
import type { Launcher, LaunchRequest } from './launcher.ts';
import { ociConfig } from './oci-config.ts';

const startTimeoutMs = 60_000;

/** `program` is `runc` or `crun`, whose command lines agree in what is used here. */
export function ociLauncher(program: 'runc' | 'crun'): Launcher {
  return {
    runtime: program,
    start: async (request) => {
      const { directory } = request;
      const configPath = join(directory, 'config.json');
      const input = { ...request, arch: process.arch, openFilesMax: await openFilesMax() };
      await writeFile(configPath, JSON.stringify(ociConfig(input)));
      await mkdir(join(directory, 'state'), { recursive: true });
      prepareToReap();
      await run(program, request);
      const pid = Number(await readFile(join(directory, 'pid'), 'utf8'));
      return { ended: childEnd(pid) };
    },
  };
}

async function run(program: string, request: LaunchRequest): Promise<void> {
  const { spec, directory, outputFd } = request;
  const logPath = join(directory, 'runtime.log');
  const global = ['--root', join(directory, 'state'), '--log', logPath, '--log-format', 'json'];
  const pidFile = join(directory, 'pid');
  const start = ['run', '--detach', '--bundle', directory, '--pid-file', pidFile, spec.id];
  const child = spawn(program, [...global, ...start], {
    stdio: ['ignore', outputFd, outputFd],
    timeout: startTimeoutMs,
    killSignal: 'SIGKILL',
  });
  const end = await new Promise<ChildEnd>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve({
        ...(code === null ? {} : { status: code }),
        ...(signal === null ? {} : { signal }),
      });
    });
  });
  if (end.status === 0) return;
  const said = errorsOf(await readFile(logPath, 'utf8').catch(() => ''));
  throw new SandboxStartError(
    spec.id,
    program,
    end.signal === undefined ? said : `it took too long`,
  );
}

/**
 * 64 Ki, or as many as this process may hand on: raising its own limit would take CAP_SYS_RESOURCE.
 */
async function openFilesMax(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  const hard = Number(/^Max open files +\S+ +(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.min(hard, 65_536);
}

/** The messages of the runtime's own log, one JSON object a line. */
function errorsOf(log: string): string {
  const messages = log.split('\n').flatMap((line) => {
    try {
      const entry = JSON.parse(line) as { level?: unknown; msg?: unknown };
      return entry.level === 'error' && typeof entry.msg === 'string' ? [entry.msg] : [];
    } catch {
      return [];
    }
  });
  return messages.join('; ').slice(-1000);
}
