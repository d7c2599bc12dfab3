/**
 * What can be told of the files in a directory, or in a tree that layers gave, in a form that can be
 * compared: the same facts mean that a program could not tell the two apart.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { promisify } from 'node:util';

import { type RandomAccess, type ByteString, viewOf } from '../../src/base/index.ts';
import { type Node, type FileContent, type RootTree, walkTree } from '../../src/rootfs/index.ts';

export interface FileFacts {
  readonly type: Node['type'];
  readonly mode: string;
  readonly owner: string;
  readonly mtimeNs: bigint;
  readonly xattrs: Readonly<Record<string, string>>;
  /** The first path, in byte order, of the same inode; of the directory itself for a directory. */
  readonly inode: string;
  /** A file's SHA-256, a link's target, a device's numbers. */
  readonly content: string;
}

/** By path, names as byte strings; the root is the empty path. */
export type AllFacts = ReadonlyMap<string, FileFacts>;

/** Needs `getfattr`, and root to see all attributes. */
export async function factsOfDirectory(directory: string): Promise<AllFacts> {
  const xattrs = await xattrsBelow(directory);
  const facts = new Map<string, FileFacts>();
  const firstPathOfInode = new Map<bigint, string>();
  for (const path of pathsBelow(directory)) {
    const full = fullPath(directory, path);
    const stat = lstatSync(full, { bigint: true });
    if (!firstPathOfInode.has(stat.ino)) firstPathOfInode.set(stat.ino, path);
    const type = typeOf(stat);
    facts.set(path, {
      type,
      mode: (stat.mode & 0o7777n).toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      mtimeNs: stat.mtimeNs,
      xattrs: xattrs.get(path) ?? {},
      inode: firstPathOfInode.get(stat.ino) ?? path,
      content: contentOf(type, full, stat.rdev),
    });
  }
  return facts;
}

/** `layers` are the uncompressed tars that the tree was made of. */
export async function factsOfTree(
  tree: RootTree,
  layers: readonly RandomAccess[],
): Promise<AllFacts> {
  const facts = new Map<string, FileFacts>();
  const firstPathOfNode = new Map<Node, string>();
  for (const { path, node } of walkTree(tree.root)) {
    if (!firstPathOfNode.has(node)) firstPathOfNode.set(node, path);
    const { mode, uid, gid, modified, xattrs } = node.metadata;
    facts.set(path, {
      type: node.type,
      mode: mode.toString(8),
      owner: `${uid}:${gid}`,
      mtimeNs: BigInt(modified.seconds) * 1_000_000_000n + BigInt(modified.nanoseconds),
      xattrs: Object.fromEntries(
        [...xattrs].map(([name, value]) => [name, viewOf(value).toString('hex')]),
      ),
      inode: firstPathOfNode.get(node) ?? path,
      content: await contentOfNode(node, layers),
    });
  }
  return facts;
}

/** The bytes of a file as its layer's tar holds them, holes as zeros. */
export async function readContent(
  content: FileContent,
  layers: readonly RandomAccess[],
): Promise<Buffer> {
  const bytes = Buffer.alloc(content.sizeBytes);
  for (const { fileOffset, tarOffset, lengthBytes } of content.segments) {
    const target = bytes.subarray(fileOffset, fileOffset + lengthBytes);
    await layers[content.layer]?.read(tarOffset, target);
  }
  return bytes;
}

async function contentOfNode(node: Node, layers: readonly RandomAccess[]): Promise<string> {
  switch (node.type) {
    case 'file':
      return sha256(await readContent(node.content, layers));
    case 'symlink':
      return node.target;
    case 'character-device':
    case 'block-device':
      return `${node.deviceMajor}:${node.deviceMinor}`;
    case 'directory':
    case 'fifo':
    case 'socket':
      return '';
  }
}

function contentOf(type: Node['type'], path: Buffer, rdev: bigint): string {
  if (type === 'file') return sha256(readFileSync(path));
  if (type === 'symlink') return readlinkSync(path, 'latin1');
  if (type !== 'character-device' && type !== 'block-device') return '';
  // Linux, uapi/linux/kdev_t.h and glibc's gnu_dev_major: 12 bits of major number amid 20 of minor.
  return `${(rdev >> 8n) & 0xfffn}:${(rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)}`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function typeOf(stat: ReturnType<typeof lstatSync> & object): Node['type'] {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return 'socket';
  return stat.isBlockDevice() ? 'block-device' : 'character-device';
}

/** In byte order of whole paths, the root first. */
function pathsBelow(directory: string): string[] {
  const paths: string[] = [];
  const pending = [''];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    paths.push(path);
    const entries = readdirSync(fullPath(directory, path), {
      encoding: 'buffer',
      withFileTypes: true,
    });
    for (const entry of entries) {
      const name = entry.name.toString('latin1');
      const below = path === '' ? name : `${path}/${name}`;
      if (entry.isDirectory()) pending.push(below);
      else paths.push(below);
    }
  }
  return paths.sort();
}

function fullPath(directory: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, 'latin1')]);
}

/** Attributes in hex by path; files without any are left out. */
export async function xattrsBelow(directory: string): Promise<Map<string, Record<string, string>>> {
  const options = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names'];
  // Names are bytes of any encoding, so the output is none either.
  const { stdout } = await promisify(execFile)('getfattr', [...options, directory], {
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  });
  const found = new Map<string, Record<string, string>>();
  for (const block of stdout.split('\n\n')) {
    const [first, ...lines] = block.split('\n');
    if (first === undefined || !first.startsWith('# file: ')) continue;
    const path = unescape(first.slice('# file: '.length)).slice(directory.length + 1);
    const xattrs: Record<string, string> = {};
    for (const line of lines) {
      const equals = line.indexOf('=');
      const [name, value] =
        equals < 0 ? [line, ''] : [line.slice(0, equals), line.slice(equals + 1)];
      if (name !== '') xattrs[unescape(name)] = value.replace(/^0x/, '');
    }
    found.set(path, xattrs);
  }
  return found;
}

/** getfattr writes what is not printable as `\ooo`. */
function unescape(text: string): ByteString {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  ) as ByteString;
}
