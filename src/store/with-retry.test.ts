import assert from 'node:assert/strict';
import { test } from 'node:test';

import { StoreFullError, StoreUnavailableError } from './errors.ts';
import type { ObjectStore } from './object-store.ts';
import { memoryStore } from './testing/memory-store.ts';
import { objectStoreConformance } from './testing/object-store-conformance.ts';
import { seededRandom } from './testing/seeded-random.ts';
import { withFaults } from './testing/with-faults.ts';
import { withLimit } from './with-limit.ts';
import { withRetry, type RetryOptions } from './with-retry.ts';

const noSleep = async (): Promise<void> => {};

objectStoreConformance({
  name: 'retry over memory that fails every fifth request',
  create: async () => {
    const faulty = withFaults(memoryStore(), {
      rates: { errorBefore: 0.2 },
      random: seededRandom(5),
    });
    const store = withRetry(faulty, {
      attemptsMax: 12,
      budgetMax: 10_000,
      random: seededRandom(6),
      sleep: noSleep,
    });
    return { store, [Symbol.asyncDispose]: async () => {} };
  },
});

objectStoreConformance({
  name: 'retry over a limit over memory',
  create: async () => {
    const store = withRetry(withLimit(memoryStore(), 2), { random: () => 0.5, sleep: noSleep });
    return { store, [Symbol.asyncDispose]: async () => {} };
  },
});

/**
 * A store of which `get` fails in order with `failures`, then succeeds; and what the retries
 * waited.
 */
function failingStore(failures: readonly Error[], options: Partial<RetryOptions> = {}) {
  const waits: number[] = [];
  let calls = 0;
  const inner: ObjectStore = {
    ...memoryStore(),
    capabilities: { objectSizeMaxBytes: 1 },
    get: async () => {
      calls += 1;
      const failure = failures[calls - 1];
      if (failure !== undefined) throw failure;
      return new Uint8Array();
    },
  };
  const sleep = async (delayMs: number): Promise<void> => void waits.push(delayMs);
  const store = withRetry(inner, { random: () => 0.5, sleep, ...options });
  return { store, waits, calls: () => calls };
}

const unavailable = new StoreUnavailableError('read', new Error('no answer'));

test('withRetry() waits longer each time, up to a bound', async () => {
  const made = failingStore(
    Array.from({ length: 6 }, () => unavailable),
    {
      attemptsMax: 7,
      delayFirstMs: 100,
      delayMaxMs: 900,
    },
  );
  await made.store.get('a');
  assert.deepEqual(made.waits, [50, 100, 200, 400, 450, 450]);
});

test('withRetry() throws the last failure after its attempts', async () => {
  const last = new StoreUnavailableError('read', new Error('the last'));
  const made = failingStore([unavailable, unavailable, last], { attemptsMax: 3 });
  await assert.rejects(made.store.get('a'), last);
  assert.equal(made.calls(), 3);
});

test('withRetry() tries nothing again that is not retryable', async () => {
  const full = new StoreFullError('store', new Error('no space'));
  for (const failure of [full, new TypeError('a bug')]) {
    const made = failingStore([failure]);
    await assert.rejects(made.store.get('a'), failure);
    assert.equal(made.calls(), 1);
  }
});

test('withRetry() stops trying again when the budget of all requests is spent, until successes refill it', async () => {
  const made = failingStore([unavailable, unavailable, unavailable, unavailable], {
    attemptsMax: 2,
    budgetMax: 1,
    refill: 0.5,
  });
  await assert.rejects(made.store.get('a'), unavailable); // spends the one retry
  await assert.rejects(made.store.get('a'), unavailable);
  assert.equal(made.calls(), 3);
  await assert.rejects(made.store.get('a'), unavailable);
  assert.equal(made.calls(), 4);
  await made.store.get('a');
  await made.store.get('a'); // two successes give one retry back
  assert.equal(made.calls(), 6);
  const again = failingStore([unavailable], { attemptsMax: 2, budgetMax: 1 });
  await again.store.get('a');
  assert.equal(again.calls(), 2);
});

test('withRetry() gives up with the signal while it waits', async () => {
  const abort = new AbortController();
  const inner = failingStore([unavailable]).store;
  const store = withRetry(withFaults(inner, { rates: { errorBefore: 1 }, random: () => 0 }), {
    random: () => 0.999,
    delayFirstMs: 3_600_000,
    delayMaxMs: 3_600_000,
  });
  const read = store.get('a', { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(read, { name: 'AbortError' });
});

test('withRetry() goes on with a listing where it failed', async () => {
  const inner = memoryStore();
  const names = Array.from({ length: 100 }, (_, index) => `n${index}`);
  for (const name of names) await inner.putIfAbsent(name, new Uint8Array(1));
  const faulty = withFaults(inner, { rates: { errorBefore: 0.4 }, random: seededRandom(3) });
  const store = withRetry(faulty, {
    attemptsMax: 50,
    budgetMax: 1000,
    random: () => 0,
    sleep: noSleep,
  });
  const listed: string[] = [];
  for await (const { name } of store.list('')) listed.push(name);
  assert.deepEqual(listed, names.toSorted());
});
