/** One member of a tar archive, every dialect's spelling already resolved. */

import type { ByteString } from '../base/index.ts';

export type TarEntryType =
  | 'file'
  | 'hardlink'
  | 'symlink'
  | 'directory'
  | 'character-device'
  | 'block-device'
  | 'fifo';

/** Seconds since 1970 (negative before) and nanoseconds 0..999,999,999 after that second. */
export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A run of a file's bytes: they lie at `tarOffset` in the uncompressed archive. */
export interface DataSegment {
  readonly fileOffset: number;
  readonly tarOffset: number;
  readonly lengthBytes: number;
}

export interface TarEntry {
  /** As the archive has it: not cleaned, may be absolute, hold `..` or end in `/`. */
  readonly path: ByteString;
  readonly type: TarEntryType;
  /** Permission, set-id and sticky bits: 0..0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified: Timestamp;
  /** For `hardlink` a path in the archive, for `symlink` the link's text, else empty. */
  readonly linkTarget: ByteString;
  /** Of the file as unpacked, holes included; 0 for all other types. */
  readonly sizeBytes: number;
  /** In rising file offset, without overlaps; what they leave out reads as zeros. */
  readonly segments: readonly DataSegment[];
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Full names (`user.x`, `security.capability`) to raw values, in byte order of the names. */
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
}
