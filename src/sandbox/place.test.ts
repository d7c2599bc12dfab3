import assert from 'node:assert/strict';
import { test } from 'node:test';

import { silentLog } from '../base/index.ts';
import { ReadyPlaces, type Place } from './place.ts';

/** Places that are nothing but names, and which of them there are. */
function placesOf(count: number): {
  ready: ReadyPlaces;
  living: Set<string>;
  usable: Set<string>;
  fail: { next: boolean };
} {
  const [living, usable, fail] = [new Set<string>(), new Set<string>(), { next: false }];
  let made = 0;
  const make = async (): Promise<Place> => {
    if (fail.next) throw new Error('no room');
    made += 1;
    const name = `place-${made}`;
    living.add(name);
    usable.add(name);
    return {
      name,
      launch: {
        get isUsable() {
          return usable.has(name);
        },
      },
      [Symbol.asyncDispose]: async () => {
        living.delete(name);
      },
    } as unknown as Place;
  };
  return { ready: new ReadyPlaces({ count, make, log: silentLog }), living, usable, fail };
}

test('ReadyPlaces keeps as many as wanted, and gives each once', async () => {
  const { ready, living } = placesOf(2);
  assert.equal(await ready.take(), undefined);
  await Promise.all([ready.fill(), ready.fill()]);
  assert.equal(living.size, 2);
  const [first, second] = [await ready.take(), await ready.take()];
  assert.notEqual(first, second);
  assert.equal(await ready.take(), undefined);
  await ready.fill();
  assert.equal(living.size, 4);
  await ready[Symbol.asyncDispose]();
  assert.equal(living.size, 2); // those that were taken are their takers'
});

test('ReadyPlaces gives none whose process has ended, and removes it', async () => {
  const { ready, living, usable } = placesOf(2);
  await ready.fill();
  usable.delete('place-1');
  const place = await ready.take();
  assert.equal(place?.launch.isUsable, true);
  assert.deepEqual([...living], ['place-2']);
  await ready[Symbol.asyncDispose]();
});

test('ReadyPlaces goes on without any where none can be made, and none is made after its end', async () => {
  const { ready, living, fail } = placesOf(2);
  fail.next = true;
  await ready.fill();
  assert.equal(await ready.take(), undefined);
  fail.next = false;
  const filling = ready.fill();
  await ready[Symbol.asyncDispose]();
  await filling;
  await ready.fill();
  assert.equal(living.size, 0);
});
