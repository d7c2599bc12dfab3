/**
 * Finds the directory that a path of a layer means: symbolic links are followed as Linux would with the
 * image's root as `/`, so that no path leaves it and a file lands where the image's programs will see it.
 *
 * containerd (continuity's `fs.RootPath`) finds the same, save where a link's text has a `..` after another link:
 * that it takes lexically or not, depending on how deep the first link lies.
 */

import type { ByteString } from '../base/index.ts';
import type { MutableDirectory } from './mutable-tree.ts';

/** As many as containerd follows. Linux itself stops at 40. */
const linksFollowedMax = 255;

export interface ResolvedDirectory {
  /** The directories that exist on the way, the root first. The caller's to change. */
  readonly chain: MutableDirectory[];
  /** The names below the last of these that do not exist. */
  readonly missing: readonly ByteString[];
}

export type ResolveFailure = 'loop' | 'not-a-directory';

/** Resolves names and `..`, every one of them, to a directory, which need not exist. */
export function resolveDirectory(
  root: MutableDirectory,
  names: readonly ByteString[],
): ResolvedDirectory | ResolveFailure {
  const chain = [root];
  const missing: ByteString[] = [];
  const pending = names.toReversed();
  let linksFollowed = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === '..') {
      if (missing.pop() === undefined && chain.length > 1) chain.pop();
      continue;
    }
    const node = missing.length > 0 ? undefined : (chain.at(-1) ?? root).entries.get(name);
    if (node === undefined) missing.push(name);
    else if (node.type === 'directory') chain.push(node);
    else if (node.type === 'symlink') {
      linksFollowed += 1;
      if (linksFollowed > linksFollowedMax) return 'loop';
      if (node.target.startsWith('/')) chain.length = 1;
      pending.push(...stepsOf(node.target).toReversed());
    } else return 'not-a-directory';
  }
  return { chain, missing };
}

/** The names in a link's text and its `..`, which leads up from where the names before it have led. */
export function stepsOf(target: ByteString): ByteString[] {
  return target.split('/').filter((name) => name !== '' && name !== '.') as ByteString[];
}
