/** Bodies of requests: what is of the right type is read, all else is refused as Lambda refuses it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ThawError } from '../../base/index.ts';
import { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';

const parse = (value: unknown): JsonFields => JsonFields.parse(Buffer.from(JSON.stringify(value)));

function refusal(work: () => unknown): unknown {
  try {
    work();
  } catch (thrown) {
    assert.ok(thrown instanceof ThawError, String(thrown));
    return thrown.details?.['lambdaError'];
  }
  return assert.fail('nothing was thrown');
}

test('members are read as the types that the model gives them', () => {
  const fields = parse({
    S: 'text',
    I: 3,
    B: true,
    L: ['a'],
    M: { k: 'v' },
    O: { S: 'inner' },
    Z: 'AQID',
  });
  assert.equal(fields.string('S'), 'text');
  assert.equal(fields.integer('I'), 3);
  assert.equal(fields.boolean('B'), true);
  assert.deepEqual(fields.strings('L'), ['a']);
  assert.deepEqual(fields.stringMap('M'), { k: 'v' });
  assert.equal(fields.object('O')?.string('S'), 'inner');
  assert.deepEqual(fields.bytes('Z'), Buffer.from([1, 2, 3]));
});

test('what is null or left out is absent, and what objects have by nature as well', () => {
  const fields = parse({ S: null });
  assert.equal(fields.string('S'), undefined);
  assert.equal(fields.string('Other'), undefined);
  assert.equal(fields.has('constructor'), false);
  assert.equal(fields.has('__proto__'), false);
  assert.equal(JsonFields.parse(Buffer.alloc(0)).has('S'), false);
});

test('a wrong type is a SerializationException, a missing member a ValidationException', () => {
  const fields = parse({ S: 1, I: 1.5, B: 'true', L: [1], M: { k: 1 }, O: [], Z: '*' });
  for (const work of [
    () => fields.string('S'),
    () => fields.integer('I'),
    () => fields.boolean('B'),
    () => fields.strings('L'),
    () => fields.stringMap('M'),
    () => fields.object('O'),
    () => fields.bytes('Z'),
  ]) {
    assert.equal(refusal(work), 'SerializationException');
  }
  assert.equal(
    refusal(() => fields.requiredString('N')),
    'ValidationException',
  );
  assert.equal(
    refusal(() => parse({ C: 'x' }).oneOf('C', ['a', 'b'])),
    'ValidationException',
  );
});

test('a body that is no JSON object is an InvalidRequestContentException', () => {
  for (const text of ['{', '[]', '1', 'null', '"x"', '{"a":1}}', '\u0000']) {
    assert.equal(
      refusal(() => JsonFields.parse(Buffer.from(text))),
      'InvalidRequestContentException',
      text,
    );
  }
  const notUtf8 = Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]);
  assert.equal(
    refusal(() => JsonFields.parse(notUtf8)),
    'InvalidRequestContentException',
  );
});

test('bytes come back from base64, and what is no base64 is refused', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const text = Buffer.from(bytes).toString('base64');
      assert.deepEqual(parse({ Z: text }).bytes('Z'), Buffer.from(bytes));
      if (bytes.length > 3) {
        assert.equal(
          refusal(() => parse({ Z: `${text.slice(0, 2)} ${text.slice(3)}` }).bytes('Z')),
          'SerializationException',
        );
      }
    }),
  );
});

test('a body that would take far more memory than its bytes is refused before it is parsed', () => {
  for (const [text, words] of [
    [`{"D":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, /nested too deeply/],
    [`{"D":[${'{},'.repeat(100_000)}{}]}`, /too many members/],
  ] as const) {
    assert.throws(
      () => JsonFields.parse(Buffer.from(text)),
      (thrown: unknown) => thrown instanceof LambdaError && words.test(thrown.message),
    );
  }
});
