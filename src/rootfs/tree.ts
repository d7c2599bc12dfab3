/**
 * The immutable tree that all layers together give, with what the disk layout needs to know about
 * where each part came from. Produced by `applyLayers`, read by `ext4`.
 */

import type { ByteString } from '../base/index.ts';
import type { DataSegment, Timestamp } from '../oci/index.ts';

export interface Metadata {
  /** Permission, set-id and sticky bits: 0..0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified: Timestamp;
  /** In byte order of the names. */
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
}

/** A regular file's bytes as one layer's tar holds them. */
export interface FileContent {
  /** Index of the layer, 0 the lowest. */
  readonly layer: number;
  /** The file's path in that layer, cleaned, without a leading slash. */
  readonly path: ByteString;
  /** As that layer's entry says; a later hard link may have given the inode another time. */
  readonly modified: Timestamp;
  readonly sizeBytes: number;
  /** In rising file offset; what they leave out is a hole. */
  readonly segments: readonly DataSegment[];
}

/**
 * One inode. Two directory entries that hold the same node object are hard links of each other; only
 * directories have exactly one entry.
 */
export type Node = DirectoryNode | FileNode | SymlinkNode | SpecialNode;

interface NodeBase {
  readonly metadata: Metadata;
  /** The layer that made this inode: the lowest one that has had it without a break since. */
  readonly layer: number;
}

export interface DirectoryNode extends NodeBase {
  readonly type: 'directory';
  /** In byte order of the names. */
  readonly entries: ReadonlyMap<ByteString, Node>;
  /** Layers whose tar adds, replaces or removes an entry here, rising. The first is where it was made. */
  readonly changedByLayers: readonly number[];
  /** The topmost layer that set `metadata`. */
  readonly metadataLayer: number;
}

export interface FileNode extends NodeBase {
  readonly type: 'file';
  readonly content: FileContent;
  readonly linkCount: number;
}

export interface SymlinkNode extends NodeBase {
  readonly type: 'symlink';
  readonly target: ByteString;
  readonly linkCount: number;
}

export interface SpecialNode extends NodeBase {
  readonly type: 'character-device' | 'block-device' | 'fifo' | 'socket';
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly linkCount: number;
}

/** What one layer brought, whether or not an upper layer left it standing. */
export interface LayerContent {
  /** `sha256:…` of the uncompressed tar. */
  readonly diffId: string;
  /** Every regular file of the layer that has data, in byte order of paths, overwritten and deleted ones too. */
  readonly files: readonly FileContent[];
}

export interface RootTree {
  readonly root: DirectoryNode;
  /** Lowest first. */
  readonly layers: readonly LayerContent[];
}
