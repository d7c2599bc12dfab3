/**
 * The rule that object names keep, and where things lie in a store: everything of a root (paper
 * §3.4) under the root's own prefix.
 */

import { StoreBadNameError } from './errors.ts';

const nameLengthMax = 512;
/** What a file name may have on every file system in use, in bytes. */
const namePartLengthMax = 255;

/** `digestHex`: SHA-256 of the ciphertext, 64 hex digits. */
export function chunkObjectName(rootId: string, digestHex: string): string {
  return `${rootId}/chunks/${digestHex}`;
}

/** `manifestId`: SHA-256 of the manifest's bytes, 64 hex digits. */
export function manifestObjectName(rootId: string, manifestId: string): string {
  return `${rootId}/manifests/${manifestId}`;
}

/** Of the image of that manifest: what its starts read. The only object that is ever replaced. */
export function startProfileObjectName(rootId: string, manifestId: string): string {
  return `${rootId}/profiles/${manifestId}`;
}

/** `name`: 64 hex digits that publishing makes of whose record of which layer it is. */
export function layerRecordObjectName(rootId: string, name: string): string {
  return `${rootId}/layers/${name}`;
}

/** `archiveId`: 64 hex digits, see the archive room. `piece`: the first is 0, and the only one that has the name alone. */
export function archiveObjectName(rootId: string, archiveId: string, piece = 0): string {
  return `${rootId}/archives/${archiveId}${piece === 0 ? '' : `.${piece}`}`;
}

/** The rule that `name`, of `parts`, breaks; undefined if it breaks none. */
function problemOf(name: string, parts: readonly string[]): string | undefined {
  if (!/^[A-Za-z0-9._/-]*$/.test(name)) return 'only "a-z A-Z 0-9 . _ - /" are allowed';
  if (name.length > nameLengthMax) {
    return `it is ${name.length} characters, ${nameLengthMax} are allowed`;
  }
  const forbidden = parts.find((part) => part === '' || part === '.' || part === '..');
  if (forbidden !== undefined) return `the part "${forbidden}" is not allowed`;
  const isPartTooLong = parts.some((part) => part.length > namePartLengthMax);
  return isPartTooLong ? `a part has more than ${namePartLengthMax} characters` : undefined;
}

function checkParts(name: string, parts: readonly string[]): void {
  const problem = problemOf(name, parts);
  if (problem !== undefined) throw new StoreBadNameError(name, problem);
}

/** True if `name` keeps the rule at `ObjectStore`. */
export function isObjectName(name: string): boolean {
  return problemOf(name, name.split('/')) === undefined;
}

/** Throws `ERR_STORE_BAD_NAME` unless `name` keeps the rule at `ObjectStore`. */
export function checkObjectName(name: string): void {
  checkParts(name, name.split('/'));
}

/**
 * The same for a prefix to list: the start of a valid name, possibly empty or in the midst of a
 * part. Throws `ERR_STORE_BAD_NAME`.
 */
export function checkObjectPrefix(prefix: string): void {
  checkParts(prefix, prefix.split('/').slice(0, -1));
}
