/** Aliases: names for versions, with weights. */

import { defined } from '../../base/index.ts';
import type { AliasRecord } from '../../catalog/index.ts';
import type { AliasRef } from '../../functions/index.ts';
import { functionArn, type ArnScope } from './function-name.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';
import {
  created,
  fieldsOf,
  label,
  noContent,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';
import { pageAnswer, pageRequest } from './page-request.ts';

const path = '/2015-03-31/functions/{FunctionName}/aliases';
const aliasPath = `${path}/{Name}`;

export const aliasOperations: readonly Operation[] = [
  { name: 'CreateAlias', method: 'POST', path, run: createAlias },
  { name: 'ListAliases', method: 'GET', path, run: listAliases },
  { name: 'GetAlias', method: 'GET', path: aliasPath, run: getAlias },
  { name: 'UpdateAlias', method: 'PUT', path: aliasPath, run: updateAlias },
  { name: 'DeleteAlias', method: 'DELETE', path: aliasPath, run: deleteAlias },
];

/** Not only digits, which are versions. */
const namePattern = /^(?!\d+$)[a-zA-Z0-9-_]{1,128}$/;

async function createAlias(call: Call): Promise<Answer> {
  const { tenant, name: functionName } = wholeFunctionOf(call);
  const fields = fieldsOf(call);
  const name = checkedName(fields.requiredString('Name'));
  const version = fields.requiredString('FunctionVersion');
  call.isAbout({ name: functionName, qualifier: version });
  await call.functions.find({ tenant, name: functionName, qualifier: version });
  call.isAbout({ name: functionName, qualifier: name });
  const alias = await call.functions.createAlias({
    tenant,
    functionName,
    name,
    version,
    description: fields.string('Description') ?? '',
    additionalVersionWeights: weightsOf(fields) ?? {},
  });
  return created(shapeOf(call.scope, alias));
}

async function listAliases(call: Call): Promise<Answer> {
  const version = call.query.get('FunctionVersion') ?? undefined;
  const page = await call.functions.listAliases(wholeFunctionOf(call), {
    ...pageRequest(call.query),
    ...defined({ version }),
  });
  return ok(pageAnswer('Aliases', page, (alias) => shapeOf(call.scope, alias)));
}

async function getAlias(call: Call): Promise<Answer> {
  return ok(shapeOf(call.scope, await call.functions.findAlias(aliasOf(call))));
}

async function updateAlias(call: Call): Promise<Answer> {
  const fields = fieldsOf(call);
  const change = defined({
    version: fields.string('FunctionVersion'),
    description: fields.string('Description'),
    additionalVersionWeights: weightsOf(fields),
  });
  const options = defined({ revisionId: fields.string('RevisionId') });
  return ok(shapeOf(call.scope, await call.functions.updateAlias(aliasOf(call), change, options)));
}

async function deleteAlias(call: Call): Promise<Answer> {
  await call.functions.removeAlias(aliasOf(call));
  return noContent;
}

function aliasOf(call: Call): AliasRef {
  const { tenant, name: functionName } = wholeFunctionOf(call);
  return { tenant, functionName, name: checkedName(label(call, 'Name')) };
}

/** `RoutingConfig: {}` takes the weights away. */
function weightsOf(fields: JsonFields): Readonly<Record<string, number>> | undefined {
  const routing = fields.object('RoutingConfig');
  if (routing === undefined) return undefined;
  const weights = routing.numberMap('AdditionalVersionWeights') ?? {};
  for (const [version, weight] of Object.entries(weights)) {
    if (weight >= 0 && weight <= 1) continue;
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '{${version}=${weight}}' at 'routingConfig.additionalVersionWeights' failed to satisfy ` +
        'constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, ' +
        'Member must have value greater than or equal to 0.0, Member must not be null]',
    );
  }
  return weights;
}

function checkedName(name: string): string {
  if (namePattern.test(name)) return name;
  throw new LambdaError(
    'ValidationException',
    `1 validation error detected: Value '${name.slice(0, 200)}' at 'name' failed to satisfy constraint: ` +
      'Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)',
  );
}

function shapeOf(scope: ArnScope, alias: AliasRecord): object {
  const weights = alias.additionalVersionWeights;
  return defined({
    AliasArn: functionArn(scope, { name: alias.functionName, qualifier: alias.name }),
    Name: alias.name,
    FunctionVersion: alias.version,
    Description: alias.description,
    RoutingConfig:
      Object.keys(weights).length === 0 ? undefined : { AdditionalVersionWeights: weights },
    RevisionId: alias.revisionId,
  });
}
