/** Paths of tar entries, and the names by which layers say what they remove. Pure. */

import type { ByteString } from '../base/index.ts';

/**
 * The names that a path consists of, cleaned as if it started at the root: `.` and empty names are
 * dropped, `..` takes the name before it away and stops at the root. Purely lexical, as containerd has it.
 */
export function cleanNames(path: string): ByteString[] {
  const names: ByteString[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name as ByteString);
  }
  return names;
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
