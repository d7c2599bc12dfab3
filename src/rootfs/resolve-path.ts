/**
 * Finds the directory that a path of a layer means, the way containerd does (continuity's `fs.RootPath`):
 * symbolic links are followed as if the image's root were `/`, so that no path leaves it.
 */

import type { ByteString } from '../base/index.ts';
import { cleanNames, joinNames } from './entry-path.ts';
import type { MutableDirectory } from './mutable-tree.ts';

/** As many as containerd follows. Linux itself stops at 40. */
const linksFollowedMax = 255;

export interface ResolvedDirectory {
  /** The directories that exist on the way, the root first. */
  readonly chain: MutableDirectory[];
  /** The names below the last of these that do not exist. */
  readonly missing: readonly ByteString[];
}

export type ResolveFailure = 'loop' | 'not-a-directory';

/** Resolves cleaned names, every one of them, to a directory, which need not exist. */
export function resolveDirectory(
  root: MutableDirectory,
  names: readonly ByteString[],
): ResolvedDirectory | ResolveFailure {
  let chain = [root];
  let directory = root;
  let walked: ByteString[] = [];
  const pending = names.toReversed();
  let linksFollowed = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const node = directory.entries.get(name);
    if (node === undefined) return { chain, missing: [name, ...pending.toReversed()] };
    if (node.type === 'directory') {
      chain.push(node);
      walked.push(name);
      directory = node;
    } else if (node.type === 'symlink') {
      linksFollowed += 1;
      if (linksFollowed > linksFollowedMax) return 'loop';
      const { target } = node;
      const meant = target.startsWith('/') ? target : `${joinNames(walked)}/${target}`;
      pending.push(...cleanNames(meant).toReversed());
      chain = [root];
      directory = root;
      walked = [];
    } else return 'not-a-directory';
  }
  return { chain, missing: [] };
}
