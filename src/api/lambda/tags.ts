/** Tags of functions, Thaw's own among them (`thaw-tags.ts`). */

import type { FunctionConfigurationRequest, FunctionRef } from '../../functions/index.ts';
import { parseFunctionArn } from './function-name.ts';
import { LambdaError } from './lambda-error.ts';
import {
  fieldsOf,
  label,
  noContent,
  ok,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';
import { splitTagKeys, splitTags, tagsShown } from './thaw-tags.ts';

const path = '/2017-03-31/tags/{Resource}';

export const tagOperations: readonly Operation[] = [
  { name: 'ListTags', method: 'GET', path, run: listTags },
  { name: 'TagResource', method: 'POST', path, run: tagResource },
  { name: 'UntagResource', method: 'DELETE', path, run: untagResource },
];

async function listTags(call: Call): Promise<Answer> {
  const { record, settings } = await call.functions.find(taggedOf(call));
  return ok({ Tags: tagsShown(record, settings) });
}

async function tagResource(call: Call): Promise<Answer> {
  const of = taggedOf(call);
  const given = fieldsOf(call).stringMap('Tags') ?? {};
  if (Object.keys(given).length === 0) {
    throw new LambdaError(
      'InvalidParameterValueException',
      'An error occurred and the request cannot be processed.',
    );
  }
  const { record } = await call.functions.find(of);
  const { tags, settings } = splitTags(given, {
    networks: call.networks,
    current: record.webServer,
  });
  await change(call, of, settings);
  if (Object.keys(tags).length > 0) await call.functions.changeTags(of, { set: tags });
  return noContent;
}

async function untagResource(call: Call): Promise<Answer> {
  const of = taggedOf(call);
  const given = call.query.getAll('tagKeys');
  if (given.length === 0) {
    throw new LambdaError(
      'ValidationException',
      "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null",
    );
  }
  const { record } = await call.functions.find(of);
  const { keys, settings } = splitTagKeys(given, record.webServer);
  await change(call, of, settings);
  if (keys.length > 0) await call.functions.changeTags(of, { remove: keys });
  return noContent;
}

async function change(
  call: Call,
  of: FunctionRef,
  settings: FunctionConfigurationRequest,
): Promise<void> {
  if (Object.keys(settings).length > 0) await call.functions.updateConfiguration(of, settings);
}

function taggedOf(call: Call): FunctionRef {
  const { name } = parseFunctionArn(label(call, 'Resource'), call.scope);
  return { tenant: call.tenant, name };
}
