/** What the reader of a stream is told once the invoke is over. */

import { errorMessage } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { Outcome } from './function-instance.ts';
import type { StreamEnd } from '../function-runs.ts';
import { failurePayload } from './lambda-errors.ts';

/** An invoke that is over. */
interface Ended {
  readonly requestId: string;
  readonly record: FunctionRecord;
  readonly outcome: Outcome<unknown>;
  readonly logTail?: Uint8Array;
}

export function streamEnd({ outcome, logTail, record, requestId }: Ended): StreamEnd {
  const tail = logTail === undefined ? {} : { logTail };
  if ('value' in outcome) return tail;
  const payload = failurePayload(outcome.failure, { ...record, requestId });
  return { functionError: 'Unhandled', ...errorWords(payload), ...tail };
}

/** What the error object says, as far as it is one. */
function errorWords(payload: Uint8Array): Pick<StreamEnd, 'errorType' | 'errorMessage'> {
  const told = parsedObject(payload);
  return Object.fromEntries(
    (['errorType', 'errorMessage'] as const).flatMap((key) =>
      typeof told[key] === 'string' ? [[key, told[key]]] : [],
    ),
  );
}

function parsedObject(payload: Uint8Array): Record<string, unknown> {
  try {
    return { ...(JSON.parse(Buffer.from(payload).toString()) as object) };
  } catch {
    return {};
  }
}

/** It was cut off from our side. */
export function brokenOff(thrown: unknown): StreamEnd {
  return {
    functionError: 'Unhandled',
    errorType: 'Sandbox.Failure',
    errorMessage: errorMessage(thrown),
  };
}
