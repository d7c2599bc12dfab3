/** A few stories of the simulation; `npm run sim` tells as many as one likes. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { simulateCaches } from './testing/simulation/cache-simulation.ts';

for (const seed of [1, 2]) {
  test(`on the bad day of seed ${seed} reads are right, end in time and spare the origin`, async () => {
    const { violations, byTier, errors, corrupt } = await simulateCaches({ seed });
    assert.deepEqual(violations, []);
    // The story must have been one: every tier was of use, and there was trouble.
    for (const [tier, reads] of Object.entries(byTier)) assert.ok(reads > 0, tier);
    assert.ok(corrupt > 0);
    assert.ok(Object.keys(errors).length > 0);
  });
}

test('one seed is always one story', async () => {
  const tell = async (): Promise<string[]> => {
    const events: string[] = [];
    const result = await simulateCaches({
      seed: 3,
      onEvent: (atMs, event) => events.push(`${atMs} ${event}`),
    });
    return [...events, JSON.stringify(result)];
  };
  assert.deepEqual(await tell(), await tell());
});
