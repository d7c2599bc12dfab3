/** The link that the benchmarks measure over, against arithmetic: all their conclusions hang on it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { LinkSchedule, type Load } from '../bench/support/link-schedule.ts';

interface Arrival {
  readonly flow: string;
  readonly load: Load;
  readonly dueMs: number;
}

/** Everything that arrives, asked for as soon as something may have. */
function arrivals(link: LinkSchedule<string>): Arrival[] {
  const all: Arrival[] = [];
  while (link.nextMs() < Infinity) all.push(...link.take(link.nextMs()));
  return all;
}

const sizeOf = (load: Load): number => (load === 'end' ? 0 : load.byteLength);
const isClose = (a: number, b: number): boolean => Math.abs(a - b) < 1e-6;

test('a chunk arrives after the delay and size / bandwidth', () => {
  const link = new LinkSchedule<string>({ bitsPerSecond: 1e9, delayMs: 2 });
  link.push('a', new Uint8Array(512 * 1024), 10);
  assert.deepEqual(link.take(11.99), []);
  const last = arrivals(link).at(-1);
  assert.ok(isClose(last?.dueMs ?? 0, 10 + 2 + (512 * 1024 * 8) / 1e6));
  link.push('a', new Uint8Array(1), 1000); // an idle link saves up nothing
  assert.ok(isClose(arrivals(link)[0]?.dueMs ?? 0, 1002 + 8 / 1e6));
});

test('flows share the bandwidth: a short answer does not wait for a long one before it', () => {
  const link = new LinkSchedule<string>({ bitsPerSecond: 1e9, delayMs: 0 });
  link.push('long', new Uint8Array(1_000_000), 0);
  link.push('short', new Uint8Array(100_000), 0);
  const lastOf = (flow: string): number => all.findLast((one) => one.flow === flow)?.dueMs ?? 0;
  const all = arrivals(link);
  assert.ok(lastOf('short') < 1.8, `${lastOf('short')} ms`);
  assert.ok(isClose(lastOf('long'), 8.8));
});

test('whatever is sent when, and however late one looks, every byte arrives in order and at its time', () => {
  const pushes = fc.array(
    fc.record({
      flow: fc.constantFrom('a', 'b', 'c'),
      sizeBytes: fc.integer({ min: 1, max: 200_000 }),
      afterMs: fc.double({ min: 0, max: 3, noNaN: true }),
      looks: fc.boolean(),
    }),
    { minLength: 1, maxLength: 30 },
  );
  const property = fc.property(pushes, fc.integer({ min: 1, max: 100 }), (sent, gigabits) => {
    const shape = { bitsPerSecond: gigabits * 1e8, delayMs: 2 };
    const link = new LinkSchedule<string>(shape);
    const seen: Arrival[] = [];
    let nowMs = 0;
    let freeMs = 0; // of a link that sends one after another
    for (const [index, { flow, sizeBytes, afterMs, looks }] of sent.entries()) {
      nowMs += afterMs;
      if (looks) seen.push(...link.take(nowMs));
      link.push(flow, new Uint8Array(sizeBytes).fill(index), nowMs);
      freeMs = Math.max(freeMs, nowMs) + (sizeBytes * 8000) / shape.bitsPerSecond;
    }
    seen.push(...arrivals(link));
    assert.ok(isClose(seen.at(-1)?.dueMs ?? 0, freeMs + shape.delayMs));
    for (const flow of ['a', 'b', 'c']) {
      const got = seen.filter((one) => one.flow === flow).map(({ load }) => load as Uint8Array);
      const wanted = [...sent.entries()].filter(([, one]) => one.flow === flow);
      const bytes = wanted.map(([index, { sizeBytes }]) => Buffer.alloc(sizeBytes, index));
      assert.ok(Buffer.concat(got).equals(Buffer.concat(bytes)));
    }
    const times = seen.map(({ dueMs }) => dueMs);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.ok(seen.every(({ load }) => sizeOf(load) <= 65_536));
  });
  fc.assert(property, { numRuns: 100 });
});
