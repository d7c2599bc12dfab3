/**
 * Disks of the same images by others: the kernel's ext4 with umoci applying layer after layer, and `mke2fs -d` of the tree
 * that this gives, with times forced by debugfs, as mke2fs takes over the moment of unpacking. Kept
 * beside the corpus, as they take long. Needs root, loop devices, umoci and e2fsprogs.
 */

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { RandomAccessFile, runCommand } from '../../src/base/index.ts';
import { defaultChunkSizeBytes } from '../../src/chunk/index.ts';
import { openFilesystem } from '../../src/ext4/index.ts';
import { OciLayoutWriter } from '../../test/support/oci-layout.ts';
import { corpusDirectory } from '../corpus/index.ts';
import { storedChunks, type ChunkFacts } from './disk-chunks.ts';
import type { LayerFile } from './layered-image.ts';

export const otherWriters = ['mke2fs -d', 'kernel ext4'] as const;
export type OtherWriter = (typeof otherWriters)[number];

export type OtherDisks = Readonly<Record<OtherWriter, readonly ChunkFacts[]>>;

/** To be raised when the same image gives other disks. */
const version = 1;
const diskSizeBytes = 2 ** 31;
const timeoutMs = 600_000;
const uuid = '5eed0000-0000-4000-8000-000000000000';
const env = { ...process.env, E2FSPROGS_FAKE_TIME: '1700000000' };

/** `attempt` tells apart disks of one image: the kernel's are never equal. */
export async function otherDisks(
  layers: readonly LayerFile[],
  attempt: number,
): Promise<OtherDisks> {
  const key = JSON.stringify([version, attempt, ...layers.map(({ path }) => path)]);
  const directory = join(corpusDirectory, 'other-writers');
  const kept = join(directory, createHash('sha256').update(key).digest('hex').slice(0, 16));
  const known = await readFile(kept, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as OtherDisks;
  const work = await mkdtemp(join(tmpdir(), 'thaw-bench-disks-'));
  try {
    const disks = await makeDisks(layers, work);
    await mkdir(directory, { recursive: true });
    const writing = `${kept}.${randomUUID()}`;
    await writeFile(writing, JSON.stringify(disks));
    await rename(writing, kept);
    return disks;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function makeDisks(layers: readonly LayerFile[], work: string): Promise<OtherDisks> {
  const layout = await OciLayoutWriter.open(join(work, 'layout'));
  process.stderr.write(`Making disks of ${layers.map(({ name }) => name).join(', ')}, once\n`);
  const tars = layers.map(({ path }) => ({ tar: path, compression: 'none' }) as const);
  const { descriptor } = await layout.addImage({ layers: tars });
  await layout.tag(descriptor, 'image');
  const ofKernel = join(work, 'kernel.img');
  const ofMke2fs = join(work, 'mke2fs.img');
  const mountPoint = join(work, 'mounted');
  await mkdir(mountPoint);
  await makeFilesystem(ofKernel, []);
  await runCommand('mount', ['-o', 'loop,noatime', ofKernel, mountPoint]);
  try {
    await rmdir(join(mountPoint, 'lost+found'));
    const image = `${layout.dir}:image`;
    await runCommand('umoci', ['raw', 'unpack', '--image', image, mountPoint], { timeoutMs });
    await makeFilesystem(ofMke2fs, ['-d', mountPoint]);
  } finally {
    await runCommand('umount', [mountPoint], { timeoutMs });
  }
  await forceTimes(ofMke2fs, work);
  return { 'mke2fs -d': await chunksOf(ofMke2fs), 'kernel ext4': await chunksOf(ofKernel) };
}

async function makeFilesystem(disk: string, options: readonly string[]): Promise<void> {
  const fixed = `hash_seed=${uuid},lazy_itable_init=0,nodiscard`;
  const shape = ['-q', '-t', 'ext4', '-b', '4096', '-O', '^has_journal', '-U', uuid, '-E', fixed];
  await using file = await open(disk, 'w');
  await file.truncate(diskSizeBytes);
  await runCommand('mke2fs', [...shape, ...options, disk], { env, timeoutMs });
}

/** Times of change and access are the machine's and not the image's. */
async function forceTimes(disk: string, work: string): Promise<void> {
  const numbers = new Set<number>();
  {
    await using file = await RandomAccessFile.open(disk);
    const reader = await openFilesystem(file);
    for await (const { inode } of reader.walk()) numbers.add(inode.number);
  }
  const commands = [...numbers].flatMap((number) =>
    ['atime', 'ctime'].map((field) => `set_inode_field <${number}> ${field} 0`),
  );
  const script = join(work, 'times');
  await writeFile(script, `${commands.join('\n')}\n`);
  await runCommand('debugfs', ['-w', '-f', script, disk], { env, timeoutMs });
}

async function chunksOf(path: string): Promise<readonly ChunkFacts[]> {
  await using disk = await RandomAccessFile.open(path);
  const chunks = await storedChunks({
    sizeBytes: disk.sizeBytes,
    chunkIndexes: [...Array(disk.sizeBytes / defaultChunkSizeBytes).keys()],
    read: (offset, target) => disk.read(offset, target),
  });
  return chunks.map(({ digest, storedBytes }) => ({ digest, storedBytes }));
}
