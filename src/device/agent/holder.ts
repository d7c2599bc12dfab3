/**
 * The holder: a tiny process that makes the FUSE mount, keeps its descriptor and never reads from it but for the
 * handshake. The kernel keeps a mount alive as long as someone has its descriptor; so an agent may die at any moment, its
 * readers wait, and the next agent gets their requests again.
 *
 * Invariant: nobody waits for ever. An agent that dies is replaced, one that falls silent is killed, and if no agent can
 * be kept alive the mount is taken down by force, which gives every reader an error.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, rmSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';

import { errorCode, errorMessage, runCommand, type Log } from '../../base/index.ts';
import type { AgentMessage, HolderMessage } from './agent-calls.ts';
import { AgentFailingError, FuseSetupError, HolderRunningError } from '../errors.ts';
import { answerInit } from '../fuse/fuse-init.ts';
import { abortImagesDir, releaseImagesDir } from '../mounts/mounts.ts';
import { runPaths } from './run-paths.ts';
import { tryLockFile } from '../system-calls.ts';

export interface HolderOptions {
  /** The worker's run directory (`/run/thaw`), an absolute path; everything in it is this holder's. */
  readonly runDir: string;
  /** Starts an agent: program and arguments. It gets /dev/fuse as descriptor 3 (`agentFuseFd`) and a process channel. */
  readonly agentCommand: readonly [program: string, ...args: string[]];
  /** Ends when its standard input does: for a holder that must not outlive who started it. Default false. */
  readonly stopAtEndOfInput?: boolean;
  /** An agent that says nothing for so long is killed and replaced. Default 10,000. */
  readonly silenceMaxMs?: number;
  /** The same before its first word: it starts, on a machine that may be busy. Default 60,000. */
  readonly startMaxMs?: number;
  /** When no agent could be kept alive for so long, the mount is given up. Default 30,000. */
  readonly giveUpAfterMs?: number;
  readonly log: Log;
}

/** An agent that lives so long is a sound one: the next failure counts anew. */
const soundAfterMs = 2000;
const respawnDelayMaxMs = 1000;
const watchIntervalMs = 250;
const unmountMaxMs = 10_000;
/** For an agent to end after its mount is gone. */
const endMaxMs = 2000;

/** Locks the run directory for as long as this process lives. */
function lockRunDir(runDir: string): void {
  const fd = openSync(runPaths(runDir).lockFile, 'w', 0o600);
  if (tryLockFile(fd)) return;
  closeSync(fd);
  throw new HolderRunningError(runDir);
}

/** Mounts and shakes hands; the descriptor. */
async function mountFuse(imagesDir: string): Promise<number> {
  let fuseFd: number;
  try {
    fuseFd = openSync('/dev/fuse', 'r+');
  } catch (thrown) {
    const code = errorCode(thrown) ?? errorMessage(thrown);
    throw new FuseSetupError(`opening "/dev/fuse" gave ${code}`, thrown);
  }
  // Without allow_other only root gets in: who reads an image reads it through its mount.
  const how = 'fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions,nosuid,nodev,noexec';
  await runCommand('mount', ['-i', '-n', '-t', 'fuse', '-o', how, 'thaw', imagesDir], {
    extraFds: [fuseFd],
  });
  answerInit(fuseFd);
  return fuseFd;
}

/** True if the process's main thread has ended: others of its threads may keep the process from ending. */
async function isDying(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const state = stat.slice(stat.lastIndexOf(')') + 2)[0];
  return state === 'Z' || state === 'X';
}

class Holder {
  readonly #options: HolderOptions;
  readonly #fuseFd: number;
  readonly #ended = Promise.withResolvers<void>();
  #agent: ChildProcess | undefined;
  #isStopping = false;
  /** Since when no agent has been sound. */
  #failingSinceMs = performance.now();
  #respawnDelayMs = 0;
  #startedMs = 0;
  /** Of the agent that runs now; undefined until its first word. */
  #lastHeardMs: number | undefined;

  constructor(options: HolderOptions, fuseFd: number) {
    this.#options = options;
    this.#fuseFd = fuseFd;
  }

  async run(): Promise<void> {
    const stop = (): void => void this.#stop();
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    if (this.#options.stopAtEndOfInput === true) process.stdin.on('end', stop).resume();
    this.#spawnAgent();
    const watch = setInterval(() => void this.#watch(), watchIntervalMs);
    try {
      await this.#ended.promise;
    } finally {
      clearInterval(watch);
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      process.stdin.destroy();
    }
  }

  #spawnAgent(): void {
    const [program, ...args] = this.#options.agentCommand;
    const { compileCacheDir } = runPaths(this.#options.runDir);
    const startedMs = performance.now();
    this.#lastHeardMs = undefined;
    const agent = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', this.#fuseFd, 'ipc'],
      env: { NODE_COMPILE_CACHE: compileCacheDir, ...process.env },
      detached: true, // Ctrl-C at a terminal is for the holder, who stops it in order
    });
    this.#agent = agent;
    this.#startedMs = startedMs;
    agent.on('message', (message: AgentMessage) => {
      if (this.#agent === agent) this.#lastHeardMs = performance.now();
      if (message.kind === 'stop') void this.#stop();
    });
    agent.on('error', (thrown) => {
      this.#options.log.error('agent process failed', { reason: errorMessage(thrown) });
      if (agent.pid === undefined) this.#replace(agent, 'not started');
    });
    agent.once('exit', (status, signal) => this.#replace(agent, `${status ?? signal}`));
  }

  /**
   * Starts another agent in the place of `agent`, which has ended or is about to. Its end is not waited for: a thread of
   * it may be in the kernel, waiting for a page of a read that only the next agent will answer.
   */
  #replace(agent: ChildProcess, reason: string): void {
    if (this.#isStopping || this.#agent !== agent) return;
    this.#agent = undefined;
    // An agent that cannot quite die still holds its end of the socket: calls must not reach it.
    rmSync(runPaths(this.#options.runDir).controlSocket, { force: true });
    this.#options.log.warn('the agent ended', { reason });
    const nowMs = performance.now();
    if (nowMs - this.#startedMs >= soundAfterMs) {
      this.#failingSinceMs = nowMs;
      this.#respawnDelayMs = 0;
    }
    const failingForMs = nowMs - this.#failingSinceMs;
    if (failingForMs > (this.#options.giveUpAfterMs ?? 30_000)) {
      void this.#stop(new AgentFailingError(Math.round(failingForMs)));
      return;
    }
    setTimeout(() => {
      if (!this.#isStopping) this.#spawnAgent();
    }, this.#respawnDelayMs);
    this.#respawnDelayMs = Math.min(respawnDelayMaxMs, this.#respawnDelayMs * 2 + 10);
  }

  /** Asks the agent for a sign of life, and kills it if there was none for too long. */
  async #watch(): Promise<void> {
    const agent = this.#agent;
    if (agent?.pid === undefined || this.#isStopping) return;
    if (await isDying(agent.pid)) {
      this.#replace(agent, 'killed');
    } else if (this.#isSilent()) {
      agent.kill('SIGKILL');
      this.#replace(agent, 'silent');
    } else {
      const ping: HolderMessage = { kind: 'ping' };
      if (agent.connected) agent.send(ping, () => {});
    }
  }

  #isSilent(): boolean {
    const { silenceMaxMs = 10_000, startMaxMs = 60_000 } = this.#options;
    const nowMs = performance.now();
    if (this.#lastHeardMs === undefined) return nowMs - this.#startedMs > startMaxMs;
    return nowMs - this.#lastHeardMs > silenceMaxMs;
  }

  /** Unmounts; then the agent's threads, and with them the agent, end. */
  async #stop(failure?: Error): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const { imagesDir } = runPaths(this.#options.runDir);
    // What is unmounted may still read. If nobody can answer any more, or not in time, it gets errors.
    if (failure !== undefined) await abortImagesDir(imagesDir);
    const impatience = setTimeout(() => void abortImagesDir(imagesDir), unmountMaxMs);
    try {
      await releaseImagesDir(imagesDir);
    } catch (thrown) {
      this.#options.log.error('cannot unmount', { reason: errorMessage(thrown) });
    } finally {
      clearTimeout(impatience);
    }
    closeSync(this.#fuseFd);
    await this.#endAgent();
    if (failure === undefined) this.#ended.resolve();
    else this.#ended.reject(failure);
  }

  async #endAgent(): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => agent.once('exit', () => resolve()));
    const timer = setTimeout(() => agent.kill('SIGKILL'), endMaxMs);
    await exited;
    clearTimeout(timer);
  }
}

/**
 * Makes the mount at `runDir`/images and keeps an agent on it until SIGTERM, SIGINT, a shutdown call to the agent or, if
 * asked for, the end of standard input; then unmounts everything that lies on the mount and resolves. What a holder that
 * was killed left there is cleared away first. To be the whole of its process.
 * Throws `ERR_DEVICE_HOLDER_RUNNING`, `ERR_DEVICE_FUSE`, `ERR_COMMAND_*`, `ERR_DEVICE_AGENT_FAILING`.
 */
export async function runHolder(options: HolderOptions): Promise<void> {
  const { imagesDir, stateDir } = runPaths(options.runDir);
  await mkdir(options.runDir, { recursive: true, mode: 0o700 });
  lockRunDir(options.runDir);
  await releaseImagesDir(imagesDir);
  await rm(stateDir, { recursive: true, force: true });
  await mkdir(imagesDir, { recursive: true, mode: 0o700 });
  await new Holder(options, await mountFuse(imagesDir)).run();
}
