import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { IndexedHeap, IndexedList } from './indexed-queues.ts';

const elementCount = 70; // more than there is room for at first
const elements = fc.integer({ min: 0, max: elementCount - 1 });

test('a heap gives its elements in order, whatever comes, changes and goes between', () => {
  const steps = fc.array(
    fc.record(
      { kind: fc.constantFrom('add', 'change', 'remove'), element: elements, rank: fc.nat() },
      { noNullPrototype: true },
    ),
    { maxLength: 200, size: 'max' },
  );
  fc.assert(
    fc.property(steps, (program) => {
      const ranks = new Float64Array(elementCount);
      const before = (one: number, other: number): boolean => {
        const [a, b] = [ranks[one] ?? 0, ranks[other] ?? 0];
        return a === b ? one < other : a < b;
      };
      const heap = new IndexedHeap(before);
      const model = new Set<number>();
      for (const { kind, element, rank } of program) {
        if (kind === 'remove') {
          heap.remove(element);
          model.delete(element);
        } else if (heap.has(element)) {
          ranks[element] = rank;
          heap.update(element);
        } else if (kind === 'add') {
          ranks[element] = rank;
          heap.add(element);
          model.add(element);
        }
        assert.equal(heap.size, model.size);
        assert.equal(heap.first, [...model].sort((a, b) => (before(a, b) ? -1 : 1))[0]);
      }
      for (let element = 0; element < elementCount; element += 1) {
        assert.equal(heap.has(element), model.has(element));
      }
    }),
  );
});

test('a list gives its elements in the order of their arrival, whichever leave', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), elements), { maxLength: 200, size: 'max' });
  fc.assert(
    fc.property(steps, (program) => {
      const list = new IndexedList();
      let model: number[] = [];
      for (const [comes, element] of program) {
        if (!comes) {
          list.remove(element);
          model = model.filter((each) => each !== element);
        } else if (!list.has(element)) {
          list.add(element);
          model.push(element);
        }
        assert.equal(list.size, model.length);
        assert.equal(list.first, model[0]);
        assert.equal(list.has(element), model.includes(element));
      }
      while (list.first !== undefined) {
        assert.equal(list.first, model.shift());
        list.remove(list.first);
      }
      assert.equal(model.length, 0);
    }),
  );
});
