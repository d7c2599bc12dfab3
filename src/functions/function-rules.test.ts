import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorCode } from '../base/index.ts';
import type { FunctionConfigurationRequest } from './function-control.ts';
import { checkConfiguration, checkNames, checkPayload } from './function-rules.ts';

function codeThrownBy(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (thrown) {
    return errorCode(thrown) ?? 'no code';
  }
}

function codeOf(request: FunctionConfigurationRequest): string | undefined {
  return codeThrownBy(() => checkConfiguration('hello', request));
}

test('checkConfiguration() takes what is at the limits', () => {
  assert.equal(codeOf({}), undefined);
  assert.equal(codeOf({ memoryMb: 10_240, timeoutSeconds: 900 }), undefined);
  assert.equal(codeOf({ memoryMb: 128, timeoutSeconds: 1 }), undefined);
  assert.equal(codeOf({ ephemeralStorageMb: 512 }), undefined);
  assert.equal(codeOf({ ephemeralStorageMb: 10_240 }), undefined);
  assert.equal(codeOf({ description: 'd'.repeat(256), network: 'nat' }), undefined);
  assert.equal(codeOf({ webServer: { port: 65_535, readyPath: '/' } }), undefined);
  assert.equal(codeOf({ webServer: null }), undefined);
  const imageConfig = { entrypoint: [], command: [''], workingDir: '/' };
  assert.equal(codeOf({ imageConfig }), undefined);
  // {"AB":"…"} has nine bytes around the value
  assert.equal(codeOf({ environment: { AB: 'x'.repeat(4096 - 9) } }), undefined);
});

test('checkConfiguration() refuses what is past them, each with its code', () => {
  const bad: FunctionConfigurationRequest[] = [
    ...[127, 10_241, 128.5, NaN, Infinity].map((memoryMb) => ({ memoryMb })),
    ...[0, 901, 2.5, -1, NaN].map((timeoutSeconds) => ({ timeoutSeconds })),
    ...[511, 10_241].map((ephemeralStorageMb) => ({ ephemeralStorageMb })),
    ...[0, 65_536, 1.5].map((port) => ({ webServer: { port, readyPath: '/' } })),
    ...['', 'ready', '/a b', '/\r\n', `/${'a'.repeat(1024)}`].map((readyPath) => ({
      webServer: { port: 80, readyPath },
    })),
    { description: 'd'.repeat(257) },
    { network: 'bridge' as 'nat' },
    { handler: 'a b' },
    { imageConfig: { workingDir: 'relative' } },
    { imageConfig: { command: ['a\0b'] } },
  ];
  for (const request of bad) {
    assert.equal(codeOf(request), 'ERR_FUNCTION_BAD_CONFIG', JSON.stringify(request));
  }
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

test('checkNames() takes what can be part of a path, and no more', () => {
  const codeFor = (name: string, tenant = 'default') =>
    codeThrownBy(() => checkNames({ tenant, name }));
  for (const name of ['a', 'hello_World-1', 'n'.repeat(64)]) assert.equal(codeFor(name), undefined);
  for (const name of ['', 'n'.repeat(65), 'a/b', '..', 'a b', 'ä', 'a\n']) {
    assert.equal(codeFor(name), 'ERR_FUNCTION_BAD_NAME', name);
    assert.equal(codeFor('hello', name), 'ERR_FUNCTION_BAD_NAME', name);
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
