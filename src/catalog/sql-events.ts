/**
 * The catalog's queue of asynchronous invokes, in SQL.
 *
 * Invariants: an event has one claim at most (its key), and no claim outlives its event or its runner (their foreign keys).
 */

import { NoSuchFunctionError } from './errors.ts';
import type { EventRunner, FunctionCatalog, QueuedEvent } from './function-records.ts';
import { eventFromRow, eventToRow } from './function-rows.ts';
import type { Db, Transactions } from './sql-transactions.ts';

type Events = Pick<
  FunctionCatalog,
  'addEvent' | 'dueEvents' | 'nextEventDueMs' | 'countEvents' | 'postponeEvent' | 'removeEvent'
>;
type Claims = Pick<
  FunctionCatalog,
  'claimEvents' | 'beatEventRunner' | 'listEventRunners' | 'removeEventRunner'
>;

export function eventCatalog(transactions: Transactions): Events & Claims {
  return { ...events(transactions), ...claims(transactions) };
}

function events({ read, change }: Transactions): Events {
  return {
    addEvent: (event) =>
      change(async (db) => {
        const { tenant, functionName: name } = event;
        const found = await db
          .selectFrom('functions')
          .select('name')
          .where('tenant', '=', tenant)
          .where('name', '=', name)
          .executeTakeFirst();
        if (found === undefined) throw new NoSuchFunctionError({ tenant, name });
        await db.insertInto('function_events').values(eventToRow(event)).execute();
      }),
    dueEvents: (of) => read((db) => readDue(db, of)),
    nextEventDueMs: (afterMs) =>
      read(async (db) => {
        const row = await db
          .selectFrom('function_events')
          .select('due_at_ms')
          .where('due_at_ms', '>', afterMs)
          .orderBy('due_at_ms')
          .limit(1)
          .executeTakeFirst();
        return row === undefined ? undefined : Number(row.due_at_ms);
      }),
    countEvents: (tenant) =>
      read(async (db) => {
        const { count } = await db
          .selectFrom('function_events')
          .select((row) => row.fn.countAll<number | string>().as('count'))
          .where('tenant', '=', tenant)
          .executeTakeFirstOrThrow();
        return Number(count);
      }),
    postponeEvent: ({ id, runnerId }, { dueAtMs, failedAttempts }) =>
      change(async (db) => {
        if (await isClaimedByOther(db, id, runnerId)) return;
        await db.deleteFrom('event_claims').where('event_id', '=', id).execute();
        await db
          .updateTable('function_events')
          .set({ due_at_ms: dueAtMs, failed_attempts: failedAttempts })
          .where('id', '=', id)
          .execute();
      }),
    removeEvent: ({ id, runnerId }) =>
      change(async (db) => {
        if (await isClaimedByOther(db, id, runnerId)) return;
        await db.deleteFrom('function_events').where('id', '=', id).execute();
      }),
  };
}

function claims({ read, change }: Transactions): Claims {
  return {
    claimEvents: (runner, of) =>
      change(async (db) => {
        await writeBeat(db, runner);
        await claimFree(db, runner.id, of);
        return await readClaimed(db, runner.id, of.ids);
      }),
    beatEventRunner: (runner, ids) =>
      change(async (db) => {
        await writeBeat(db, runner);
        await claimFree(db, runner.id, { ids });
      }),
    listEventRunners: () =>
      read(async (db) => {
        const rows = await db.selectFrom('event_runners').selectAll().execute();
        return rows.map(({ id, beat }) => ({ id, beat: Number(beat) }));
      }),
    removeEventRunner: (id, beat) =>
      change(async (db) => {
        const claimed = await countClaims(db, id);
        const ofThatId = db.deleteFrom('event_runners').where('id', '=', id);
        const { numDeletedRows } = await (
          beat === undefined ? ofThatId : ofThatId.where('beat', '=', beat)
        ).executeTakeFirst();
        return numDeletedRows > 0n ? claimed : 0;
      }),
  };
}

async function readDue(
  db: Db,
  { runnerId, nowMs, ofEachTenantMax }: Parameters<Events['dueEvents']>[0],
): Promise<readonly Pick<QueuedEvent, 'id' | 'tenant'>[]> {
  const ranked = db
    .selectFrom('function_events')
    .select((row) => [
      'id',
      'tenant',
      'due_at_ms',
      'accepted_at_ms',
      row.fn
        .agg<number | string>('row_number')
        .over((over) =>
          over.partitionBy('tenant').orderBy('due_at_ms').orderBy('accepted_at_ms').orderBy('id'),
        )
        .as('rank'),
    ])
    .where('due_at_ms', '<=', nowMs)
    .where((row) =>
      row.not(
        row.exists(
          row
            .selectFrom('event_claims')
            .select('event_id')
            .whereRef('event_id', '=', 'function_events.id')
            .where('runner_id', '<>', runnerId),
        ),
      ),
    );
  return await db
    .selectFrom(ranked.as('ranked'))
    .select(['id', 'tenant'])
    .where('rank', '<=', ofEachTenantMax)
    .orderBy('due_at_ms')
    .orderBy('accepted_at_ms')
    .orderBy('id')
    .execute();
}

async function writeBeat(db: Db, { id, beat }: EventRunner): Promise<void> {
  await db
    .insertInto('event_runners')
    .values({ id, beat })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ beat }))
    .execute();
}

/** Those that nobody has claimed and, where a moment is given, that are due by then. */
async function claimFree(
  db: Db,
  runnerId: string,
  { ids, nowMs }: { readonly ids: readonly string[]; readonly nowMs?: number },
): Promise<void> {
  if (ids.length === 0) return;
  const named = db.selectFrom('function_events').select('id').where('id', 'in', ids);
  const due = await (nowMs === undefined ? named : named.where('due_at_ms', '<=', nowMs)).execute();
  if (due.length === 0) return;
  await db
    .insertInto('event_claims')
    .values(due.map(({ id }) => ({ event_id: id, runner_id: runnerId })))
    .onConflict((conflict) => conflict.column('event_id').doNothing())
    .execute();
}

async function readClaimed(
  db: Db,
  runnerId: string,
  ids: readonly string[],
): Promise<readonly QueuedEvent[]> {
  if (ids.length === 0) return [];
  const rows = await db
    .selectFrom('event_claims')
    .innerJoin('function_events', 'function_events.id', 'event_claims.event_id')
    .selectAll('function_events')
    .where('runner_id', '=', runnerId)
    .where('event_id', 'in', ids)
    .execute();
  const byId = new Map(rows.map((row) => [row.id, eventFromRow(row)]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

async function countClaims(db: Db, runnerId: string): Promise<number> {
  const { count } = await db
    .selectFrom('event_claims')
    .select((row) => row.fn.countAll<number | string>().as('count'))
    .where('runner_id', '=', runnerId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

async function isClaimedByOther(db: Db, eventId: string, runnerId: string): Promise<boolean> {
  const other = await db
    .selectFrom('event_claims')
    .select('runner_id')
    .where('event_id', '=', eventId)
    .where('runner_id', '<>', runnerId)
    .executeTakeFirst();
  return other !== undefined;
}
