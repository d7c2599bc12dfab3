import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  dataStripeCount,
  encodeStripes,
  parityStripeIndex,
  rebuildChunk,
  stripeCount,
  stripeLength,
} from './index.ts';

/** Chunks of every length the code takes, at any address: the odd ones leave words cut short and out of line. */
const chunks = fc
  .record({ quarterBytes: fc.integer({ min: 1, max: 300 }), shift: fc.integer({ min: 0, max: 9 }) })
  .chain(({ quarterBytes, shift }) =>
    fc
      .uint8Array({ minLength: quarterBytes * 4 + shift, maxLength: quarterBytes * 4 + shift })
      .map((bytes) => bytes.subarray(shift)),
  );

/** What XOR means, a byte at a time. */
function parityOf(quarters: readonly Uint8Array[]): number[] {
  return Array.from(quarters[0] ?? [], (_, at) =>
    quarters.reduce((sum, quarter) => sum ^ (quarter[at] ?? 0), 0),
  );
}

function stripesOf(chunk: Uint8Array): Uint8Array[] {
  const { data, parity } = encodeStripes(chunk);
  return [...data, parity];
}

/** The same bytes, `shift` bytes past an address that words may have. */
function shifted(bytes: Uint8Array, shift: number): Uint8Array {
  const copy = new Uint8Array(bytes.byteLength + shift).subarray(shift);
  copy.set(bytes);
  return copy;
}

test('data stripes are the quarters of the chunk, in its own memory', () => {
  const chunk = Uint8Array.from({ length: 4096 }, (_, at) => at >> 4);
  const { data } = encodeStripes(chunk);
  assert.deepEqual(
    data.map(({ buffer, byteOffset, byteLength }) => [
      buffer === chunk.buffer,
      byteOffset,
      byteLength,
    ]),
    [0, 1024, 2048, 3072].map((offset) => [true, offset, 1024]),
  );
});

test('the parity is the XOR of the quarters, byte by byte', () => {
  const known = encodeStripes(Uint8Array.of(0x01, 0xf0, 0x02, 0x0f, 0x04, 0xaa, 0x08, 0x55));
  assert.deepEqual([...known.parity], [0x0f, 0x00]);
  fc.assert(
    fc.property(chunks, (chunk) => {
      const { data, parity } = encodeStripes(chunk);
      assert.deepEqual([...parity], parityOf(data));
    }),
  );
});

test('any four of the five stripes give the chunk back, wherever they lie in memory', () => {
  fc.assert(
    fc.property(
      chunks,
      fc.array(fc.integer({ min: 0, max: 8 }), { minLength: 5, maxLength: 5 }),
      (chunk, shifts) => {
        const stripes = stripesOf(chunk).map((stripe, index) =>
          shifted(stripe, shifts[index] ?? 0),
        );
        for (let missing = 0; missing < stripeCount; missing += 1) {
          const rebuilt = rebuildChunk(stripes.with(missing, undefined as never));
          assert.deepEqual([...rebuilt], [...chunk], `without stripe ${missing}`);
        }
        assert.deepEqual([...rebuildChunk(stripes)], [...chunk]);
      },
    ),
  );
});

test('a chunk of the full size survives the loss of each stripe', () => {
  let state = 1;
  const chunk = Uint8Array.from({ length: 512 * 1024 }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return state & 0xff;
  });
  const stripes = stripesOf(chunk);
  for (let missing = 0; missing < stripeCount; missing += 1) {
    const rebuilt = rebuildChunk(
      stripes.map((stripe, index) => (index === missing ? undefined : stripe)),
    );
    assert.ok(Buffer.compare(rebuilt, chunk) === 0, `without stripe ${missing}`);
  }
});

test('all zeros have a parity of zeros', () => {
  assert.deepEqual(
    [...encodeStripes(new Uint8Array(4096)).parity],
    Array.from({ length: 1024 }, () => 0),
  );
});

test('fewer than four stripes, stripes of two lengths, or a sixth are refused', () => {
  const [a, b, c, d, e] = stripesOf(new Uint8Array(4096).fill(7));
  const refused = { code: 'ERR_INTERNAL' };
  assert.throws(() => rebuildChunk([a, undefined, c, undefined, e]), refused);
  assert.throws(() => rebuildChunk([]), refused);
  assert.throws(() => rebuildChunk([a, b, c, d?.subarray(1)]), refused);
  assert.throws(() => rebuildChunk([a, b, c, d, e, e]), refused);
});

test('a length that does not make four equal stripes is refused', () => {
  assert.equal(stripeLength(512 * 1024), 128 * 1024);
  assert.equal(parityStripeIndex, dataStripeCount);
  for (const lengthBytes of [0, -4, 4095, 4098, 0.5, Number.NaN]) {
    assert.throws(() => stripeLength(lengthBytes), { code: 'ERR_INTERNAL' }, String(lengthBytes));
  }
});
