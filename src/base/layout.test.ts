import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { layout } from './layout.ts';

const Everything = layout('everything', 40, [
  [0, 'u8', 'byte'],
  [1, 'bytes3', '_padding'],
  [4, 'u16', 'half'],
  [6, 'u16', '_pad2'],
  [8, 'u32', 'word'],
  [12, 'i32', 'signed'],
  [16, 'u64', 'long'],
  [24, 'i64', 'signedLong'],
  [32, 'bytes8', 'raw'],
]);

const everything = fc.record(
  {
    byte: fc.integer({ min: 0, max: 0xff }),
    half: fc.integer({ min: 0, max: 0xffff }),
    word: fc.integer({ min: 0, max: 0xffff_ffff }),
    signed: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    long: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    signedLong: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    raw: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  },
  { noNullPrototype: true },
);

const sample = {
  byte: 0x01,
  half: 0x0302,
  word: 0x07060504,
  signed: -2,
  long: 0x0f0e0d0c0b0a0908n,
  signedLong: -2n,
  raw: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
};

test('a record is little-endian, its fields where the table puts them, its padding zero', () => {
  assert.equal(
    Everything.encode(sample).toString('hex'),
    '01000000' +
      '0203' +
      '0000' +
      '04050607' +
      'feffffff' +
      '08090a0b0c0d0e0f' +
      'feffffffffffffff' +
      '0102030405060708',
  );
});

test('decode() inverts encode() for every record', () => {
  fc.assert(
    fc.property(everything, (fields) => {
      const decoded = Everything.decode(Everything.encode(fields));
      assert.deepEqual({ ...decoded, raw: new Uint8Array(decoded.raw) }, fields);
    }),
  );
});

test('encode() inverts decode() for every record whose padding is zero', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), (record) => {
      record.fill(0, 1, 4).fill(0, 6, 8);
      assert.deepEqual(new Uint8Array(Everything.encode(Everything.decode(record))), record);
    }),
  );
});

test('encodeInto() writes at the offset, zeros the padding and touches nothing around', () => {
  const target = new Uint8Array(50).fill(0xee);
  Everything.encodeInto(target, 5, sample);
  assert.deepEqual([...target.subarray(0, 5), ...target.subarray(45)], Array(10).fill(0xee));
  assert.deepEqual(target.subarray(5, 45), new Uint8Array(Everything.encode(sample)));
  assert.deepEqual({ ...Everything.decode(target, 5), raw: sample.raw }, sample);
});

test('encodeInto() refuses a target that ends before the record does', () => {
  assert.throws(() => Everything.encodeInto(new Uint8Array(44), 5, sample), RangeError);
});

test('decode() refuses a record that is cut short, wherever the cut is', () => {
  const record = Everything.encode(sample);
  for (let length = 0; length < Everything.sizeBytes; length += 1) {
    assert.throws(
      () => Everything.decode(record.subarray(0, length)),
      RangeError,
      `${length} bytes`,
    );
  }
});

test('decode() gives copies of byte fields, so that the source may change after', () => {
  const record = Everything.encode(sample);
  const { raw } = Everything.decode(record);
  record.fill(0);
  assert.deepEqual(new Uint8Array(raw), sample.raw);
});

test('encode() names the field that a value does not fit, rather than cut the value', () => {
  const misfits: [keyof typeof sample, unknown][] = [
    ['byte', 256],
    ['byte', -1],
    ['half', 0x1_0000],
    ['word', 2 ** 32],
    ['word', 1.5],
    ['word', NaN],
    ['word', undefined],
    ['word', '7'],
    ['word', 7n],
    ['signed', 2 ** 31],
    ['long', -1n],
    ['long', 2n ** 64n],
    ['long', 7],
    ['signedLong', 2n ** 63n],
    ['raw', new Uint8Array(7)],
    ['raw', undefined],
  ];
  for (const [field, value] of misfits) {
    const record = { ...sample, [field]: value };
    const expected = { code: 'ERR_INTERNAL', message: new RegExp(`everything\\.${field}\\b`) };
    assert.throws(() => Everything.encode(record), expected, `${field} = ${String(value)}`);
  }
});

test('layout() refuses, at load, a table whose rows leave a gap, overlap, miss the size or repeat a name', () => {
  assert.throws(
    () =>
      layout('gap', 4, [
        [0, 'u8', 'a'],
        [2, 'u16', 'b'],
      ]),
    { code: 'ERR_INTERNAL', message: /gap\.b/ },
  );
  assert.throws(
    () =>
      layout('overlap', 4, [
        [0, 'u32', 'a'],
        [2, 'u16', 'b'],
      ]),
    { code: 'ERR_INTERNAL', message: /overlap\.b/ },
  );
  assert.throws(() => layout('short', 8, [[0, 'u32', 'a']]), {
    code: 'ERR_INTERNAL',
    message: /short/,
  });
  assert.throws(() => layout('long', 2, [[0, 'u32', 'a']]), {
    code: 'ERR_INTERNAL',
    message: /long/,
  });
  assert.throws(
    () =>
      layout('twice', 2, [
        [0, 'u8', 'a'],
        [1, 'u8', 'a'],
      ]),
    { code: 'ERR_INTERNAL', message: /twice\.a/ },
  );
  assert.throws(() => layout('empty', 0, [[0, 'bytes0', 'a']]), {
    code: 'ERR_INTERNAL',
    message: /empty\.a/,
  });
});

test('the compiler knows the fields: a missing, unknown or mistyped one is an error, and padding is none', () => {
  const Pair = layout('pair', 4, [
    [0, 'u16', 'left'],
    [2, 'u16', '_right'],
  ]);
  // @ts-expect-error: `left` is missing
  assert.throws(() => Pair.encode({}));
  // @ts-expect-error: a u16 is a number
  assert.throws(() => Pair.encode({ left: 1n }));
  // @ts-expect-error: there is no field `right`
  assert.equal(Pair.decode(Pair.encode({ left: 1 })).right, undefined);
  // @ts-expect-error: padding is not read
  assert.equal(Pair.decode(Pair.encode({ left: 1 }))._right, undefined);
});
