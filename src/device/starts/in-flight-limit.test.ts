import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InFlightLimit } from './in-flight-limit.ts';

/** What loads take of which `count` are under way, each alone `aloneMs`, of which only `serviceMs` cannot be done side by side. */
function latencyMs(count: number, { aloneMs, serviceMs }: Record<string, number>): number {
  return Math.max(aloneMs ?? 0, count * (serviceMs ?? 0));
}

function settle(
  limit: InFlightLimit,
  tier: 'l2' | 'origin',
  shape: Record<string, number>,
): number {
  limit.record(tier, latencyMs(1, shape)); // the first is alone
  for (let loads = 0; loads < 400; loads += 1) limit.record(tier, latencyMs(limit.count, shape));
  return limit.count;
}

test('InFlightLimit allows as many as do not wait for each other', () => {
  assert.equal(settle(new InFlightLimit(16), 'origin', { aloneMs: 40, serviceMs: 1 }), 16);
  const busy = settle(new InFlightLimit(16), 'l2', { aloneMs: 4, serviceMs: 2 });
  assert.ok(busy >= 4 && busy <= 10, `${busy}`);
  assert.equal(settle(new InFlightLimit(1), 'l2', { aloneMs: 4, serviceMs: 2 }), 1);
});

test('InFlightLimit follows a machine that gets busy, and one that has time again', () => {
  const limit = new InFlightLimit(16);
  const idle = settle(limit, 'l2', { aloneMs: 8, serviceMs: 0.5 });
  limit.record('l2', 500);
  assert.ok(limit.count < idle);
  const busy = settle(limit, 'l2', { aloneMs: 8, serviceMs: 6 });
  assert.ok(busy < idle / 2, `${busy} of ${idle}`);
  assert.equal(settle(limit, 'l2', { aloneMs: 8, serviceMs: 0.5 }), idle);
});

test('InFlightLimit takes no tier for slow because another is faster', () => {
  const limit = new InFlightLimit(16);
  settle(limit, 'l2', { aloneMs: 2, serviceMs: 0 });
  assert.equal(settle(limit, 'origin', { aloneMs: 60, serviceMs: 1 }), 16);
});
