import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';

import fc from 'fast-check';

import { seededRandom } from '../../store/testing/seeded-random.ts';
import { ZonePlacement, type PlacedServer } from './zone-placement.ts';

const slotCount = 4096;

const ids = fc
  .tuple(fc.constantFrom('10.0.0.', 'cache-', 'x'), fc.nat(100_000))
  .map(([name, number]) => `${name}${number}:11211`);

function servers(countMin: number, countMax: number): fc.Arbitrary<readonly PlacedServer[]> {
  const weight = fc.constantFrom(1, 1, 1, 2, 3.5, 16);
  return fc.uniqueArray(fc.record({ id: ids, weight }, { noNullPrototype: true }), {
    minLength: countMin,
    maxLength: countMax,
    selector: ({ id }) => id,
  });
}

function equalServers(count: number): readonly PlacedServer[] {
  return Array.from({ length: count }, (_, index) => ({ id: `10.0.0.${index}:11211`, weight: 1 }));
}

/** How many slots each server has. */
function loadsOf(placement: ZonePlacement): Map<string, number> {
  const loads = new Map<string, number>(placement.servers.map(({ id }) => [id, 0]));
  for (const slot of placement.slots()) {
    for (const { id } of slot) loads.set(id, (loads.get(id) ?? 0) + 1);
  }
  return loads;
}

/** How many stripes of all slots lie on another server than before. */
function movesBetween(before: ZonePlacement, after: ZonePlacement): number {
  const slotsAfter = [...after.slots()];
  let moves = 0;
  for (const [slot, old] of [...before.slots()].entries()) {
    const idsBefore = new Set(old.map(({ id }) => id));
    moves += (slotsAfter[slot] ?? []).filter(({ id }) => !idsBefore.has(id)).length;
  }
  return moves;
}

test('every slot has five different servers, or all if there are fewer, and none is above its cap', () => {
  fc.assert(
    fc.property(servers(0, 24), (given) => {
      const placement = new ZonePlacement(given);
      assert.equal(placement.copies, Math.min(5, given.length));
      for (const slot of placement.slots()) {
        assert.equal(new Set(slot.map(({ id }) => id)).size, placement.copies);
      }
      const loads = loadsOf(placement);
      for (const [index, { id }] of placement.servers.entries()) {
        assert.ok((loads.get(id) ?? 0) <= (placement.loadsMax[index] ?? 0));
      }
    }),
    { numRuns: 60 },
  );
});

test('the caps add up to a tenth more than there is to place, at most', () => {
  fc.assert(
    fc.property(servers(5, 24), (given) => {
      const { loadsMax } = new ZonePlacement(given);
      const room = loadsMax.reduce((sum, load) => sum + load, 0);
      assert.ok(room >= 5 * slotCount && room <= 5 * slotCount * 1.1 + given.length);
    }),
    { numRuns: 60 },
  );
});

test('the order in which servers are given does not matter', () => {
  const orders = servers(5, 12).chain((given) =>
    fc.tuple(fc.constant(given), fc.shuffledSubarray([...given], { minLength: given.length })),
  );
  fc.assert(
    fc.property(orders, ([given, shuffled]) => {
      const [one, other] = [new ZonePlacement(given), new ZonePlacement(shuffled)];
      assert.deepEqual([...one.slots()], [...other.slots()]);
    }),
    { numRuns: 20 },
  );
});

test('a server that comes or goes moves its own share, and of servers of one weight hardly more', () => {
  for (const count of [5, 6, 7, 10, 20, 60]) {
    const [before, after] = [
      new ZonePlacement(equalServers(count)),
      new ZonePlacement(equalServers(count + 1)),
    ];
    const gained = loadsOf(after).get(`10.0.0.${count}:11211`) ?? 0;
    const share = (5 * slotCount) / (count + 1);
    assert.ok(gained <= share * 1.1 + 1);
    // Measured: exactly what the new server gets, up to 50 servers; caps of small shares make it 3 % more at 100.
    for (const moves of [movesBetween(before, after), movesBetween(after, before)]) {
      assert.ok(moves >= gained && moves <= gained * 1.05, `${count}: ${moves} for ${gained}`);
    }
  }
});

test('with unequal weights a change moves little more than the share of the server that changes', () => {
  const changes = servers(7, 20).map((given) => ({
    all: new ZonePlacement(given),
    fewer: new ZonePlacement(given.slice(1)),
    id: given[0]?.id ?? '',
  }));
  fc.assert(
    fc.property(changes, ({ all, fewer, id }) => {
      const load = loadsOf(all).get(id) ?? 0;
      // The others' shares of what is left over change a little. Of 1,200 random sets: 0.2 % more than the load moved in the
      // median, 2.5 % at most.
      for (const moves of [movesBetween(all, fewer), movesBetween(fewer, all)]) {
        assert.ok(moves >= load && moves <= load + 0.05 * 5 * slotCount, `${moves} for ${load}`);
      }
    }),
    { numRuns: 30 },
  );
});

test('a server has stripes by its weight', () => {
  const weights = [1, 2, 4, 1, 2, 4, 1, 2, 4, 1, 2, 4, 1, 2, 4];
  const given = weights.map((weight, index) => ({ id: `server-${index}`, weight }));
  const loads = loadsOf(new ZonePlacement(given));
  const perWeight = (5 * slotCount) / weights.reduce((sum, weight) => sum + weight, 0);
  for (const { id, weight } of given) {
    // Four deviations of a binomial draw.
    const expected = perWeight * weight;
    assert.ok(Math.abs((loads.get(id) ?? 0) - expected) <= 4 * Math.sqrt(expected), id);
  }
});

test('one server too heavy for its weight has every slot, and the rest share by theirs', () => {
  const given = [{ id: 'heavy', weight: 100 }, ...equalServers(8)];
  const loads = loadsOf(new ZonePlacement(given));
  assert.equal(loads.get('heavy'), slotCount);
  for (const { id } of equalServers(8)) {
    assert.ok(Math.abs((loads.get(id) ?? 0) - slotCount / 2) <= 4 * Math.sqrt(slotCount / 2));
  }
});

test('the chunks of an image spread over all servers', () => {
  const placement = new ZonePlacement(equalServers(10));
  const random = seededRandom(1);
  const counts = new Map<string, number>();
  for (let chunk = 0; chunk < 2000; chunk += 1) {
    const digest = hash('sha256', `${random()}`, 'buffer');
    for (const { id } of placement.serversOf(digest)) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  assert.equal(counts.size, 10);
  for (const count of counts.values()) assert.ok(count > 850 && count < 1150, `${count}`);
});

test('what workers of another version must agree on: the servers of some chunks', () => {
  const placement = new ZonePlacement(equalServers(7));
  const servedBy = (first: number, second: number): string =>
    placement
      .serversOf(Uint8Array.of(first, second, ...Array<number>(30).fill(0)))
      .map(({ id }) => id.slice('10.0.0.'.length, -':11211'.length))
      .join(' ');
  assert.deepEqual(
    [servedBy(0, 0), servedBy(0, 15), servedBy(0, 16), servedBy(128, 0), servedBy(255, 255)],
    ['0 3 6 1 2', '0 3 6 1 2', '5 6 0 2 3', '3 5 0 2 4', '5 0 6 4 3'],
  );
});
