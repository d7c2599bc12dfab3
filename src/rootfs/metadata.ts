/** What an inode's metadata becomes when a tar entry is unpacked onto it by Linux. Pure. */

import { type ByteString, byteStringToDisplay, compareStrings } from '../base/index.ts';
import type { TarEntry, Timestamp } from '../oci/index.ts';
import {
  accessListOfMode,
  isEmptyAccessList,
  isKnownAccessList,
  isMinimalAccessList,
  isValidAccessList,
} from './access-list.ts';
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
const accessList = 'system.posix_acl_access' as ByteString;
const defaultList = 'system.posix_acl_default' as ByteString;
/** By the revision in the first word's highest byte. Source: kernel include/uapi/linux/capability.h. */
const capabilityBytes: ReadonlyMap<number, number> = new Map([
  [2, 20],
  [3, 24],
]);

/** What becomes of extended attributes that an inode cannot have. */
export interface XattrRules {
  /** Linux would not take it. */
  readonly fail: (problem: string) => never;
  /** Linux would not take it, or would not mean it, and containerd leaves it out with a warning. */
  readonly leaveOut: (name: ByteString) => void;
}

/** The metadata that `entry` gives an inode of type `inodeType`. */
export function metadataOf(entry: TarEntry, inodeType: Node['type'], rules: XattrRules): Metadata {
  const mode = inodeType === 'symlink' ? 0o777 : entry.mode;
  return {
    mode,
    uid: entry.uid,
    gid: entry.gid,
    modified: boundTime(entry.modified),
    xattrs: fittedToMode(keptXattrs(entry.xattrs, inodeType, rules), mode),
  };
}

/** More than a base system has different ones, whose packages keep their times. */
const sharedMax = 1024;

/** Makes equal metadata one object. A layer of ten thousand files has some hundred different ones. */
export class SharedMetadata {
  readonly #known = new Map<string, Metadata>();

  /** An equal one that was given before, or `metadata` itself. */
  share(metadata: Metadata): Metadata {
    const { mode, uid, gid, modified, xattrs } = metadata;
    if (xattrs.size > 0) return metadata;
    const key = `${mode} ${uid} ${gid} ${modified.seconds} ${modified.nanoseconds}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size === sharedMax) this.#known.clear();
    this.#known.set(key, metadata);
    return metadata;
  }
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
  return { ...link, xattrs: fittedToMode(xattrs, link.mode) };
}

function boundTime(time: Timestamp): Timestamp {
  return time.seconds < 0 || time.seconds > secondsMax ? epoch : time;
}

function keptXattrs(xattrs: Xattrs, inodeType: Node['type'], rules: XattrRules): Xattrs {
  if (xattrs.size === 0) return noXattrs;
  const kept: [ByteString, Uint8Array][] = [];
  for (const [name, value] of xattrs) {
    const isWanted = isKept(name, inodeType) && (!isList(name) || isKnownAccessList(value));
    if (isWanted) kept.push([name, value]);
    else rules.leaveOut(name);
  }
  for (const [name, value] of kept) {
    const problem = problemOf(name, value);
    const shown = JSON.stringify(byteStringToDisplay(name).slice(0, 200));
    if (problem !== undefined) rules.fail(`its extended attribute ${shown} ${problem}`);
  }
  const meaningful = kept.filter(([name, value]) => !saysNothing(name, value));
  return meaningful.length === 0 ? noXattrs : new Map(meaningful);
}

function isKept(name: ByteString, inodeType: Node['type']): boolean {
  if (name.startsWith('security.')) return true;
  // containerd keeps nothing of `trusted.`, umoci and Docker all but what overlayfs would obey: sandboxes put it over images.
  if (name.startsWith('trusted.')) return !name.startsWith('trusted.overlay.');
  if (name.startsWith('user.')) return inodeType === 'file' || inodeType === 'directory';
  if (name === accessList) return inodeType !== 'symlink';
  return name === defaultList && inodeType === 'directory';
}

/** Why Linux would not take the attribute. */
function problemOf(name: ByteString, value: Uint8Array): string | undefined {
  if (name.length > xattrNameBytesMax || name.endsWith('.')) return 'has no valid name';
  if (value.byteLength > xattrValueBytesMax) return `is larger than ${xattrValueBytesMax} bytes`;
  if (isList(name) && !isValidAccessList(value)) return 'is no valid access control list';
  const isCapability = capabilityBytes.get(value[3] ?? 0) === value.byteLength;
  if (name === capability && !isCapability) return 'is no set of capabilities of Linux';
  return undefined;
}

function isList(name: ByteString): boolean {
  return name === accessList || name === defaultList;
}

function saysNothing(name: ByteString, value: Uint8Array): boolean {
  if (name === accessList) return isMinimalAccessList(value);
  return name === defaultList && isEmptyAccessList(value);
}

/** The mode is set last, and takes an access control list along. */
function fittedToMode(xattrs: Xattrs, mode: number): Xattrs {
  const list = xattrs.get(accessList);
  return list === undefined
    ? xattrs
    : new Map(xattrs).set(accessList, accessListOfMode(list, mode));
}
