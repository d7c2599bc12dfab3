/** Applies one layer, entry by entry. Invariants: see `apply-layers.ts`. */

import {
  type ByteString,
  assert,
  byteStringToDisplay,
  compareStrings,
  present,
} from '../base/index.ts';
import type { TarEntry } from '../oci/index.ts';
import { cleanPath, isAufsMetadata, meaningOf, splitPath } from './entry-path.ts';
import { ApplyError, type RootfsErrorCode } from './errors.ts';
import { type LeftOutNamespace, leftOutNamespace } from './left-out-xattrs.ts';
import { linkedMetadata, metadataOf, SharedMetadata } from './metadata.ts';
import { MutableDirectory, type MutableLeaf } from './mutable-tree.ts';
import { type ResolvedDirectory, resolveDirectory, stepsOf } from './resolve-path.ts';
import type { FileContent, Metadata, Node } from './tree.ts';

const pathBytesMax = 4096;
const nameBytesMax = 255;
/** As deep as a path of that length can lead. Through symbolic links it could otherwise be any depth. */
const depthMax = pathBytesMax / 2;
const symlinkBytesMax = 4095;
/** Linux: 12 bits of major, 20 of minor number. */
const deviceMajorMax = 0xfff;
const deviceMinorMax = 0xfffff;

/** One layer being applied: an instance for each, on the tree that the layers below have left. */
export class LayerApplication {
  readonly #root: MutableDirectory;
  readonly #layer: number;
  readonly #diffId: string;
  readonly #budget: { entriesLeft: number };
  readonly #leftOutXattrs: Map<LeftOutNamespace, number>;
  readonly #files: FileContent[] = [];
  /** Names that this layer has given to files of lower layers: what tells them from the lower layers' names. */
  readonly #linked = new Map<MutableDirectory, Set<ByteString>>();
  /** Directories that no longer have anything of lower layers. */
  readonly #emptied = new Set<MutableDirectory>();
  readonly #metadata = new SharedMetadata();

  constructor(
    root: MutableDirectory,
    layer: number,
    diffId: string,
    shared: {
      readonly budget: { entriesLeft: number };
      readonly leftOutXattrs: Map<LeftOutNamespace, number>;
    },
  ) {
    this.#root = root;
    this.#layer = layer;
    this.#diffId = diffId;
    this.#budget = shared.budget;
    this.#leftOutXattrs = shared.leftOutXattrs;
  }

  /** The layer's files that have data, by path; of equal paths the earlier entry first. */
  files(): readonly FileContent[] {
    return this.#files.sort((a, b) => compareStrings(a.path, b.path) || startOf(a) - startOf(b));
  }

  /** Throws `ApplyError`; the tree is then not to be used any more. */
  apply(entry: TarEntry): void {
    const path = cleanPath(entry.path);
    const names = splitPath(path);
    this.#checkNames(entry, names);
    this.#spend(entry, entriesWorth(entry));
    if (isAufsMetadata(names)) return;
    const name = names.pop();
    if (name === undefined) {
      if (entry.type === 'directory') this.#setMetadata(this.#root, entry);
      return;
    }
    const chain = this.#makeParents(entry, names);
    const parent = chain.at(-1) ?? this.#root;
    const meaning = meaningOf(name);
    if (meaning.kind === 'opaque') this.#hideAll(parent);
    else if (meaning.kind === 'whiteout') this.#whiteOut(entry, parent, meaning.hidden);
    else {
      this.#touch(chain);
      if (entry.type === 'directory') this.#unpackDirectory(entry, parent, name);
      else this.#unpackLeaf(entry, path, parent, name);
    }
  }

  #unpackDirectory(entry: TarEntry, parent: MutableDirectory, name: ByteString): void {
    let directory = parent.entries.get(name);
    if (directory?.type !== 'directory') {
      directory = new MutableDirectory(this.#layer);
      parent.put(name, directory, this.#layer);
    }
    this.#setMetadata(directory, entry);
  }

  #setMetadata(directory: MutableDirectory, entry: TarEntry): void {
    directory.metadata = this.#metadataOf(entry, 'directory');
    directory.metadataLayer = this.#layer;
    directory.touchedByLayer = this.#layer;
  }

  #unpackLeaf(entry: TarEntry, path: ByteString, parent: MutableDirectory, name: ByteString): void {
    // First the old entry goes: a link to itself, or to what was below it, finds nothing.
    parent.remove(name, this.#layer);
    const leaf = entry.type === 'hardlink' ? this.#linkTo(entry) : this.#newLeaf(entry, path);
    parent.put(name, leaf, this.#layer);
    if (leaf.layer !== this.#layer) this.#noteLinked(parent, name);
  }

  /** All fields are spelled out, because spread ones would take a third more memory. */
  #newLeaf(entry: TarEntry, path: ByteString): MutableLeaf {
    const { type } = entry;
    assert(type !== 'directory' && type !== 'hardlink', 'A leaf is an inode of its own');
    const layer = this.#layer;
    const metadata = this.#metadataOf(entry, type);
    if (type === 'file') {
      return {
        type,
        layer,
        metadata,
        linkCount: 0,
        content: this.#contentOf(entry, path, metadata),
      };
    }
    if (type === 'symlink') {
      this.#checkSymlink(entry);
      return { type, layer, metadata, linkCount: 0, target: entry.linkTarget };
    }
    // Whatever the header of a pipe has in these fields means nothing.
    if (type === 'fifo')
      return { type, layer, metadata, linkCount: 0, deviceMajor: 0, deviceMinor: 0 };
    const { deviceMajor, deviceMinor } = entry;
    if (deviceMajor > deviceMajorMax || deviceMinor > deviceMinorMax) {
      const problem = `its device number is ${deviceMajor}:${deviceMinor}`;
      this.#fail('ERR_ROOTFS_DEVICE', entry, problem);
    }
    return { type, layer, metadata, linkCount: 0, deviceMajor, deviceMinor };
  }

  #contentOf(entry: TarEntry, path: ByteString, { modified }: Metadata): FileContent {
    const { sizeBytes, segments } = entry;
    const content = { layer: this.#layer, path, modified, sizeBytes, segments };
    if (segments.length > 0) this.#files.push(content);
    return content;
  }

  /** The inode that a hard link names: a symbolic link is not followed, those on the way to it are. */
  #linkTo(entry: TarEntry): MutableLeaf {
    const shown = JSON.stringify(byteStringToDisplay(entry.linkTarget).slice(0, 200));
    const steps = stepsOf(entry.linkTarget);
    const name = steps.pop();
    const found = this.#resolve(entry, steps);
    const directory = found.missing.length === 0 ? found.chain.at(-1) : undefined;
    const isDirectory = name === undefined || name === '..';
    const target = isDirectory ? directory : directory?.entries.get(name);
    if (target === undefined) {
      return this.#fail('ERR_ROOTFS_LINK_TARGET', entry, `its target ${shown} does not exist`);
    }
    if (target.type === 'directory') {
      return this.#fail('ERR_ROOTFS_LINK_TARGET', entry, `its target ${shown} is a directory`);
    }
    target.metadata = linkedMetadata(target.metadata, this.#metadataOf(entry, target.type));
    return target;
  }

  /** Hides an entry of lower layers; what this layer has unpacked at or below it stays. */
  #whiteOut(entry: TarEntry, parent: MutableDirectory, hidden: ByteString): void {
    if (hidden === '' || hidden === '.' || hidden === '..') {
      this.#fail('ERR_ROOTFS_WHITEOUT', entry, 'no directory can hold what it removes');
    }
    this.#hideEntry(parent, hidden);
  }

  /** Hides all that lower layers have in and below a directory. Once is enough, and the layer may say it a million times. */
  #hideAll(directory: MutableDirectory): void {
    if (directory.layer === this.#layer || this.#emptied.has(directory)) return;
    this.#emptied.add(directory);
    for (const name of directory.entries.keys()) this.#hideEntry(directory, name);
  }

  #hideEntry(parent: MutableDirectory, name: ByteString): void {
    const node = parent.entries.get(name);
    if (node === undefined || node.layer === this.#layer) return;
    if (node.type === 'directory' && node.touchedByLayer === this.#layer) {
      // As if the whiteout had come first: the directory goes, and comes back with what is new in it.
      this.#hideAll(node);
      node.remake(this.#layer);
      parent.noteChange(this.#layer);
    } else if (!(this.#linked.get(parent)?.has(name) ?? false)) parent.remove(name, this.#layer);
  }

  #noteLinked(parent: MutableDirectory, name: ByteString): void {
    const names = this.#linked.get(parent) ?? new Set();
    this.#linked.set(parent, names.add(name));
  }

  /** Whoever is touched has parents that are: so the walk up stops at the first that is. */
  #touch(chain: readonly MutableDirectory[]): void {
    for (const directory of chain.toReversed()) {
      if (directory.touchedByLayer === this.#layer) return;
      directory.touchedByLayer = this.#layer;
    }
  }

  /** The directories from the root down to the one that `names` mean, those missing made. */
  #makeParents(entry: TarEntry, names: readonly ByteString[]): MutableDirectory[] {
    const { chain, missing } = this.#resolve(entry, names);
    if (missing.length > 0) this.#touch(chain);
    for (const name of missing) {
      this.#spend(entry, 1);
      const directory = new MutableDirectory(this.#layer);
      present(chain.at(-1), 'root').put(name, directory, this.#layer);
      chain.push(directory);
    }
    return chain;
  }

  #resolve(entry: TarEntry, names: readonly ByteString[]): ResolvedDirectory {
    const resolved = resolveDirectory(this.#root, names);
    if (resolved === 'loop') {
      return this.#fail('ERR_ROOTFS_LINK_LOOP', entry, 'its path leads through a symlink loop');
    }
    if (resolved === 'not-a-directory') {
      const problem = 'its path leads through something that is no directory';
      return this.#fail('ERR_ROOTFS_NOT_A_DIRECTORY', entry, problem);
    }
    if (resolved.chain.length + resolved.missing.length > depthMax) {
      const problem = `symbolic links lead it more than ${depthMax} directories deep`;
      return this.#fail('ERR_ROOTFS_PATH_TOO_LONG', entry, problem);
    }
    return resolved;
  }

  #metadataOf(entry: TarEntry, inodeType: Node['type']): Metadata {
    const fail = (problem: string): never => this.#fail('ERR_ROOTFS_XATTR', entry, problem);
    const leaveOut = (name: ByteString): void => this.#leaveOut(leftOutNamespace(name));
    return this.#metadata.share(metadataOf(entry, inodeType, { fail, leaveOut }));
  }

  #leaveOut(namespace: LeftOutNamespace): void {
    this.#leftOutXattrs.set(namespace, (this.#leftOutXattrs.get(namespace) ?? 0) + 1);
  }

  #checkNames(entry: TarEntry, names: readonly ByteString[]): void {
    const linkBytes = entry.type === 'hardlink' ? entry.linkTarget.length : 0;
    if (Math.max(entry.path.length, linkBytes) > pathBytesMax) {
      const problem = `its path or target is longer than ${pathBytesMax} bytes`;
      this.#fail('ERR_ROOTFS_PATH_TOO_LONG', entry, problem);
    }
    if (names.some((name) => name.length > nameBytesMax)) {
      const problem = `a name in it is longer than ${nameBytesMax} bytes`;
      this.#fail('ERR_ROOTFS_PATH_TOO_LONG', entry, problem);
    }
  }

  #checkSymlink(entry: TarEntry): void {
    const { length } = entry.linkTarget;
    if (length > 0 && length <= symlinkBytesMax) return;
    const problem = `as a symbolic link it must have 1..${symlinkBytesMax} bytes: it has ${length}`;
    this.#fail('ERR_ROOTFS_SYMLINK_TARGET', entry, problem);
  }

  #spend(entry: TarEntry, entries: number): void {
    this.#budget.entriesLeft -= entries;
    if (this.#budget.entriesLeft >= 0) return;
    const problem =
      'with it the image has more entries, attributes and sparse runs than are allowed';
    this.#fail('ERR_ROOTFS_TOO_MANY_ENTRIES', entry, problem);
  }

  #fail(code: RootfsErrorCode, entry: TarEntry, problem: string): never {
    throw new ApplyError(code, this.#diffId, entry.path, problem);
  }
}

function startOf(file: FileContent): number {
  return file.segments[0]?.tarOffset ?? 0;
}

/** What an entry of an ordinary size takes in memory, and a run of a sparse file. */
const entryBytes = 480;
const segmentBytes = 80;

/** How many ordinary entries take as much memory as this one: a tar of 1 MB can be attributes and runs only. */
function entriesWorth({ path, linkTarget, xattrs, segments }: TarEntry): number {
  let bytes = path.length + linkTarget.length + segments.length * segmentBytes;
  for (const [name, value] of xattrs) bytes += name.length + value.byteLength;
  return 1 + Math.floor(bytes / entryBytes);
}
