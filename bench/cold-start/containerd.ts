/**
 * containerd with a directory of its own, as Debian packages it, and beside it the stargz snapshotter, built from its library
 * (`stargz/main.go`). Driven by `ctr` and `ctr-remote`, as a person would.
 */

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { Daemon } from './daemon.ts';
import { stargzPrograms } from './stargz-programs.ts';

export type Snapshotter = 'overlayfs' | 'stargz';

const namespace = 'bench';
const timeoutMs = 300_000;

export class Containerd implements AsyncDisposable {
  readonly #directory: string;
  readonly #stargzProgram: string;
  readonly #daemon: Daemon;
  #stargz: Daemon;

  private constructor(directory: string, stargzProgram: string, daemon: Daemon, stargz: Daemon) {
    this.#directory = directory;
    this.#stargzProgram = stargzProgram;
    this.#daemon = daemon;
    this.#stargz = stargz;
  }

  /** In a directory that is there, is empty, and stays as it is afterwards. */
  static async start(directory: string): Promise<Containerd> {
    const { daemon: program } = await stargzPrograms();
    const stargz = await startStargz(directory, program);
    const configPath = join(directory, 'containerd.toml');
    await writeFile(configPath, configuration(directory));
    const daemon = await Daemon.start({
      program: 'containerd',
      args: ['--config', configPath],
      logPath: join(directory, 'containerd.log'),
      isReady: () => runCommand('ctr', ['--address', addressOf(directory), 'version']),
    });
    return new Containerd(directory, program, daemon, stargz);
  }

  /** Pulls and prepares an image for `run`; of a lazy snapshotter, what it needs at once. */
  async pull(reference: string, snapshotter: Snapshotter): Promise<void> {
    const args = ['images', 'rpull', '--plain-http', '--snapshotter', snapshotter, reference];
    await this.#run('ctr-remote', args);
  }

  /** Resolves once the container's process runs. */
  async run(
    reference: string,
    id: string,
    { snapshotter, env }: { snapshotter: Snapshotter; env: Readonly<Record<string, string>> },
  ): Promise<void> {
    const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const flags = ['--detach', '--net-host', '--null-io', '--snapshotter', snapshotter];
    await this.#run('ctr', ['run', ...flags, ...variables, reference, id]);
  }

  /** Ends a container that runs and removes it, as far as it is there. */
  async remove(id: string): Promise<void> {
    for (const args of [
      ['tasks', 'delete', '--force', id],
      ['containers', 'delete', id],
    ]) {
      await this.#run('ctr', args).catch(() => {});
    }
  }

  /** Removes an image with all that only it needs, as far as it is there. */
  async forget(reference: string): Promise<void> {
    await this.#run('ctr', ['images', 'remove', '--sync', reference]).catch(() => {});
  }

  /** Starts the stargz snapshotter anew, with nothing in its caches. All its images must be forgotten before. */
  async emptyStargz(): Promise<void> {
    await this.#stargz.end();
    await rm(stargzRoot(this.#directory), { recursive: true, force: true });
    await rm(stargzSocket(this.#directory), { force: true });
    this.#stargz = await startStargz(this.#directory, this.#stargzProgram);
  }

  /** Runs `ctr-remote` with other arguments. */
  async remote(args: readonly string[], signal?: AbortSignal): Promise<void> {
    await this.#run('ctr-remote', args, signal);
  }

  /** Mounts an image, writable, with a snapshot of its own, until `unmount`. */
  async mount(reference: string, target: string): Promise<void> {
    await mkdir(target, { recursive: true });
    await this.#run('ctr', ['images', 'mount', '--rw', reference, target]);
  }

  async unmount(target: string): Promise<void> {
    await this.#run('ctr', ['images', 'unmount', '--rm', target]);
  }

  get pids(): readonly number[] {
    return [this.#daemon.pid, this.#stargz.pid];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon.end();
    await this.#stargz.end();
  }

  async #run(program: string, args: readonly string[], signal?: AbortSignal): Promise<void> {
    const place = ['--address', addressOf(this.#directory), '--namespace', namespace];
    await runCommand(program, [...place, ...args], { timeoutMs, ...(signal && { signal }) });
  }
}

function addressOf(directory: string): string {
  return join(directory, 'containerd.sock');
}

function stargzRoot(directory: string): string {
  return join(directory, 'stargz');
}

function stargzSocket(directory: string): string {
  return join(directory, 'stargz.sock');
}

/** All defaults but the places of files; what Kubernetes needs is left out. */
function configuration(directory: string): string {
  return `version = 2
root = "${join(directory, 'root')}"
state = "${join(directory, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${addressOf(directory)}"
[ttrpc]
  address = "${addressOf(directory)}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${join(directory, 'opt')}"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "${stargzSocket(directory)}"
`;
}

async function startStargz(directory: string, program: string): Promise<Daemon> {
  const socket = stargzSocket(directory);
  await mkdir(stargzRoot(directory), { recursive: true });
  return await Daemon.start({
    program,
    args: [stargzRoot(directory), socket],
    logPath: join(directory, 'stargz.log'),
    isReady: async () => {
      const connection = connect(socket);
      await once(connection, 'connect').finally(() => connection.destroy());
    },
  });
}
