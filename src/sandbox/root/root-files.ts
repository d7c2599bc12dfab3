/** Looks at files of an image's root as a process inside would: no symlink leads out of it. */

import { closeSync, fstatSync, readdirSync, readFileSync, type Dirent, type Stats } from 'node:fs';

import { errorCode } from '../../base/index.ts';
import { RootFileError, SystemCallError } from '../errors.ts';
import { openInRoot } from '../syscalls.ts';

/** A file of accounts or of a search list; more than this is no such thing. */
const readSizeMaxBytes = 4 * 1024 * 1024;

/** What `path` leads to, symlinks followed; undefined when that is nothing. */
export function statInRoot(root: string, path: string): Stats | undefined {
  const fd = tryOpen(root, path, true);
  if (fd === undefined) return undefined;
  try {
    return fstatSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * The text of a regular file; undefined when it is missing. Throws `ERR_SANDBOX_ROOT_FILE` for
 * anything else.
 */
export function readTextInRoot(root: string, path: string): string | undefined {
  const fd = tryOpen(root, path, false);
  if (fd === undefined) return undefined;
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new RootFileError(path, 'not a regular file');
    if (stats.size > readSizeMaxBytes) throw new RootFileError(path, `${stats.size} bytes long`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** What a directory holds; undefined when it is missing, or is none. */
export function listInRoot(root: string, path: string): readonly Dirent[] | undefined {
  const fd = tryOpen(root, path, false);
  if (fd === undefined) return undefined;
  try {
    if (!fstatSync(fd).isDirectory()) return undefined;
    return readdirSync(`/proc/self/fd/${fd}`, { withFileTypes: true });
  } finally {
    closeSync(fd);
  }
}

function tryOpen(root: string, path: string, pathOnly: boolean): number | undefined {
  try {
    return openInRoot(root, path, { pathOnly });
  } catch (thrown) {
    const errno = thrown instanceof SystemCallError ? thrown.errno : errorCode(thrown);
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP') return undefined;
    throw thrown;
  }
}
