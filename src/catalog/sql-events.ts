/** The catalog's queue of asynchronous invokes, in SQL. */

import { NoSuchFunctionError } from './errors.ts';
import type { FunctionCatalog } from './function-records.ts';
import { eventFromRow, eventToRow } from './function-rows.ts';
import type { Transactions } from './sql-transactions.ts';

type Events = Pick<
  FunctionCatalog,
  'addEvent' | 'dueEvents' | 'nextEventDueMs' | 'countEvents' | 'postponeEvent' | 'removeEvent'
>;

export function eventCatalog({ read, change }: Transactions): Events {
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
    dueEvents: (nowMs, ofEachTenantMax) =>
      read(async (db) => {
        // By ids alone, so that no payload is sorted.
        const ranked = db
          .selectFrom('function_events')
          .select((row) => [
            'id',
            row.fn
              .agg<number | string>('row_number')
              .over((over) =>
                over
                  .partitionBy('tenant')
                  .orderBy('due_at_ms')
                  .orderBy('accepted_at_ms')
                  .orderBy('id'),
              )
              .as('rank'),
          ])
          .where('due_at_ms', '<=', nowMs);
        const rows = await db
          .selectFrom(ranked.as('ranked'))
          .innerJoin('function_events', 'function_events.id', 'ranked.id')
          .selectAll('function_events')
          .where('rank', '<=', ofEachTenantMax)
          .orderBy('due_at_ms')
          .orderBy('accepted_at_ms')
          .orderBy('function_events.id')
          .execute();
        return rows.map(eventFromRow);
      }),
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
    postponeEvent: (id, { dueAtMs, failedAttempts }) =>
      change(async (db) => {
        await db
          .updateTable('function_events')
          .set({ due_at_ms: dueAtMs, failed_attempts: failedAttempts })
          .where('id', '=', id)
          .execute();
      }),
    removeEvent: (id) =>
      change(async (db) => {
        await db.deleteFrom('function_events').where('id', '=', id).execute();
      }),
  };
}
