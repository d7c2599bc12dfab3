import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { Semaphore, SingleFlight, forEachLimited } from './limits.ts';

/** A promise that the test settles when it wants to. */
const gate = (): PromiseWithResolvers<void> => Promise.withResolvers<void>();

/** Lets everything run that needs no further event. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a Semaphore lets in as many as it has permits, and each that leaves lets in the one that waited longest', async () => {
  const semaphore = new Semaphore(2);
  const gates = Array.from({ length: 5 }, gate);
  const started: number[] = [];
  const all = gates.map(({ promise }, index) =>
    semaphore.run(async () => {
      started.push(index);
      await promise;
      return index;
    }),
  );
  await settle();
  assert.deepEqual(started, [0, 1]);
  gates[1]?.resolve();
  await settle();
  assert.deepEqual(started, [0, 1, 2]);
  gates[2]?.resolve();
  gates[0]?.resolve();
  await settle();
  assert.deepEqual(started, [0, 1, 2, 3, 4]);
  gates[3]?.resolve();
  gates[4]?.resolve();
  assert.deepEqual(await Promise.all(all), [0, 1, 2, 3, 4]);
});

test('a Semaphore gives the permit back when the work fails, also when it throws at once', async () => {
  const semaphore = new Semaphore(1);
  await assert.rejects(
    semaphore.run(async () => Promise.reject(new Error('later'))),
    /later/,
  );
  await assert.rejects(
    semaphore.run(() => {
      throw new Error('at once');
    }),
    /at once/,
  );
  assert.equal(await semaphore.run(async () => 'still open'), 'still open');
});

test('a newcomer cannot take the permit that has just been handed to a waiter', async () => {
  const semaphore = new Semaphore(1);
  const [first, order] = [gate(), [] as string[]];
  const enter = (name: string) => semaphore.run(async () => void order.push(name));
  const holder = semaphore.run(() => first.promise);
  const waiter = enter('waiter');
  // Arrives in the very turn in which the permit passes on.
  const newcomer = holder.then(() => enter('newcomer'));
  first.resolve();
  await Promise.all([waiter, newcomer]);
  assert.deepEqual(order, ['waiter', 'newcomer']);
});

test('a Semaphore never has more inside than permits and loses none of the work, in any order of arrivals and endings', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.boolean(), { maxLength: 12 }),
      async (scheduler, permits, outcomes) => {
        const semaphore = new Semaphore(permits);
        let inside = 0;
        let insideMax = 0;
        const runs = outcomes.map(async (succeeds, index) => {
          await scheduler.schedule(Promise.resolve(), `arrival ${index}`);
          await semaphore.run(async () => {
            inside += 1;
            insideMax = Math.max(insideMax, inside);
            await scheduler.schedule(Promise.resolve(), `work ${index}`);
            inside -= 1;
            if (!succeeds) throw new Error(`work ${index}`);
          });
        });
        const settled = Promise.allSettled(runs);
        await scheduler.waitFor(settled);
        assert.deepEqual(
          (await settled).map(({ status }) => status === 'fulfilled'),
          outcomes,
        );
        assert.equal(inside, 0);
        assert.ok(insideMax <= permits, `${insideMax} inside`);
      },
    ),
  );
});

test('a Semaphore without a permit cannot be made', () => {
  for (const permits of [0, -1, 1.5, NaN, Infinity]) {
    assert.throws(() => new Semaphore(permits), { code: 'ERR_INTERNAL' }, String(permits));
  }
});

test('SingleFlight runs the work of a key once for all who ask meanwhile, and again for who asks after', async () => {
  const flights = new SingleFlight<string, number>();
  const opened = gate();
  let runs = 0;
  const work = async (): Promise<number> => {
    await opened.promise;
    runs += 1;
    return runs;
  };
  const together = [flights.run('a', work), flights.run('a', work), flights.run('b', work)];
  assert.equal(flights.size, 2);
  opened.resolve();
  assert.deepEqual(await Promise.all(together), [1, 1, 2]);
  assert.equal(flights.size, 0);
  assert.equal(await flights.run('a', work), 3);
});

test('SingleFlight shares a failure too, and forgets it: the next call tries again', async () => {
  const flights = new SingleFlight<string, string>();
  const failing = async (): Promise<string> => Promise.reject(new Error('unreachable'));
  const outcomes = await Promise.allSettled([flights.run('a', failing), flights.run('a', failing)]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(await flights.run('a', async () => 'reached'), 'reached');
});

test('SingleFlight is not stuck on a key whose work threw before its first await', async () => {
  const flights = new SingleFlight<string, string>();
  const throwing = (): Promise<string> => {
    throw new Error('at once');
  };
  await assert.rejects(flights.run('a', throwing), /at once/);
  assert.equal(flights.size, 0);
  assert.equal(await flights.run('a', async () => 'fine'), 'fine');
});

test('SingleFlight never runs one key twice at a time, whatever settles in whatever order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ key: fc.integer({ min: 0, max: 2 }), succeeds: fc.boolean() }), {
        maxLength: 12,
      }),
      async (scheduler, calls) => {
        const flights = new SingleFlight<number, number>();
        const running = new Map<number, number>();
        let togetherMax = 0;
        const runs = scheduler.scheduleSequence(
          calls.map(({ key, succeeds }, index) => async () => {
            const run = flights.run(key, async () => {
              const together = (running.get(key) ?? 0) + 1;
              running.set(key, together);
              togetherMax = Math.max(togetherMax, together);
              await scheduler.schedule(Promise.resolve(), `work ${index}`);
              running.set(key, together - 1);
              if (!succeeds) throw new Error('failed');
              return key;
            });
            run.then(
              (value) => assert.equal(value, key),
              () => {},
            );
          }),
        );
        await scheduler.waitFor(runs.task);
        await scheduler.waitIdle();
        assert.equal(flights.size, 0);
        assert.equal(togetherMax, Math.min(1, calls.length));
      },
    ),
  );
});

test('forEachLimited() starts in order, with at most the limit under way', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 12 }),
      async (scheduler, limit, count) => {
        const items = Array.from({ length: count }, (_, index) => index);
        const started: number[] = [];
        let inside = 0;
        let insideMax = 0;
        const done = forEachLimited(items, limit, async (item) => {
          started.push(item);
          inside += 1;
          insideMax = Math.max(insideMax, inside);
          await scheduler.schedule(Promise.resolve(), `item ${item}`);
          inside -= 1;
        });
        await scheduler.waitFor(done);
        assert.deepEqual(started, items);
        assert.equal(inside, 0);
        assert.equal(insideMax, Math.min(limit, count));
      },
    ),
  );
});

test('forEachLimited() takes items as they come, and no sooner than it has room for them', async () => {
  let taken = 0;
  async function* source(): AsyncGenerator<number> {
    for (; taken < 10; taken += 1) yield taken;
  }
  const opened = gate();
  const done = forEachLimited(source(), 2, () => opened.promise);
  await settle();
  assert.equal(taken, 1, 'a generator stands at its last yield');
  opened.resolve();
  await done;
  assert.equal(taken, 10);
});

test('forEachLimited() on a failure starts nothing more, waits for the rest, closes the source and throws the first', async () => {
  const gates = Array.from({ length: 3 }, gate);
  const started: number[] = [];
  let closed = false;
  function* source(): Generator<number> {
    try {
      yield* [0, 1, 2, 3, 4];
    } finally {
      closed = true;
    }
  }
  let ended = false;
  const done = forEachLimited(source(), 3, async (item) => {
    started.push(item);
    await gates[item]?.promise;
  }).finally(() => {
    ended = true;
  });
  const outcome = assert.rejects(done, /the first/);
  await settle();
  gates[1]?.reject(new Error('the first'));
  await settle();
  assert.equal(ended, false, 'two are still under way');
  gates[0]?.reject(new Error('the second'));
  gates[2]?.resolve();
  await outcome;
  assert.deepEqual(started, [0, 1, 2]);
  assert.equal(closed, true);
});

test('forEachLimited() treats work that throws at once like work that fails later', async () => {
  const opened = gate();
  let waited = false;
  const done = forEachLimited([0, 1], 2, (item) => {
    if (item === 1) throw new Error('at once');
    return (async () => {
      await opened.promise;
      waited = true;
    })();
  });
  const outcome = assert.rejects(done, /at once/);
  opened.resolve();
  await outcome;
  assert.equal(waited, true);
});

test('forEachLimited() waits for what is under way also when the source of items fails', async () => {
  const opened = gate();
  let waited = false;
  async function* source(): AsyncGenerator<number> {
    yield 0;
    throw new Error('the source broke');
  }
  const done = forEachLimited(source(), 2, async () => {
    await opened.promise;
    waited = true;
  });
  const outcome = assert.rejects(done, /the source broke/);
  opened.resolve();
  await outcome;
  assert.equal(waited, true);
});

test('forEachLimited() refuses a limit that would let nothing or everything through', async () => {
  for (const limit of [0, NaN]) {
    await assert.rejects(
      forEachLimited([1], limit, async () => {}),
      { code: 'ERR_INTERNAL' },
    );
  }
});
