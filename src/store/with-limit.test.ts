import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ObjectStore } from './object-store.ts';
import { memoryStore } from './testing/memory-store.ts';
import { objectStoreConformance } from './testing/object-store-conformance.ts';
import { withLimit } from './with-limit.ts';

objectStoreConformance({
  name: 'limit over memory',
  create: async () => {
    return { store: withLimit(memoryStore(), 2), [Symbol.asyncDispose]: async () => {} };
  },
});

/** A store whose reads wait until they are let go, and which counts them. */
function heldStore() {
  const held: (() => void)[] = [];
  let underWay = 0;
  let underWayMax = 0;
  let started = 0;
  const store: ObjectStore = {
    ...memoryStore(),
    capabilities: { objectSizeMaxBytes: 1 },
    get: async () => {
      started += 1;
      underWay += 1;
      underWayMax = Math.max(underWayMax, underWay);
      await new Promise<void>((resolve) => held.push(resolve));
      underWay -= 1;
      return undefined;
    },
  };
  return { store, held, counts: () => ({ started, underWayMax }) };
}

test('withLimit() lets so many requests run at once and all in the end', async () => {
  const inner = heldStore();
  const store = withLimit(inner.store, 3);
  const reads = Promise.all(Array.from({ length: 10 }, () => store.get('a')));
  for (let released = 0; released < 10;) {
    await new Promise(setImmediate);
    for (const release of inner.held.splice(0)) {
      release();
      released += 1;
    }
  }
  await reads;
  assert.deepEqual(inner.counts(), { started: 10, underWayMax: 3 });
});

test('a request aborted while it waits for its turn is rejected at once and never starts', async () => {
  const inner = heldStore();
  const store = withLimit(inner.store, 1);
  const first = store.get('a');
  const abort = new AbortController();
  const second = store.get('b', { signal: abort.signal });
  abort.abort();
  await assert.rejects(second, { name: 'AbortError' });
  inner.held.splice(0)[0]?.();
  await first;
  await new Promise(setImmediate);
  assert.equal(inner.counts().started, 1);
});
