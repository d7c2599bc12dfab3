import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { ByteString } from '../base/index.ts';
import { SealedEntries } from './sealed-entries.ts';
import { implicitMetadata } from './mutable-tree.ts';
import type { Node } from './tree.ts';

function pipeOfLayer(layer: number): Node {
  const device = { deviceMajor: 0, deviceMinor: 0 };
  return { type: 'fifo', metadata: implicitMetadata, layer, linkCount: 1, ...device };
}

const names = fc.uniqueArray(fc.string({ unit: 'binary-ascii' }), { maxLength: 40 });

test('sealed entries are a map of the same entries in byte order of their names', () => {
  fc.assert(
    fc.property(names, fc.string(), (given, other) => {
      const entries = given.map((name, index) => [name as ByteString, pipeOfLayer(index)] as const);
      const sorted = new Map(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const sealed = new SealedEntries(entries);
      assert.deepEqual([...sealed], [...sorted]);
      assert.deepEqual([...sealed.keys()], [...sorted.keys()]);
      assert.deepEqual([...sealed.values()], [...sorted.values()]);
      const seen: unknown[] = [];
      sealed.forEach((node, name) => seen.push([name, node]));
      assert.deepEqual(seen, [...sorted]);
      assert.equal(sealed.size, sorted.size);
      for (const name of [...sorted.keys(), other as ByteString]) {
        assert.equal(sealed.get(name), sorted.get(name));
        assert.equal(sealed.has(name), sorted.has(name));
      }
    }),
  );
});
