import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';

import { buildTar } from '../../test/support/tar-builder.ts';
import { toHex, type ProgressUpdate } from '../base/index.ts';
import { chunkObjectName } from '../store/index.ts';
import type { PrimeChunk } from './prime-chunk.ts';
import { publishingHouse } from './testing/publishing-house.ts';

const layers = [
  { tar: buildTar([{ path: 'a', content: Buffer.alloc(1_500_000, 'some of a file ') }]) },
];

test('what is new to the store is primed, each chunk once and whole, and counted', async (t) => {
  const house = await publishingHouse(t);
  const primed = new Map<string, string>();
  const primeChunk: PrimeChunk = async (chunk, ciphertext) => {
    assert.equal(ciphertext.byteLength, chunk.storedLengthBytes);
    const name = chunkObjectName(chunk.rootId, toHex(chunk.ciphertextDigest));
    assert.ok(!primed.has(name));
    await new Promise(setImmediate);
    primed.set(name, hash('sha256', ciphertext));
    return primed.size > 1; // one that the zone does not take
  };
  const source = await house.image(layers);
  const updates: ProgressUpdate[] = [];
  const progress = (update: ProgressUpdate): void => void updates.push(update);
  const { chunks, primed: counts } = await house.publish(source, { primeChunk, progress });
  assert.ok(chunks.unique > 1);
  assert.deepEqual(counts, { chunks: chunks.unique - 1, failed: 1 });
  assert.equal(primed.size, chunks.unique);
  for (const [name, digest] of primed) {
    const stored = await house.store.get(name);
    assert.ok(stored !== undefined && hash('sha256', stored) === digest);
  }
  const last = updates.findLast(({ label }) => label.startsWith('Prime'));
  assert.equal(last?.done, chunks.unique);

  const again = await house.publish(source, { primeChunk, tenant: 'another' });
  assert.deepEqual([again.primed, again.chunks.unique], [{ chunks: 0, failed: 0 }, 0]);
  assert.equal((await house.publish(source)).primed, undefined);
});

test('publishing that is given up while it primes ends with the reason', async (t) => {
  const house = await publishingHouse(t);
  const abort = new AbortController();
  const reason = new Error('enough');
  const primeChunk: PrimeChunk = async (_, __, { signal }) => {
    abort.abort(reason);
    signal.throwIfAborted();
    return true;
  };
  const source = await house.image(layers);
  await assert.rejects(house.publish(source, { primeChunk, signal: abort.signal }), reason);
  assert.deepEqual(await house.catalog.listImages('default'), []);
});
