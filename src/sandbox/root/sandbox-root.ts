/** Makes a root that a container runtime can mount into out of an image's read-only one. */

import { chmod, chown, mkdir } from 'node:fs/promises';
import { join, posix } from 'node:path';

import { assert } from '../../base/index.ts';
import { isBelow } from './inside-path.ts';
import { statInRoot } from './root-files.ts';
import { detachMount, mountReadOnlyOverlay } from '../syscalls.ts';

export interface SandboxRoot {
  readonly path: string;
  /** Takes back whatever was mounted. */
  release(): void;
}

/** As everywhere; runc gives the tmpfs there the mode of the directory below it. */
const tmpMode = 0o1777;

/**
 * The image's root as it is if it has all `needed` directories. Otherwise a read-only overlay of it
 * below a tree with just the missing ones, since nothing can be created in a read-only image.
 */
export async function prepareRoot(
  imageRoot: string,
  needed: readonly string[],
  directory: string,
): Promise<SandboxRoot> {
  const missing = needed.filter((path) => {
    const stats = statInRoot(imageRoot, path);
    return stats === undefined || (path === '/tmp' && (stats.mode & 0o7777) !== tmpMode);
  });
  if (missing.length === 0) return { path: imageRoot, release: () => {} };
  const skeleton = join(directory, 'skeleton');
  const path = join(directory, 'root');
  await mkdir(path);
  await makeLike(imageRoot, skeleton, '/');
  for (const directoryPath of missing) await makeWithParents(imageRoot, skeleton, directoryPath);
  if (missing.includes('/tmp')) await chmod(join(skeleton, 'tmp'), tmpMode);
  mountReadOnlyOverlay([skeleton, imageRoot], path);
  return { path, release: () => detachMount(path) };
}

async function makeWithParents(imageRoot: string, skeleton: string, path: string): Promise<void> {
  if (path === '/') return;
  await makeWithParents(imageRoot, skeleton, posix.dirname(path));
  await makeLike(imageRoot, skeleton, path);
}

/**
 * A directory with the mode and owner that the image's has there: the upper one's count in an
 * overlay.
 */
async function makeLike(imageRoot: string, skeleton: string, path: string): Promise<void> {
  const target = join(skeleton, path);
  assert(isBelow(target, skeleton), `"${path}" leads out of a sandbox's root`);
  await mkdir(target, { recursive: true });
  await chmod(target, 0o755); // whatever the umask
  const stats = statInRoot(imageRoot, path);
  if (stats?.isDirectory() !== true) return;
  await chown(target, stats.uid, stats.gid);
  await chmod(target, stats.mode & 0o7777);
}
