/**
 * Data that lies in the inode itself, not in blocks. Of an npm tree's files a sixth and of its directories two thirds are
 * small enough; each saves a block, and a start the reading of it. Whether data is inline depends on its size alone, so
 * that it does not depend on what other layers say of the file.
 * Source: kernel Documentation/filesystems/ext4/inlinedata.rst.
 */

import type { FileContent, SymlinkNode } from '../rootfs/index.ts';
import {
  encodeInlineDirectory,
  inlineDirectoryBytes,
  planInlineDirectory,
  type DirectoryTarget,
  type InlineDirectoryShape,
} from './directory.ts';
import type { ContentReader } from './disk-plan.ts';
import { hasData, readSegments } from './file-data.ts';
import { fastSymlinkBytesMax, PlannedDirectory, sortedNames, type PlannedInode } from './inode.ts';
import { fileTypes, inlineBytesMax } from './layout.ts';

/** What an inode has in itself. */
export interface InlineData {
  /** 1 to `inlineBytesMax`. */
  readonly sizeBytes: number;
  /** Fresh bytes; not before every inode has its number. */
  bytes(content: ContentReader): Promise<Uint8Array>;
}

/** True if the file has data, all of which fits into its inode. */
export function isInlineFile(content: FileContent): boolean {
  return content.sizeBytes <= inlineBytesMax && hasData(content);
}

/** The inode's data if it is to lie in the inode. The root is never asked for. */
export function inlineDataOf(inode: PlannedInode): InlineData | undefined {
  const { node } = inode;
  if (node.type === 'file') {
    return isInlineFile(node.content) ? new InlineFile(node.content) : undefined;
  }
  if (node.type === 'symlink') return inlineSymlink(node);
  if (!(inode instanceof PlannedDirectory)) return undefined;
  const shape = planInlineDirectory(sortedNames(inode.node));
  return shape && new InlineDirectory(inode, shape);
}

class InlineFile implements InlineData {
  readonly #content: FileContent;

  constructor(content: FileContent) {
    this.#content = content;
  }

  get sizeBytes(): number {
    return this.#content.sizeBytes;
  }

  async bytes(content: ContentReader): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.sizeBytes);
    await readSegments(this.#content, 0, bytes, content);
    return bytes;
  }
}

/** Not with attributes: e2fsck would miss that the link then has a block for them. */
function inlineSymlink({ target, metadata }: SymlinkNode): InlineData | undefined {
  const sizeBytes = target.length;
  const fits = sizeBytes > fastSymlinkBytesMax && sizeBytes <= inlineBytesMax;
  if (!fits || metadata.xattrs.size > 0) return undefined;
  return { sizeBytes, bytes: async () => Buffer.from(target, 'latin1') };
}

class InlineDirectory implements InlineData {
  readonly sizeBytes: number;
  readonly #inode: PlannedDirectory;
  readonly #shape: InlineDirectoryShape;

  constructor(inode: PlannedDirectory, shape: InlineDirectoryShape) {
    this.#inode = inode;
    this.#shape = shape;
    this.sizeBytes = inlineDirectoryBytes(shape);
  }

  async bytes(): Promise<Uint8Array> {
    const childNamed = this.#inode.lookup();
    return encodeInlineDirectory(this.#shape, {
      parent: this.#inode.parent.number,
      resolve: (name) => targetOf(childNamed(name)),
    });
  }
}

/** What a directory says of an inode beside its name. */
export function targetOf({ number, node }: PlannedInode): DirectoryTarget {
  return { inode: number, entryType: fileTypes[node.type].entryType };
}
