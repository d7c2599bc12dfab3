/** For tests: outside judges of a disk, and comparisons of what is on it with the tree that was asked for. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { xattrsBelow } from '../../../test/support/file-facts.ts';
import { needsPrograms } from '../../../test/support/programs.ts';
import {
  RandomAccessFile,
  byteString,
  byteStringFromBytes,
  byteStringToBytes,
  present,
  runCommand,
  viewOf,
  type ByteString,
  type RandomAccess,
} from '../../base/index.ts';
import { walkTree, type FileContent, type Metadata, type Node } from '../../rootfs/index.ts';
import type { ContentReader, DiskPlan } from '../disk-plan.ts';
import { openFilesystem, type Ext4Reader } from '../reader.ts';
import { writeDisk, type TestImage } from './images.ts';
import { planDisk } from '../plan-disk.ts';

/** For the `skip` of a test that asks e2fsprogs. */
export const needsJudges = needsPrograms('e2fsck', 'debugfs', 'mke2fs');

/** For the `skip` of a test that asks the kernel too. */
export const needsRoot: string | false =
  process.getuid?.() === 0 && existsSync('/dev/loop-control')
    ? needsJudges || needsPrograms('mount', 'getfattr')
    : 'needs root and loop devices';

/** Plans and writes the image's disk into a temporary directory that is removed afterwards. */
export async function withDisk(
  image: TestImage,
  use: (disk: { path: string; directory: string; plan: DiskPlan }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-ext4-'));
  try {
    const plan = planDisk(image.tree);
    const path = join(directory, 'disk.img');
    await writeDisk(plan, image.content, path);
    await use({ path, directory, plan });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Fails unless e2fsck, asked to check everything, finds nothing to change. */
export async function fsck(path: string): Promise<void> {
  const env = { ...process.env, LC_ALL: 'C' };
  const { stdout } = spawnSync('e2fsck', ['-f', '-n', path], { encoding: 'latin1', env });
  const said = stdout.split('\n').filter((line) => line !== '' && !/^Pass [1-5]:/.test(line));
  assert.equal(said.length, 1, `e2fsck has something to say:\n${stdout}`);
}

/** Mounts the disk read-only for the time of `use`. */
export async function withMount(
  disk: { path: string; directory: string },
  use: (mountPoint: string) => Promise<void>,
  options = 'ro,loop',
): Promise<void> {
  const mountPoint = join(disk.directory, 'mnt');
  await mkdir(mountPoint);
  await runCommand('mount', ['-t', 'ext4', '-o', options, disk.path, mountPoint]);
  try {
    await use(mountPoint);
  } finally {
    await runCommand('umount', [mountPoint]);
  }
}

/** What can be said of a path by everyone who sees it, in a form that compares and prints well. */
interface Facts {
  readonly type: string;
  readonly mode: string;
  readonly owner: string;
  readonly modified: string;
  readonly links: number;
  /** Of files and symlinks. */
  readonly size: number;
  readonly device: string;
  readonly target: string;
  readonly xattrs: string;
}

function xattrFacts(xattrs: ReadonlyMap<ByteString, Uint8Array>): string {
  return [...xattrs].map(([name, value]) => `${name}=${viewOf(value).toString('hex')}`).join(' ');
}

function linkCountOf(node: Node): number {
  if (node.type !== 'directory') return node.linkCount;
  const children = [...node.entries.values()];
  const count = 2 + children.filter(({ type }) => type === 'directory').length;
  return count > 65_000 ? 1 : count;
}

function treeFacts(node: Node): Facts {
  const { metadata } = node;
  return {
    type: node.type,
    mode: metadata.mode.toString(8),
    owner: `${metadata.uid}:${metadata.gid}`,
    modified: timeFacts(storedTime(metadata.modified)),
    links: linkCountOf(node),
    size:
      node.type === 'file'
        ? node.content.sizeBytes
        : node.type === 'symlink'
          ? node.target.length
          : 0,
    device: 'deviceMajor' in node ? `${node.deviceMajor}:${node.deviceMinor}` : '0:0',
    target: node.type === 'symlink' ? node.target : '',
    xattrs: xattrFacts(metadata.xattrs),
  };
}

/** Times before 1901-12-13 and after 2310-04-04 become these. */
function storedTime(time: Metadata['modified']): Metadata['modified'] {
  const seconds = Math.min(Math.max(time.seconds, -2_147_483_648), 10_737_418_239);
  return seconds === time.seconds ? time : { seconds, nanoseconds: 0 };
}

function timeFacts({ seconds, nanoseconds }: Metadata['modified']): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

const pieceBytes = 1 << 20;

type Segment = FileContent['segments'][number];

/** Reads what `segments` have from `offset` on; all else is zeros. */
async function expectedBytes(
  { layer, segments, offset }: { layer: number; segments: readonly Segment[]; offset: number },
  target: Uint8Array,
  content: ContentReader,
): Promise<void> {
  target.fill(0);
  const end = offset + target.byteLength;
  for (const segment of segments) {
    const from = Math.max(offset, segment.fileOffset);
    const to = Math.min(end, segment.fileOffset + segment.lengthBytes);
    if (from >= to) continue;
    const part = target.subarray(from - offset, to - offset);
    await content.read(layer, segment.tarOffset + from - segment.fileOffset, part);
  }
}

const holePiecesMax = 64;

/** What a file has in each of its pieces that hold data, and in some of each hole's. */
function segmentsByPiece({ sizeBytes, segments }: FileContent): Map<number, Segment[]> {
  const pieces = new Map<number, Segment[]>();
  let next = 0;
  const passHole = (end: number): void => {
    const step = Math.max(1, Math.floor((end - next) / holePiecesMax));
    for (; next < end; next += step) pieces.set(next, []);
  };
  for (const segment of segments.filter(({ lengthBytes }) => lengthBytes > 0)) {
    const last = Math.floor((segment.fileOffset + segment.lengthBytes - 1) / pieceBytes);
    const first = Math.floor(segment.fileOffset / pieceBytes);
    passHole(first);
    for (let piece = first; piece <= last; piece += 1) {
      const before = pieces.get(piece);
      if (before === undefined) pieces.set(piece, [segment]);
      else before.push(segment);
    }
    next = last + 1;
  }
  passHole(Math.ceil(sizeBytes / pieceBytes));
  return pieces;
}

/** Compares a file's bytes piece by piece: all that hold data, of each long hole some. */
async function compareContent(
  path: string,
  node: Node & { type: 'file' },
  content: ContentReader,
  read: (offset: number, target: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const { sizeBytes, layer } = node.content;
  const expected = Buffer.alloc(Math.min(pieceBytes, sizeBytes));
  const actual = Buffer.alloc(expected.byteLength);
  for (const [piece, segments] of segmentsByPiece(node.content)) {
    const offset = piece * pieceBytes;
    const length = Math.min(pieceBytes, sizeBytes - offset);
    const wanted = expected.subarray(0, length);
    const found = actual.subarray(0, length);
    await expectedBytes({ layer, segments, offset }, wanted, content);
    await read(offset, found);
    assert.ok(
      wanted.equals(found),
      `"${path}" differs between bytes ${offset} and ${offset + length}`,
    );
  }
}

/** Of so many names each is looked up, too; of more every second, third and so on. */
const lookupsMax = 2000;

/** Fails unless Thaw's own reader finds exactly the tree on the disk, by walking it and by name. */
export async function expectReaderFinds(disk: RandomAccess, image: TestImage): Promise<void> {
  const reader = await openFilesystem(disk);
  const expected = new Map([...walkTree(image.tree.root)].map(({ path, node }) => [path, node]));
  const numbers = new Map<Node, number>();
  const seen = new Set<ByteString>();
  const lookupStep = Math.ceil(expected.size / lookupsMax);
  for await (const { path, inode } of reader.walk()) {
    const node = present(expected.get(path), `"${path}" in the tree`);
    seen.add(path);
    assert.deepEqual(await readerFacts(reader, inode), treeFacts(node), path);
    assert.equal(numbers.get(node) ?? inode.number, inode.number, `"${path}" is a link`);
    numbers.set(node, inode.number);
    if (node.type === 'file') {
      await compareContent(path, node, image.content, (offset, target) =>
        reader.read(inode, offset, target),
      );
    }
    if (seen.size % lookupStep !== 0) continue;
    assert.equal((await reader.lookup(path))?.number, inode.number, `"${path}" is found by name`);
  }
  assert.equal(seen.size, expected.size);
  assert.equal(await reader.lookup(byteString('no/such/file')), undefined);
}

async function readerFacts(
  reader: Ext4Reader,
  inode: Awaited<ReturnType<Ext4Reader['inode']>>,
): Promise<Facts> {
  return {
    type: inode.type,
    mode: inode.mode.toString(8),
    owner: `${inode.uid}:${inode.gid}`,
    modified: timeFacts(inode.modified),
    links: inode.linkCount,
    size: inode.type === 'directory' ? 0 : inode.sizeBytes,
    device: `${inode.deviceMajor}:${inode.deviceMinor}`,
    target: inode.type === 'symlink' ? await reader.readLink(inode) : '',
    xattrs: xattrFacts(await reader.xattrs(inode)),
  };
}

/** The same for a disk in a file. */
export async function expectReaderFindsInFile(path: string, image: TestImage): Promise<void> {
  await using disk = await RandomAccessFile.open(path);
  await expectReaderFinds(disk, image);
}

/** Fails unless the mounted filesystem is the tree: names, kinds, metadata, links, attributes, content. */
export async function expectKernelFinds(mountPoint: string, image: TestImage): Promise<void> {
  const inodes = new Map<Node, bigint>();
  const xattrs = await xattrsBelow(mountPoint);
  for (const { path, node } of walkTree(image.tree.root)) {
    const fullPath = underMount(mountPoint, path);
    assert.deepEqual(kernelFacts(fullPath, xattrs.get(path)), treeFacts(node), path);
    xattrs.delete(path);
    const { ino } = lstatSync(fullPath, { bigint: true });
    assert.equal(inodes.get(node) ?? ino, ino, `"${path}" is a link`);
    inodes.set(node, ino);
    if (node.type === 'directory') expectNames(fullPath, node);
    if (node.type === 'file') await compareFile(fullPath, path, node, image.content);
  }
  assert.deepEqual([...xattrs.keys()], [], 'no attributes elsewhere');
}

function underMount(mountPoint: string, path: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`${mountPoint}/`), byteStringToBytes(path)]);
}

function expectNames(fullPath: Buffer, node: Node & { type: 'directory' }): void {
  const names = readdirSync(fullPath, { encoding: 'buffer' }).map(byteStringFromBytes).sort();
  assert.deepEqual(names, [...node.entries.keys()].sort());
}

async function compareFile(
  fullPath: Buffer,
  path: string,
  node: Node & { type: 'file' },
  content: ContentReader,
): Promise<void> {
  const fd = openSync(fullPath, 'r');
  try {
    await compareContent(path, node, content, (offset, target) => {
      assert.equal(readSync(fd, target, 0, target.byteLength, offset), target.byteLength);
    });
  } finally {
    closeSync(fd);
  }
}

const kernelTypes: Readonly<Record<number, Node['type']>> = {
  0o100000: 'file',
  0o040000: 'directory',
  0o120000: 'symlink',
  0o020000: 'character-device',
  0o060000: 'block-device',
  0o010000: 'fifo',
  0o140000: 'socket',
};

function kernelFacts(
  fullPath: Buffer,
  xattrs: Readonly<Record<string, string>> | undefined,
): Facts {
  const stat = lstatSync(fullPath, { bigint: true });
  const seconds = Number(stat.mtimeNs / 1_000_000_000n);
  const nanoseconds = Number(((stat.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n);
  const before = stat.mtimeNs < 0n && nanoseconds > 0 ? 1 : 0;
  const rdev = Number(stat.rdev);
  const major = Math.floor(rdev / 256) & 0xfff;
  const minor = (rdev & 0xff) | (Math.floor(rdev / 4096) & 0xfff00);
  const type = kernelTypes[Number(stat.mode) & 0o170000] ?? 'unknown';
  return {
    type,
    mode: (Number(stat.mode) & 0o7777).toString(8),
    owner: `${stat.uid}:${stat.gid}`,
    modified: timeFacts({ seconds: seconds - before, nanoseconds }),
    links: Number(stat.nlink),
    size: type === 'directory' ? 0 : Number(stat.size),
    device: type.endsWith('device') ? `${major}:${minor}` : '0:0',
    target:
      type === 'symlink' ? byteStringFromBytes(readlinkSync(fullPath, { encoding: 'buffer' })) : '',
    xattrs: kernelXattrFacts(xattrs),
  };
}

/** In the form of `xattrFacts`, from what `getfattr` prints. */
function kernelXattrFacts(xattrs: Readonly<Record<string, string>> = {}): string {
  return Object.keys(xattrs)
    .sort()
    .map((name) => `${name}=${xattrs[name]}`)
    .join(' ');
}

/** The planned disk itself as something to read: nothing is written anywhere. */
export function planAsDisk(plan: DiskPlan, content: ContentReader): RandomAccess {
  const blockBytes = 4096;
  return {
    sizeBytes: plan.diskSizeBytes,
    read: async (offset, target) => {
      const start = Math.floor(offset / blockBytes) * blockBytes;
      const end = Math.ceil((offset + target.byteLength) / blockBytes) * blockBytes;
      const bytes = new Uint8Array(end - start);
      await plan.render(start, bytes, content);
      target.set(bytes.subarray(offset - start, offset - start + target.byteLength));
    },
  };
}
