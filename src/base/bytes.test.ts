import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  byteString,
  byteStringFromBytes,
  byteStringFromPrintable,
  byteStringToBytes,
  byteStringToDisplay,
  byteStringToPrintable,
  compareStrings,
  release,
  roundUp,
  toHex,
  toSafeNumber,
  viewOf,
} from './bytes.ts';

test('a byte string holds any bytes and gives the same ones back', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const string = byteStringFromBytes(bytes);
      assert.equal(string.length, bytes.length);
      assert.deepEqual(new Uint8Array(byteStringToBytes(string)), bytes);
    }),
  );
});

test('byteString() holds the UTF-8 bytes of a text, and byteStringToDisplay() reads them back', () => {
  assert.equal(toHex(byteStringToBytes(byteString('é€😀'))), 'c3a9e282acf09f9880');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      assert.equal(byteStringToDisplay(byteString(text)), text);
    }),
  );
});

test('byteStringToDisplay() shows bytes that are not UTF-8 as U+FFFD', () => {
  assert.equal(
    byteStringToDisplay(byteStringFromBytes(Uint8Array.of(0x61, 0xff, 0x62))),
    'a\uFFFDb',
  );
});

test('byteStringToPrintable() shows text as it is, and all else as octal digits', () => {
  for (const [bytes, shown] of [
    ['héllo wörld 😀', 'héllo wörld 😀'],
    ['a\nb\u001b[2J\u007f', 'a\\012b\\033[2J\\177'],
    [
      'C1 \u009b31m, bidi \u202e, line \u2028',
      'C1 \\302\\23331m, bidi \\342\\200\\256, line \\342\\200\\250',
    ],
    ['back\\slash \\033', 'back\\\\slash \\\\033'],
    [Uint8Array.of(0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82), 'a\\377\\303(\\342\\202'],
    [Uint8Array.of(0xed, 0xa0, 0x80, 0xc0, 0xaf), '\\355\\240\\200\\300\\257'],
  ] as const) {
    const given = typeof bytes === 'string' ? byteString(bytes) : byteStringFromBytes(bytes);
    assert.equal(byteStringToPrintable(given), shown);
  }
});

test('byteStringFromPrintable() reads what byteStringToPrintable() writes, and neither lets a control through', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const string = byteStringFromBytes(bytes);
      const shown = byteStringToPrintable(string);
      assert.doesNotMatch(shown, /[\p{Cc}\p{Zl}\p{Zp}\uFFFD]/u);
      assert.equal(byteStringFromPrintable(shown), string);
    }),
  );
  assert.equal(byteStringFromPrintable('é\\x2d\\777\\'), byteString('é\\x2d\\777\\'));
});

test('byte strings compare in the order of their bytes, which Buffer.compare knows too', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      assert.equal(
        compareStrings(byteStringFromBytes(a), byteStringFromBytes(b)),
        Buffer.compare(a, b),
      );
    }),
  );
});

test('the order of byte strings is that of UTF-8, where the order of texts in UTF-16 is another', () => {
  const [inBasicPlane, beyondIt] = ['\uFF5E', '😀'];
  assert.equal(compareStrings(inBasicPlane, beyondIt), 1);
  assert.equal(compareStrings(byteString(inBasicPlane), byteString(beyondIt)), -1);
});

test('viewOf() shares memory with the part of the buffer that it is given', () => {
  const whole = Uint8Array.of(1, 2, 3, 4);
  const view = viewOf(whole.subarray(1, 3));
  assert.deepEqual([...view], [2, 3]);
  view[0] = 9;
  assert.deepEqual([...whole], [1, 9, 3, 4]);
});

test('roundUp() gives the least multiple that is not below the value', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 2 ** 30 }), (large, step) => {
      const value = large % 2 ** 50; // a petabyte, far past any disk image
      const rounded = roundUp(value, step);
      assert.equal(rounded % step, 0);
      assert.ok(rounded >= value && rounded - step < value, `${rounded}`);
    }),
  );
  assert.equal(roundUp(0, 4096), 0);
});

test('toSafeNumber() narrows what a number holds exactly and refuses the rest by name', () => {
  assert.equal(toSafeNumber(0n, 'size'), 0);
  assert.equal(toSafeNumber(2n ** 53n - 1n, 'size'), Number.MAX_SAFE_INTEGER);
  for (const value of [2n ** 53n, -1n]) {
    assert.throws(() => toSafeNumber(value, 'i_size'), { code: 'ERR_INTERNAL', message: /i_size/ });
  }
});

test('release() empties an array and all others over the same memory', () => {
  const bytes = new Uint8Array(100);
  const view = bytes.subarray(10, 20);
  release(view);
  assert.deepEqual([bytes.byteLength, view.byteLength], [0, 0]);
});
