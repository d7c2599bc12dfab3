/** Servers of others that a benchmark runs in the foreground, and ends. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const readyMaxMs = 60_000;
const askAgainMs = 20;

export interface DaemonOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** Where its output goes. */
  readonly logPath: string;
  /** Asked until it resolves. */
  readonly isReady: () => Promise<unknown>;
  readonly env?: NodeJS.ProcessEnv;
}

export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start({ program, args, logPath, isReady, env }: DaemonOptions): Promise<Daemon> {
    const log = openSync(logPath, 'a');
    // It ends with us, however we end.
    const command = ['--pdeathsig', 'KILL', program, ...args];
    const child = spawn('setpriv', command, {
      stdio: ['ignore', log, log],
      detached: true, // Ctrl-C is for us, who tidy up first
      ...(env !== undefined && { env }),
    });
    await once(child, 'spawn');
    const deadlineMs = performance.now() + readyMaxMs;
    for (;;) {
      const ready = await isReady().then(
        () => true,
        () => false,
      );
      if (ready) return new Daemon(child);
      const isGone = child.exitCode !== null || child.signalCode !== null;
      if (isGone || performance.now() > deadlineMs) {
        child.kill('SIGKILL');
        throw new Error(`"${program}" does not come up; see ${logPath}`);
      }
      await delay(askAgainMs);
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

/** A port of this machine that nobody listens on; it is taken a moment later. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
