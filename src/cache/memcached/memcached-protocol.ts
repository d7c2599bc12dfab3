/**
 * The commands of memcached's meta protocol that Thaw uses, and what answers to each. Source: memcached's doc/protocol.txt, "Meta
 * Commands"; memcached 1.6.10 and later. Nothing here does input or output.
 */

import { assert } from '../../base/index.ts';

/** One answer of a server: a value, the place of one that was not wanted, or a line that is no value. */
export type Reply =
  | { readonly kind: 'value'; readonly value: Uint8Array }
  | { readonly kind: 'skipped' }
  | { readonly kind: 'line'; readonly line: string };

/** One request, and how its answer reads. */
export interface Command<Result> {
  /** Its line, with the line's end. */
  readonly line: string;
  /** What follows the line, sent one after another. */
  readonly parts: readonly Uint8Array[];
  /** True if a value may answer. */
  readonly hasValue: boolean;
  /** What the answer says; undefined if this command has no such answer. */
  readonly read: (reply: Reply) => { readonly result: Result } | undefined;
}

const lineEnd = Buffer.from('\r\n', 'latin1');
const done = { result: undefined } as const;

/** `mg`: the value, or undefined if there is none. */
export function getCommand(key: string): Command<Uint8Array | undefined> {
  return { line: `mg ${checked(key)} v\r\n`, parts: [], hasValue: true, read: readGet };
}

function readGet(reply: Reply): { result: Uint8Array | undefined } | undefined {
  if (reply.kind === 'value') return { result: reply.value };
  return reply.kind === 'line' && reply.line === 'EN' ? done : undefined;
}

/** `ms`: sets the value that `parts` make. */
export function setCommand(key: string, parts: readonly Uint8Array[]): Command<undefined> {
  const lengthBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  return {
    line: `ms ${checked(key)} ${lengthBytes}\r\n`,
    parts: [...parts, lineEnd],
    hasValue: false,
    read: readSet,
  };
}

const readSet = readLine(['HD']);

/** `md`: forgets the value, if there is one. */
export function deleteCommand(key: string): Command<undefined> {
  return { line: `md ${checked(key)}\r\n`, parts: [], hasValue: false, read: readDelete };
}

const readDelete = readLine(['HD', 'NF']);

/** `mn`: nothing, but an answer. */
export const probeCommand: Command<undefined> = {
  line: 'mn\r\n',
  parts: [],
  hasValue: false,
  read: readLine(['MN']),
};

/** `flush_all`: forgets every value. */
export const flushCommand: Command<undefined> = {
  line: 'flush_all\r\n',
  parts: [],
  hasValue: false,
  read: readLine(['OK']),
};

/**
 * Whether the server asks for a password (`-Y`): such a one refuses an `mn` before it got one, and the connection goes on. It MUST be the
 * first command of a connection.
 */
export const challengeCommand: Command<'asks' | 'open'> = {
  ...probeCommand,
  read: (reply) => {
    if (reply.kind !== 'line') return undefined;
    if (reply.line === 'MN') return { result: 'open' };
    return reply.line === 'CLIENT_ERROR unauthenticated' ? { result: 'asks' } : undefined;
  },
};

/**
 * Memcached's ASCII authentication (`-Y`): a `set` of any key, whose value is the user and the password. To a server that asks for none
 * it is a `set` like another, and every client could read it: ask with `challengeCommand` first. As a second line the value is
 * stored as expired already, which a server that asks for a password does not look at.
 */
export function authCommand(user: string, password: string): Command<'accepted' | 'refused'> {
  const secret = Buffer.from(`${user} ${password}`, 'utf8');
  return {
    line: `set auth 0 -1 ${secret.byteLength}\r\n`,
    parts: [secret, lineEnd],
    hasValue: false,
    read: (reply) => {
      if (reply.kind !== 'line') return undefined;
      return { result: reply.line === 'STORED' ? 'accepted' : 'refused' };
    },
  };
}

function readLine(lines: readonly string[]): Command<undefined>['read'] {
  return (reply) => (reply.kind === 'line' && lines.includes(reply.line) ? done : undefined);
}

/** Anything else in a key would end it, or the command. */
function checked(key: string): string {
  assert(/^[\x21-\x7e]{1,250}$/.test(key), 'A key is 1 to 250 characters of printable ASCII');
  return key;
}
