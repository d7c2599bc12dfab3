/**
 * Every change of the tables, in order of names. A migration that has been released is never edited
 * and never removed: an unknown name in a database means that a newer Thaw has been there.
 */

import type { Migration } from 'kysely/migration';

import * as firstTables from './0001-first-tables.ts';
import * as imageCodec from './0002-image-codec.ts';
import * as functionVersions from './0003-function-versions.ts';
import * as accessKeys from './0004-access-keys.ts';
import * as eventClaims from './0005-event-claims.ts';

export const migrations: Readonly<Record<string, Migration>> = {
  '0001-first-tables': firstTables,
  '0002-image-codec': imageCodec,
  '0003-function-versions': functionVersions,
  '0004-access-keys': accessKeys,
  '0005-event-claims': eventClaims,
};
