/** How asynchronous invokes are retried. */

import { defined } from '../../base/index.ts';
import {
  defaultEventInvoke,
  latestVersion,
  type EventInvokeSettings,
  type FunctionSettings,
} from '../../catalog/index.ts';
import { configurationRanges as ranges, type FunctionRef } from '../../functions/index.ts';
import { functionArn } from './function-name.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';
import {
  fieldsOf,
  functionOf,
  foundOr,
  keptFor,
  noContent,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';

const path = '/2019-09-25/functions/{FunctionName}/event-invoke-config';

export const eventInvokeOperations: readonly Operation[] = [
  { name: 'PutFunctionEventInvokeConfig', method: 'PUT', path, run: putConfig },
  { name: 'UpdateFunctionEventInvokeConfig', method: 'POST', path, run: updateConfig },
  { name: 'GetFunctionEventInvokeConfig', method: 'GET', path, run: getConfig },
  { name: 'DeleteFunctionEventInvokeConfig', method: 'DELETE', path, run: deleteConfig },
  { name: 'ListFunctionEventInvokeConfigs', method: 'GET', path: `${path}/list`, run: listConfigs },
];

type Kept = FunctionSettings['eventInvoke'][string];

async function putConfig(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const fields = fieldsOf(call);
  const settings = { ...defaultEventInvoke, ...settingsRequest(fields) };
  const members = ['MaximumRetryAttempts', 'MaximumEventAgeInSeconds', 'DestinationConfig'];
  if (!members.some((name) => fields.has(name))) {
    throw new LambdaError(
      'InvalidParameterValueException',
      'You must specify at least one of error handling or destination setting.',
    );
  }
  await foundOr(call, of, "The function doesn't exist.");
  await call.functions.setEventInvoke(of, settings);
  return ok(shapeOf(call, of, await keptOf(call, of)));
}

async function updateConfig(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const { retriesMax, eventAgeMaxSeconds } = await keptOf(call, of);
  const change = settingsRequest(fieldsOf(call));
  await call.functions.setEventInvoke(of, { retriesMax, eventAgeMaxSeconds, ...change });
  return ok(shapeOf(call, of, await keptOf(call, of)));
}

async function getConfig(call: Call): Promise<Answer> {
  const of = functionOf(call);
  return ok(shapeOf(call, of, await keptOf(call, of)));
}

async function deleteConfig(call: Call): Promise<Answer> {
  const of = functionOf(call);
  await keptOf(call, of);
  await call.functions.setEventInvoke(of, undefined);
  return noContent;
}

/** All at once: a function has no more of them than versions and aliases that somebody made. */
async function listConfigs(call: Call): Promise<Answer> {
  const of = wholeFunctionOf(call);
  const { settings } = await call.functions.find(of);
  const configs = Object.entries(settings.eventInvoke).map(([qualifier, kept]) =>
    shapeOf(call, keptFor(of, qualifier), kept),
  );
  return ok({ FunctionEventInvokeConfigs: configs });
}

async function keptOf(call: Call, of: FunctionRef): Promise<Kept> {
  const words = `The function ${arnWithQualifier(call, of)} doesn't have an EventInvokeConfig`;
  const { settings } = await foundOr(call, of, words);
  const qualifier = of.qualifier === latestVersion ? '' : (of.qualifier ?? '');
  const { eventInvoke } = settings;
  const kept = Object.hasOwn(eventInvoke, qualifier) ? eventInvoke[qualifier] : undefined;
  if (kept !== undefined) return kept;
  throw new LambdaError('ResourceNotFoundException', words);
}

function settingsRequest(fields: JsonFields): Partial<EventInvokeSettings> {
  const destinations = fields.object('DestinationConfig');
  for (const outcome of ['OnSuccess', 'OnFailure']) {
    if ((destinations?.object(outcome)?.string('Destination') ?? '') === '') continue;
    throw new LambdaError(
      'InvalidParameterValueException',
      'DestinationConfig is not supported by Thaw: leave it out',
    );
  }
  return defined({
    retriesMax: fields.integer('MaximumRetryAttempts', ranges.retriesMax),
    eventAgeMaxSeconds: fields.integer('MaximumEventAgeInSeconds', ranges.eventAgeMaxSeconds),
  });
}

function shapeOf(call: Call, of: FunctionRef, kept: Kept): object {
  return {
    LastModified: kept.updatedAtMs / 1000,
    FunctionArn: arnWithQualifier(call, of),
    MaximumRetryAttempts: kept.retriesMax,
    MaximumEventAgeInSeconds: kept.eventAgeMaxSeconds,
    DestinationConfig: { OnSuccess: {}, OnFailure: {} },
  };
}

/** Here `$LATEST` is named. */
function arnWithQualifier(call: Call, of: FunctionRef): string {
  return functionArn(call.scope, { name: of.name, qualifier: of.qualifier ?? latestVersion });
}
