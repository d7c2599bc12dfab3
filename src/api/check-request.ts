/** What may be asked for, checked before anything is done. */

import { realpath, stat } from 'node:fs/promises';

import { errorMessage } from '../base/index.ts';
import { runtimesTenant } from '../runtimes/index.ts';
import { BadCompressionError, BadDirectoryError, BadNameError } from './errors.ts';

/** As for functions, whose logs lie below their tenant's name. */
const tenantPattern = /^[a-zA-Z0-9_-]{1,64}$/;
const imageNameMaxLength = 512;

/** Throws `ERR_API_BAD_NAME`. */
export function checkTenant(tenant: string): void {
  if (tenant === runtimesTenant) {
    throw new BadNameError(
      'tenant',
      tenant,
      'it is what runtimes belong to, see "thaw runtime ls"',
    );
  }
  if (tenantPattern.test(tenant)) return;
  throw new BadNameError('tenant', tenant, 'it must be 1 to 64 of the characters a-z A-Z 0-9 - _');
}

/** Throws `ERR_API_BAD_NAME`. An image's name is for people, and stands on a line of a list. */
export function checkImageName(name: string): void {
  const isGood = name.length <= imageNameMaxLength && /^[^\p{Cc}\p{Zl}\p{Zp}]+$/u.test(name);
  if (isGood) return;
  const rule = `it must be 1 to ${imageNameMaxLength} characters, none of them a control character`;
  throw new BadNameError('image', name, rule);
}

/** Throws `ERR_API_BAD_COMPRESSION`. What comes through the socket need not have been typed by our own command. */
export function checkCompression(name: string): void {
  if (name !== 'zstd') throw new BadCompressionError(name);
}

/** Throws `ERR_API_BAD_DIRECTORY` unless `path` is a directory. */
export async function checkDirectory(path: string): Promise<void> {
  const facts = await stat(path).catch((thrown: unknown) => {
    throw new BadDirectoryError(path, errorMessage(thrown));
  });
  if (!facts.isDirectory()) throw new BadDirectoryError(path, 'it is no directory');
}

/**
 * Throws `ERR_API_BAD_DIRECTORY` where a mount would hide one of the `own` directories, or lie in it: the agent would read
 * the store through the mount that it serves.
 */
export async function checkMountPoint(path: string, own: readonly string[]): Promise<void> {
  await checkDirectory(path);
  const mountPoint = await realpath(path);
  for (const directory of own) {
    const state = await realpath(directory).catch(() => directory); // not made yet
    if (!isWithin(mountPoint, state) && !isWithin(state, mountPoint)) continue;
    throw new BadDirectoryError(path, `state of Thaw lies there, see "${directory}"`);
  }
}

function isWithin(path: string, directory: string): boolean {
  return `${path}/`.startsWith(directory === '/' ? '/' : `${directory}/`);
}
