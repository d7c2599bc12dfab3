import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { LineBuffer } from './line-buffer.ts';

test('LineBuffer hands on all bytes in order and only whole lines, however they are cut', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', 'ü', '\n', '\r'), maxLength: 20 });
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const written: string[] = [];
      const buffer = new LineBuffer((lines) => written.push(Buffer.from(lines).toString()));
      for (const text of pieces) buffer.push(Buffer.from(text));
      assert.ok(written.every((lines) => lines.endsWith('\n')));
      buffer.flush();
      const all = pieces.join('');
      assert.equal(written.join(''), all === '' || all.endsWith('\n') ? all : `${all}\n`);
    }),
  );
});

test('LineBuffer cuts a line that does not end, so that it holds little', () => {
  const written: number[] = [];
  const buffer = new LineBuffer((lines) => written.push(lines.byteLength));
  for (let count = 0; count < 100; count += 1) buffer.push(Buffer.alloc(10_000, 'x'));
  assert.equal(written.length, 14);
  assert.ok(written.every((length) => length <= 64 * 1024 + 10_000));
});
