import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { FairPlaces } from './fair-places.ts';

test('a tenant that fills its places leaves the others theirs', async () => {
  const places = new FairPlaces({ placesMax: 3, placesPerTenantMax: 2 });
  const begun: string[] = [];
  const never = new Promise<void>(() => {});
  for (const name of ['a1', 'a2', 'a3', 'b1', 'b2']) {
    void places.run(name.slice(0, 1), () => {
      begun.push(name);
      return never;
    });
  }
  await nextTurn();
  assert.deepEqual(begun, ['a1', 'a2', 'b1']);
});

test('whatever order work ends in, all of it runs, within both limits, and each tenant in order', async () => {
  const tenants = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 });
  const limits = fc.record({
    placesMax: fc.integer({ min: 1, max: 4 }),
    placesPerTenantMax: fc.integer({ min: 1, max: 4 }),
  });
  const property = fc.asyncProperty(fc.scheduler(), tenants, limits, async (s, arrivals, limit) => {
    const places = new FairPlaces(limit);
    const inside: string[] = [];
    const begun: string[][] = [];
    const runs = arrivals.map((tenant, index) =>
      places.run(tenant, async () => {
        inside.push(tenant);
        begun.push([tenant, String(index)]);
        assert.ok(inside.length <= limit.placesMax);
        assert.ok(inside.filter((one) => one === tenant).length <= limit.placesPerTenantMax);
        await s.schedule(Promise.resolve());
        inside.splice(inside.indexOf(tenant), 1);
        if (index % 3 === 0) throw new Error('work that fails');
      }),
    );
    await s.waitFor(Promise.allSettled(runs));
    assert.equal(begun.length, arrivals.length);
    for (const tenant of ['a', 'b', 'c']) {
      const order = begun.filter(([one]) => one === tenant).map(([, index]) => Number(index));
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
      );
    }
  });
  await fc.assert(property, { numRuns: 100 });
});
