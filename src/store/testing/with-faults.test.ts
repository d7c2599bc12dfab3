import assert from 'node:assert/strict';
import { test } from 'node:test';

import { errorCode } from '../../base/index.ts';
import { memoryStore } from './memory-store.ts';
import { objectStoreConformance } from './object-store-conformance.ts';
import { seededRandom } from './seeded-random.ts';
import { withFaults, type Fault, type FaultRates } from './with-faults.ts';

objectStoreConformance({
  name: 'with faults, of which none happens',
  create: async () => {
    const store = withFaults(memoryStore(), { rates: {}, random: seededRandom(1) });
    return { store, [Symbol.asyncDispose]: async () => {} };
  },
});

const bytes = Buffer.from('the bytes of an object');

async function storeWith(rates: FaultRates) {
  const inner = memoryStore();
  await inner.putIfAbsent('a', bytes);
  const faults: Fault[] = [];
  const onFault = (fault: Fault): void => void faults.push(fault);
  const store = withFaults(inner, { rates, random: seededRandom(7), onFault });
  return { inner, store, faults };
}

test('errorBefore fails with nothing done', async () => {
  const { inner, store, faults } = await storeWith({ errorBefore: 1 });
  const code = 'ERR_STORE_UNAVAILABLE';
  await assert.rejects(store.putIfAbsent('b', bytes), { code });
  await assert.rejects(store.delete('a'), { code });
  assert.equal(await inner.head('b'), undefined);
  assert.ok((await inner.head('a')) !== undefined);
  assert.deepEqual(faults, ['errorBefore', 'errorBefore']);
});

test('errorAfter fails with everything done', async () => {
  const { inner, store } = await storeWith({ errorAfter: 1 });
  await assert.rejects(store.putIfAbsent('b', bytes), { code: 'ERR_STORE_UNAVAILABLE' });
  assert.ok((await inner.head('b')) !== undefined);
});

test('bitFlip changes one bit of what is read and none of what is stored', async () => {
  const { inner, store } = await storeWith({ bitFlip: 1 });
  const read = Buffer.from((await store.get('a')) ?? []);
  const changed = [...read].filter((byte, at) => byte !== bytes[at]);
  assert.equal(changed.length, 1);
  assert.equal(read.byteLength, bytes.byteLength);
  assert.deepEqual(Buffer.from((await inner.get('a')) ?? []), bytes);
});

test('truncation gives a start of what is stored', async () => {
  const { store } = await storeWith({ truncation: 1 });
  const read = Buffer.from((await store.get('a')) ?? []);
  assert.ok(read.byteLength < bytes.byteLength);
  assert.deepEqual(read, bytes.subarray(0, read.byteLength));
});

test('misdirect gives the bytes of another object', async () => {
  const { store } = await storeWith({ misdirect: 1 });
  await store.putIfAbsent('other', Buffer.from('others'));
  assert.equal(Buffer.from((await store.get('a')) ?? []).toString(), 'others');
});

test('a latency makes every request wait', async () => {
  const slept: number[] = [];
  const sleep = async (delayMs: number): Promise<void> => void slept.push(delayMs);
  const random = seededRandom(1);
  const store = withFaults(memoryStore(), { rates: {}, random, latencyMaxMs: 100, sleep });
  await store.putIfAbsent('a', bytes);
  await store.get('a');
  assert.equal(slept.length, 2);
  assert.ok(slept.every((delayMs) => delayMs >= 0 && delayMs < 100));
});

test('one seed gives one course of faults', async () => {
  const course = async (seed: number): Promise<string> => {
    const rates = {
      errorBefore: 0.2,
      errorAfter: 0.1,
      bitFlip: 0.2,
      truncation: 0.2,
      misdirect: 0.2,
    };
    const store = withFaults(memoryStore(), { rates, random: seededRandom(seed) });
    const seen: string[] = [];
    for (let step = 0; step < 50; step += 1) {
      const name = `${step % 5}`;
      const outcome = await store.putIfAbsent(name, Buffer.from(`object ${name}`)).catch(errorCode);
      const read = await store.get(name).catch(errorCode);
      seen.push(String(outcome), Buffer.from(read ?? '').toString('hex'));
    }
    return seen.join(' ');
  };
  assert.equal(await course(1), await course(1));
  assert.notEqual(await course(1), await course(2));
});
