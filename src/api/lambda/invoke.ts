/** Invokes: synchronous, asynchronous, dry, and streamed. */

import { defined } from '../../base/index.ts';
import type { InvokeRequest, InvokeResult, StreamedResult } from '../../functions/index.ts';
import { completeMessage, payloadMessage, streamOf } from './event-stream.ts';
import { invokeBodyMaxBytes } from './error-reply.ts';
import { LambdaError } from './lambda-error.ts';
import { functionOf, type Answer, type Call, type Operation } from './operation.ts';

export const invokeOperations: readonly Operation[] = [
  {
    name: 'Invoke',
    method: 'POST',
    path: '/2015-03-31/functions/{FunctionName}/invocations',
    bodyMaxBytes: invokeBodyMaxBytes,
    run: invoke,
  },
  {
    name: 'InvokeWithResponseStream',
    method: 'POST',
    path: '/2021-11-15/functions/{FunctionName}/response-streaming-invocations',
    bodyMaxBytes: invokeBodyMaxBytes,
    run: invokeWithResponseStream,
  },
  {
    name: 'InvokeAsync',
    method: 'POST',
    path: '/2014-11-13/functions/{FunctionName}/invoke-async',
    bodyMaxBytes: invokeBodyMaxBytes,
    run: invokeAsync,
  },
];

const requestIdHeader = 'x-amzn-requestid';
const eventStreamType = 'application/vnd.amazon.eventstream';

async function invoke(call: Call): Promise<Answer> {
  const request = invokeRequest(call);
  switch (invocationType(call, ['RequestResponse', 'Event', 'DryRun'])) {
    case 'RequestResponse':
      return resultAnswer(await call.functions.invoke(request));
    case 'Event': {
      const { requestId } = await call.functions.invokeLater(request);
      return { status: 202, headers: { [requestIdHeader]: requestId } };
    }
    case 'DryRun':
      await call.functions.checkInvoke(request);
      return { status: 204 };
  }
}

/** What came before `Invoke` with the type `Event`; its answer has a body. */
async function invokeAsync(call: Call): Promise<Answer> {
  const { requestId } = await call.functions.invokeLater(invokeRequest(call));
  return { status: 202, headers: { [requestIdHeader]: requestId }, json: { Status: 202 } };
}

async function invokeWithResponseStream(call: Call): Promise<Answer> {
  const request = invokeRequest(call);
  if (invocationType(call, ['RequestResponse', 'DryRun']) === 'DryRun') {
    await call.functions.checkInvoke(request);
    return { status: 204 };
  }
  const result = await call.functions.invokeStreaming(request);
  return {
    status: 200,
    headers: { ...headersOf(result), 'content-type': eventStreamType },
    stream: streamOf(messagesOf(result)),
  };
}

/** Leaving the loop gives the answer up. */
async function* messagesOf({ body, ended }: StreamedResult): AsyncGenerator<Uint8Array> {
  for await (const part of body as AsyncIterable<Buffer>) yield payloadMessage(part);
  const { functionError, errorType, errorMessage, logTail } = await ended;
  yield completeMessage(
    defined({
      ErrorCode: functionError,
      ErrorDetails: functionError && JSON.stringify(defined({ errorType, errorMessage })),
      LogResult: logTail && base64(logTail),
    }),
  );
}

function resultAnswer(result: InvokeResult): Answer {
  return {
    status: 200,
    headers: {
      ...headersOf(result),
      'content-type': 'application/json',
      ...defined({
        'x-amz-function-error': result.functionError,
        'x-amz-log-result': result.logTail && base64(result.logTail),
      }),
    },
    bytes: result.payload,
  };
}

function headersOf({
  requestId,
  executedVersion,
}: Pick<InvokeResult, 'requestId' | 'executedVersion'>): Record<string, string> {
  return { [requestIdHeader]: requestId, 'x-amz-executed-version': executedVersion };
}

function invokeRequest(call: Call): InvokeRequest {
  return {
    ...functionOf(call),
    payload: call.body,
    ...defined({
      traceId: call.header('x-amzn-trace-id'),
      clientContext: clientContextOf(call.header('x-amz-client-context')),
    }),
    tailsLog: call.header('x-amz-log-type') === 'Tail',
  };
}

function invocationType<Type extends string>(call: Call, types: readonly [Type, ...Type[]]): Type {
  const text = call.header('x-amz-invocation-type') ?? types[0];
  const type = types.find((each) => each === text);
  if (type !== undefined) return type;
  throw new LambdaError(
    'ValidationException',
    `1 validation error detected: Value '${text.slice(0, 100)}' at 'invocationType' failed to satisfy constraint: ` +
      `Member must satisfy enum value set: [${types.join(', ')}]`,
  );
}

/** JSON in base64, as the header has it. */
function clientContextOf(header: string | undefined): string | undefined {
  if (header === undefined || header === '') return undefined;
  const text = Buffer.from(header, 'base64').toString();
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null) return text;
  } catch {
    // told below
  }
  throw new LambdaError(
    'InvalidRequestContentException',
    'Client context must be a valid Base64-encoded JSON object.',
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
