import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  InternalError,
  ThawError,
  assert as assertInvariant,
  errorCode,
  errorFromJson,
  errorMessage,
  errorToJson,
  present,
} from './errors.ts';

class TornError extends ThawError {
  constructor(cause?: unknown) {
    super({
      code: 'ERR_BASE_TORN',
      fault: 'data',
      message: 'Cannot read "a"',
      retryable: true,
      details: { pieces: 2 },
      cause,
    });
  }
}

test('a ThawError carries its code, fault, cause and the name of its class', () => {
  const cause = new Error('disk');
  const error = new TornError(cause);
  assert.equal(error.name, 'TornError');
  assert.equal(error.code, 'ERR_BASE_TORN');
  assert.equal(error.fault, 'data');
  assert.equal(error.retryable, true);
  assert.equal(error.cause, cause);
  assert.ok(error instanceof Error);
});

test('a ThawError without a cause has no cause property, and is not retryable unless it says so', () => {
  const error = new InternalError('Broken');
  assert.equal('cause' in error, false);
  assert.equal(error.retryable, false);
  assert.equal(error.fault, 'bug');
});

test('an error crosses a thread or socket as JSON: code, fault, message, details and name arrive, cause and stack stay', () => {
  const sent = JSON.stringify(errorToJson(new TornError(new Error('secret path'))));
  assert.doesNotMatch(sent, /secret path|errors\.test/);
  const received = errorFromJson(JSON.parse(sent));
  assert.ok(received instanceof ThawError);
  assert.deepEqual(received.toJSON(), new TornError().toJSON());
  assert.deepEqual(received.details, { pieces: 2 });
  assert.equal(received.name, 'TornError');
});

test('errorToJson() turns what was not raised deliberately into ERR_INTERNAL with the same message', () => {
  assert.deepEqual(errorToJson(new TypeError('x is not a function')), {
    name: 'InternalError',
    code: 'ERR_INTERNAL',
    fault: 'bug',
    retryable: false,
    message: 'x is not a function',
  });
  assert.equal(errorToJson('just a text').message, 'just a text');
});

test('errorCode() reads the code of anything thrown, if it is a text', () => {
  assert.equal(errorCode(new TornError()), 'ERR_BASE_TORN');
  assert.equal(errorCode(Object.assign(new Error('gone'), { code: 'ENOENT' })), 'ENOENT');
  for (const thrown of [new Error('plain'), { code: 5 }, null, undefined, 'ENOENT']) {
    assert.equal(errorCode(thrown), undefined);
  }
});

test('errorMessage() is one line, whatever was thrown', () => {
  assert.equal(errorMessage(new Error('first\n   second\n\nthird')), 'first; second; third');
  assert.equal(errorMessage('a text'), 'a text');
  assert.equal(errorMessage(undefined), 'undefined');
});

test('assert() passes a true condition and throws ERR_INTERNAL with its message on a false one', () => {
  assertInvariant(true, 'never shown');
  assert.throws(() => assertInvariant(false, 'The sum is off'), {
    code: 'ERR_INTERNAL',
    message: 'The sum is off',
  });
});

test('present() gives back what is there, also when it is falsy, and throws ERR_INTERNAL otherwise', () => {
  assert.equal(present(0, 'count'), 0);
  assert.equal(present('', 'name'), '');
  assert.equal(present(false, 'flag'), false);
  for (const absent of [undefined, null]) {
    assert.throws(() => present(absent, 'row 3'), {
      code: 'ERR_INTERNAL',
      message: 'Missing row 3',
    });
  }
});
