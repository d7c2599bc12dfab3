/** For tests: inodes, attributes and directories as debugfs prints them, against the tree, its plan and what the reader reads. */

import assert from 'node:assert/strict';

import { byteString, present, viewOf } from '../../base/index.ts';
import { walkTree, type Node } from '../../rootfs/index.ts';
import { storedAcl } from '../acl.ts';
import { directoryHashSeed } from '../geometry.ts';
import { halfMd4 } from '../half-md4.ts';
import { inodeExtents, type PlannedInode } from '../inode.ts';
import { InodeFlags } from '../layout.ts';
import { readExtentTree } from '../read-data.ts';
import { readInode } from '../read-inode.ts';
import { openFilesystem } from '../reader.ts';
import type { InodeLookup, KnownDisk } from './known-disk.ts';
import { describeInodes, hashTree, xattrValues } from './printed-disk.ts';

const typeNames: Readonly<Record<Node['type'], string>> = {
  file: 'regular',
  directory: 'directory',
  symlink: 'symlink',
  'character-device': 'character special',
  'block-device': 'block special',
  fifo: 'FIFO',
  socket: 'socket',
};

/** Seconds and nanoseconds as an inode has them: 32 bits, then 30 of nanoseconds and two more of seconds. */
function timeWords({ seconds, nanoseconds }: Node['metadata']['modified']): string {
  const low = BigInt.asUintN(32, BigInt(seconds));
  const epoch = (BigInt(seconds) - BigInt.asIntN(32, BigInt(seconds))) >> 32n;
  const extra = (BigInt(nanoseconds) << 2n) | epoch;
  return [low, extra].map((word) => word.toString(16).padStart(8, '0')).join(':');
}

function plannedFlags({ node, inline, data }: PlannedInode): number {
  if (inline !== undefined) return InodeFlags.inlineData;
  const isHashed = node.type === 'directory' && (data?.blockCount ?? 0) > 1;
  const hasExtents = node.type === 'file' || node.type === 'directory' || data !== undefined;
  return (hasExtents ? InodeFlags.extents : 0) | (isHashed ? InodeFlags.index : 0);
}

function plannedSize({ node, inline, data }: PlannedInode): number {
  if (node.type === 'file') return node.content.sizeBytes;
  if (node.type === 'symlink') return node.target.length;
  return inline?.sizeBytes ?? (data?.blockCount ?? 0) * 4096;
}

/** Everything that can be said of an inode, as the plan has it. */
function plannedFacts(inode: PlannedInode, inodeOf: InodeLookup) {
  const { node, data, extentNodes, xattrBlock } = inode;
  const { mode, uid, gid, modified } = node.metadata;
  const blocks = [data, extentNodes, xattrBlock].reduce(
    (sum, part) => sum + (part?.blockCount ?? 0),
    0,
  );
  const children = node.type === 'directory' ? [...node.entries] : [];
  const subdirectories = children.filter(([, child]) => child.type === 'directory').length;
  const isDevice = 'deviceMajor' in node && node.type.endsWith('device');
  return {
    type: typeNames[node.type],
    mode,
    flags: plannedFlags(inode),
    uid,
    gid,
    sizeBytes: plannedSize(inode),
    xattrBlock: xattrBlock?.firstBlock ?? 0,
    linkCount: node.type === 'directory' ? 2 + subdirectories : node.linkCount,
    sectorCount: blocks * 8,
    extraBytes: 32,
    times: Array.from({ length: 4 }, () => timeWords(modified)),
    generation: 0,
    device: isDevice
      ? [node.deviceMajor, node.deviceMinor]
          .map((number) => number.toString(16).padStart(2, '0'))
          .join(':')
      : undefined,
    linkTarget: node.type === 'symlink' && data === undefined ? node.target : undefined,
    nodeBlocks: extentNodes?.blocks() ?? [],
    extents: inodeExtents(inode),
    entries: children
      .map(([name, child]) => [name, inodeOf(child).number] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

type Facts = ReturnType<typeof plannedFacts>;

/** The same as the reader has it, as far as it reads it: of the rest, `planned`. */
async function readFacts(known: KnownDisk, number: number, planned: Facts): Promise<Facts> {
  const reader = await openFilesystem(known.file);
  const inode = await readInode(known.volume, number);
  const { type, mode, flags, uid, gid, sizeBytes, xattrBlock, linkCount, modified } = inode;
  const hasExtents = (flags & InodeFlags.extents) !== 0;
  const { extents, nodeBlocks } = hasExtents
    ? await readExtentTree(known.volume, inode)
    : { extents: [], nodeBlocks: [] };
  const entries = type === 'directory' ? await reader.entries(inode) : [];
  const isDevice = type.endsWith('device');
  return {
    ...planned,
    type: typeNames[type],
    mode,
    flags,
    uid,
    gid,
    sizeBytes,
    xattrBlock,
    linkCount,
    times: Array.from({ length: 4 }, () => timeWords(modified)),
    device: isDevice
      ? [inode.deviceMajor, inode.deviceMinor]
          .map((part) => part.toString(16).padStart(2, '0'))
          .join(':')
      : undefined,
    linkTarget: type === 'symlink' && !hasExtents ? await reader.readLink(inode) : undefined,
    nodeBlocks: [...nodeBlocks],
    extents: [...extents],
    entries: entries.map(({ name, inode: child }) => [name, child] as const),
  };
}

const plainFilesMax = 200;

/** Every node with one of its paths; of plain files, where there are very many, some. */
function nodesToCheck({ image }: KnownDisk): Map<Node, string> {
  const nodes = new Map([...walkTree(image.tree.root)].map(({ node, path }) => [node, path]));
  const isPlain = ({ type, metadata }: Node): boolean =>
    type === 'file' && metadata.xattrs.size === 0;
  const plain = [...nodes.keys()].filter(isPlain);
  const step = Math.ceil(plain.length / plainFilesMax);
  for (const [index, node] of plain.entries()) if (index % step !== 0) nodes.delete(node);
  return nodes;
}

/** Fails unless every field, block, entry and name of an attribute of each inode is what was meant. */
export async function expectInodes(known: KnownDisk): Promise<void> {
  const { inodeOf } = known;
  const nodes = nodesToCheck(known);
  const inodes = [...nodes.keys()].map((node) => inodeOf(node));
  const expected = inodes.map((inode) => plannedFacts(inode, inodeOf));
  const printed = describeInodes(
    known.path,
    inodes.map(({ number, node }, index) => ({
      number,
      hasExtents: ((expected[index]?.flags ?? 0) & InodeFlags.extents) !== 0,
      isDirectory: node.type === 'directory',
    })),
  );
  for (const [index, { number, node }] of inodes.entries()) {
    const planned = present(expected[index], 'what was planned');
    const { xattrs, extents, entries, ...fields } = present(printed[index], 'what was printed');
    const said = {
      ...fields,
      // debugfs prints the levels from the root down, the plan counts them from the leaves up.
      nodeBlocks: extents?.nodeBlocks.toSorted((a, b) => a - b) ?? [],
      extents: extents?.extents ?? [],
      entries: [...entries].sort(([a], [b]) => (a < b ? -1 : 1)),
    };
    const path = nodes.get(node) ?? '';
    assert.deepEqual(said, planned, path);
    assert.deepEqual(await readFacts(known, number, planned), planned, path);
    assert.deepEqual(
      [...xattrs.keys()].filter((name) => name !== 'system.data').sort(),
      [...node.metadata.xattrs.keys()].sort(),
      path,
    );
  }
}

/** Fails unless the value of every attribute is what was meant. */
export async function expectXattrs({
  path,
  inodeOf,
  image,
  volume,
  file,
}: KnownDisk): Promise<void> {
  const nodes = new Set([...walkTree(image.tree.root)].map(({ node }) => node));
  const expected = [...nodes].flatMap((node) =>
    [...node.metadata.xattrs].map(([name, value]) => {
      return { number: inodeOf(node).number, name, value };
    }),
  );
  const values = xattrValues(path, expected);
  const reader = await openFilesystem(file);
  for (const [index, { number, name, value }] of expected.entries()) {
    const isAcl = name.startsWith('system.posix_acl_');
    const onDisk = viewOf(isAcl ? storedAcl(value, name) : value).toString('hex');
    assert.equal(values[index]?.toString('hex'), onDisk, name);
    const read = (await reader.xattrs(await readInode(volume, number))).get(name);
    assert.equal(read && viewOf(read).toString('hex'), viewOf(value).toString('hex'), name);
  }
}

/** Fails unless every name is where its hash wants it in its directory's hash tree. Returns how many trees there are. */
export async function expectHashTrees({ path, image, inodeOf, file }: KnownDisk): Promise<number> {
  const reader = await openFilesystem(file);
  let trees = 0;
  for (const { node } of walkTree(image.tree.root)) {
    const { number, data } = inodeOf(node);
    if (node.type !== 'directory' || (data?.blockCount ?? 0) <= 1) continue;
    trees += 1;
    const { hashVersion, levels, ranges, entries } = hashTree(path, number);
    assert.equal(hashVersion, 1);
    assert.equal(levels, ranges.length > 508 ? 1 : 0);
    assert.equal(data?.blockCount, 1 + levels * Math.ceil(ranges.length / 511) + ranges.length);
    assert.deepEqual(
      entries.map(({ name, inode }) => `${name} ${inode}`).sort(),
      [...node.entries].map(([name, child]) => `${name} ${inodeOf(child).number}`).sort(),
    );
    const rangeOf = new Map(ranges.map(({ block }, index) => [block, index]));
    for (const { name, hash, block } of entries) {
      assert.equal(hash, halfMd4(byteString(name), directoryHashSeed), name);
      const at = present(rangeOf.get(block), 'the range of a leaf');
      assert.ok((ranges[at]?.firstHash ?? Infinity) <= hash + 1, name);
      assert.ok(hash <= (ranges[at + 1]?.firstHash ?? Infinity), name);
    }
    assert.equal((await reader.entries(await reader.inode(number))).length, entries.length);
  }
  return trees;
}
