/** What an inode's metadata becomes when a tar entry is unpacked onto it by Linux. Pure. */

import { type ByteString, byteStringToDisplay, compareStrings } from '../base/index.ts';
import type { TarEntry, Timestamp } from '../oci/index.ts';
import type { Metadata, Node } from './tree.ts';

type Xattrs = Metadata['xattrs'];

const noXattrs: Xattrs = new Map();
const epoch: Timestamp = { seconds: 0, nanoseconds: 0 };
/** containerd keeps to times that 63 bits of nanoseconds hold: up to the year 2262. */
const secondsMax = 9_223_372_036;
/** Linux: XATTR_NAME_MAX and XATTR_SIZE_MAX. */
const xattrNameBytesMax = 255;
const xattrValueBytesMax = 65_536;
const capability = 'security.capability' as ByteString;

/**
 * The metadata that `entry` gives an inode of type `inodeType`; `previous` itself where it is the same.
 * Calls `fail` for an extended attribute that Linux would not take.
 */
export function metadataOf(
  entry: TarEntry,
  inodeType: Node['type'],
  previous: Metadata | undefined,
  fail: (problem: string) => never,
): Metadata {
  const metadata: Metadata = {
    mode: inodeType === 'symlink' ? 0o777 : entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    modified: boundTime(entry.modified),
    xattrs: keptXattrs(entry.xattrs, inodeType, fail),
  };
  return previous !== undefined && isSame(metadata, previous) ? previous : metadata;
}

function isSame(a: Metadata, b: Metadata): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.modified.seconds === b.modified.seconds &&
    a.modified.nanoseconds === b.modified.nanoseconds &&
    a.xattrs.size === 0 &&
    b.xattrs.size === 0
  );
}

/**
 * What a hard link leaves of an inode's metadata. The link's own counts, attributes are added to those there are; but as on Linux
 * a file whose owner is set loses its capabilities, unless the link brings them along.
 */
export function linkedMetadata(inode: Metadata, link: Metadata): Metadata {
  const merged = new Map(inode.xattrs);
  merged.delete(capability);
  for (const [name, value] of link.xattrs) merged.set(name, value);
  if (merged.size === link.xattrs.size) return link;
  const xattrs = new Map([...merged].sort(([a], [b]) => compareStrings(a, b)));
  return { ...link, xattrs };
}

function boundTime(time: Timestamp): Timestamp {
  return time.seconds < 0 || time.seconds > secondsMax ? epoch : time;
}

function keptXattrs(
  xattrs: Xattrs,
  inodeType: Node['type'],
  fail: (problem: string) => never,
): Xattrs {
  if (xattrs.size === 0) return noXattrs;
  const kept = [...xattrs].filter(([name]) => isKept(name, inodeType));
  for (const [name, value] of kept) {
    const shown = JSON.stringify(byteStringToDisplay(name).slice(0, 200));
    if (name.length > xattrNameBytesMax || name.endsWith('.')) {
      fail(`its extended attribute ${shown} has no valid name`);
    }
    if (value.byteLength > xattrValueBytesMax) {
      fail(`its extended attribute ${shown} is larger than ${xattrValueBytesMax} bytes`);
    }
  }
  return kept.length === 0 ? noXattrs : new Map(kept);
}

/** What Linux and containerd would have left out without a word is left out here. */
function isKept(name: ByteString, inodeType: Node['type']): boolean {
  if (name.startsWith('security.')) return true;
  if (name.startsWith('user.')) return inodeType === 'file' || inodeType === 'directory';
  if (name === 'system.posix_acl_access') return inodeType !== 'symlink';
  return name === 'system.posix_acl_default' && inodeType === 'directory';
}
