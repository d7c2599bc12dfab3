/**
 * Starts a program on a disk image from cold and records what is read of the disk until it ends. The disk is a file
 * behind a loop device as Thaw's own are: past the page cache of the file. Needs root and tracefs.
 */

import { mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { inRoot } from './in-root.ts';

const tracingDirectory = '/sys/kernel/tracing';
const sectorSizeBytes = 512;

/** What the kernel asked the disk for. */
export interface DiskRead {
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface StartOptions {
  readonly diskPath: string;
  readonly command: readonly string[];
  readonly readAheadKib: number;
}

/** All reads from the mount of the disk on. Fails unless the program says `ready`. */
export async function recordStart(options: StartOptions): Promise<readonly DiskRead[]> {
  await using made = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'thaw-bench-start-'));
  made.defer(() => rm(directory, { recursive: true }));
  const device = await attach(options, made);
  const trace = await startTrace(device, made);
  await writeFile('/proc/sys/vm/drop_caches', '3');
  await runCommand('mount', ['-t', 'ext4', '-o', 'ro', device, directory]);
  made.defer(async () => void (await runCommand('umount', [directory])));
  const root = made.use(await inRoot(directory));
  const { stdout, stderr } = await root.run(options.command);
  if (!stdout.includes('ready'))
    throw new Error(`The program did not get ready: ${stdout}${stderr}`);
  return await trace();
}

async function attach(
  { diskPath, readAheadKib }: StartOptions,
  made: AsyncDisposableStack,
): Promise<string> {
  const options = ['--find', '--show', '--read-only', '--direct-io=on'];
  const device = (await runCommand('losetup', [...options, diskPath])).stdout.trim();
  made.defer(async () => void (await runCommand('losetup', ['--detach', device])));
  const readAheadSectors = (readAheadKib * 1024) / sectorSizeBytes;
  await runCommand('blockdev', ['--setra', `${readAheadSectors}`, device]);
  return device;
}

/** Records from now on; what it gives ends that. */
async function startTrace(
  device: string,
  made: AsyncDisposableStack,
): Promise<() => Promise<readonly DiskRead[]>> {
  const instance = join(tracingDirectory, 'instances', `thaw-bench-${process.pid}`);
  await mkdir(instance);
  made.defer(() => rmdir(instance));
  const event = join(instance, 'events/block/block_bio_queue');
  await writeFile(join(instance, 'buffer_size_kb'), '16384');
  await writeFile(join(event, 'filter'), `dev == ${await kernelNumber(device)}`);
  await writeFile(join(event, 'enable'), '1');
  return async () => {
    await writeFile(join(event, 'enable'), '0');
    return parseTrace(await readFile(join(instance, 'trace'), 'utf8'));
  };
}

/** As the kernel itself writes numbers of devices: 12 bits and 20. Source: include/linux/kdev_t.h. */
async function kernelNumber(device: string): Promise<number> {
  const { rdev } = await stat(device);
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return major * 2 ** 20 + minor;
}

const readLine = /block_bio_queue: \d+,\d+ \S*R\S* (?<sector>\d+) \+ (?<sectors>\d+) /g;

function parseTrace(text: string): DiskRead[] {
  return [...text.matchAll(readLine)].map(({ groups }) => ({
    offset: Number(groups?.['sector']) * sectorSizeBytes,
    lengthBytes: Number(groups?.['sectors']) * sectorSizeBytes,
  }));
}
