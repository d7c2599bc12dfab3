/**
 * Starts a sandbox with an OCI runtime: one process, `run --detach`, that is gone once the sandbox
 * runs.
 */

import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { childEnd, prepareToReap } from './child-reaper.ts';
import { SandboxStartError } from '../errors.ts';
import type {
  LaunchedProcess,
  LaunchedSandbox,
  Launcher,
  LaunchPlace,
  LaunchProcess,
  LaunchRequest,
} from './launcher.ts';
import { ociConfig, ociProcess } from './oci-config.ts';
import { openFilesMax } from '../limits/open-files-max.ts';
import { processExit } from './process-exit.ts';
import type { ProcessExit } from '../sandbox.ts';

const startTimeoutMs = 60_000;

/** `program` is `runc` or `crun`, whose command lines agree in what is used here. */
export function ociLauncher(program: 'runc' | 'crun'): Launcher {
  return {
    runtime: program,
    prepare: async (place) => ({
      isUsable: true,
      blocksMetadata: false,
      start: (request) => start(program, place, request),
    }),
  };
}

async function start(
  program: string,
  { cgroup, networkNamespacePath }: LaunchPlace,
  request: LaunchRequest,
): Promise<LaunchedSandbox> {
  const { directory, process: main, spec } = request;
  const fileMax = openFilesMax();
  const config = ociConfig({
    ...request,
    ...(networkNamespacePath === undefined ? {} : { networkNamespacePath }),
    cgroupName: cgroup.name,
    arch: process.arch,
    openFilesMax: fileMax,
  });
  await writeFile(join(directory, 'config.json'), JSON.stringify(config));
  await mkdir(join(directory, 'state'), { recursive: true });
  const run = new RuntimeCalls(program, request);
  const launched = await run.call('main', main, ['run', '--bundle', directory], [spec.id]);
  let spawned = 0;
  return {
    ...launched,
    spawn: async (further) => {
      spawned += 1;
      const name = `process-${spawned}`;
      const file = join(directory, `${name}.json`);
      await writeFile(file, JSON.stringify(ociProcess(further, fileMax)));
      return await run.call(name, further, ['exec', '--process', file], [spec.id]);
    },
  };
}

/** Calls the runtime for one container. */
class RuntimeCalls {
  readonly #program: string;
  readonly #request: LaunchRequest;

  constructor(program: string, request: LaunchRequest) {
    this.#program = program;
    this.#request = request;
  }

  /** The process that the call leaves behind; `name` is unique in the sandbox. */
  async call(
    name: string,
    { outputFd }: LaunchProcess,
    before: readonly string[],
    after: readonly string[],
  ): Promise<LaunchedProcess> {
    const { spec, directory } = this.#request;
    prepareToReap();
    const logPath = join(directory, `${name}.log`);
    const pidFile = join(directory, `${name}.pid`);
    const global = ['--root', join(directory, 'state'), '--log', logPath, '--log-format', 'json'];
    const args = [...global, ...before, '--detach', '--pid-file', pidFile, ...after];
    const end = await runToEnd(this.#program, args, outputFd);
    if (end.status !== 0) {
      const said = errorsOf(await readFile(logPath, 'utf8').catch(() => ''));
      const reason = end.signal === undefined ? said : 'it took too long';
      throw new SandboxStartError(spec.id, this.#program, reason);
    }
    const pid = Number(await readFile(pidFile, 'utf8'));
    return { pid, ended: childEnd(pid) };
  }
}

function runToEnd(
  program: string,
  args: readonly string[],
  outputFd: number,
): Promise<ProcessExit> {
  const child = spawn(program, args, {
    stdio: ['ignore', outputFd, outputFd],
    timeout: startTimeoutMs,
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(processExit(code, signal)));
  });
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
