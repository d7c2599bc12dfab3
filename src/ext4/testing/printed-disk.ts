/** For tests: what dumpe2fs and debugfs print of a disk, read into numbers and names. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

import { present } from '../../base/index.ts';
import { debugfs, parseExtents, type PrintedTree } from './debugfs.ts';

/** First and last number, both included. */
export type NumberRange = readonly [first: number, last: number];

export interface PrintedGroup {
  readonly checksum: number;
  readonly flags: readonly string[];
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: NumberRange;
  readonly freeBlockCount: number;
  readonly freeInodeCount: number;
  readonly directoryCount: number;
  readonly unusedInodeCount: number;
  readonly freeBlocks: readonly NumberRange[];
  readonly freeInodes: readonly NumberRange[];
}

export interface PrintedFilesystem {
  /** The superblock's fields by the names that dumpe2fs has for them. */
  readonly superblock: ReadonlyMap<string, string>;
  readonly groups: readonly PrintedGroup[];
}

/** What dumpe2fs prints of the disk: all of it, or of the superblock alone, which is much faster. */
export function dumpe2fs(diskPath: string, what: 'all' | 'superblock'): PrintedFilesystem {
  const args = what === 'all' ? [diskPath] : ['-h', diskPath];
  const output = execFileSync('dumpe2fs', args, {
    encoding: 'latin1',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [head = '', ...groups] = output.split(/^Group \d+: /m);
  const fields = head.matchAll(/^(\S[^:]*):\s*(.*?)\s*$/gm);
  return {
    superblock: new Map([...fields].map(([, name = '', value = '']) => [name, value])),
    groups: groups.map(parseGroup),
  };
}

function parseGroup(text: string): PrintedGroup {
  const numbersOf = (pattern: RegExp): number[] => {
    const [, ...digits] = present(pattern.exec(text) ?? undefined, `${pattern} in ${text}`);
    return digits.map(Number);
  };
  const [blockBitmap = 0] = numbersOf(/Block bitmap at (\d+)/);
  const [inodeBitmap = 0] = numbersOf(/Inode bitmap at (\d+)/);
  const [tableStart = 0, tableEnd = 0] = numbersOf(/Inode table at (\d+)-(\d+)/);
  const [freeBlockCount = 0, freeInodeCount = 0, directoryCount = 0] = numbersOf(
    /(\d+) free blocks, (\d+) free inodes, (\d+) directories/,
  );
  return {
    checksum: Number(/csum (0x[0-9a-f]+)/.exec(text)?.[1]),
    flags: (/\[(.*?)\]/.exec(text)?.[1] ?? '').split(', ').filter((flag) => flag !== ''),
    blockBitmap,
    inodeBitmap,
    inodeTable: [tableStart, tableEnd],
    freeBlockCount,
    freeInodeCount,
    directoryCount,
    // Left out where it is 0.
    unusedInodeCount: Number(/(\d+) unused inodes/.exec(text)?.[1] ?? 0),
    freeBlocks: parseRanges(/Free blocks: (.*)/.exec(text)?.[1]),
    freeInodes: parseRanges(/Free inodes: (.*)/.exec(text)?.[1]),
  };
}

function parseRanges(text = ''): NumberRange[] {
  return text
    .split(', ')
    .filter((range) => range.trim() !== '')
    .map((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return [first, last];
    });
}

/** An inode as `stat` prints it, numbers as they are on the disk. */
export interface PrintedInode {
  readonly type: string;
  readonly mode: number;
  readonly flags: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly xattrBlock: number;
  readonly linkCount: number;
  readonly sectorCount: number;
  readonly extraBytes: number;
  /** Of ctime, atime, mtime and crtime: low and extra word, as hex. */
  readonly times: readonly string[];
  readonly generation: number;
  readonly device: string | undefined;
  readonly linkTarget: string | undefined;
}

function parseInode(text: string): PrintedInode {
  const field = (pattern: RegExp): string => {
    const found = pattern.exec(text)?.[1];
    return present(found, `${pattern} in ${text}`);
  };
  return {
    type: field(/Type: (.*?) +Mode/),
    mode: Number.parseInt(field(/Mode: +(\d+)/), 8),
    flags: Number(field(/Flags: (0x[0-9a-f]+)/)),
    // Printed as if they had a sign.
    uid: Number(field(/User: +(-?\d+)/)) >>> 0,
    gid: Number(field(/Group: +(-?\d+)/)) >>> 0,
    sizeBytes: Number(field(/Size: (\d+)/)),
    xattrBlock: Number(field(/File ACL: (\d+)/)),
    linkCount: Number(field(/Links: (\d+)/)),
    sectorCount: Number(field(/Blockcount: (\d+)/)),
    extraBytes: Number(field(/Size of extra inode fields: (\d+)/)),
    times: ['ctime', 'atime', 'mtime', 'crtime'].map((name) =>
      field(new RegExp(`^ ?${name}: 0x([0-9a-f]{8}:[0-9a-f]{8})`, 'm')),
    ),
    generation: Number(field(/Generation: (\d+)/)),
    device: /\(hex ([0-9a-f]+:[0-9a-f]+)\)/.exec(text)?.[1],
    linkTarget: /^Fast link dest: "(.*)"$/m.exec(text)?.[1],
  };
}

/** What all of debugfs's commands say of one inode. */
export interface PrintedFile extends PrintedInode {
  readonly extents: PrintedTree | undefined;
  /** Of a directory, its two dots left out: name to inode number. */
  readonly entries: ReadonlyMap<string, number>;
  /** Names to lengths of values. */
  readonly xattrs: ReadonlyMap<string, number>;
}

export interface InodeQuestion {
  readonly number: number;
  readonly hasExtents: boolean;
  readonly isDirectory: boolean;
}

/** Asks `stat`, `ea_list`, `dump_extents` and `ls` of each inode. */
export function describeInodes(
  diskPath: string,
  questions: readonly InodeQuestion[],
): PrintedFile[] {
  const requests = questions.flatMap(({ number, hasExtents, isDirectory }) => [
    `stat <${number}>`,
    `ea_list <${number}>`,
    ...(hasExtents ? [`dump_extents <${number}>`] : []),
    ...(isDirectory ? [`ls -p <${number}>`] : []),
  ]);
  const printed = debugfs(diskPath, requests);
  const answers = new Map(requests.map((request, index) => [request, printed[index] ?? '']));
  const answer = (request: string): string => answers.get(request) ?? '';
  return questions.map(({ number, hasExtents }) => ({
    ...parseInode(answer(`stat <${number}>`)),
    xattrs: parseXattrs(answer(`ea_list <${number}>`)),
    extents: hasExtents ? parseExtents(answer(`dump_extents <${number}>`)) : undefined,
    entries: parseEntries(answer(`ls -p <${number}>`)),
  }));
}

function parseXattrs(printed: string): Map<string, number> {
  const lines = printed.matchAll(/^ {2}(\S+) \((\d+)\)/gm);
  return new Map([...lines].map(([, name = '', length]) => [name, Number(length)]));
}

function parseEntries(printed: string): Map<string, number> {
  const entries = new Map<string, number>();
  for (const [, number, name = ''] of printed.matchAll(
    /^\/(\d+)\/\d+\/-?\d+\/-?\d+\/(.+?)\/\d*\/$/gm,
  )) {
    if (name === '.' || name === '..') continue;
    assert.ok(!entries.has(name), `"${name}" is there once`);
    entries.set(name, Number(number));
  }
  return entries;
}

export interface XattrQuestion {
  readonly number: number;
  readonly name: string;
}

/** The values of attributes as they are on the disk, lists of access control too. */
export function xattrValues(diskPath: string, questions: readonly XattrQuestion[]): Buffer[] {
  const requests = questions.map(({ number, name }) => `ea_get -r -x <${number}> ${name}`);
  return debugfs(diskPath, requests).map((answer) => {
    const hex = /= ([0-9a-f ]*)$/m.exec(answer)?.[1] ?? '';
    return Buffer.from(hex.replaceAll(' ', ''), 'hex');
  });
}

/** A name in a leaf of a hash tree. */
export interface PrintedLeafEntry {
  readonly name: string;
  readonly inode: number;
  readonly hash: number;
  /** The directory's block that holds it. */
  readonly block: number;
}

export interface PrintedHashTree {
  readonly hashVersion: number;
  readonly levels: number;
  /** Where the ranges of leaves begin, in order; the lowest bit is set where one goes on with the hash of the one before. */
  readonly ranges: readonly { readonly firstHash: number; readonly block: number }[];
  readonly entries: readonly PrintedLeafEntry[];
}

/** What `htree_dump` says of a directory. */
export function hashTree(diskPath: string, number: number): PrintedHashTree {
  const [printed = ''] = debugfs(diskPath, [`htree_dump <${number}>`]);
  const [index = '', ...leaves] = printed.split(/^Reading directory block /m);
  const levels = Number(/Indirect levels: (\d+)/.exec(index)?.[1]);
  const entries = leaves.flatMap((leaf) => {
    const block = Number.parseInt(leaf, 10);
    const found = leaf.matchAll(/(\d+) 0x([0-9a-f]{8})-[0-9a-f]{8} \(\d+\) (\S+) {3}/g);
    return [...found].map(([, inode, hash = '', name = '']) => {
      return { name, inode: Number(inode), hash: Number.parseInt(hash, 16), block };
    });
  });
  return {
    hashVersion: Number(/Hash Version: (\d+)/.exec(index)?.[1]),
    levels,
    ranges: rangesOf(printed),
    entries,
  };
}

/**
 * Each entry is printed in a list of its node's, and once more in front of what it leads to: an inner node, which begins with a
 * number of entries, or a leaf. The first of a node says no hash; its node does.
 */
function rangesOf(printed: string): { firstHash: number; block: number }[] {
  const ranges: { firstHash: number; block: number }[] = [];
  let nodeHash = 0;
  for (const [, entry, hex = '', block, below] of printed.matchAll(
    /^Entry #(\d+): Hash 0x([0-9a-f]{8}).*, block (\d+)\n(Number|Reading)/gm,
  )) {
    const hash = Number.parseInt(hex, 16);
    if (below === 'Number') nodeHash = hash;
    else ranges.push({ firstHash: entry === '0' ? nodeHash : hash, block: Number(block) });
  }
  return ranges;
}
