/**
 * Resolves an image's user in the image's own account files. The forms are those of the OCI image
 * specification ("config.md", User): `user`, `uid`, `user:group`, `uid:gid`, `uid:group`,
 * `user:gid`.
 */

import { SandboxUserError } from '../errors.ts';
import { readTextInRoot } from './root-files.ts';

export interface ImageUser {
  readonly uid: number;
  readonly gid: number;
  /**
   * Supplementary groups, rising: `gid`, so that no file mode can exclude it (CVE-2022-36109), and
   * those that list the user as a member, unless the group was given explicitly.
   */
  readonly additionalGids: readonly number[];
  /** From /etc/passwd; `/` for a uid that is not there. */
  readonly home: string;
}

const idMax = 0xffff_fffe; // the highest value means "leave it" to setuid(2)

/** Looks `user` up. Empty is root. Throws `ERR_SANDBOX_USER`, `ERR_SANDBOX_ROOT_FILE`. */
export function resolveImageUser(root: string, user: string): ImageUser {
  const [name = '', group, ...rest] = user.split(':');
  if (rest.length > 0) throw new SandboxUserError(user, 'more than one colon');
  if (group === '') throw new SandboxUserError(user, 'the group after the colon is empty');
  const groups = fieldsOf(readTextInRoot(root, '/etc/group'));
  const account = findAccount(user, name === '' ? '0' : name, readTextInRoot(root, '/etc/passwd'));
  const { uid, home } = account;
  if (group !== undefined) {
    const gid = findGroup(user, group, groups);
    return { uid, gid, additionalGids: [gid], home };
  }
  const additional = groups.filter(([, , , members = '']) => {
    return account.name !== undefined && members.split(',').includes(account.name);
  });
  const gids = additional.map(([, , gid]) => parseId(gid)).filter((gid) => gid !== undefined);
  return {
    uid,
    gid: account.gid,
    home,
    additionalGids: [...new Set([account.gid, ...gids])].sort((a, b) => a - b),
  };
}

interface Account {
  readonly name?: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/**
 * A name goes before a number, as an account may be named by digits; an unknown number is used as
 * it is.
 */
function findAccount(user: string, wanted: string, passwd: string | undefined): Account {
  const number = parseId(wanted);
  const accounts = fieldsOf(passwd);
  const found =
    accounts.find(([name]) => name === wanted) ??
    accounts.find(([, , uid]) => number !== undefined && parseId(uid) === number);
  if (found === undefined) {
    if (number !== undefined) return { uid: number, gid: 0, home: '/' };
    throw new SandboxUserError(user, `the image's /etc/passwd has no "${wanted}"`);
  }
  const [name, , uidField, gidField, , home] = found;
  const uid = parseId(uidField);
  const gid = parseId(gidField);
  if (uid === undefined || gid === undefined) {
    throw new SandboxUserError(user, `the image's /etc/passwd has no valid ids for "${wanted}"`);
  }
  return { ...(name === undefined ? {} : { name }), uid, gid, home: home || '/' };
}

function findGroup(user: string, wanted: string, groups: readonly string[][]): number {
  const found = groups.find(([name]) => name === wanted);
  const gid = parseId(found === undefined ? wanted : found[2]);
  if (gid === undefined) {
    throw new SandboxUserError(user, `the image's /etc/group has no usable "${wanted}"`);
  }
  return gid;
}

function fieldsOf(text: string | undefined): string[][] {
  return (text ?? '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= idMax ? id : undefined;
}
