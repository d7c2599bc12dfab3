import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { placeLayers } from './address-plan.ts';
import { groupCountDefault } from './geometry.ts';

const layers = fc.array(fc.record({ groupCount: fc.nat(300), addressHash: fc.nat(2 ** 32 - 1) }), {
  maxLength: 30,
});

test('layers lie in the address space, apart from each other and from the head', () => {
  fc.assert(
    fc.property(layers, (described) => {
      const { groupCount, firstGroups } = placeLayers(described);
      const ranges = described
        .map((layer, index) => [firstGroups[index] ?? NaN, layer.groupCount] as const)
        .filter(([, count]) => count > 0)
        .sort(([a], [b]) => a - b);
      let end = 1;
      for (const [first, count] of ranges) {
        assert.ok(first >= end, `group ${first} of a layer is in use up to ${end}`);
        end = first + count;
      }
      assert.ok(end <= groupCount);
    }),
  );
});

test('a layer that collides goes to the same second place, whichever layer it collides with', () => {
  const layer = { groupCount: 2, addressHash: 1000 };
  const below = [998, 999, 1000, 1001].map((addressHash) => {
    return { groupCount: 3, addressHash };
  });
  const places = below.map((lower) => placeLayers([lower, layer]).firstGroups[1]);
  assert.equal(new Set(places).size, 1);
  assert.notEqual(places[0], 1000);
  assert.equal(placeLayers([layer]).firstGroups[0], 1000);
});

test('layers that fill half of the address space all find a place', () => {
  const count = groupCountDefault / 2 - 1;
  const described = Array.from({ length: count }, () => ({ groupCount: 1, addressHash: 7 }));
  const { groupCount, firstGroups } = placeLayers(described);
  assert.equal(groupCount, groupCountDefault);
  assert.equal(new Set(firstGroups).size, count);
});
