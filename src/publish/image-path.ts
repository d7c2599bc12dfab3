/** Finds a file in an image as Linux would with the image's root as `/`: no link leads out of it. */

import type { ByteString } from '../base/index.ts';
import type { Ext4Path, Ext4Reader } from '../ext4/index.ts';
import { ImageFileMissingError, ImageLinkLoopError, NotADirectoryInImageError } from './errors.ts';

/** As many as Linux follows for one path. */
const linksFollowedMax = 40;

/**
 * What `path` names, under its real path. Links on the way are followed; one at the end only with `followLast`, or if
 * a slash follows its name. Throws `ERR_PUBLISH_FILE_MISSING`, `ERR_PUBLISH_NOT_A_DIRECTORY`, `ERR_PUBLISH_LINK_LOOP`
 * and what the reader throws.
 */
export async function findInImage(
  reader: Ext4Reader,
  path: ByteString,
  { followLast }: { readonly followLast: boolean },
): Promise<Ext4Path> {
  const root: Ext4Path = { path: '' as ByteString, inode: await reader.root() };
  const chain = [root];
  const pending = stepsOf(path).toReversed();
  let linksFollowed = 0;
  for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
    const here = chain.at(-1) ?? root;
    if (here.inode.type !== 'directory') throw new NotADirectoryInImageError(path, here.path);
    if (step === '.') continue;
    if (step === '..') {
      if (chain.length > 1) chain.pop();
      continue;
    }
    const inode = await reader.find(here.inode, step);
    if (inode === undefined) throw new ImageFileMissingError(path);
    if (inode.type === 'symlink' && (followLast || pending.length > 0)) {
      linksFollowed += 1;
      if (linksFollowed > linksFollowedMax) throw new ImageLinkLoopError(path);
      const target = await reader.readLink(inode);
      if (target.startsWith('/')) chain.length = 1;
      pending.push(...stepsOf(target).toReversed());
    } else {
      const prefix = here.path === '' ? '' : `${here.path}/`;
      chain.push({ path: `${prefix}${step}` as ByteString, inode });
    }
  }
  return chain.at(-1) ?? root;
}

/** Names, `.` and `..`. A slash at the end means a directory, as `.` behind it does. */
function stepsOf(path: ByteString): ByteString[] {
  const names = path.split('/').filter((name) => name !== '') as ByteString[];
  return path.endsWith('/') ? [...names, '.' as ByteString] : names;
}
