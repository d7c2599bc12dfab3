import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { Priority } from '../base/index.ts';
import { PriorityGate, type Ticket } from './priority-gate.ts';

interface Visitor {
  readonly ticket: Ticket & { priority: Priority };
  readonly abort: AbortController;
  readonly leave: () => void;
  isInside: boolean;
  readonly done: Promise<string>;
}

function visit(gate: PriorityGate, priority: Priority): Visitor {
  const abort = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const ticket = { priority, signal: abort.signal };
  const state = { isInside: false };
  const done = gate
    .run(ticket, async () => {
      state.isInside = true;
      await promise;
    })
    .then(
      () => 'done',
      (thrown: unknown) => String(thrown),
    )
    .finally(() => {
      state.isInside = false;
    });
  return Object.assign(state, { ticket, abort, leave: resolve, done });
}

const turn = (): Promise<void> => new Promise(setImmediate);

test('prefetch takes only its share of the places, and a reader is let in before it', async () => {
  const gate = new PriorityGate({ places: 3, prefetchPlaces: 1 });
  const ahead = [visit(gate, 'prefetch'), visit(gate, 'prefetch')];
  const readers = [1, 2, 3].map(() => visit(gate, 'foreground'));
  await turn();
  const inside = (): boolean[] => [...ahead, ...readers].map(({ isInside }) => isInside);
  assert.deepEqual(inside(), [true, false, true, true, false]);
  readers[0]?.leave();
  await turn();
  assert.deepEqual(inside(), [true, false, false, true, true]);
  readers[1]?.leave();
  await turn();
  assert.deepEqual(inside(), [true, false, false, false, true], 'a place stays free for a reader');
  ahead[0]?.leave();
  await turn();
  assert.deepEqual(inside(), [false, true, false, false, true]);
});

test('who is raised is let in with the readers, and frees a place for prefetch if he was inside', async () => {
  const gate = new PriorityGate({ places: 2, prefetchPlaces: 1 });
  const [inside, first, second] = [1, 2, 3].map(() => visit(gate, 'prefetch'));
  assert.ok(inside !== undefined && first !== undefined && second !== undefined);
  await turn();
  assert.deepEqual([inside.isInside, first.isInside, second.isInside], [true, false, false]);
  second.ticket.priority = 'foreground';
  gate.review();
  await turn();
  assert.deepEqual([first.isInside, second.isInside], [false, true]);
  second.leave();
  inside.ticket.priority = 'foreground';
  await turn();
  gate.review();
  await turn();
  assert.deepEqual([inside.isInside, first.isInside], [true, true]);
});

test('where work cannot be stopped, its place is free when it has ended, and who gave it up has left', async () => {
  const gate = new PriorityGate({ places: 1, prefetchPlaces: 1, keepsPlaces: true });
  const [first, second] = [visit(gate, 'foreground'), visit(gate, 'foreground')];
  await turn();
  first.abort.abort(new Error('gave up'));
  assert.equal(await first.done, 'Error: gave up');
  assert.deepEqual([gate.insideCount, second.isInside], [1, false]);
  first.leave();
  await turn();
  assert.equal(second.isInside, true);
  second.leave();
  assert.equal(await second.done, 'done');
  await turn();
  assert.equal(gate.insideCount, 0);
});

test('places that are added let in who waits, and of fewer none is taken away', async () => {
  const gate = new PriorityGate({ places: 1, prefetchPlaces: 1 });
  const visitors = [1, 2, 3].map(() => visit(gate, 'foreground'));
  await turn();
  gate.resize({ places: 2, prefetchPlaces: 1 });
  await turn();
  assert.equal(gate.insideCount, 2);
  gate.resize({ places: 1, prefetchPlaces: 1 });
  visitors[0]?.leave();
  await turn();
  assert.deepEqual([gate.insideCount, gate.waitingCount], [1, 1]);
  visitors[1]?.leave();
  await turn();
  assert.equal(visitors[2]?.isInside, true);
  visitors[2].leave();
  await visitors[2].done;
});

test('never more inside than there are places, and none is lost, whoever comes, leaves or gives up', async () => {
  const steps = fc.array(
    fc.record(
      {
        kind: fc.constantFrom('reader', 'ahead', 'leave', 'abort', 'raise'),
        which: fc.nat(20),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 3 }), async (program, places) => {
      const gate = new PriorityGate({ places, prefetchPlaces: 1 });
      const visitors: Visitor[] = [];
      for (const { kind, which } of program) {
        const chosen = visitors[which % Math.max(1, visitors.length)];
        if (kind === 'reader') visitors.push(visit(gate, 'foreground'));
        else if (kind === 'ahead') visitors.push(visit(gate, 'prefetch'));
        else if (kind === 'leave' && chosen?.isInside === true) chosen.leave();
        else if (kind === 'abort') chosen?.abort.abort(new Error('gave up'));
        else if (kind === 'raise' && chosen !== undefined) {
          chosen.ticket.priority = 'foreground';
          gate.review();
        }
        if (which % 2 === 0) await turn();
        const inside = visitors.filter(({ isInside }) => isInside);
        assert.ok(inside.length <= places);
      }
      for (const visitor of visitors) visitor.leave();
      const ends = await Promise.all(visitors.map(({ done }) => done));
      assert.ok(ends.every((end) => end === 'done' || end === 'Error: gave up'));
      assert.deepEqual([gate.insideCount, gate.waitingCount], [0, 0]);
    }),
  );
});
