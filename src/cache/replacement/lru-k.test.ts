import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { LruK, type LruKOptions } from './lru-k.ts';
import { PaperLruK } from '../testing/paper-lru-k.ts';

const hour = 60 * 60 * 1000;
const usual: LruKOptions = {
  correlatedMs: 10_000,
  retainedMs: hour,
  historyMax: 100,
  protectedShareMax: 1,
};

/** A buffer of `frameCount` pages over the policy: true if the page was there. */
function use(policy: LruK<string>, frameCount: number, page: string, atMs: number): boolean {
  if (policy.reference(page, atMs)) return true;
  while (policy.residentCount >= frameCount) policy.evict(policy.victim(atMs) ?? '');
  policy.admit(page, atMs);
  return false;
}

test('a buffer behaves as figure 2.1 of the paper says, reference for reference, for LRU-2', () => {
  const reference = fc.record(
    { page: fc.integer({ min: 0, max: 12 }), passedMs: fc.integer({ min: 1, max: 40 }) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.array(reference, { maxLength: 200, size: 'max' }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 400 }),
      fc.integer({ min: 0, max: 6 }),
      fc.constantFrom(0, 0.5, 1),
      (references, frameCount, correlatedMs, retainedMs, historyMax, protectedShareMax) => {
        const options = { correlatedMs, retainedMs, historyMax, protectedShareMax };
        const policy = new LruK<string>(options);
        const paper = new PaperLruK({ ...options, frameCount });
        let nowMs = 0;
        for (const { page, passedMs } of references) {
          nowMs += passedMs;
          const isHit = use(policy, frameCount, String(page), nowMs);
          assert.equal(isHit, paper.reference(String(page), nowMs));
          const resident = [...policy.pages()].filter(({ isResident }) => isResident);
          assert.deepEqual(resident.map(({ key }) => key).sort(), paper.resident().sort());
          assert.ok(policy.historyCount <= historyMax);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('pages that are pinned are passed over, and keep their place', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 10, maxLength: 60 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 9 })),
      (references, pinnedPages) => {
        const policy = new LruK<number>({ ...usual, correlatedMs: 3 });
        const pinned = new Set(pinnedPages);
        let nowMs = 0;
        for (const page of references) {
          nowMs += 1;
          if (!policy.reference(page, nowMs)) policy.admit(page, nowMs);
        }
        nowMs += 10;
        const order: number[] = [];
        const first = policy.victim(nowMs);
        const passing = policy.victim(nowMs, (page) => pinned.has(page));
        assert.equal(policy.victim(nowMs), first);
        while (policy.residentCount > 0) {
          const victim = policy.victim(nowMs);
          assert.ok(victim !== undefined);
          order.push(victim);
          policy.evict(victim);
        }
        assert.equal(
          passing,
          order.find((page) => !pinned.has(page)),
        );
      },
    ),
  );
});

test('a sweep of pages used once, of any length, leaves what is used twice where it is', () => {
  for (const protectedShareMax of [0, 0.25]) {
    const policy = new LruK<string>({ ...usual, protectedShareMax });
    const hot = Array.from({ length: 60 }, (_, page) => `hot ${page}`);
    for (const atMs of [0, 60_000]) for (const page of hot) use(policy, 100, page, atMs);
    // A thousand pages in a second: all within one correlated reference period.
    for (let page = 0; page < 1000; page += 1) use(policy, 100, `swept ${page}`, 120_000 + page);
    for (const page of hot) assert.ok(policy.has(page), `${page} was pushed out`);
  }
});

test('references of one burst count as one, and a page used in two bursts goes after it', () => {
  const policy = new LruK<string>(usual);
  policy.admit('once', 0);
  for (let atMs = 0; atMs < 9000; atMs += 100) policy.reference('once', atMs);
  policy.admit('twice', 9000);
  policy.reference('twice', 25_000);
  policy.reference('once', 9001);
  assert.equal(policy.victim(60_000), 'once');
});

test('a page that comes back within the retained period is known, and after it is not', () => {
  for (const [awayMs, isKnown] of [
    [hour, true],
    [hour + 1, false],
  ] as const) {
    const policy = new LruK<string>(usual);
    policy.admit('a', 0);
    policy.evict('a');
    policy.admit('a', awayMs);
    const [page] = policy.pages();
    assert.equal(page?.hist2Ms, isKnown ? 0 : -Infinity);
  }
});

test('what another instance knew goes on: residents found again keep their history', () => {
  const before = new LruK<string>(usual);
  for (const atMs of [0, 60_000, 120_000]) use(before, 9, 'hot', atMs);
  for (const page of ['a', 'b']) use(before, 9, page, 130_000);
  before.evict('b');
  const after = new LruK<string>({ ...usual, historyMax: 1 });
  for (const page of before.pages()) after.restore(page.key, page);
  for (const page of ['hot', 'a', 'new']) after.resume(page, 200_000);
  after.trimHistory();
  assert.equal(after.residentCount, 3);
  assert.equal(after.historyCount, 1);
  assert.equal(after.has('b'), false);
  const order: string[] = [];
  while (after.residentCount > 0) {
    const victim = after.victim(300_000) ?? '';
    order.push(victim);
    after.remove(victim);
  }
  assert.deepEqual(order, ['a', 'new', 'hot']);
});
