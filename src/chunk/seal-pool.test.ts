import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorToJson } from '../base/index.ts';
import { sealChunk, type SealedChunk } from './codec.ts';
import type { ChunkCodec } from './manifest.ts';
import { createSealPool, type SealPool } from './seal-pool.ts';

const salt = Buffer.alloc(32, 0xa5);
const failingEntry = new URL('testing/failing-seal-worker.ts', import.meta.url);

/** As plain data: a thread gives `Uint8Array` where the codec gives `Buffer`. */
function outcomeOf(sealed: SealedChunk | undefined): unknown {
  if (sealed === undefined) return 'zeros';
  const { ciphertext, ciphertextDigest, key, codec, storedLengthBytes } = sealed;
  const hex = [ciphertext, ciphertextDigest, key].map((bytes) =>
    Buffer.from(bytes).toString('hex'),
  );
  return [...hex, codec, storedLengthBytes];
}

function syncOutcome(plaintext: Uint8Array, under: Uint8Array, codec?: ChunkCodec): unknown {
  try {
    return outcomeOf(sealChunk(plaintext, under, codec));
  } catch (thrown) {
    return errorToJson(thrown);
  }
}

async function poolOutcome(
  pool: SealPool,
  plaintext: Uint8Array,
  under: Uint8Array,
  codec?: ChunkCodec,
): Promise<unknown> {
  return pool.seal(plaintext, under, codec).then(outcomeOf, errorToJson);
}

test('seal() gives what sealChunk() gives, byte for byte, errors included', async () => {
  await using pool = createSealPool({ threads: 2 });
  const plaintexts = fc.oneof(
    fc.uint8Array({ minLength: 4096, maxLength: 4096 }),
    fc.integer({ min: 0, max: 3 }).map((blocks) => new Uint8Array(blocks * 4096)),
    fc.nat(9000).map((length) => new Uint8Array(length).fill(7)),
    fc.integer({ min: 4, max: 20 }).map((blocks) => new Uint8Array(blocks * 4096).fill(7)),
  );
  const codecs = fc.constantFrom<ChunkCodec>('none', 'zstd-v1');
  const salts = fc.oneof(
    { weight: 9, arbitrary: fc.uint8Array({ minLength: 32, maxLength: 32 }) },
    fc.uint8Array({ maxLength: 40 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(plaintexts, salts, codecs), { maxLength: 8 }),
      async (jobs) => {
        const expected = jobs.map((job) => syncOutcome(...job));
        const outcomes = jobs.map(([plaintext, ...rest]) =>
          poolOutcome(pool, plaintext.slice(), ...rest),
        );
        assert.deepEqual(await Promise.all(outcomes), expected);
      },
    ),
  );
});

test('seal() takes a whole array over and leaves a view alone', async () => {
  await using pool = createSealPool({ threads: 1 });
  const whole = new Uint8Array(8192).fill(1);
  const expected = syncOutcome(whole, salt);
  const larger = new Uint8Array(16_384).fill(1);
  assert.deepEqual(await poolOutcome(pool, larger.subarray(4096, 12_288), salt), expected);
  assert.equal(larger[4096], 1);
  assert.deepEqual(await poolOutcome(pool, whole, salt), expected);
  assert.equal(whole.byteLength, 0);
});

for (const [how, firstSaltByte] of [
  ['exits', 1],
  ['throws', 2],
] as const) {
  test(`a thread that ${how} fails its own jobs with ERR_CHUNK_WORKER_LOST and no later one`, async () => {
    await using pool = createSealPool({ threads: 1, entry: failingEntry });
    const chunk = (): Uint8Array => new Uint8Array(4096).fill(7);
    const deadlySalt = new Uint8Array(32).fill(firstSaltByte);
    const jobs = [deadlySalt, salt, salt].map((under) => pool.seal(chunk(), under));
    const [deadly, behindIt, queued] = await Promise.allSettled(jobs);
    for (const lost of [deadly, behindIt]) {
      assert.ok(lost?.status === 'rejected');
      const { code, retryable } = errorToJson(lost.reason);
      assert.deepEqual({ code, retryable }, { code: 'ERR_CHUNK_WORKER_LOST', retryable: true });
    }
    assert.ok(queued?.status === 'fulfilled');
    assert.deepEqual(outcomeOf(queued.value), syncOutcome(chunk(), salt));
    assert.deepEqual(await poolOutcome(pool, chunk(), salt), syncOutcome(chunk(), salt));
  });
}

test('threads whose code cannot be loaded fail every job and hold up nobody', async () => {
  await using pool = createSealPool({ threads: 2, entry: new URL('nothing.ts', import.meta.url) });
  const jobs = Array.from({ length: 10 }, () => pool.seal(new Uint8Array(4096).fill(7), salt));
  for (const outcome of await Promise.allSettled(jobs)) {
    assert.ok(outcome.status === 'rejected');
    assert.equal(errorToJson(outcome.reason).code, 'ERR_CHUNK_WORKER_LOST');
  }
});

test('close() rejects what is not done and every later call', async () => {
  const pool = createSealPool({ threads: 1 });
  const jobs = Array.from({ length: 5 }, () => pool.seal(new Uint8Array(4096).fill(7), salt));
  const settled = Promise.allSettled(jobs);
  await pool.close();
  for (const outcome of await settled) {
    assert.ok(outcome.status === 'rejected');
    assert.equal(errorToJson(outcome.reason).code, 'ERR_CHUNK_POOL_CLOSED');
  }
  await assert.rejects(pool.seal(new Uint8Array(4096), salt), { code: 'ERR_CHUNK_POOL_CLOSED' });
  await pool.close();
});
