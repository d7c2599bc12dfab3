/** What every `ObjectStore` must do, wrappers included. Run it from the test file of each. */

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';

import type { ObjectInfo, ObjectStore } from '../object-store.ts';

export interface ObjectStoreConformance {
  /** Of the suite in the report. */
  readonly name: string;
  /** A new, empty store, disposed of with its resources after the test. */
  readonly create: () => Promise<{ readonly store: ObjectStore } & AsyncDisposable>;
}

const badNames = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  'a/../b',
  './a',
  'a/..',
  'a b',
  'a\0b',
  'a\\b',
  'ä',
  'a@b',
  'x'.repeat(256),
  `${'x'.repeat(200)}/${'y'.repeat(200)}/${'z'.repeat(200)}`,
];

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}

async function collect(listing: AsyncIterable<ObjectInfo>): Promise<readonly ObjectInfo[]> {
  const listed: ObjectInfo[] = [];
  for await (const info of listing) listed.push(info);
  return listed;
}

async function listNames(store: ObjectStore, prefix: string): Promise<readonly string[]> {
  return (await collect(store.list(prefix))).map((info) => info.name);
}

function testObjects({ create }: ObjectStoreConformance): void {
  test('an object reads back as it was put, in a fresh array', async () => {
    await using made = await create();
    const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index * 7);
    assert.equal(await made.store.putIfAbsent('root/chunks/abcd', bytes), 'created');
    const first = await made.store.get('root/chunks/abcd');
    assert.deepEqual(Buffer.from(first ?? []), Buffer.from(bytes));
    first?.fill(0);
    assert.deepEqual(
      Buffer.from((await made.store.get('root/chunks/abcd')) ?? []),
      Buffer.from(bytes),
    );
  });

  test('an object keeps its bytes when the array that was put changes afterwards', async () => {
    await using made = await create();
    const bytes = bytesOf('before');
    await made.store.putIfAbsent('name', bytes);
    bytes.fill(0);
    assert.equal(Buffer.from((await made.store.get('name')) ?? []).toString(), 'before');
  });

  test('a view into a larger array puts the bytes of the view', async () => {
    await using made = await create();
    await made.store.putIfAbsent('name', bytesOf('0123456789').subarray(3, 6));
    assert.equal(Buffer.from((await made.store.get('name')) ?? []).toString(), '345');
  });

  test('an object of no bytes is an object', async () => {
    await using made = await create();
    assert.equal(await made.store.putIfAbsent('empty', new Uint8Array()), 'created');
    assert.equal((await made.store.get('empty'))?.byteLength, 0);
    assert.deepEqual(await made.store.head('empty'), { name: 'empty', sizeBytes: 0 });
  });

  test('what is not there is undefined, or false to delete', async () => {
    await using made = await create();
    await made.store.putIfAbsent('a/b', bytesOf('1'));
    for (const name of ['a', 'b', 'a/b/c', 'a/bb', 'a/b2/c']) {
      assert.equal(await made.store.get(name), undefined);
      assert.equal(await made.store.head(name), undefined);
      assert.equal(await made.store.delete(name), false);
    }
  });

  test('head tells the size', async () => {
    await using made = await create();
    await made.store.putIfAbsent('a/b', bytesOf('12345'));
    assert.deepEqual(await made.store.head('a/b'), { name: 'a/b', sizeBytes: 5 });
  });

  test('a second put of a name changes nothing', async () => {
    await using made = await create();
    await made.store.putIfAbsent('a', bytesOf('first'));
    assert.equal(await made.store.putIfAbsent('a', bytesOf('second')), 'existed');
    assert.equal(Buffer.from((await made.store.get('a')) ?? []).toString(), 'first');
  });

  test('of concurrent puts of a name exactly one creates it', async () => {
    await using made = await create();
    const writers = Array.from({ length: 20 }, (_, writer) => bytesOf(`writer ${writer}`));
    const outcomes = await Promise.all(writers.map((bytes) => made.store.putIfAbsent('n', bytes)));
    assert.equal(outcomes.filter((outcome) => outcome === 'created').length, 1);
    const winner = writers[outcomes.indexOf('created')];
    assert.deepEqual(Buffer.from((await made.store.get('n')) ?? []), winner);
  });

  test('a deleted object is gone, and its name is free again', async () => {
    await using made = await create();
    await made.store.putIfAbsent('a/b', bytesOf('1'));
    assert.equal(await made.store.delete('a/b'), true);
    assert.equal(await made.store.delete('a/b'), false);
    assert.equal(await made.store.get('a/b'), undefined);
    assert.deepEqual(await listNames(made.store, ''), []);
    assert.equal(await made.store.putIfAbsent('a/b', bytesOf('2')), 'created');
  });

  test('an object over the size limit is refused', async () => {
    await using made = await create();
    const { objectSizeMaxBytes } = made.store.capabilities;
    const tooLarge = new Uint8Array(objectSizeMaxBytes + 1); // never touched, so never real memory
    const code = 'ERR_STORE_OBJECT_TOO_LARGE';
    await assert.rejects(made.store.putIfAbsent('a', tooLarge), { code });
    assert.equal(await made.store.get('a'), undefined);
  });
}

function testNames({ create }: ObjectStoreConformance): void {
  test('names of every allowed form are kept apart, also where one is the start of another', async () => {
    await using made = await create();
    const names = [
      'a',
      'a/a',
      'a/a/a',
      'a.b',
      'a-b',
      'a_b',
      'A',
      '.a',
      '..a',
      'a..',
      '-',
      '_',
      '0/0',
    ];
    names.push('x'.repeat(255), `${'x'.repeat(255)}/${'y'.repeat(254)}/z`);
    for (const name of names) {
      assert.equal(await made.store.putIfAbsent(name, bytesOf(name)), 'created', name);
    }
    for (const name of names) {
      assert.equal(Buffer.from((await made.store.get(name)) ?? []).toString(), name);
    }
    assert.deepEqual(await listNames(made.store, ''), names.toSorted());
  });

  test('every operation refuses a bad name', async () => {
    await using made = await create();
    const code = 'ERR_STORE_BAD_NAME';
    for (const name of badNames) {
      await assert.rejects(made.store.get(name), { code }, name);
      await assert.rejects(made.store.head(name), { code }, name);
      await assert.rejects(made.store.putIfAbsent(name, bytesOf('')), { code }, name);
      await assert.rejects(made.store.delete(name), { code }, name);
    }
    for (const prefix of ['/', '../', 'a/../', 'a//', 'a b', '@']) {
      await assert.rejects(collect(made.store.list(prefix)), { code }, prefix);
    }
  });
}

function testListing({ create }: ObjectStoreConformance): void {
  const names = ['a', 'a-', 'a.b', 'a/b', 'a/bc', 'a/b/c', 'a0', 'aa', 'ab/a', 'b/a', 'B', '0'];
  // Names of several lengths under common starts, enough for several batches of any implementation.
  for (let number = 0; number < 60; number += 1)
    names.push(`r/chunks/${(number * 37).toString(16)}`);

  test('a listing is in byte order and tells the sizes', async () => {
    await using made = await create();
    for (const name of names.toReversed()) await made.store.putIfAbsent(name, bytesOf(name));
    const expected = names.toSorted().map((name) => ({ name, sizeBytes: name.length }));
    assert.deepEqual(await collect(made.store.list('')), expected);
  });

  test('a listing holds the names that start with the prefix and no others', async () => {
    await using made = await create();
    for (const name of names) await made.store.putIfAbsent(name, bytesOf(name));
    for (const prefix of [
      'a',
      'a/',
      'a/b',
      'a/b/',
      'r/chunks/',
      'r/chunks/1',
      'r/ch',
      'z',
      'z/z',
      'a/b/c',
    ]) {
      const expected = names.filter((name) => name.startsWith(prefix)).toSorted();
      assert.deepEqual(await listNames(made.store, prefix), expected, prefix);
    }
  });

  test('a listing can be left early', async () => {
    await using made = await create();
    for (const name of names) await made.store.putIfAbsent(name, bytesOf(name));
    const seen: string[] = [];
    for await (const { name } of made.store.list('')) {
      seen.push(name);
      if (seen.length === 3) break;
    }
    assert.deepEqual(seen, names.toSorted().slice(0, 3));
  });
}

function testAborts({ create }: ObjectStoreConformance): void {
  test('an aborted signal rejects every operation with its reason and stores nothing', async () => {
    await using made = await create();
    await made.store.putIfAbsent('there', bytesOf('1'));
    const reason = new Error('no longer wanted');
    const signal = AbortSignal.abort(reason);
    await assert.rejects(made.store.get('there', { signal }), reason);
    await assert.rejects(made.store.head('there', { signal }), reason);
    await assert.rejects(made.store.putIfAbsent('new', bytesOf('2'), { signal }), reason);
    await assert.rejects(made.store.delete('there', { signal }), reason);
    await assert.rejects(collect(made.store.list('', { signal })), reason);
    assert.deepEqual(await listNames(made.store, ''), ['there']);
  });

  test('a put aborted under way leaves the object whole or absent', async () => {
    await using made = await create();
    const bytes = new Uint8Array(1024 * 1024).fill(5);
    const abort = new AbortController();
    const puts = Array.from({ length: 8 }, (_, index) =>
      made.store.putIfAbsent(`n${index}`, bytes, { signal: abort.signal }),
    );
    setImmediate(() => abort.abort());
    const outcomes = await Promise.allSettled(puts);
    for (const [index, outcome] of outcomes.entries()) {
      const found = await made.store.get(`n${index}`);
      if (outcome.status === 'fulfilled') assert.ok(found !== undefined);
      if (found !== undefined) assert.ok(Buffer.from(found).equals(bytes));
    }
  });
}

export function objectStoreConformance(conformance: ObjectStoreConformance): void {
  suite(`object store: ${conformance.name}`, () => {
    testObjects(conformance);
    testNames(conformance);
    testListing(conformance);
    testAborts(conformance);
  });
}
