/**
 * The tree while layers are being applied. Nodes that are not directories are already the ones handed out
 * in the end; directories become `DirectoryNode`s, with their entries in order, in `seal-tree.ts`.
 */

import type { ByteString } from '../base/index.ts';
import type { FileNode, Metadata, SpecialNode, SymlinkNode } from './tree.ts';

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** Everything that can have several names. */
export type MutableLeaf = Mutable<FileNode> | Mutable<SymlinkNode> | Mutable<SpecialNode>;
export type MutableNode = MutableDirectory | MutableLeaf;

/** What a directory gets that no layer has an entry for. */
export const implicitMetadata: Metadata = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  modified: { seconds: 0, nanoseconds: 0 },
  xattrs: new Map(),
};

export class MutableDirectory {
  readonly type = 'directory';
  readonly entries = new Map<ByteString, MutableNode>();
  layer: number;
  metadata: Metadata = implicitMetadata;
  metadataLayer: number;
  changedByLayers: number[];
  /** The last layer that has unpacked something in here, however deep, or this directory itself. */
  touchedByLayer: number;

  constructor(layer: number) {
    this.layer = layer;
    this.metadataLayer = layer;
    this.changedByLayers = [layer];
    this.touchedByLayer = layer;
  }

  /** Adds an entry, or replaces the one of that name with all that is below it. */
  put(name: ByteString, node: MutableNode, layer: number): void {
    this.remove(name, layer);
    this.entries.set(name, node);
    if (node.type !== 'directory') node.linkCount += 1;
    this.noteChange(layer);
  }

  /** Removes an entry with all that is below it, if there is one. */
  remove(name: ByteString, layer: number): void {
    const node = this.entries.get(name);
    if (node === undefined) return;
    this.entries.delete(name);
    this.noteChange(layer);
    dropLinks(node);
  }

  /** As if removed, and made anew by `layer`, which has set its metadata or not; entries stay. */
  remake(layer: number): void {
    if (this.metadataLayer !== layer) this.metadata = implicitMetadata;
    this.layer = layer;
    this.metadataLayer = layer;
    this.changedByLayers = [layer];
  }

  /** That `layer` has added, replaced or removed an entry. */
  noteChange(layer: number): void {
    if (this.changedByLayers.at(-1) !== layer) this.changedByLayers.push(layer);
  }
}

/** A node's names are gone: those below it too. Not recursive, because trees may be thousands deep. */
function dropLinks(removed: MutableNode): void {
  const pending = [removed];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node.type !== 'directory') node.linkCount -= 1;
    else for (const below of node.entries.values()) pending.push(below);
  }
}
