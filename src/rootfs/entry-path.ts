/** Paths of tar entries, and the names by which layers say what they remove. Pure. */

import type { ByteString } from '../base/index.ts';

const unclean = /(?:^|\/)\.{0,2}(?:\/|$)/;

/**
 * The path cleaned as if it started at the root, without leading or trailing slash: `.` and empty names are
 * dropped, `..` takes the name before it away and stops at the root. Purely lexical, as containerd has it.
 * The root is the empty path.
 */
export function cleanPath(path: string): ByteString {
  if (!unclean.test(path)) return path as ByteString;
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return names.join('/') as ByteString;
}

/** The names that the path consists of once it is clean. */
export function cleanNames(path: string): ByteString[] {
  return splitPath(cleanPath(path));
}

/** The names that a clean path consists of. They share its memory. */
export function splitPath(path: ByteString): ByteString[] {
  return path === '' ? [] : (path.split('/') as ByteString[]);
}

export function joinNames(names: readonly ByteString[]): ByteString {
  return names.join('/') as ByteString;
}

const whiteoutPrefix = '.wh.';
const metadataPrefix = '.wh..wh.';
const opaqueName = '.wh..wh..opq';

/**
 * What an entry's name says, after OCI image-spec, layer.md, "Representing Changes": that the directory
 * hides all that lower layers have in it, that one name of lower layers is removed, or nothing special.
 */
export type NameMeaning =
  | { readonly kind: 'opaque' }
  | { readonly kind: 'whiteout'; readonly hidden: ByteString }
  | { readonly kind: 'plain' };

const opaque: NameMeaning = { kind: 'opaque' };
const plain: NameMeaning = { kind: 'plain' };

export function meaningOf(name: ByteString): NameMeaning {
  if (name === opaqueName) return opaque;
  if (!name.startsWith(whiteoutPrefix)) return plain;
  return { kind: 'whiteout', hidden: name.slice(whiteoutPrefix.length) as ByteString };
}

/** Whether the path belongs to AUFS's own bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), which is no part of an image. */
export function isAufsMetadata(names: readonly ByteString[]): boolean {
  return names.some(
    (name, index) =>
      name.startsWith(metadataPrefix) && !(name === opaqueName && index === names.length - 1),
  );
}
