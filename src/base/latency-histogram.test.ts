import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { LatencyHistogram, RecentLatency, latencyBoundsMs } from './latency-histogram.ts';

const durations = fc.array(fc.double({ min: 0.001, max: 20_000, noNaN: true }), {
  minLength: 1,
  maxLength: 300,
});

test('quantiles are those of a sorted list, within a thousandth, or a hundredth of two figures', () => {
  const quantiles = fc.constantFrom(0.5, 0.99, 0.999);
  fc.assert(
    fc.property(durations, quantiles, fc.constantFrom(2, 3), (recorded, quantile, figures) => {
      const histogram = new LatencyHistogram({ figures });
      for (const durationMs of recorded) histogram.record(durationMs);
      const sorted = [...recorded].sort((a, b) => a - b);
      const exact = sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? 0;
      const share = figures === 3 ? 1 / 1000 : 1 / 100;
      assert.ok(Math.abs(histogram.quantileMs(quantile) - exact) <= exact * share + 1e-6);
    }),
  );
});

test('what takes longer than a histogram can tell is counted as the longest', () => {
  const histogram = new LatencyHistogram();
  histogram.record(3_600_000);
  const { count, maxMs, cumulative } = histogram.snapshot();
  assert.deepEqual([count, Math.round(maxMs / 1000), cumulative.at(-1)], [1, 100, 0]);
});

test('a snapshot counts what took at most each bound, and sums all', () => {
  fc.assert(
    fc.property(durations, (recorded) => {
      const histogram = new LatencyHistogram();
      for (const durationMs of recorded) histogram.record(durationMs);
      const { cumulative, count, sumMs } = histogram.snapshot();
      const expected = latencyBoundsMs.map((bound) => recorded.filter((ms) => ms <= bound).length);
      assert.deepEqual(cumulative, expected);
      assert.equal(count, recorded.length);
      const sum = recorded.reduce((total, ms) => total + ms, 0);
      assert.ok(Math.abs(sumMs - sum) <= sum * 1e-9);
    }),
  );
});

test('an empty histogram has zeros', () => {
  const { p50Ms, p999Ms, maxMs, count } = new LatencyHistogram().snapshot();
  assert.deepEqual([p50Ms, p999Ms, maxMs, count], [0, 0, 0, 0]);
});

test('recent quantiles forget what is two windows old, and want enough to go by', () => {
  let nowMs = 0;
  const recent = new RecentLatency(1000, () => nowMs);
  assert.equal(recent.quantileMs(0.99, 1), undefined);
  for (let i = 0; i < 10; i += 1) recent.record(100);
  nowMs = 1500;
  recent.record(1);
  assert.equal(Math.round(recent.quantileMs(0.99, 11) ?? 0), 100);
  assert.equal(recent.quantileMs(0.99, 12), undefined);
  nowMs = 2100;
  assert.equal(Math.round(recent.quantileMs(0.99, 1) ?? 0), 1);
  nowMs = 9000;
  assert.equal(recent.quantileMs(0.99, 1), undefined);
});
