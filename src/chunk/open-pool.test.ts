import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorToJson } from '../base/index.ts';
import { openChunk, sealChunk, type SealedChunkRef } from './codec.ts';
import type { ChunkCodec } from './manifest.ts';
import { createOpenPool, type OpenPool } from './open-pool.ts';

const salt = Buffer.alloc(32, 0xa5);
const failingEntry = new URL('testing/failing-open-worker.ts', import.meta.url);
const lengthMaxBytes = 65_536;

interface Sealed {
  readonly ref: SealedChunkRef;
  readonly ciphertext: Uint8Array;
  readonly plaintext: Uint8Array;
}

function seal(unit: Uint8Array, codec: ChunkCodec): Sealed {
  const plaintext = Buffer.alloc(lengthMaxBytes, unit);
  const sealed = sealChunk(plaintext, salt, codec);
  assert.ok(sealed !== undefined);
  return { ref: { ...sealed, lengthMaxBytes }, ciphertext: sealed.ciphertext, plaintext };
}

function outcomeOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function expectedOf({ ref, ciphertext }: Pick<Sealed, 'ref' | 'ciphertext'>): unknown {
  try {
    return outcomeOf(openChunk(ref, ciphertext));
  } catch (thrown) {
    return errorToJson(thrown);
  }
}

async function outcomeIn(
  pool: OpenPool,
  { ref, ciphertext }: Pick<Sealed, 'ref' | 'ciphertext'>,
): Promise<unknown> {
  return pool.open(ref, new Uint8Array(ciphertext)).then(outcomeOf, errorToJson);
}

/** A chunk that the pool opens here while it has no thread, and in a thread once it has. */
const sample = seal(Buffer.from('sample'), 'zstd-v1');

/** Opens chunks until it is a thread that does: only a thread takes the array over. */
async function untilThreadsAreUp(pool: OpenPool): Promise<void> {
  for (;;) {
    const ciphertext = new Uint8Array(sample.ciphertext);
    await pool.open(sample.ref, ciphertext);
    if (ciphertext.byteLength === 0) return;
    await new Promise(setImmediate);
  }
}

test('open() gives what openChunk() gives, errors included, before its threads are up and after', async () => {
  await using pool = createOpenPool({ threads: 2 });
  const units = fc
    .uint8Array({ minLength: 1, maxLength: 200 })
    .map((unit) => Buffer.from([1, ...unit]));
  const codecs = fc.constantFrom<ChunkCodec>('none', 'zstd-v1');
  const jobs = fc
    .tuple(units, codecs, fc.constantFrom('whole', 'flipped', 'cut', 'too long'))
    .map(([unit, codec, damage]): Pick<Sealed, 'ref' | 'ciphertext'> => {
      const { ref, ciphertext } = seal(unit, codec);
      const flipped = Buffer.from(ciphertext);
      flipped[17] = (flipped[17] ?? 0) ^ 1;
      if (damage === 'flipped') return { ref, ciphertext: flipped };
      if (damage === 'cut') return { ref, ciphertext: ciphertext.subarray(1) };
      if (damage === 'too long') return { ref: { ...ref, lengthMaxBytes: 4096 }, ciphertext };
      return { ref, ciphertext };
    });
  const property = fc.asyncProperty(fc.array(jobs, { maxLength: 8 }), async (list) => {
    const outcomes = await Promise.all(list.map((job) => outcomeIn(pool, job)));
    assert.deepEqual(outcomes, list.map(expectedOf));
  });
  await fc.assert(property, { numRuns: 20 });
  await untilThreadsAreUp(pool);
  await fc.assert(property, { numRuns: 50 });
});

test('open() leaves a view alone, and never takes over what is not compressed', async () => {
  await using pool = createOpenPool({ threads: 1 });
  await untilThreadsAreUp(pool);
  const larger = new Uint8Array(sample.ciphertext.byteLength + 10);
  larger.set(sample.ciphertext, 5);
  const view = larger.subarray(5, 5 + sample.ciphertext.byteLength);
  assert.deepEqual(outcomeOf(await pool.open(sample.ref, view)), outcomeOf(sample.plaintext));
  assert.equal(larger.byteLength, sample.ciphertext.byteLength + 10);
  const plain = seal(randomBytes(100), 'none');
  const ciphertext = new Uint8Array(plain.ciphertext);
  await pool.open(plain.ref, ciphertext);
  assert.equal(ciphertext.byteLength, plain.ciphertext.byteLength);
});

for (const [how, firstByte] of [
  ['exits', 1],
  ['throws', 2],
] as const) {
  test(`a thread that ${how} fails its own jobs with ERR_CHUNK_WORKER_LOST and no later one`, async () => {
    await using pool = createOpenPool({ threads: 1, entry: failingEntry });
    await untilThreadsAreUp(pool);
    const deadly = new Uint8Array(sample.ciphertext);
    deadly[0] = firstByte;
    const [lost, behindIt] = await Promise.allSettled([
      pool.open(sample.ref, deadly),
      pool.open(sample.ref, new Uint8Array(sample.ciphertext)),
    ]);
    for (const outcome of [lost, behindIt]) {
      assert.ok(outcome?.status === 'rejected');
      const { code, retryable } = errorToJson(outcome.reason);
      assert.deepEqual({ code, retryable }, { code: 'ERR_CHUNK_WORKER_LOST', retryable: true });
    }
    assert.equal(await outcomeIn(pool, sample), outcomeOf(sample.plaintext));
    await untilThreadsAreUp(pool);
  });
}

test('a pool whose threads cannot be loaded opens chunks all the same', async () => {
  await using pool = createOpenPool({ entry: new URL('nothing.ts', import.meta.url) });
  for (let round = 0; round < 20; round += 1) {
    assert.equal(await outcomeIn(pool, sample), outcomeOf(sample.plaintext));
    await new Promise(setImmediate);
  }
});

test('a process ends by itself while its pool has threads, and not before a pool is closed', () => {
  const program = join(import.meta.dirname, 'testing/open-and-end.ts');
  for (const [args, output] of [
    [[], 'opened\n'],
    [['close'], 'closed\n'],
  ] as const) {
    const options = { timeout: 60_000 };
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], options);
    assert.equal(status, 0, stderr.toString());
    assert.equal(stdout.toString(), output);
  }
});
