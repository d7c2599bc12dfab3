/** The table of operations, held against the model in AWS's own SDK. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as sdk from '@aws-sdk/client-lambda';

import { operations, presentOperations } from './operations.ts';
import { createRouteTable } from './route-table.ts';

interface ModelOperation {
  readonly name: string;
  readonly method: string;
  readonly path: string;
}

/** The SDK's schemas: operations are lists that begin with a 9, and have their HTTP trait in the fourth place. */
function modelOperations(): readonly ModelOperation[] {
  return Object.values(sdk as Record<string, unknown>).flatMap((schema) => {
    if (!Array.isArray(schema) || schema[0] !== 9) return [];
    const [, , name, traits] = schema as [number, string, string, { http: [string, string] }];
    const [method, path] = traits.http;
    return [{ name, method, path }];
  });
}

/** Called at the place of another operation with a query of their own. */
const toldByQuery: Readonly<Record<string, string>> = {
  GetLayerVersionByArn: 'ListLayers',
  ListProvisionedConcurrencyConfigs: 'GetProvisionedConcurrencyConfig',
};

const routes = createRouteTable(operations);

test('every operation of the SDK is found where the SDK calls it', () => {
  const model = modelOperations();
  assert.ok(model.length > 80, 'the scan found the operations');
  for (const { name, method, path } of model) {
    const called = path.replace(/\?.*/, '').replaceAll(/\{(\w+)\}/g, 'the-$1');
    const route = routes.find(method, called);
    assert.equal(route?.operation.name, toldByQuery[name] ?? name, `${method} ${path}`);
  }
});

test('every operation of the table is one of the model', () => {
  const names = new Set(modelOperations().map(({ name }) => name));
  assert.deepEqual(
    operations.filter(({ name }) => !names.has(name)).map(({ name }) => name),
    [],
  );
  assert.ok(presentOperations.length >= 30);
});

test('labels are decoded, an ARN with its colons among them', () => {
  const arn = 'arn:aws:lambda:local:000000000000:function:hello';
  const route = routes.find('GET', `/2017-03-31/tags/${encodeURIComponent(arn)}`);
  assert.equal(route?.operation.name, 'ListTags');
  assert.deepEqual(route?.labels, { Resource: arn });
});

test('one slash at the end makes no difference', () => {
  assert.equal(routes.find('GET', '/2015-03-31/functions/')?.operation.name, 'ListFunctions');
  assert.equal(
    routes.find('GET', '/2016-08-19/account-settings/')?.operation.name,
    'GetAccountSettings',
  );
  assert.equal(routes.find('GET', '/2015-03-31/functions//'), undefined);
});

test('what calls no operation is found nowhere', () => {
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', ''],
    ['PATCH', '/2015-03-31/functions'],
    ['GET', '/2015-03-30/functions'],
    ['GET', '/2015-03-31/functions/a/b'],
    ['GET', '/2015-03-31/functions/%zz'],
    ['GET', '/2015-03-31/functions/%ff'],
    ['GET', '/2015-03-31/__proto__'],
  ] as const) {
    assert.equal(routes.find(method, path), undefined, `${method} ${path}`);
  }
});
