/**
 * A directory that is read as over a link of a given rate: a file system on a loop device in memory, whose reads the kernel throttles for
 * this process and all that it starts (cgroup v1, blkio). It shapes the rate, not the delay of a request. Needs root.
 */

import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';

const blkioRoot = '/sys/fs/cgroup/blkio';
const memoryDirectory = '/dev/shm';
/** Files keep the time of every read. */
const mountOptions = ['-o', 'strictatime'] as const;

/** Why there can be none here; undefined if there can. */
export function shapingObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  if (!existsSync(join(blkioRoot, 'blkio.throttle.read_bps_device'))) return 'cgroup v1 with blkio';
  return undefined;
}

export class ShapedDisk implements AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  readonly #device: string;
  readonly #group: string;
  readonly #resources: AsyncDisposableStack;
  #bitsPerSecond = 0; // no limit

  private constructor(
    path: string,
    device: string,
    group: string,
    resources: AsyncDisposableStack,
  ) {
    this.path = path;
    this.#device = device;
    this.#group = group;
    this.#resources = resources;
  }

  /** `path` is a directory that the disk is to be mounted on. `sizeBytes` of memory are taken as they are written. */
  static async create(path: string, sizeBytes: number): Promise<ShapedDisk> {
    await using made = new AsyncDisposableStack();
    const name = `thaw-bench-${process.pid}`;
    const file = join(memoryDirectory, name);
    await writeFile(file, '');
    made.defer(() => rm(file));
    await truncate(file, sizeBytes);
    await runCommand('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-m', '0', file]);
    const { stdout } = await runCommand('losetup', ['--find', '--show', file]);
    const device = stdout.trim();
    made.defer(async () => void (await runCommand('losetup', ['--detach', device])));
    await runCommand('mount', [...mountOptions, device, path]);
    made.defer(async () => void (await runCommand('umount', [path])));
    const group = join(blkioRoot, name);
    await mkdir(group);
    made.defer(() => rmdir(group));
    const home = await ownGroup();
    made.defer(() => writeFile(join(home, 'cgroup.procs'), String(process.pid)));
    await writeFile(join(group, 'cgroup.procs'), String(process.pid));
    return new ShapedDisk(path, device, group, made.move());
  }

  /** From now on. */
  async shape(bitsPerSecond: number): Promise<void> {
    this.#bitsPerSecond = bitsPerSecond;
    await this.forget();
  }

  /** Makes the kernel forget what it has read. Nobody may have a file of it open. */
  async forget(): Promise<void> {
    await runCommand('umount', [this.path]);
    await runCommand('mount', [...mountOptions, this.#device, this.path]);
    // Given before the mount the kernel did not heed it (Linux 6.18).
    const numbers = await readFile(`/sys/block/${basename(this.#device)}/dev`, 'utf8');
    const rule = `${numbers.trim()} ${this.#bitsPerSecond / 8}`;
    await writeFile(join(this.#group, 'blkio.throttle.read_bps_device'), rule);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** The directory of the blkio group that this process is in. */
async function ownGroup(): Promise<string> {
  const groups = await readFile('/proc/self/cgroup', 'utf8');
  const [, path = '/'] = /^\d+:[^:]*\bblkio\b[^:]*:(.*)$/m.exec(groups) ?? [];
  return join(blkioRoot, path);
}
