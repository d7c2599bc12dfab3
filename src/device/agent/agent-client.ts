/**
 * Calls to the agent of this machine, which is started when it is not running. An agent that is being replaced is waited
 * for: to its clients, as to its readers, its death is a delay.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { SingleFlight, callUnixJson, errorCode, streamUnixJson } from '../../base/index.ts';
import {
  droppableCaches,
  type CacheStatus,
  type DroppableCache,
  type ZoneServerSetting,
} from '../../cache/index.ts';
import { agentCall, type AgentStatus, type ImageUse, type OpenedImage } from './agent-calls.ts';
import type { ImageRef, ReadCounters, StartEnd } from '../images/block-images.ts';
import { AgentUnreachableError } from '../errors.ts';
import type { CachedWindow } from '../starts/file-windows.ts';
import type { StartMode } from '../starts/image-starts.ts';
import type { PageRun } from '../starts/start-plan.ts';
import { runPaths } from './run-paths.ts';

export interface HolderCommand {
  /** Program and arguments of a process that calls `runHolder` for the same run directory. */
  readonly command: readonly [program: string, ...args: string[]];
  /**
   * `detached`: outlives this process, writes its log to `agent.log` in the run directory.
   * `child`: ends with this process; its log goes to this one's stderr. The holder must be told to `stopAtEndOfInput`.
   */
  readonly mode: 'detached' | 'child';
  /** The status with which it ends when it finds another holder at work (`ERR_DEVICE_HOLDER_RUNNING`). */
  readonly takenStatus: number;
}

export interface ConnectOptions {
  /** An absolute path. */
  readonly runDir: string;
  /** How to start a holder when there is none. Left out: none is started. */
  readonly spawn?: HolderCommand;
  /** How long to wait for an agent, at each call. Default 60,000, as long as its holder waits for its first word. */
  readonly connectTimeoutMs?: number;
}

/** Opening an image fetches and unseals its manifest; nothing else that an agent does takes long. */
const callTimeoutMs = 60_000;
const retryDelayMs = 20;
/** A holder that ended at once found another one, whose agent is on its way: the next try can wait. */
const startIntervalMs = 1000;
/** After so many it is clear that a holder cannot live here. */
const holderEndsMax = 5;

/** Codes of a call that found no agent, or one on its way out: the next one can be asked. */
function isAway(thrown: unknown): boolean {
  const code = errorCode(thrown) ?? '';
  return ['ERR_UNIX_NOT_RUNNING', 'ERR_UNIX_CALL_LOST', 'ERR_DEVICE_AGENT_STOPPING'].includes(code);
}

/** Every call may throw `ERR_DEVICE_AGENT_UNREACHABLE`. Calls are repeated when an agent dies under them. */
export class AgentClient {
  readonly runDir: string;
  readonly #options: ConnectOptions;
  readonly #starts = new SingleFlight<'start', void>();
  #holder: ChildProcess | undefined;
  #nextStartMs = 0;
  /** Holders that we started and that have failed, since an agent last answered. */
  #holderEnds = 0;

  constructor(options: ConnectOptions) {
    this.runDir = options.runDir;
    this.#options = options;
  }

  async status(): Promise<AgentStatus> {
    return (await this.#call(agentCall.status)) as AgentStatus;
  }

  /**
   * Opens an image on behalf of `user`, until `close` by the same user: as many times as that may be asked, it counts
   * once. Throws what fetching and opening the manifest throws, `ERR_DEVICE_WRONG_TENANT` and
   * `ERR_DEVICE_IMAGE_UNSUPPORTED`.
   */
  async open(use: ImageUse): Promise<OpenedImage> {
    return (await this.#call(agentCall.open, use)) as OpenedImage;
  }

  async close(use: ImageUse): Promise<void> {
    await this.#call(agentCall.close, use);
  }

  /** Whether `user` has it open. Costs the agent next to nothing, unlike `status`. */
  async isOpen(use: ImageUse): Promise<boolean> {
    return (await this.#call(agentCall.isOpen, use)) === true;
  }

  /** Throws `ERR_DEVICE_IMAGE_NOT_OPEN`. */
  async counters(image: ImageRef): Promise<ReadCounters> {
    return (await this.#call(agentCall.counters, image)) as ReadCounters;
  }

  /** See `RootMounts.startEnded`; `cached`: what of the files that it opened is in the page cache. Throws `ERR_DEVICE_IMAGE_NOT_OPEN`. */
  async startEnded(image: ImageRef, cached?: readonly CachedWindow[]): Promise<StartEnd> {
    return (await this.#call(agentCall.startEnded, { ...image, cached })) as StartEnd;
  }

  /**
   * How to treat the page cache of the start under way, and then what it is going to read of the image's files, as it can be had from the agent's memory; nothing if that is not known. Ends with the start.
   * Asks once, and throws whatever goes wrong.
   */
  async *guideStart(
    image: ImageRef,
    signal: AbortSignal,
  ): AsyncGenerator<StartMode | readonly PageRun[]> {
    const [method, path] = agentCall.startGuide.split(' ') as ['POST', string];
    const { controlSocket } = runPaths(this.runDir);
    for await (const word of streamUnixJson(controlSocket, method, path, image, { signal })) {
      yield word as StartMode | readonly PageRun[];
    }
  }

  /** Forgets the chunks in memory, on disk or both, which is the default. Those of them that there are: the disk may be off. */
  async dropCaches(
    caches: readonly DroppableCache[] = droppableCaches,
  ): Promise<readonly DroppableCache[]> {
    const { dropped } = (await this.#call(agentCall.drop, { caches })) as {
      readonly dropped: readonly DroppableCache[];
    };
    return dropped;
  }

  async cacheStatus(): Promise<CacheStatus> {
    return (await this.#call(agentCall.cacheStatus)) as CacheStatus;
  }

  /** The zone's servers from now on, also for the agents after this one. */
  async setZoneServers(servers: readonly ZoneServerSetting[]): Promise<void> {
    await this.#call(agentCall.zoneServers, { servers });
  }

  /**
   * Stops agent and holder, and unmounts every image. Resolves when the agent no longer answers and the holder that this client
   * started, if any, has ended: one that was about to find another at work may begin to work when that one is gone.
   */
  async shutdown(): Promise<void> {
    await this.#endAgent();
    while (this.#isHolderAlive()) {
      await delay(retryDelayMs);
      await this.#endAgent();
    }
  }

  async #endAgent(): Promise<void> {
    const { connectTimeoutMs } = this.#limits;
    const endsAtMs = performance.now() + connectTimeoutMs;
    try {
      await this.#callOnce(agentCall.shutdown);
      while (performance.now() < endsAtMs) {
        await this.#callOnce(agentCall.status);
        await delay(retryDelayMs);
      }
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
    }
  }

  get #limits(): { connectTimeoutMs: number } {
    return { connectTimeoutMs: this.#options.connectTimeoutMs ?? 60_000 };
  }

  async #callOnce(call: string, body?: unknown): Promise<unknown> {
    const [method, path] = call.split(' ') as ['GET' | 'POST', string];
    const { controlSocket } = runPaths(this.runDir);
    return callUnixJson(controlSocket, method, path, body, { timeoutMs: callTimeoutMs });
  }

  async #call(call: string, body?: unknown): Promise<unknown> {
    const { connectTimeoutMs } = this.#limits;
    let endsAtMs: number | undefined;
    for (;;) {
      try {
        const answer = await this.#callOnce(call, body);
        this.#holderEnds = 0;
        return answer;
      } catch (thrown) {
        if (!isAway(thrown)) throw thrown;
        endsAtMs ??= performance.now() + connectTimeoutMs;
        if (performance.now() > endsAtMs || this.#holderEnds >= holderEndsMax) {
          this.#holderEnds = 0;
          throw new AgentUnreachableError(this.runDir, runPaths(this.runDir).logFile, thrown);
        }
        await this.#starts.run('start', () => this.#startHolder());
        await delay(retryDelayMs);
      }
    }
  }

  /** Starts a holder, unless ours is alive. If another's is, ours finds the lock taken and ends: no harm done. */
  async #startHolder(): Promise<void> {
    const command = this.#options.spawn;
    if (command === undefined || this.#isHolderAlive()) return;
    if (performance.now() < this.#nextStartMs) return;
    this.#nextStartMs = performance.now() + startIntervalMs;
    await mkdir(this.runDir, { recursive: true, mode: 0o700 });
    const [program, ...args] = command.command;
    const isDetached = command.mode === 'detached';
    const logFd = isDetached ? openSync(runPaths(this.runDir).logFile, 'a', 0o600) : undefined;
    const holder = spawn(program, args, {
      stdio: [isDetached ? 'ignore' : 'pipe', logFd ?? 2, logFd ?? 2],
      detached: true, // Ctrl-C is for this process: it has mounts to give back before the holder goes
    });
    if (logFd !== undefined) closeSync(logFd);
    this.#holder = holder;
    holder.once('exit', (status) => {
      if (status !== command.takenStatus) this.#holderEnds += 1;
    });
    await new Promise<void>((resolve, reject) => {
      holder.once('spawn', resolve);
      holder.once('error', reject);
    });
    // Neither the process nor the pipe that tells it of our end keeps us alive.
    holder.unref();
    if (holder.stdin instanceof Socket) holder.stdin.unref();
  }

  #isHolderAlive(): boolean {
    const holder = this.#holder;
    return holder !== undefined && holder.exitCode === null && holder.signalCode === null;
  }
}

/**
 * A client of the agent in `runDir`, once one answers; a holder is started if none runs and `spawn` says how. Any number of
 * processes may do so at a time: one holder wins, all get its agent.
 * Throws `ERR_DEVICE_AGENT_UNREACHABLE`.
 */
export async function connectAgent(options: ConnectOptions): Promise<AgentClient> {
  const client = new AgentClient(options);
  await client.status();
  return client;
}
