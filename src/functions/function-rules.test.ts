import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorCode } from '../base/index.ts';
import { checkFunction, checkPayload } from './function-rules.ts';
import type { CreateFunctionRequest } from './function-service.ts';

const valid: CreateFunctionRequest = {
  name: 'hello_World-1',
  tenant: 'default',
  manifestId: 'a'.repeat(64),
  memoryMb: 128,
  timeoutSeconds: 3,
  environment: {},
};

function codeOf(fields: Partial<CreateFunctionRequest>): string | undefined {
  try {
    checkFunction({ ...valid, ...fields });
    return undefined;
  } catch (thrown) {
    return errorCode(thrown) ?? 'no code';
  }
}

test('checkFunction() takes what is at the limits', () => {
  assert.equal(codeOf({}), undefined);
  assert.equal(codeOf({ name: 'n'.repeat(64) }), undefined);
  assert.equal(codeOf({ memoryMb: 10_240, timeoutSeconds: 900 }), undefined);
  assert.equal(codeOf({ timeoutSeconds: 1 }), undefined);
  assert.equal(codeOf({ entrypoint: [], command: [''], workingDir: '/' }), undefined);
  // {"AB":"…"} has nine bytes around the value
  assert.equal(codeOf({ environment: { AB: 'x'.repeat(4096 - 9) } }), undefined);
});

test('checkFunction() refuses what is past them, each with its code', () => {
  for (const name of ['', 'n'.repeat(65), 'a/b', '..', 'a b', 'ä', 'a\n']) {
    assert.equal(codeOf({ name }), 'ERR_FUNCTION_BAD_NAME', name);
    assert.equal(codeOf({ tenant: name }), 'ERR_FUNCTION_BAD_NAME', name);
  }
  for (const memoryMb of [127, 10_241, 128.5, NaN, Infinity]) {
    assert.equal(codeOf({ memoryMb }), 'ERR_FUNCTION_BAD_CONFIG');
  }
  for (const timeoutSeconds of [0, 901, 2.5, -1, NaN]) {
    assert.equal(codeOf({ timeoutSeconds }), 'ERR_FUNCTION_BAD_CONFIG');
  }
  assert.equal(codeOf({ workingDir: 'relative' }), 'ERR_FUNCTION_BAD_CONFIG');
  assert.equal(codeOf({ command: ['a\0b'] }), 'ERR_FUNCTION_BAD_CONFIG');
  for (const environment of [
    { AWS_REGION: 'x' },
    { _HANDLER: 'x' },
    { '1A': 'x' },
    { A: 'one letter is too short' },
    { 'A=B': 'x' },
    { '': 'x' },
    { AB: 'a\0b' },
    { AB: 'x'.repeat(4096 - 8) },
    { AB: 'ü'.repeat(2044) },
  ]) {
    assert.equal(codeOf({ environment }), 'ERR_FUNCTION_BAD_ENVIRONMENT');
  }
});

test('checkPayload() takes any JSON as it is', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const payload = Buffer.from(text);
      assert.deepEqual(checkPayload(payload), payload);
    }),
  );
});

test('checkPayload() takes 6 MiB and nothing more', () => {
  const largest = Buffer.alloc(6 * 1024 * 1024, ' ');
  largest[0] = 0x31;
  assert.equal(checkPayload(largest), largest);
  assert.throws(
    () => checkPayload(Buffer.concat([largest, Buffer.from(' ')])),
    (thrown) => errorCode(thrown) === 'ERR_FUNCTION_PAYLOAD_TOO_LARGE',
  );
});

test('checkPayload() refuses what is no JSON in UTF-8', () => {
  const broken = ['{', 'undefined', "{'a':1}", '\ufeff{}', '{}{}', '[1,]', 'NaN'].map((text) =>
    Buffer.from(text),
  );
  const notUtf8 = Buffer.from('"\xff"', 'latin1');
  const deep = Buffer.from('['.repeat(1_000_000));
  for (const payload of [...broken, notUtf8, deep]) {
    assert.throws(
      () => checkPayload(payload),
      (thrown) => errorCode(thrown) === 'ERR_FUNCTION_BAD_PAYLOAD',
    );
  }
});
