/**
 * Makes the calls of github.com/astuyve/cold-start-benchmarker, in its order and with its waits, as a program that knows nothing of
 * Thaw: where to call and who is calling comes from the environment, as for every program that uses AWS. Writes a line of JSON for each
 * function that FUNCTION_NAMES lists.
 */

import { setTimeout as delay } from 'node:timers/promises';

import {
  InvokeCommand,
  LambdaClient,
  UpdateFunctionConfigurationCommand,
} from '@aws-sdk/client-lambda';

const client = new LambdaClient({ maxAttempts: 10 });

async function forceColdStart(FunctionName: string): Promise<object> {
  const setColdStart = (Math.random() + 1).toString(36).slice(7);
  const Environment = { Variables: { setColdStart } };
  await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Environment }));
  await delay(200);
  const startMs = Date.now();
  const command = new InvokeCommand({ FunctionName, InvocationType: 'RequestResponse' });
  const { Payload } = await client.send(command);
  const roundTripMs = Date.now() - startMs;
  return {
    FunctionName,
    setColdStart,
    roundTripMs,
    payload: Buffer.from(Payload ?? []).toString(),
  };
}

const names = (process.env['FUNCTION_NAMES'] ?? '').split(', ');
for (const result of await Promise.all(names.map(forceColdStart))) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
