/**
 * The rules that the names in an archive keep, so that nothing can be written outside of where it is unpacked, and no two
 * entries are one file: every path lies below the root, each once, under directories only, and symbolic links
 * lead to places inside. Pure.
 */

import { ArchiveBadZipError } from './errors.ts';
import { entriesMax, linksFollowedMax, namePartMaxBytes, pathMaxBytes } from './limits.ts';

type TreeNode = { readonly kind: 'directory' | 'file' } | LinkNode;
interface LinkNode {
  readonly kind: 'link';
  readonly target: string;
}

/** Steps through the tree to look where links lead; a tree that needs more is made to keep us busy. */
const stepsMax = 5_000_000;

function shown(path: string): string {
  return JSON.stringify(path.slice(0, 200));
}

/** The directory that a path lies in; the empty path is the root. */
function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

/**
 * The path as it is unpacked: without empty parts and `.`; empty for the root. Throws `ERR_ARCHIVE_BAD_ZIP` for what leads
 * out of the archive, or cannot be a path.
 */
export function cleanPath(name: string): string {
  const refuse = (why: string): never => {
    throw new ArchiveBadZipError(`the name ${shown(name)} ${why}`);
  };
  if (name.startsWith('/') || /^[a-zA-Z]:/.test(name)) refuse('is absolute');
  if (name.includes('\0')) refuse('has a zero byte');
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) refuse('leads out of its directory');
  if (parts.some((part) => Buffer.byteLength(part) > namePartMaxBytes)) {
    refuse(`has a part of more than ${namePartMaxBytes} bytes`);
  }
  const path = parts.join('/');
  if (Buffer.byteLength(path) > pathMaxBytes) refuse(`has more than ${pathMaxBytes} bytes`);
  return path;
}

/** Grows by the entries of one archive. All paths are those that `cleanPath` gives. */
export class CodeTree {
  readonly #nodes = new Map<string, TreeNode>([['', { kind: 'directory' }]]);
  readonly #links: string[] = [];
  #stepsLeft = stepsMax;

  /** Directories, files and links, the root not counted. */
  get size(): number {
    return this.#nodes.size - 1;
  }

  /** Again is no harm: archives name directories before, after and between the files in them. */
  addDirectory(path: string): void {
    this.#makeDirectory(path);
  }

  addFile(path: string): void {
    this.#add(path, { kind: 'file' });
  }

  /** Throws for an absolute target; that a relative one stays inside only the whole tree can tell: see `checkLinks`. */
  addLink(path: string, target: string): void {
    if (target === '' || target.includes('\0') || Buffer.byteLength(target) > pathMaxBytes) {
      throw new ArchiveBadZipError(`the symbolic link ${shown(path)} has no usable target`);
    }
    if (target.startsWith('/')) throw this.#leadsOut(path, target);
    this.#add(path, { kind: 'link', target });
    this.#links.push(path);
  }

  /** When all entries are in. A link may lead to nothing, as long as that would lie inside. */
  checkLinks(): void {
    for (const path of this.#links) {
      const { target } = this.#nodes.get(path) as LinkNode;
      if (!this.#staysInside(parentOf(path), target)) throw this.#leadsOut(path, target);
    }
  }

  #leadsOut(path: string, target: string): ArchiveBadZipError {
    return new ArchiveBadZipError(
      `the symbolic link ${shown(path)} leads out of the archive, to ${shown(target)}`,
    );
  }

  #add(path: string, node: TreeNode): void {
    if (this.#nodes.has(path)) throw new ArchiveBadZipError(`it has ${shown(path)} twice`);
    this.#makeDirectory(parentOf(path));
    this.#put(path, node);
  }

  /** From the deepest up to the first that is there, so that each is made once. */
  #makeDirectory(path: string): void {
    for (let at = path; ; at = parentOf(at)) {
      const known = this.#nodes.get(at);
      if (known?.kind === 'directory') return;
      if (known !== undefined) {
        throw new ArchiveBadZipError(`it has ${shown(at)} as a ${known.kind} and as a directory`);
      }
      this.#put(at, { kind: 'directory' });
    }
  }

  #put(path: string, node: TreeNode): void {
    this.#nodes.set(path, node);
    if (this.size > entriesMax) {
      throw new ArchiveBadZipError(`it has more than ${entriesMax} files and directories`);
    }
  }

  /** As the kernel would walk it. Source: path_resolution(7). */
  #staysInside(directory: string, target: string): boolean {
    let at = directory;
    const ahead = this.#partsAhead(target);
    let linksFollowed = 0;
    for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        if (at === '') return false;
        at = parentOf(at);
        continue;
      }
      const next = at === '' ? part : `${at}/${part}`;
      const node = this.#nodes.get(next);
      if (node?.kind !== 'link') {
        at = next;
        continue;
      }
      linksFollowed += 1;
      if (linksFollowed > linksFollowedMax) return true; // a loop: the kernel gives up as well
      ahead.push(...this.#partsAhead(node.target));
    }
    return true;
  }

  /** The last one first. */
  #partsAhead(target: string): string[] {
    const parts = target.split('/');
    this.#stepsLeft -= parts.length;
    if (this.#stepsLeft < 0) throw new ArchiveBadZipError('its symbolic links lead too far');
    return parts.toReversed();
  }
}
