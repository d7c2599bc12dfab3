/**
 * What Linux makes of an access control list (`system.posix_acl_access`, `system.posix_acl_default`) that is set on a file: it takes
 * only valid ones, drops those that say no more than the mode, and keeps what mode and list both say equal. Pure.
 * Source: kernel fs/posix_acl.c, include/uapi/linux/posix_acl_xattr.h.
 */

import { viewOf } from '../base/index.ts';

const version = 2;
const headerBytes = 4;
const entryBytes = 8;
const permissionsMax = 7;

/** In the order in which they must stand; those of named users and groups may come more than once. */
const tags = {
  owner: 0x01,
  namedUser: 0x02,
  group: 0x04,
  namedGroup: 0x08,
  mask: 0x10,
  other: 0x20,
} as const;
const known: ReadonlySet<number> = new Set(Object.values(tags));
const namedTags: ReadonlySet<number> = new Set([tags.namedUser, tags.namedGroup]);

interface Entry {
  readonly tag: number;
  readonly permissions: number;
}

function* entriesOf(list: Uint8Array): Generator<Entry> {
  const view = viewOf(list);
  for (let at = headerBytes; at + entryBytes <= view.byteLength; at += entryBytes) {
    yield { tag: view.readUInt16LE(at), permissions: view.readUInt16LE(at + 2) };
  }
}

/** Whether it is of the one version that Linux knows; it says that it does not support others. */
export function isKnownAccessList(list: Uint8Array): boolean {
  return list.byteLength < headerBytes || viewOf(list).readUInt32LE(0) === version;
}

/** Whether Linux takes it. One without any entries is valid: it stands for none. */
export function isValidAccessList(list: Uint8Array): boolean {
  if (list.byteLength === 0) return true;
  const isWhole = (list.byteLength - headerBytes) % entryBytes === 0;
  if (list.byteLength < headerBytes || !isWhole) return false;
  const entries = [...entriesOf(list)];
  if (entries.length === 0) return true;
  const isOrdered = entries.every(({ tag, permissions }, index) => {
    const before = entries[index - 1]?.tag ?? 0;
    const mayFollow = tag > before || (tag === before && namedTags.has(tag));
    return known.has(tag) && permissions <= permissionsMax && mayFollow;
  });
  const has = (tag: number): boolean => entries.some((entry) => entry.tag === tag);
  const needsMask = has(tags.namedUser) || has(tags.namedGroup);
  return (
    isOrdered && [tags.owner, tags.group, tags.other].every(has) && (has(tags.mask) || !needsMask)
  );
}

export function isEmptyAccessList(list: Uint8Array): boolean {
  return list.byteLength <= headerBytes;
}

/** Whether it says nothing that a mode could not. */
export function isMinimalAccessList(list: Uint8Array): boolean {
  return [...entriesOf(list)].every(({ tag }) => tag !== tags.mask && !namedTags.has(tag));
}

/** The list as a change of mode leaves it: a copy whose entries for owner, group (or mask) and others are the mode's. */
export function accessListOfMode(list: Uint8Array, mode: number): Uint8Array {
  const fitted = Buffer.from(list);
  const entries = [...entriesOf(list)];
  const groupTag = entries.some(({ tag }) => tag === tags.mask) ? tags.mask : tags.group;
  const shifts = new Map<number, number>([
    [tags.owner, 6],
    [groupTag, 3],
    [tags.other, 0],
  ]);
  for (const [index, { tag }] of entries.entries()) {
    const shift = shifts.get(tag);
    if (shift === undefined) continue;
    fitted.writeUInt16LE((mode >> shift) & permissionsMax, headerBytes + index * entryBytes + 2);
  }
  return fitted;
}
