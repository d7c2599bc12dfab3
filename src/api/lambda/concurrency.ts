/** Reserved concurrency. */

import { defined } from '../../base/index.ts';
import { LambdaError } from './lambda-error.ts';
import {
  fieldsOf,
  noContent,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';

const changePath = '/2017-10-31/functions/{FunctionName}/concurrency';
const readPath = '/2019-09-30/functions/{FunctionName}/concurrency';

export const concurrencyOperations: readonly Operation[] = [
  { name: 'PutFunctionConcurrency', method: 'PUT', path: changePath, run: putConcurrency },
  { name: 'DeleteFunctionConcurrency', method: 'DELETE', path: changePath, run: deleteConcurrency },
  { name: 'GetFunctionConcurrency', method: 'GET', path: readPath, run: getConcurrency },
];

async function putConcurrency(call: Call): Promise<Answer> {
  const reserved = fieldsOf(call).integer('ReservedConcurrentExecutions', { min: 0 });
  if (reserved === undefined) {
    throw new LambdaError(
      'ValidationException',
      "1 validation error detected: Value null at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must not be null",
    );
  }
  await call.functions.setReservedConcurrency(wholeFunctionOf(call), reserved);
  return ok({ ReservedConcurrentExecutions: reserved });
}

async function getConcurrency(call: Call): Promise<Answer> {
  const { settings } = await call.functions.find(wholeFunctionOf(call));
  return ok(defined({ ReservedConcurrentExecutions: settings.reservedConcurrency }));
}

async function deleteConcurrency(call: Call): Promise<Answer> {
  await call.functions.setReservedConcurrency(wholeFunctionOf(call), undefined);
  return noContent;
}
