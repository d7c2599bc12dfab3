/** Names of functions in the forms that Lambda's documentation lists. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ThawError } from '../../base/index.ts';
import { functionArn, parseFunctionArn, parseFunctionName, versionArn } from './function-name.ts';

const scope = { region: 'eu-west-1', accountId: '123456789012' };
const arn = 'arn:aws:lambda:eu-west-1:123456789012:function:my-function';

function refusal(work: () => unknown): unknown {
  try {
    work();
  } catch (thrown) {
    assert.ok(thrown instanceof ThawError);
    return thrown.details?.['lambdaError'];
  }
  return assert.fail('nothing was thrown');
}

test('a name, a partial and a full ARN name the same function', () => {
  for (const text of [
    'my-function',
    '123456789012:function:my-function',
    'function:my-function',
    arn,
  ]) {
    assert.deepEqual(parseFunctionName(text, scope), { name: 'my-function' }, text);
    assert.deepEqual(parseFunctionName(`${text}:v1`, scope), {
      name: 'my-function',
      qualifier: 'v1',
    });
    assert.deepEqual(parseFunctionName(`${text}:$LATEST`, scope), {
      name: 'my-function',
      qualifier: '$LATEST',
    });
  }
});

test('a region may have any name', () => {
  const local = { region: 'local', accountId: '000000000000' };
  const text = 'arn:aws:lambda:local:000000000000:function:hello:7';
  assert.deepEqual(parseFunctionName(text, local), { name: 'hello', qualifier: '7' });
});

test('a qualifier is taken from either place, and both must agree', () => {
  assert.deepEqual(parseFunctionName('f', scope, '3'), { name: 'f', qualifier: '3' });
  assert.deepEqual(parseFunctionName('f:3', scope, '3'), { name: 'f', qualifier: '3' });
  assert.equal(
    refusal(() => parseFunctionName('f:3', scope, '4')),
    'InvalidParameterValueException',
  );
  assert.equal(
    refusal(() => parseFunctionName('f', scope, 'a b')),
    'ValidationException',
  );
});

test("another account's functions are denied, another region's not found, whether they are there or not", () => {
  const foreignAccount = arn.replace('123456789012', '999999999999');
  assert.equal(
    refusal(() => parseFunctionName(foreignAccount, scope)),
    'AccessDeniedException',
  );
  const foreignRegion = arn.replace('eu-west-1', 'us-east-1');
  assert.equal(
    refusal(() => parseFunctionName(foreignRegion, scope)),
    'ResourceNotFoundException',
  );
});

test('tags belong to functions, named by their ARN', () => {
  assert.deepEqual(parseFunctionArn(arn, scope), { name: 'my-function' });
  assert.equal(
    refusal(() => parseFunctionArn('my-function', scope)),
    'ValidationException',
  );
  assert.equal(
    refusal(() => parseFunctionArn(`${arn}:1`, scope)),
    'InvalidParameterValueException',
  );
});

test('whatever is a name comes back from its own ARN; all else is refused in Lambda’s words', () => {
  const text = fc.string({
    unit: fc.constantFrom('a', 'z', 'A', 'Z', '0', '9', '-', '_'),
    minLength: 1,
    maxLength: 64,
  });
  const qualifier = fc.option(text, { nil: undefined });
  fc.assert(
    fc.property(text, qualifier, (functionName, given) => {
      const named =
        given === undefined ? { name: functionName } : { name: functionName, qualifier: given };
      assert.deepEqual(parseFunctionName(functionArn(scope, named), scope), named);
    }),
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      try {
        assert.match(parseFunctionName(text, scope).name, /^[a-zA-Z0-9-_]{1,64}$/);
      } catch (thrown) {
        assert.ok(thrown instanceof ThawError && thrown.fault === 'caller', String(thrown));
      }
    }),
  );
});

test('versions have their number in their ARN, $LATEST has not', () => {
  assert.equal(versionArn(scope, { name: 'my-function', version: '$LATEST' }), arn);
  assert.equal(versionArn(scope, { name: 'my-function', version: '2' }), `${arn}:2`);
});
